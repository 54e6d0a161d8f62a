"""What a watcher says of a dataset before anything is learnt from it."""

from pathlib import Path

from keensight.pipeline.watch import cut_notes, holdings
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


def test_classes_that_look_cut_are_named():
    pets = dataset(("american", "american_bulldog", None, 2), ("american", "american_pit_bull", None, 2))
    (note,) = cut_notes(pets, "{label}_*")
    assert "'american' holds american_bulldog, american_pit_bull" in note and "'{label...}_*'" in note
    assert cut_notes(pets, "") == []
