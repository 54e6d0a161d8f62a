import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from keensight.errors import RecipeError
from keensight.models import scratch
from keensight.models.zoo import build
from keensight.training.byhand import fit_by_hand, parameters_of, put_parameters
from keensight.training.checkpoint import load_state, save_state
from keensight.training.loop import start
from keensight.values import Preprocessing, Recipe, Split, Splits

SIZE = Preprocessing(8, 8, 1)
DIGITS = load_digits()
RECIPE = Recipe().having(
    model="scratch", hidden=32, normalise=False, optimizer="sgd", momentum=0.0, weight_decay=0.0,
    schedule="linear", learning_rate=0.5, batch_size=32, epochs=4, seed=3,
)  # fmt: skip


def split_of(first, last):
    images = (DIGITS.images * 15.9).astype(np.uint8)[..., None]
    rows = np.arange(first, last)
    return Split(images, rows, DIGITS.target[rows].astype(np.int64), ("",) * len(rows))


SPLITS = Splits(tuple("0123456789"), SIZE, split_of(0, 1000), split_of(1000, 1300), None)


def begin(recipe=RECIPE):
    return start(build("scratch", {"hidden": 32}, SIZE, 10, recipe.seed), SPLITS, recipe)


@pytest.mark.parametrize("loss", ["cross-entropy", "squared-error"])
def test_it_ends_with_the_weights_that_numpy_finds(loss):
    recipe = RECIPE.having(loss=loss)
    state = begin(recipe)
    epochs = list(fit_by_hand(state, SPLITS, recipe))
    images = SPLITS.train.images[SPLITS.train.rows].reshape(1000, 64).astype(np.float32) / 255
    numpy_loss = {"cross-entropy": scratch.cross_entropy, "squared-error": scratch.squared_error}[loss]
    *_, last = scratch.train(
        scratch.initialise(64, 32, 10, seed=3), images, SPLITS.train.labels, numpy_loss, epochs=4, seed=3
    )
    for one, two in zip(
        scratch.arrays(parameters_of(state.model.network)), scratch.arrays(last.parameters), strict=True
    ):
        assert np.array_equal(one, two)
    assert [epoch.number for epoch in epochs] == [1, 2, 3, 4] and epochs[-1].stopped
    assert epochs[-1].val_accuracy > 0.8 and epochs[-1].train_loss == last.loss
    assert epochs[-1].train_accuracy == scratch.accuracy(last.parameters, images, SPLITS.train.labels)


def test_stopped_and_resumed_it_ends_with_the_same_bits(tmp_path):
    whole = begin()
    list(fit_by_hand(whole, SPLITS, RECIPE))
    part = begin()
    for epoch in fit_by_hand(part, SPLITS, RECIPE):
        if epoch.number == 2:
            save_state(tmp_path / "last.safetensors", part)
            break
    resumed = begin()
    load_state(tmp_path / "last.safetensors", resumed)
    list(fit_by_hand(resumed, SPLITS, RECIPE))
    assert [epoch.val_loss for epoch in resumed.history] == [epoch.val_loss for epoch in whole.history]
    assert all(map(torch.equal, resumed.model.parameters(), whole.model.parameters()))


def test_a_normalised_model_learns_from_normalised_pixels():
    recipe = RECIPE.having(normalise=True, learning_rate=0.1)
    assert list(fit_by_hand(begin(recipe), SPLITS, recipe))[-1].val_accuracy > 0.8


def test_weights_go_in_and_come_out():
    network = begin().model.network
    drawn = scratch.initialise(64, 32, 10, seed=9)
    put_parameters(network, drawn)
    assert all(map(np.array_equal, scratch.arrays(parameters_of(network)), scratch.arrays(drawn)))


def test_it_stops_when_validation_is_good_enough():
    recipe = RECIPE.having(target_accuracy=0.5)
    assert "validation accuracy reached 0.5" in list(fit_by_hand(begin(), SPLITS, recipe))[-1].stopped


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "adamw"}, r"plain gradient descent.* needs optimizer = 'sgd'\. Start from .*digits-scratch"),
        ({"momentum": 0.9, "flip": True}, r"needs momentum = 0\.0, flip = False"),
        ({"schedule": "cosine"}, r"needs schedule = 'linear'"),
        ({"loss": "hinge"}, r"loss is 'hinge'; the model 'scratch' has cross-entropy and squared-error"),
    ],
)
def test_what_it_cannot_do_is_refused(changes, message):
    with pytest.raises(RecipeError, match=message):
        next(fit_by_hand(begin(), SPLITS, RECIPE.having(**changes)))
