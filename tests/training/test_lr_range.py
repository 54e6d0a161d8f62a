"""The range test, on problems whose largest stable rate is known."""

from dataclasses import replace

import numpy as np
import pytest

from keensight.errors import TrainingError
from keensight.models.zoo import build
from keensight.training.loop import fit, start
from keensight.training.lr_range import HIGH, LOW, STEPS, lr_range_test, read_curve, sweep
from keensight.values import Preprocessing, Recipe, Split, Splits

RATES = np.geomspace(LOW, HIGH, STEPS)


def descent(curvatures, noise=0.03):
    """Gradient descent on sum(h x^2) / 2 with noisy gradients: it diverges where the rate exceeds 2 / max(h)."""
    h = np.asarray(curvatures, float)
    x = np.full(len(h), 10.0)
    rng = np.random.default_rng(0)

    def step(rate):
        loss = float(0.5 * (h * x * x).sum())
        x[:] -= rate * h * (x + noise * rng.standard_normal(len(h)))
        return loss

    return step


def curve(step):
    rates, losses = zip(*sweep(step, RATES), strict=True)
    return read_curve(rates, losses)


@pytest.mark.parametrize("largest", [0.4, 4.0, 40.0, 400.0])
def test_a_quadratic_diverges_beyond_two_over_its_largest_curvature(largest):
    found = curve(descent([largest / 40, largest / 10, largest]))
    limit = 2 / largest
    assert found.steepest < found.lowest < found.diverges
    assert found.steepest < limit
    assert limit < found.diverges < 4 * limit, "the few steps that it takes to grow, at 30 steps to a decade"
    assert found.suggested < limit
    assert found.suggested == pytest.approx(found.lowest / 10, rel=0.5)


def test_the_marks_move_with_the_curvature():
    """Multiplying the function by ten divides every rate by ten."""
    flat, steep = curve(descent([1.0, 4.0])), curve(descent([10.0, 40.0]))
    for mark in ("steepest", "lowest", "diverges"):
        assert getattr(flat, mark) == pytest.approx(10 * getattr(steep, mark), rel=0.25)


def test_the_sweep_stops_where_it_has_blown_up():
    rates = [rate for rate, _ in sweep(descent([40.0]), RATES)]
    assert len(rates) < STEPS
    assert 2 / 40 < rates[-1] < 20 * 2 / 40
    assert [rate for rate, _ in sweep(lambda rate: float("nan") if rate > 1e-3 else 1.0, RATES)] == [
        rate for rate in RATES if rate <= 1e-3
    ]


def test_the_smoothed_curve_follows_a_clean_one_and_ignores_what_comes_after_the_blow_up():
    losses = 1.5 - np.tanh(np.linspace(-3, 3, 150))
    found = read_curve(RATES[:150], losses)
    np.testing.assert_allclose(found.smoothed[15:-15], losses[15:-15], atol=0.03)
    assert found.diverges is None
    assert found.steepest == pytest.approx(RATES[75], rel=0.2)
    blown = read_curve(RATES[:170], [*losses, *np.geomspace(1, 1e9, 20)])
    assert RATES[130] < blown.lowest < RATES[150]
    assert blown.diverges > RATES[144], "the smoothing looks ahead by a few steps"


@pytest.mark.parametrize("losses", [np.ones(100), np.linspace(1, 5, 100), np.ones(3), []])
def test_nothing_learnt(losses):
    with pytest.raises(TrainingError, match=r"did not fall .*Check the labels .* another model"):
        read_curve(RATES[: len(losses)], losses)


# --- on a network ----------------------------------------------------------------------------------------------------

RECIPE = Recipe().having(epochs=1, batch_size=20, precision="float32", model="dense", hidden=(16,))


def part(n, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    images = (rng.integers(0, 160, (n, 8, 8, 1)) + 60 * labels[:, None, None, None]).astype(np.uint8)
    return Split(images, np.arange(n), labels, tuple(map(str, range(n))))


SPLITS = Splits(("dark", "light"), Preprocessing(8, 8, 1), part(200, 0), part(60, 1), None)


def begin(recipe):
    return start(build(recipe.model.name, recipe.model.options, SPLITS.preprocessing, 2, 0), SPLITS, recipe)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_suggested_rate_teaches(optimizer):
    """One epoch at the suggestion beats one at a hundredth of it, and one where the test saw it diverge."""
    recipe = RECIPE.having(optimizer=optimizer, schedule="constant")
    heard = []
    found = lr_range_test(begin(recipe), SPLITS, recipe, lambda done, total: heard.append((done, total)))
    assert heard[0] == (1, STEPS) and len(heard) == len(found.rates) == len(found.losses) == len(found.smoothed)

    def loss_at(rate):
        try:
            return next(fit(begin(recipe), SPLITS, recipe.having(learning_rate=rate))).val_loss
        except TrainingError:
            return np.inf

    at_suggested = loss_at(found.suggested)
    assert at_suggested < loss_at(found.suggested / 100)
    assert found.diverges is None or at_suggested < loss_at(3 * found.diverges)


def test_it_is_deterministic_and_sees_training_pictures_alone():
    recipe = RECIPE.having(hidden=(16,), dropout=0.2, rotate=10.0)
    broken = replace(SPLITS, val=None)
    first, again = (lr_range_test(begin(recipe), broken, recipe) for _ in range(2))
    assert first == again


def test_memory(monkeypatch):
    def full(*_):
        raise MemoryError

    monkeypatch.setattr("keensight.training.lr_range.to_images", full)
    with pytest.raises(TrainingError, match=r"Memory ran out with batch_size=20\. Try --set batch_size=10"):
        lr_range_test(begin(RECIPE), SPLITS, RECIPE)
