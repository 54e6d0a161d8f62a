from dataclasses import replace

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression

from keensight.data import splits as drawing
from keensight.data.cache import decode
from keensight.data.sources import open_dataset
from keensight.evaluation.floors import logistic_floor, majority_floor
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
    assert majority_floor(replace(tied, test=split([0]))).test_accuracy == 1


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KEENSIGHT_CACHE", str(tmp_path_factory.mktemp("cache")))
        return drawing.split(decode(open_dataset("digits"), Preprocessing(8, 8, 1)))


@pytest.fixture(scope="module")
def floor(digits):
    return logistic_floor(digits)


def test_the_logistic_floor_is_what_scikit_learn_reaches(digits, floor):
    def pixels(part):
        return part.images[part.rows].reshape(len(part), -1) / 255

    peer = LogisticRegression(max_iter=2000).fit(pixels(digits.train), digits.train.labels)
    assert abs(floor.val_accuracy - peer.score(pixels(digits.val), digits.val.labels)) < 0.02
    assert abs(floor.test_accuracy - peer.score(pixels(digits.test), digits.test.labels)) < 0.02
    assert floor.name == "logistic regression"


def test_large_pictures_are_averaged_for_the_logistic_floor(digits, floor):
    """Eight times the size, every pixel repeated: averaged to 32x32 it is the same problem, with pixels repeated."""
    large = digits.train.images.repeat(8, axis=1).repeat(8, axis=2)
    parts = {name: replace(getattr(digits, name), images=large) for name in ("train", "val", "test")}
    wide = replace(digits, preprocessing=Preprocessing(64, 64, 1), **parts | {"test": None})
    found = logistic_floor(wide)
    assert abs(found.val_accuracy - floor.val_accuracy) < 0.02 and found.test_accuracy is None
