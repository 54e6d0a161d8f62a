"""Digits beside a bundle that learnt some of them."""

import json

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import keensight
from keensight.errors import DataError, UsageError
from keensight.pages.findings import sentence
from keensight.pipeline import audited_against


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder of 600 digits, and a run that learnt them."""
    home = tmp_path_factory.mktemp("against")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KEENSIGHT_CACHE", str(home / "cache"))
        write(home / "digits", range(600))
        yield home / "digits", keensight.train(home / "digits", out=home / "run", set=["epochs=20"])


def write(folder, rows, label_of=lambda label, row: label, name=str):
    digits = load_digits()
    for row in rows:
        home = folder / name(label_of(int(digits.target[row]), row))
        home.mkdir(parents=True, exist_ok=True)
        Image.fromarray((digits.images[row] * 15.9).astype(np.uint8)).save(home / f"{row}.png")
    return folder


def against(data, run, tmp_path):
    found = keensight.audit(data, tmp_path / "out", against=run.bundle).findings
    return {(each.kind, each.evidence.get("by")): each for each in found if "bundle" in each.evidence}


def test_pictures_that_the_bundle_learnt_are_leaks(run, tmp_path):
    _, trained = run
    data = write(tmp_path / "data", [*range(500, 600), *range(1000, 1100)])
    found = against(data, trained, tmp_path)[("leak", "bundle")]
    lines = [json.loads(line) for line in (trained.folder / "splits.jsonl").read_text().splitlines()]
    learnt = {line["file"] for line in lines if line["split"] in ("train", "val")}
    assert set(found.samples) == {path for path in learnt if int(path.split("/")[1][:-4]) >= 500}
    assert f"{len(found.samples)} of these 200 pictures are among those" in sentence(found)


def test_a_label_that_was_another_when_it_was_learnt(run, tmp_path):
    _, trained = run
    data = write(tmp_path / "data", range(500, 600), lambda label, row: (label + 1) % 10 if row == 517 else label)
    found = against(data, trained, tmp_path)[("label", "bundle's labels")]
    true = int(load_digits().target[517])
    assert found.samples == (f"{(true + 1) % 10}/517.png",)
    assert f"labelled {(true + 1) % 10}; {true} when the bundle learnt it" in sentence(found)


def test_new_pictures_with_wrong_labels_and_odd_ones_are_named(run, tmp_path, monkeypatch):
    monkeypatch.setattr(audited_against, "SURE", 0.7)  # a short run without cross-validation is never very sure
    _, trained = run
    wrong = set(range(1000, 1100, 10))
    data = write(tmp_path / "data", range(1000, 1200), lambda label, row: (label + 1) % 10 if row in wrong else label)
    draw = np.random.default_rng(0)
    for i in range(5):
        Image.fromarray(draw.integers(0, 256, (8, 8), np.uint8)).save(data / f"0/noise{i}.png")
    found = against(data, trained, tmp_path)
    assert ("leak", "bundle") not in found
    named = {int(path.split("/")[1][:-4]) for path in found["label", "bundle"].samples}
    assert len(named & wrong) >= 6 and len(named - wrong) <= 3
    odd = found["outlier", "bundle"].samples
    assert sum("noise" in path for path in odd) >= 4


def test_what_is_no_bundle_or_knows_other_classes_is_refused(run, tmp_path):
    folder, trained = run
    with pytest.raises(UsageError, match=r"is not a bundle: it has no bundle\.json"):
        keensight.audit(folder, tmp_path / "a", against=folder)
    other = write(tmp_path / "other", range(1000, 1060), name=lambda label: f"class{label}")
    with pytest.raises(DataError, match="knows none of the labels"):
        keensight.audit(other, tmp_path / "b", against=trained.bundle)
