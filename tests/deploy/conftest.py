"""The frozen bundle (signed), a copy of it without a signature, and `keensight deploy` on them."""

import shutil
import subprocess
from pathlib import Path

import pytest

from keensight.cli import main

FROZEN = Path(__file__).parents[1] / "bundle" / "frozen"


@pytest.fixture(scope="session")
def frozen() -> Path:
    return FROZEN / "bundle"


@pytest.fixture(scope="session")
def key() -> Path:
    return FROZEN / "release.pem.pub"


@pytest.fixture
def unsigned(tmp_path) -> Path:
    """The frozen bundle in a run folder with a name that Kubernetes would not take, without its signature."""
    bundle = tmp_path / "My Digits_2" / "bundle"
    shutil.copytree(FROZEN / "bundle", bundle, copy_function=shutil.copyfile)
    (bundle / "signature.json").unlink()
    return bundle


@pytest.fixture(autouse=True)
def peak(request, monkeypatch) -> None:
    """Start no server to measure how much memory it takes: test_memory.py does, and so do whole runs."""
    if request.node.get_closest_marker("thorough") is None:
        monkeypatch.setattr("keensight.deploy.kubernetes.measured", lambda *_: 150 * 2**20)


@pytest.fixture
def deploy(capsys):
    """Run `keensight deploy` in this process."""

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        with pytest.raises(SystemExit) as end:
            main(["deploy", *map(str, words)])
        said = capsys.readouterr()
        return subprocess.CompletedProcess(words, end.value.code or 0, said.out, said.err)

    return run
