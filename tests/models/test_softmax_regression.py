import numpy as np
import pytest

from keensight.evaluation.floors import passes
from keensight.models.softmax_regression import learn
from keensight.models.zoo import build
from keensight.training.loop import evaluate, fit
from keensight.values import Preprocessing, Recipe, Split, Splits


def blobs(n, classes, channels, seed):
    """Noisy colour pictures, most of which their class's own pattern gives away."""
    patterns = np.random.default_rng(0).integers(60, 200, (classes, 6, 5, channels))
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    noisy = patterns[labels] + rng.normal(0, 150, (n, 6, 5, channels))
    return Split(noisy.clip(0, 255).astype(np.uint8), np.arange(n), labels, ("x",) * n)


@pytest.mark.parametrize(("classes", "channels", "batch_size"), [(2, 1, 128), (5, 3, 32), (12, 3, 100)])
def test_it_learns_what_torch_learns_with_the_logistic_model(classes, channels, batch_size):
    train, val = blobs(1500, classes, channels, 1), blobs(1000, classes, channels, 2)
    recipe = Recipe().having(model="logistic", epochs=4, batch_size=batch_size, learning_rate=0.01, precision="float32")
    splits = Splits(tuple(map(str, range(classes))), Preprocessing(6, 5, channels), train, val, None)
    model = build("logistic", {}, splits.preprocessing, classes, 0)
    theirs = [epoch.val_accuracy for epoch in fit(model, splits, recipe.having(keep="last"))]
    ours = [
        answerer.accuracy(val) for answerer in learn(train, classes, passes(train, recipe), recipe.train.weight_decay)
    ]
    assert 1.2 / classes < theirs[-1] < 0.99  # neither guessing nor trivial
    assert ours == pytest.approx(theirs, abs=0.003)  # sums have another order, so a picture or two may fall otherwise
    assert evaluate(model, val, recipe)[1] == theirs[-1]


def test_a_split_may_choose_and_reorder_rows():
    train = blobs(600, 3, 1, 1)
    rows = np.random.default_rng(3).permutation(600)[:400]
    part = Split(train.images, rows, train.labels[rows], train.paths[:400])
    gathered = Split(train.images[rows], np.arange(400), train.labels[rows], train.paths[:400])
    recipe = Recipe().having(epochs=2, learning_rate=0.01)
    (*_, chosen), (*_, plain) = (
        learn(split, 3, passes(split, recipe), recipe.train.weight_decay) for split in (part, gathered)
    )
    assert np.array_equal(chosen.weights_DK, plain.weights_DK) and chosen.accuracy(part) == plain.accuracy(gathered)


def test_pictures_without_contrast_and_empty_splits_do_no_harm():
    flat = Split(np.full((20, 4, 4, 1), 7, np.uint8), np.arange(20), np.arange(20) % 2, ("x",) * 20)
    recipe = Recipe().having(epochs=3, learning_rate=0.01)
    *_, answerer = learn(flat, 2, passes(flat, recipe), recipe.train.weight_decay)
    assert np.isfinite(answerer.weights_DK).all() and answerer.accuracy(flat) == 0.5
    empty = Split(flat.images, np.arange(0), flat.labels[:0], ())
    assert answerer.accuracy(empty) == 0
