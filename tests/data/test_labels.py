import functools
import re
from pathlib import PurePosixPath

import pytest

from keensight.data.layout import arrange, split_named
from keensight.data.listing import PICTURE_SUFFIXES, describe, is_picture
from keensight.data.patterns import Fields, label_pattern
from keensight.errors import DataError, UsageError
from keensight.names import natural_order


def laid_out(pictures, others=(), pattern=None):
    entries, skipped = arrange(pictures, list(others), "x", pattern)
    return {entry.path: (entry.label, entry.split) for entry in entries}, {s.path: s.reason for s in skipped}


@pytest.mark.parametrize(
    "name,split",
    [("train", "train"), ("Training", "train"), ("val", "val"), ("VALID", "val"), ("validation", "val"),
     ("test", "test"), ("Testing", "test"), ("tests", None), ("", None)],
)  # fmt: skip
def test_split_names(name, split):
    assert split_named(name) == split


def test_natural_order_agrees_with_a_comparison_by_value():
    names = ["10", "2", "a10", "a9", "A9b", "007", "7", "b", "", "a", "1.5", "x" * 5 + "9" * 5000]

    def parts(name):
        return [int(p[:4000]) if p.isdigit() else p.lower() for p in re.split("([0-9]+)", name)]

    def compare(a, b):
        return (parts(a) > parts(b)) - (parts(a) < parts(b)) or (a > b) - (a < b)

    assert natural_order(names) == sorted(names, key=functools.cmp_to_key(compare))


@pytest.mark.parametrize(
    "pattern,name,expected",
    [
        ("{label}__*", "1__20170705__-118.5_34.1.png", Fields("1", None)),
        ("{label}__{scene}__{lon}_{lat}", "0__2014_0905__-122.07_37.70.png", Fields("0", None)),
        ("*_{label}", "a_b_c.jpg", Fields("b_c", None)),  # a field or * ends where the text after it first occurs
        ("{group}-??-{label}", "p7-01-cat.jpeg", Fields("cat", "p7")),
        ("{label}.*", "cat.1.jpg", Fields("cat", None)),
        ("img{label}", "img3.png", Fields("3", None)),
        ("{label}[x]", "cat[x].png", Fields("cat", None)),
        ("{label}__*", "cat_1.png", None),
        ("{label}?", "cats.png", Fields("cat", None)),
        ("*a{label}b*c", "xa1b_b_c.png", Fields("1", None)),
    ],
)
def test_label_patterns(pattern, name, expected):
    assert label_pattern(pattern)(name) == expected


@pytest.mark.parametrize(
    "pattern", ["*", "{scene}_*", "{label}{scene}", "{label}*", "{label}_{label}", "{label", "{}_x"]
)
def test_a_pattern_that_makes_no_sense_is_refused(pattern):
    with pytest.raises(UsageError, match="Write it like"):
        label_pattern(pattern)


def test_a_hostile_name_comes_to_an_end():
    """A search that went back on its steps would try 20,000 over 9 of them, and outlast us all."""
    assert label_pattern("*_{label}_*_*_*_*_*_*_*_x")("_" * 20_000 + "y.png") is None


def test_flat_split_wrapped_and_nested_layouts():
    assert laid_out(["cat/1.jpg", "dog/deep/er/2.jpg"])[0] == {
        "cat/1.jpg": ("cat", None),
        "dog/deep/er/2.jpg": ("dog", None),
    }
    assert laid_out(["a/b/Training/cat/1.jpg", "a/b/validation/cat/x/2.jpg"])[0] == {
        "a/b/Training/cat/1.jpg": ("cat", "train"),
        "a/b/validation/cat/x/2.jpg": ("cat", "val"),
    }


def test_strays_and_empty_folders_are_skipped_with_a_reason():
    found, skipped = laid_out(["cat/1.jpg", "dog/2.jpg", "cover.jpg"], ["owl/notes.txt", "ape/", "cat/readme.md"])
    assert set(found) == {"cat/1.jpg", "dog/2.jpg"}
    assert skipped == {
        "cover.jpg": "lies outside the class folders, so its class is not known",
        "owl": "a folder without pictures (found: 1 .txt)",
        "ape": "a folder without pictures (found: nothing)",
    }
    found, skipped = laid_out(["w/train/cat/1.jpg", "w/train/2.jpg", "w/cover.jpg", "top.jpg"])
    assert set(found) == {"w/train/cat/1.jpg"}
    assert set(skipped) == {"w/train/2.jpg", "w/cover.jpg", "top.jpg"}


def test_split_folders_beside_others_are_named():
    with pytest.raises(DataError, match=r"named like splits \(train\) and some are not \(cat, dog\)"):
        laid_out(["train/a/1.jpg", "cat/2.jpg", "dog/3.jpg"])
    with pytest.raises(DataError, match="train and training both stand for the split 'train'"):
        laid_out(["train/a/1.jpg", "training/b/2.jpg"])


def test_nothing_to_go_by():
    with pytest.raises(DataError, match=r"^x holds no pictures; found instead: 2 \.txt, 1 without a suffix"):
        laid_out([], ["a.txt", "b/c.txt", "README"])
    with pytest.raises(DataError, match=r"holds 2 pictures, such as 1\.jpg, but no class folders.*--label-pattern"):
        laid_out(["1.jpg", "2.jpg"])


def test_with_a_pattern_folders_give_splits_only():
    found, skipped = laid_out(
        ["w/train/any/cat__1.jpg", "w/test/dog__1.jpg", "w/owl__1.jpg", "w/train/odd.jpg"], pattern="{label}__*"
    )
    assert found == {"w/train/any/cat__1.jpg": ("cat", "train"), "w/test/dog__1.jpg": ("dog", "test")}
    assert skipped["w/train/odd.jpg"] == "its name does not fit the label pattern '{label}__*'"
    assert "beside the split folders" in skipped["w/owl__1.jpg"]
    with pytest.raises(DataError, match=r"None of the 1 pictures in x fits .* one is named 'b\.jpg'"):
        laid_out(["a/b.jpg"], pattern="{label}__*")


def test_labels_are_compared_in_composed_unicode():
    assert {label for label, _ in laid_out(["train/caf\u00e9/1.jpg", "val/cafe\u0301/2.jpg"])[0].values()} == {
        "caf\u00e9"
    }


def test_describe_counts_suffixes():
    assert describe(["a.zip", "b.ZIP", "c", "d/"]) == "2 .zip, 1 without a suffix"


@pytest.mark.parametrize("name", ["a.jpg", "b/a.JPG", "b.jpg/a", ".jpg", "b/.jpg", "..jpg", "b/..Png", "a.", "jpg", ""])
def test_a_picture_is_told_by_what_pathlib_calls_its_suffix(name):
    assert is_picture(name) == (PurePosixPath(name).suffix.lower() in PICTURE_SUFFIXES)
