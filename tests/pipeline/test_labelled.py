"""DATA for bundles that are there already: opened by their labels, and their splits drawn again."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import keensight
from keensight.bundle.info import BundleInfo
from keensight.bundle.read import Bundle
from keensight.data.cache import decode, fingerprint
from keensight.data.polarity import Borders
from keensight.data.sources import only
from keensight.errors import DataError, RunError, UsageError
from keensight.pipeline.labelled import count_learnt, known_splits, no_such_split, open_for, split_asked
from keensight.values import Preprocessing


def bundle(labels, recipe=None, data=None, path="runs/some/bundle"):
    data = {"sha256": "none", "val_fraction": 0.2, "test_fraction": 0.2, "seed": 0} | (data or {})
    seen = {"preprocessing": Preprocessing(8, 8, 1), "borders": Borders(0, 1)}
    info = BundleInfo(labels=tuple(labels), **seen, abstain_below=0.0, recipe=recipe or {}, data=data)
    return Bundle(Path(path), info)


def pixels_of(dataset):
    return decode(dataset, Preprocessing(8, 8, 1))


@pytest.fixture
def named(tmp_path):
    """Pictures whose names begin with their labels, in no class folders."""
    for label in ("cat", "dog", "emu"):
        for i in range(3):
            Image.fromarray(np.full((4, 4), 20 * i, np.uint8)).save(tmp_path / f"{label}__{i}.png")
    return tmp_path


def test_labels_keep_the_bundles_order():
    digits = tuple("9876543210")
    dataset = open_for("digits", [bundle(digits)])
    assert dataset.class_names == digits
    as_is = keensight.open_dataset("digits")
    assert [digits[s.label] for s in dataset.samples] == [as_is.class_names[s.label] for s in as_is.samples]


def test_one_that_learnt_a_part_leaves_the_other_classes_out():
    part = bundle(("1", "0"), {"classes": ["1", "0"]})
    dataset = open_for("digits", [part])
    assert dataset.class_names == ("1", "0") and len(dataset.samples) == 360
    assert open_for("digits", [bundle(("0", "1")), part]).class_names == ("0", "1")
    with pytest.raises(DataError, match="unknown labels 2, 3, 4, 5, 6 and 3 more"):
        open_for("digits", [bundle(("0", "1"))])


def test_one_that_learnt_a_part_may_be_asked_about_a_single_class(tmp_path):
    """As any other bundle may."""
    (tmp_path / "one" / "dog").mkdir(parents=True)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "one" / "dog" / "1.png")
    for recipe in ({}, {"classes": ["dog", "cat"]}):
        dataset = open_for(tmp_path / "one", [bundle(("dog", "cat"), recipe)])
        assert dataset.class_names == ("dog", "cat") and [sample.label for sample in dataset.samples] == [0]


@pytest.mark.parametrize("recipe", [{}, {"classes": ["dog", "cat"]}])
def test_the_label_pattern_of_any_of_them_is_tried(named, recipe):
    labels = ("dog", "cat") if recipe else ("cat", "dog", "emu")
    with_pattern = bundle(labels, recipe | {"label_pattern": "{label}__*"})
    for bundles in ([with_pattern], [bundle(labels, recipe), with_pattern]):
        dataset = open_for(named, bundles)
        assert dataset.class_names == labels and len(dataset.samples) == 3 * len(labels)
    with pytest.raises(DataError, match="no class folders"):
        open_for(named, [bundle(labels, recipe)])
    with pytest.raises(DataError, match="fits the label pattern"):
        open_for(named, [with_pattern], "{label}++*")


def test_a_label_pattern_that_nobody_gave_is_named_as_the_bundles(tmp_path):
    for label in ("dog", "elk"):
        (tmp_path / label).mkdir()
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / label / "1.png")
    with pytest.raises(DataError, match=r"unknown label elk;.*with which the bundle was trained, '\{label\}__\*'"):
        open_for(tmp_path, [bundle(("dog", "cat"), {"label_pattern": "{label}__*"})])


def test_split_names():
    assert [split_asked(name) for name in (None, "Validation", "test")] == [None, "val", "test"]
    with pytest.raises(UsageError, match="There is no split 'tset'. It can be train, val, test"):
        split_asked("tset")


def test_only_the_training_datas_splits_are_drawn_again():
    dataset = keensight.open_dataset("digits")
    trained = bundle(dataset.class_names, data={"sha256": fingerprint(dataset)})
    drawn = known_splits(pixels_of(dataset), trained)
    assert {name: round((drawn == name).mean(), 2) for name in ("train", "val", "test")} == {
        "train": 0.6, "val": 0.2, "test": 0.2,
    }  # fmt: skip
    assert set(known_splits(pixels_of(dataset), bundle(dataset.class_names))) == {""}
    assert set(known_splits(pixels_of(only(dataset, "1032456789")), trained)) == {""}, "labelled in another order"
    assert "digits has no val split: it has no splits of its own" in str(no_such_split(dataset, "val"))


def test_what_was_learnt_is_counted_by_content(tmp_path):
    (tmp_path / "bundle").mkdir()
    known = bundle("ab", path=tmp_path / "bundle")
    assert count_learnt(known, ["x"]) == 0
    lines = [
        {"split": split, "file": sha256, "label": "a", "sha256": sha256}
        for split, sha256 in (("train", "x"), ("test", "y"))
    ]
    (tmp_path / "splits.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert count_learnt(known, ["x", "y", "x", "z"]) == 2
    for damage in ("{", "[1]", '{"split": "train"}'):
        (tmp_path / "splits.jsonl").write_text(damage)
        with pytest.raises(RunError, match=r"splits.jsonl is not .* Repair or remove it; a bundle beside it"):
            count_learnt(known, ["x"])
