"""The main job where Windows' Python would be: see tests/without_posix.py for what is taken away."""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

LIKE_WINDOWS = Path(__file__).parents[1] / "without_posix.py"


@pytest.mark.thorough
def test_train_sign_predict_audit_and_serve(tmp_path, draw):
    def keensight(*words):
        done = subprocess.run(
            [sys.executable, LIKE_WINDOWS, *words], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    keensight("demo")
    keensight("sign", "--new-key", "release.pem")
    keensight("sign", "runs/digits/bundle", "--key", "release.pem")
    keensight("verify", "runs/digits/bundle", "--key", "release.pem.pub")
    drawn = tmp_path / "runs/digits/a-3.png"
    answer = json.loads(keensight("predict", "runs/digits/bundle", str(drawn), "--key", "release.pem.pub", "--json"))
    assert answer["label"] == "3"
    draw(tmp_path / "pets", ["ant", "bee"], 6, 0)
    assert json.loads(keensight("audit", "pets", "--json"))["findings"] is not None
    server = subprocess.Popen(
        [sys.executable, LIKE_WINDOWS, "serve", "runs/digits/bundle", "--port", "0"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        url = next(word for line in server.stdout for word in line.split() if word.startswith("http://127"))
        with urllib.request.urlopen(f"{url.rstrip('/')}/v1/predict", drawn.read_bytes()) as served:
            assert json.load(served)["predictions"][0]["label"] == "3"
    finally:
        server.terminate()
        server.stdout.close()
        assert server.wait(30) == 0
