from pathlib import Path

import pytest

from keensight.data.rare import common_classes
from keensight.errors import DataError
from keensight.values import Dataset, Sample


def dataset(counts, **more):
    samples = [Sample(f"{k}/{i}", k, f"hash-{k}-{i}", **more) for k, n in enumerate(counts) for i in range(n)]
    return Dataset("pets", Path("pets"), "folder", tuple("abcdefgh"[: len(counts)]), tuple(samples))


def test_three_different_pictures_are_enough_for_three_splits():
    assert common_classes(dataset([20, 2, 3, 1, 30]), 0.15, 0.15, 0) == ("a", "c", "e")


def test_two_are_enough_without_a_test_split():
    assert common_classes(dataset([20, 2, 3, 1, 30]), 0.15, 0, 0) == ("a", "b", "c", "e")


def test_nothing_is_left_out_where_all_is_given():
    train = dataset([20, 1, 1], split="train").samples
    held_out = [Sample(f"{s}/{i}", 0, f"{s}-{i}", s) for s in ("val", "test") for i in range(3)]
    given = Dataset("pets", Path("pets"), "folder", ("a", "b", "c"), (*train, *held_out))
    assert common_classes(given, 0.15, 0.15, 0) == ("a", "b", "c")


def test_two_classes_must_be_left():
    with pytest.raises(DataError, match="skip_rare leaves a of the 3 classes of pets"):
        common_classes(dataset([20, 2, 1]), 0.15, 0.15, 0)
