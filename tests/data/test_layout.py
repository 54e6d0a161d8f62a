import pytest

from keensight.data.layout import arrange, split_named
from keensight.errors import DataError


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
