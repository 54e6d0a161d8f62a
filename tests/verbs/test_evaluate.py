"""What `evaluate` says beside its numbers: what was left out, and what the model had learnt."""

import shutil

import numpy as np
import pytest
from PIL import Image

import keensight
from keensight.data.splits import read_splits
from keensight.errors import DataError, UsageError
from keensight.pipeline.watch import Watcher


class Notes(Watcher):
    def __init__(self):
        self.heard = []

    def note(self, text):
        self.heard.append(text)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on two classes of stripes, and its pictures."""
    root = tmp_path_factory.mktemp("evaluate")
    rng = np.random.default_rng(0)
    for label in ("across", "down"):
        (root / "stripes" / label).mkdir(parents=True)
        for i in range(40):
            image = rng.integers(0, 90, (12, 12), np.uint8)
            image[4:6] += 150
            Image.fromarray(image if label == "across" else image.T.copy()).save(root / "stripes" / label / f"{i}.png")
    patch = pytest.MonkeyPatch()
    patch.setenv("KEENSIGHT_CACHE", str(root / "cache"))
    made = keensight.train(root / "stripes", out=root / "run", set=["epochs=3"])
    patch.undo()
    return made, root / "stripes"


def heard(run, data, **options):
    notes = Notes()
    result = keensight.evaluate(run.bundle, data, watcher=notes, **options)
    unsigned, *others = notes.heard
    assert "carries no signature" in unsigned
    return result, others


def test_the_report_is_measured_again_to_the_last_digit(run):
    made, stripes = run
    result, notes = heard(made, stripes, split="test")
    assert result.metrics == made.report.test and notes == []


def test_pictures_that_were_learnt_are_counted(run, tmp_path):
    made, stripes = run
    counts = made.report.data["counts"]["train"]
    result, notes = heard(made, stripes)
    assert result.split == "all" and f"{sum(counts.values())} of 80 pictures were among those" in notes[0]
    shutil.copytree(stripes / "down", tmp_path / "part" / "down")  # other data, by its fingerprint
    _, notes = heard(made, tmp_path / "part")
    assert f"{counts['down']} of 40 pictures were among those" in notes[0]


def test_one_picture_that_was_learnt_is_told_as_one(run, tmp_path):
    made, stripes = run
    learnt = next(each for each in read_splits(made.folder / "splits.jsonl") if each.split == "train")
    (tmp_path / "one" / learnt.label).mkdir(parents=True)
    shutil.copy(stripes / learnt.file, tmp_path / "one" / learnt.label)
    _, notes = heard(made, tmp_path / "one")
    assert notes[0].startswith("1 of 1 picture was among those that the model learnt from, so these numbers")


def test_what_is_left_out_is_named_and_one_class_is_enough(run, tmp_path):
    made, stripes = run
    shutil.copytree(stripes / "down", tmp_path / "part" / "down")
    (tmp_path / "part" / "down" / "bad.png").write_text("text")
    (tmp_path / "part" / "down" / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (tmp_path / "part" / "README.md").write_text("about these pictures")
    result, notes = heard(made, tmp_path / "part")
    assert result.metrics.n == 40
    (said,) = (note for note in notes if note.startswith("Left out 2 of what part holds: "))
    assert said.endswith("; and 1 beside the pictures, such as README.md.")
    assert "down/bad.png: it is text and not a picture" in said and "phone.heic: " in said


def test_labels_and_splits_that_there_are_not(run, tmp_path):
    made, stripes = run
    with pytest.raises(UsageError, match="no split 'tset'"):
        keensight.evaluate(made.bundle, stripes, split="tset")
    shutil.copytree(stripes / "down", tmp_path / "part" / "downs")
    with pytest.raises(DataError, match=r"unknown label downs; the model knows across, down. Did you mean 'down'\?"):
        keensight.evaluate(made.bundle, tmp_path / "part")
    (tmp_path / "part" / "downs").rename(tmp_path / "part" / "down")
    with pytest.raises(DataError, match="has no test split.*Leave --split out"):
        keensight.evaluate(made.bundle, tmp_path / "part", split="test")


def test_the_runs_label_pattern_is_remembered(run, tmp_path):
    _, stripes = run
    (tmp_path / "named").mkdir()
    for file in stripes.rglob("*.png"):
        shutil.copy(file, tmp_path / "named" / f"{file.parent.name}__{file.name}")
    made = keensight.train(tmp_path / "named", out=tmp_path / "run", set=["epochs=1"], label_pattern="{label}__*")
    result, _ = heard(made, tmp_path / "named", split="test")
    assert result.metrics == made.report.test


def test_rare_classes_are_left_out_on_request_and_the_splits_are_drawn_again_without_them(tmp_path):
    draw = np.random.default_rng(0)
    for name, count in (("ant", 12), ("bee", 12), ("cow", 1), ("dog", 2)):
        (tmp_path / "in" / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(draw.integers(0, 256, (8, 8), np.uint8)).save(tmp_path / "in" / name / f"{i}.png")
    settings = ["model=logistic", "epochs=1"]
    with pytest.raises(DataError, match=r"'cow' \(1\), 'dog' \(2\).*skip_rare=true"):
        keensight.train(tmp_path / "in", out=tmp_path / "run", set=settings)
    watcher = Notes()
    settings.append("skip_rare=true")
    run = keensight.train(tmp_path / "in", out=tmp_path / "run", set=settings, watcher=watcher)
    assert run.report.data["class_names"] == ["ant", "bee"]
    (said,) = [note for note in run.report.data["notes"] if "skip_rare" in note]
    assert "'cow' (1), 'dog' (2)" in said and said in watcher.heard
    found = keensight.evaluate(run.folder, tmp_path / "in", split="test")
    assert (found.split, found.metrics.n) == ("test", run.report.test.n)
    assert found.metrics.accuracy == run.report.test.accuracy
    again = keensight.train(tmp_path / "in", out=tmp_path / "run", set=settings, resume=True)
    assert again.report.test == run.report.test


def test_given_splits_may_lack_a_class_of_training(tmp_path):
    draw = np.random.default_rng(0)
    for split, names in (("train", "ab"), ("val", "a"), ("test", "b")):
        for name in names:
            (tmp_path / "in" / split / name).mkdir(parents=True)
            for i in range(8):
                image = Image.fromarray(draw.integers(0, 256, (8, 8), np.uint8))
                image.save(tmp_path / "in" / split / name / f"{i}.png")
    run = keensight.train(tmp_path / "in", out=tmp_path / "run", set=["model=logistic", "epochs=1"])
    assert [row.n for row in run.report.val.per_class] == [8, 0]
    assert [row.n for row in run.report.test.per_class] == [0, 8]
    assert sum("has no picture of" in note for note in run.report.data["notes"]) == 2
    assert (run.folder / "report.html").exists()
