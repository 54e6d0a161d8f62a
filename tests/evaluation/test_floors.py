import dataclasses

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier

from keensight.evaluation.floors import majority_floor
from keensight.values import Preprocessing, Split, Splits


def split(labels):
    n = len(labels)
    return Split(np.zeros((n, 1, 1, 1), np.uint8), np.arange(n), np.array(labels, dtype=np.int64), ("x",) * n)


def splits(train, val, test):
    made = None if test is None else split(test)
    return Splits(("a", "b", "c"), Preprocessing(1, 1, 1), split(train), split(val), made)


@pytest.mark.parametrize("seed", range(10))
def test_agrees_with_scikit_learns_dummy(seed):
    rng = np.random.default_rng(seed)
    train, val, test = (rng.integers(0, 3, n).tolist() for n in (31, 17, 23))
    dummy = DummyClassifier(strategy="most_frequent").fit(np.zeros((31, 1)), train)
    floor = majority_floor(splits(train, val, test))
    assert floor.name == "majority class"
    assert floor.val_accuracy == pytest.approx(dummy.score(np.zeros((17, 1)), val))
    assert floor.test_accuracy == pytest.approx(dummy.score(np.zeros((23, 1)), test))


def test_the_most_frequent_training_class_is_answered_even_where_it_is_rare_in_the_others():
    floor = majority_floor(splits([2, 2, 2, 0, 1], [0, 0, 0, 2], None))
    assert (floor.val_accuracy, floor.test_accuracy) == (0.25, None)


def test_a_tie_goes_to_the_first_class():
    tied = splits([1, 0, 1, 0], [0, 0, 1], [1])
    assert majority_floor(tied).val_accuracy == pytest.approx(2 / 3)
    assert majority_floor(dataclasses.replace(tied, test=split([0]))).test_accuracy == 1
