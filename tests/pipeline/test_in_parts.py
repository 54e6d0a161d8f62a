"""Answers in parts: each picture has one row, whatever was killed, and rows of two jobs are never mixed."""

import json
import random
import subprocess
import sys
import time
from dataclasses import asdict

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_digits

import keensight
from keensight.errors import RunError, UsageError
from keensight.pipeline import in_parts
from keensight.pipeline.answer_parts import MANIFEST


class Here:
    """Workers in this process, one after the other, the last order first."""

    def __init__(self, count, recipe):
        self._recipe = recipe

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def map(self, orders):
        return map(self._recipe.make(), reversed(list(orders)))


@pytest.fixture
def here(monkeypatch):
    monkeypatch.setattr(in_parts.predict_in_parts, "__defaults__", (Here,))


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """600 of the digits as arrays: three parts."""
    found, file = load_digits(), tmp_path_factory.mktemp("some") / "some.npz"
    np.savez(file, images=(found.images[:600] * 15).astype(np.uint8), labels=found.target[:600])
    return file


def rows_of(folder):
    return pq.read_table(folder).sort_by("row").to_pylist()


def test_each_picture_has_the_answer_that_predict_gives(trained, digits, tmp_path, here):
    done = keensight.predict_in_parts(trained.bundle, digits, out=tmp_path / "out")
    assert asdict(done) == {"out": str(tmp_path / "out"), "answers": 600, "failed": 0, "parts": 3, "kept": 0}
    rows, answers = rows_of(tmp_path / "out"), keensight.predict(trained.bundle, digits)
    assert [row["row"] for row in rows] == list(range(600))
    labels = json.loads(pq.read_schema(tmp_path / "out" / "part-000001.parquet").metadata[b"labels"])
    for row, answer in zip(rows, answers, strict=True):
        assert (row["file"], row["label"], row["abstained"]) == (answer.file, answer.label, answer.abstained)
        assert dict(zip(labels, row["probabilities"], strict=True)) == pytest.approx(answer.probabilities, abs=1e-5)
        assert tuple(row["label_set"]) == answer.label_set and row["error"] is None
    complete = json.loads((tmp_path / "out" / MANIFEST).read_text())["complete"]
    assert complete["answers"] == 600 and [file["rows"] for file in complete["files"]] == [256, 256, 88]


def test_a_hole_and_a_damaged_part_are_filled_and_whole_parts_kept(trained, digits, tmp_path, here):
    out = tmp_path / "out"
    keensight.predict_in_parts(trained.bundle, digits, out=out)
    before = {file.name: file.read_bytes() for file in out.glob("*.parquet")}
    (out / "part-000000.parquet").unlink()
    spoilt = bytearray(before["part-000002.parquet"])
    chunk = pq.ParquetFile(out / "part-000002.parquet").metadata.row_group(0).column(2)  # the labels
    spoilt[(chunk.dictionary_page_offset or chunk.data_page_offset) + chunk.total_compressed_size // 2] ^= 1
    (out / "part-000002.parquet").write_bytes(spoilt)
    assert keensight.predict_in_parts(trained.bundle, digits, out=out).kept == 1
    assert {file.name: file.read_bytes() for file in out.glob("*.parquet")} == before


def test_answers_of_two_jobs_are_not_mixed(trained, digits, tmp_path, here):
    out = tmp_path / "out"
    keensight.predict_in_parts(trained.bundle, digits, out=out)
    with pytest.raises(RunError, match="answers for another list of pictures"):
        keensight.predict_in_parts(trained.bundle, "digits", out=out)
    manifest = json.loads((out / MANIFEST).read_text())
    (out / MANIFEST).write_text(json.dumps(manifest | {"engine": "abacus"}))
    with pytest.raises(RunError, match="engine 'abacus', which this machine lacks"):
        keensight.predict_in_parts(trained.bundle, digits, out=out)
    (out / MANIFEST).write_text(json.dumps(manifest))
    (out / "part-000009.parquet").write_bytes((out / "part-000000.parquet").read_bytes())
    with pytest.raises(RunError, match="600 answers in 4 parts"):
        keensight.predict_in_parts(trained.bundle, digits, out=out)
    (out / MANIFEST).unlink()
    with pytest.raises(RunError, match="not known whose answers"):
        keensight.predict_in_parts(trained.bundle, digits, out=out)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(RunError, match="not empty|thesis"):
        keensight.predict_in_parts(trained.bundle, digits, out=tmp_path / "mine")
    with pytest.raises(UsageError, match="workers is 0"):
        keensight.predict_in_parts(trained.bundle, digits, out=out, workers=0)


def test_a_picture_that_cannot_be_read_has_its_reason(trained, draw, tmp_path, here):
    folder = draw(tmp_path / "pets", ["cat"], 5, 0)
    (folder / "cat" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n junk")
    done = keensight.predict_in_parts(trained.bundle, folder, out=tmp_path / "out", workers=1)
    assert (done.answers, done.failed) == (5, 1)
    (broken,) = (row for row in rows_of(tmp_path / "out") if row["error"])
    assert broken["file"].endswith("broken.png") and broken["label"] is None


@pytest.mark.thorough
def test_killed_anywhere_there_is_no_duplicate_and_no_hole(trained, tmp_path):
    out, rng = tmp_path / "out", random.Random(0)
    words = [sys.executable, "-m", "keensight", "predict", str(trained.bundle), "digits", "--workers", "2", "--out"]
    for _ in range(3):
        there = len(list(out.glob("part-*.parquet")))
        driver = subprocess.Popen([*words, str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while driver.poll() is None and len(list(out.glob("part-*.parquet"))) == there:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.05))
        driver.kill()
        driver.wait()
    done = subprocess.run([*words, str(out), "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["answers"] == 1797
    assert [row["row"] for row in rows_of(out)] == list(range(1797))
    assert not [file.name for file in out.iterdir() if file.name.startswith(".")]
