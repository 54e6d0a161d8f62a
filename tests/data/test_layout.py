import re

import pytest

from keensight.data.layout import arrange, split_named, split_told
from keensight.errors import DataError, UsageError
from keensight.values import Skipped


def laid_out(pictures, others=(), pattern=None):
    entries, skipped = arrange(pictures, list(others), "x", pattern)
    return {entry.path: (entry.label, entry.split) for entry in entries}, {s.path: s.reason for s in skipped}


@pytest.mark.parametrize(
    "name,split",
    [("train", "train"), ("Training", "train"), ("val", "val"), ("VALID", "val"), ("validation", "val"),
     ("test", "test"), ("Testing", "test"), ("dev", "val"), ("eval", "test"), ("tests", None), ("", None)],
)  # fmt: skip
def test_split_names(name, split):
    assert split_named(name) == split


@pytest.mark.parametrize(
    "name,split",
    [("training_set", "train"), ("test_set", "test"), ("seg_train", "train"), ("train-set", "train"),
     ("TrainSet", "train"), ("imagenet.val", "val"), ("val2017", "val"), ("test1", "test"), ("Dev Set", "val"),
     ("train_val", None), ("contest", None), ("training-test", None), ("set", None), ("fold1", None)],
)  # fmt: skip
def test_words_in_a_folder_name_tell_its_split(name, split):
    assert split_told(name) == split


@pytest.mark.parametrize(
    "train,val,test",
    [("training_set", "", "test_set"), ("seg_train/seg_train", "", "seg_test/seg_test"), ("train-set", "", "val-set"),
     ("train", "dev", "eval"), ("a/b/train2017", "a/b/val2017", ""), ("pets_train", "pets_valid", "pets_testing")],
)  # fmt: skip
def test_the_same_folders_in_every_top_folder_are_classes_of_splits(train, val, test):
    tops = [top for top in (train, val, test) if top]
    found, skipped = laid_out([f"{top}/{name}/{i}.jpg" for top in tops for name in ("cats", "dogs") for i in (1, 2)])
    assert skipped == {} and {label for label, _ in found.values()} == {"cats", "dogs"}
    assert {path.rsplit("/", 2)[0]: split for path, (_, split) in found.items()} == {
        top: split_told(top.rsplit("/", 1)[-1]) for top in tops
    }


def test_a_class_that_a_split_lacks_and_folders_beside_splits():
    found, skipped = laid_out(
        ["seg_train/seg_train/sea/1.jpg", "seg_train/seg_train/ice/1.jpg", "seg_test/seg_test/sea/1.jpg",
         "seg_pred/seg_pred/1.jpg"], ["seg_test/seg_test/ice/", "extra/"],
    )  # fmt: skip
    assert {found[path] for path in found} == {("sea", "train"), ("ice", "train"), ("sea", "test")}
    assert "its class is not known" in skipped["seg_pred/seg_pred/1.jpg"] and "extra" in skipped


@pytest.mark.parametrize("classes", [("bus", "car", "train"), ("pass", "test"), ("steam_train", "bullet_train")])
def test_pictures_directly_inside_a_folder_are_a_class_whatever_it_is_called(classes):
    found, skipped = laid_out([f"vehicles/{name}/1.jpg" for name in classes])
    assert skipped == {} and found == {f"vehicles/{name}/1.jpg": (name, None) for name in classes}


def test_classes_above_splits():
    assert laid_out([f"{name}/{split}/1.jpg" for name in ("cat", "dog") for split in ("train", "test")])[0] == {
        f"{name}/{split}/1.jpg": (name, split) for name in ("cat", "dog") for split in ("train", "test")
    }


def test_folders_in_class_folders_are_no_splits():
    for inside in ("images", "deep/er"):
        found = laid_out([f"{name}/{inside}/1.jpg" for name in ("cat", "dog")])[0]
        assert set(found.values()) == {("cat", None), ("dog", None)}
    assert set(laid_out(["pets/cat/1.jpg", "pets/dog/1.jpg", "cars/bus/1.jpg"])[0].values()) == {
        ("pets", None), ("cars", None)
    }  # fmt: skip


@pytest.mark.parametrize(
    "tops", [("fold1", "fold2", "fold3"), ("a", "b"), ("train", "holdout"), ("train_1", "train_2")]
)
def test_splits_whose_names_tell_nothing_are_asked_about(tops):
    with pytest.raises(DataError, match=r"train, val (and|or)? ?test|train, val, test"):
        laid_out([f"{top}/{name}/1.jpg" for top in tops for name in ("cat", "dog")])


def test_only_split_folders_and_no_classes():
    for tops in (("train", "test"), ("train", "test1")):
        with pytest.raises(DataError, match="no class folders, so their labels are unknown"):
            laid_out([f"{top}/{i}.jpg" for top in tops for i in range(3)])
    assert laid_out(["train/cat.1.jpg", "test1/1.jpg"], pattern="{label}.*")[0] == {"train/cat.1.jpg": ("cat", "train")}


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


def test_no_pictures_because_all_were_left_out():
    left_out = [Skipped(f"cat/{i}.cr2", "a raw picture") for i in range(5)]
    left_out.append(Skipped("dog", "a link that leads out of the folder"))
    said = "(left out: cat/0.cr2, cat/1.cr2 and 3 more: a raw picture; dog: a link that leads out of the folder)"
    with pytest.raises(DataError, match=f"instead: 5 [.]cr2 {re.escape(said)}[.] Pictures are"):
        arrange([], [each.path for each in left_out[:5]], "x", None, left_out)


def test_splits_inside_the_classes_are_told_by_a_word_of_their_name():
    names = [f"{pet}/{split}/{i}.jpg" for pet in ("cat", "dog") for split in ("training_set", "test_set") for i in "12"]
    found, skipped = laid_out(names)
    assert not skipped
    assert found["cat/training_set/1.jpg"] == ("cat", "train")
    assert found["dog/test_set/2.jpg"] == ("dog", "test")
    found, _ = laid_out(["depot/train_yard/1.jpg", "depot/test_track/1.jpg", "hall/2.jpg"])  # words, but no structure
    assert set(found.values()) == {("depot", None), ("hall", None)}


def test_with_a_pattern_folders_give_splits_only():
    found, skipped = laid_out(
        ["w/train/any/cat__1.jpg", "w/test/dog__1.jpg", "w/owl__1.jpg", "w/train/odd.jpg"], pattern="{label}__*"
    )
    assert found == {"w/train/any/cat__1.jpg": ("cat", "train"), "w/test/dog__1.jpg": ("dog", "test")}
    assert skipped["w/train/odd.jpg"] == "its name does not fit the label pattern '{label}__*'"
    assert "beside the split folders" in skipped["w/owl__1.jpg"]
    with pytest.raises(DataError, match=r"No picture in x fits .* one is named 'b\.jpg'"):
        laid_out(["a/b.jpg"], pattern="{label}__*")


def test_labels_are_compared_in_composed_unicode():
    assert {label for label, _ in laid_out(["train/caf\u00e9/1.jpg", "val/cafe\u0301/2.jpg"])[0].values()} == {
        "caf\u00e9"
    }


def alike():
    return [
        f"{animal}/{place}/{i}.jpg"
        for animal in ("cats", "dogs", "foxes")
        for place in ("indoor", "outdoor")
        for i in range(2)
    ]


@pytest.mark.parametrize(
    ("pattern", "label_of"),
    [
        ("{label}/**", lambda path: path.split("/")[0]),
        ("{label}/*/*", lambda path: path.split("/")[0]),
        ("*/{label}/**", lambda path: path.split("/")[1]),
        ("*/{label}/*", lambda path: path.split("/")[1]),
        ("{group}/{label}/*", lambda path: path.split("/")[1]),
        ("**/{label}/*", lambda path: path.split("/")[1]),
    ],
)
@pytest.mark.parametrize("around", ["", "animals/"])
def test_the_same_folders_in_every_folder_are_asked_about_and_a_pattern_answers(pattern, label_of, around):
    paths = alike()
    with pytest.raises(DataError, match=r"--label-pattern '\{label\}/\*\*'.*--label-pattern '\*/\{label\}/\*\*'"):
        arrange([around + path for path in paths], [], "animals", None)
    entries, skipped = arrange([around + path for path in paths], [], "animals", pattern)
    assert not skipped
    assert {entry.path.removeprefix(around): entry.label for entry in entries} == {p: label_of(p) for p in paths}
    if "group" in pattern:
        assert {entry.group for entry in entries} == {"cats", "dogs", "foxes"}


def test_a_pattern_of_folders_can_name_the_split_and_leaves_out_what_does_not_fit():
    paths = [f"{split}/{label}/x/{split}{i}.jpg" for split in ("seg_train", "dev") for label in "ab" for i in range(2)]
    entries, skipped = arrange([*paths, "stray.jpg"], [], "mine", "{split}/{label}/**")
    assert {(entry.split, entry.label) for entry in entries} == {
        ("train", "a"),
        ("train", "b"),
        ("val", "a"),
        ("val", "b"),
    }
    assert [each.path for each in skipped] == ["stray.jpg"] and "does not fit" in skipped[0].reason
    with pytest.raises(DataError, match="'cats' stands where.*is not a split"):
        arrange(alike(), [], "mine", "{split}/{label}/*")
    with pytest.raises(DataError, match="None of the 12 pictures"):
        arrange(alike(), [], "mine", "{label}/*")


@pytest.mark.parametrize(
    "pattern", ["*/*", "{label}/{label}", "**/{label}/**", "{label...}/*", "{label}{a}/*", "{label}//*"]
)
def test_patterns_of_folders_that_make_no_sense_are_refused(pattern):
    with pytest.raises(UsageError, match="makes no sense as one of folders"):
        arrange(alike(), [], "mine", pattern)
