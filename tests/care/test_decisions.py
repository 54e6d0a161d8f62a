import pytest

from keensight.care.decisions import After, settle
from keensight.errors import DataError
from keensight.values import Dataset, Decision, Sample

A, B, C, D = (letter * 64 for letter in "abcd")


@pytest.fixture
def pets(tmp_path):
    samples = (
        Sample("cat/1.png", 0, A, "train"),
        Sample("cat/2.png", 0, B, "train"),
        Sample("dog/3.png", 1, C, "test"),
        Sample("dog/4.png", 1, B, "test"),
    )
    return Dataset("pets", tmp_path, "folder", ("cat", "dog"), samples)


def test_what_pictures_become(pets):
    given = [
        Decision(A, "relabel", "dog"),
        Decision(A, "move", split="test"),
        Decision(B, "drop", file="dog/4.png"),
        Decision(C, "confirm"),
        Decision(C, "confirm"),
    ]
    settled = settle(pets, given, "d.jsonl")
    assert settled.after == {
        "cat/1.png": After("dog", "test", False),
        "dog/4.png": After("dog", "test", True),
        "dog/3.png": After("dog", "test", False),
    }
    assert [each.file for each in settled.decisions] == ["cat/1.png", "cat/1.png", "dog/4.png", "dog/3.png"]


def test_all_that_does_not_fit_is_one_paragraph(pets):
    given = [
        Decision(D, "drop"),
        Decision(D, "keep", file="cat/1.png"),
        Decision(B, "drop"),
        Decision(A, "relabel", "dgo"),
        Decision(C, "drop"),
        Decision(C, "confirm"),
    ]
    with pytest.raises(DataError) as caught:
        settle(pets, given, "d.jsonl")
    assert str(caught.value) == (
        "Of the 6 decisions in d.jsonl, some do not fit pets, so nothing was changed: 1 is not among these pictures, "
        "or not as they were then: dddddddddddd; 1 is changed since they were decided on (another sha256): look at "
        "them again: cat/1.png; 1 is in several files, so say which with file: bbbbbbbbbbbb (cat/2.png, dog/4.png); 1 "
        "is a label that does not exist here: 'dgo' for aaaaaaaaaaaa; 1 is decided on twice, and differently: dog/3.png"
        " (drop and confirm). The labels of pets are cat, dog. Did you mean 'dog'? Correct or remove these lines; the "
        "rest can stay."
    )


@pytest.mark.parametrize(
    ("one", "other", "fit"),
    [
        (Decision(A, "relabel", "dog"), Decision(A, "relabel", "cat"), False),
        (Decision(A, "relabel", "dog"), Decision(A, "confirm"), False),
        (Decision(A, "relabel", "dog"), Decision(A, "keep"), False),
        (Decision(A, "move", split="val"), Decision(A, "move", split="test"), False),
        (Decision(A, "move", split="val"), Decision(A, "drop"), False),
        (Decision(A, "keep"), Decision(A, "confirm"), True),
        (Decision(A, "move", split="val"), Decision(A, "relabel", "dog"), True),
        (Decision(A, "drop", why="blurred"), Decision(A, "drop", why="dark"), True),
    ],
)
def test_contradictions(pets, one, other, fit):
    if fit:
        settle(pets, [one, other], "d.jsonl")
    else:
        with pytest.raises(DataError, match="decided on twice, and differently: cat/1.png"):
            settle(pets, [one, other], "d.jsonl")
