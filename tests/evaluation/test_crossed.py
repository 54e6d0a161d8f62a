import numpy as np
import pytest
from sklearn.datasets import load_digits

from keensight.evaluation.crossed import cross_validate
from keensight.evaluation.metrics import accuracy_interval
from keensight.training.loop import start
from keensight.training.trainers import fresh
from keensight.values import Preprocessing, Recipe, Split, Splits

DIGITS = load_digits()
SIZE = Preprocessing(8, 8, 1)
NAMES = tuple(map(str, range(10)))


def part(rows, units=None, labels=None):
    rows = np.asarray(rows)
    labels = DIGITS.target.astype(np.int64) if labels is None else labels
    return Split(IMAGES, rows, labels[rows], tuple(map(str, rows)), None if units is None else units[rows])


IMAGES = (DIGITS.images * 15).astype(np.uint8)[..., None]


def crossed(recipe, train, val, names=NAMES):
    splits = Splits(names, SIZE, train, val, None)
    model = start(fresh(recipe, SIZE, names), splits, recipe).model
    found = cross_validate(model, splits, recipe)
    return found.measured if found else None


LOGISTIC = Recipe().having(model="logistic", epochs=15, learning_rate=0.02)


def test_the_accuracy_is_that_on_held_out_pictures():
    found = crossed(LOGISTIC, part(range(200)), part(range(200, 240)))
    assert (found.folds, found.n) == (5, 240)
    assert 0.75 < found.accuracy < 0.97  # scikit-learn's logistic regression, in five folds: 0.92
    assert (found.accuracy_low, found.accuracy_high) == accuracy_interval(round(240 * found.accuracy), 240)
    assert crossed(LOGISTIC, part(range(200)), part(range(200, 240))) == found


def test_folds_are_cut_into_fewer_pieces_where_they_have_fewer_pictures():
    cut = LOGISTIC.having(pieces=90, epochs=2)  # batches of 100 in the run, and of 76 in a fold
    assert crossed(cut, part(range(200)), part(range(200, 240))).n == 240


def test_what_cannot_be_learnt_is_not_found():
    noise = np.random.default_rng(0).integers(0, 2, len(IMAGES))
    found = crossed(LOGISTIC, part(range(160), labels=noise), part(range(160, 200), labels=noise), ("a", "b"))
    assert 0.3 < found.accuracy < 0.7


def test_copies_stay_in_one_fold():
    noise = np.repeat(np.random.default_rng(0).integers(0, 2, 40), 5)
    rows = np.repeat(np.arange(40), 5)  # each picture five times, with a label that nothing tells
    train = Split(IMAGES, rows, noise, tuple(map(str, range(200))), rows)
    val = Split(IMAGES, rows[:0], noise[:0], (), rows[:0])
    together = crossed(LOGISTIC, train, val, ("a", "b")).accuracy
    alone = crossed(LOGISTIC, part_of(train), part_of(val), ("a", "b")).accuracy
    assert together < 0.65 and alone > together + 0.1


def part_of(split):
    """The same pictures, without a word of which belong together."""
    return Split(split.images, split.rows, split.labels, split.paths)


@pytest.mark.parametrize("changes", [{"epochs": 100_000}, {"weights": "some.safetensors"}, {"loss": "squared-error"}])
def test_what_is_not_cheap_or_knows_the_pictures_is_left(changes, monkeypatch):
    recipe = LOGISTIC.having(**changes)
    splits = Splits(NAMES, SIZE, part(range(200)), part(range(200, 240)), None)
    model = fresh(recipe.having(weights=""), SIZE, NAMES)
    assert cross_validate(model, splits, recipe) is None


def test_classes_of_one_picture_are_not_divided():
    labels = np.array([0] * 30 + [1])
    rows = np.arange(31)
    train = Split(IMAGES, rows, labels, ("",) * 31)
    val = Split(IMAGES, rows[:0], labels[:0], ())
    assert crossed(LOGISTIC, train, val, ("a", "b")) is None
