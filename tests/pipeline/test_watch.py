"""What a watcher says of a dataset before anything is learnt from it."""

from pathlib import Path

import pytest

from keensight.pipeline.watch import Watcher, cut_notes, holdings, name_notes
from keensight.values import Dataset, Sample


def dataset(*samples: tuple[str, str, str | None, int]) -> Dataset:
    """Return a dataset of (label, name without its number, split, how many)."""
    names = tuple(dict.fromkeys(label for label, _, _, _ in samples))
    found = [
        Sample(f"{split}/{stem}_{i}.png", names.index(label), "", split)
        for label, stem, split, count in samples
        for i in range(count)
    ]
    return Dataset("pets", Path("pets"), "folder", names, tuple(found))


def test_classes_are_counted_where_they_are_learnt_from():
    given = [("cats", "a", "train", 20), ("dogs", "b", "train", 20), ("cats", "a", "test", 9), ("dogs", "b", "test", 7)]
    assert holdings(dataset(*given)) == "2 classes: cats 20, dogs 20; splits train 40, test 16"
    assert holdings(dataset(*given[2:])) == "2 classes: cats 9, dogs 7; splits test 16"
    assert holdings(dataset(("a", "a", None, 1200), ("b", "b", None, 3))) == "2 classes: a 1,200, b 3"


def test_many_classes_are_shortened():
    said = holdings(dataset(*((f"c{i}", "x", None, i + 1) for i in range(200))))
    assert said.startswith("200 classes: c0 1, c1 2, c2 3") and said.endswith(
        "and 190 more, each with 1 to 200 pictures"
    )


@pytest.mark.parametrize(("count", "end"), [(3, "each with 3 pictures"), (1, "each with 1 picture")])
def test_many_classes_of_one_size(count, end):
    said = holdings(dataset(*((f"c{i}", "x", None, count) for i in range(40))))
    assert said.endswith(f"and 30 more, {end}")


def test_classes_that_look_cut_are_named():
    pets = dataset(("american", "american_bulldog", None, 2), ("american", "american_pit_bull", None, 2))
    (note,) = cut_notes(pets, "{label}_*")
    assert "'american' holds american_bulldog, american_pit_bull" in note and "'{label...}_*'" in note
    assert cut_notes(pets, "") == []


@pytest.mark.parametrize("name", ["none of these", "None_of_these", "not sure", "NOT-SURE"])
def test_a_class_called_like_a_refusal_is_named(name):
    said = []
    watcher = Watcher()
    watcher.note = said.append
    watcher.found(dataset(("cats", "a", None, 2), (name, "b", None, 2)), "")
    assert said[1:] == name_notes(["cats", name])
    assert repr(name) in said[1] and "Rename such a class, to 'other' for example" in said[1]


def test_other_classes_are_not_called_like_refusals():
    assert name_notes(["cats", "none", "unsure", "none of these dogs"]) == []
