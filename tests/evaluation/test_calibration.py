import numpy as np
import pytest
from scipy.special import log_softmax
from scipy.special import softmax as scipy_softmax

from keensight.errors import DataError
from keensight.evaluation.calibration import expected_calibration_error, fit_temperature, reliability_bins, softmax


def drawn_logits(seed, sharpness, n=1000, K=5):
    """Logits whose labels are drawn from softmax(logits / sharpness): the right temperature is `sharpness`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, K))
    labels = np.array([rng.choice(K, p=p) for p in scipy_softmax(logits, axis=1)])
    return logits * sharpness, labels


def loss(logits, labels, temperature):
    return -log_softmax(logits / temperature, axis=1)[np.arange(len(labels)), labels].mean()


def test_softmax_agrees_with_scipy_and_survives_large_logits():
    logits = np.random.default_rng(0).normal(0, 300, (20, 7)).astype(np.float32)
    np.testing.assert_allclose(softmax(logits, 2.5), scipy_softmax(logits.astype(np.float64) / 2.5, axis=1), atol=1e-15)
    assert softmax(logits).dtype == np.float64


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_softmax_refuses_a_temperature_that_is_not_positive(temperature):
    with pytest.raises(DataError, match="above 0"):
        softmax(np.zeros((1, 2)), temperature)


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 3.0, 8.0])
def test_temperature_is_the_one_that_a_grid_search_finds(sharpness):
    logits, labels = drawn_logits(1, sharpness)
    grid = np.exp(np.linspace(np.log(0.05), np.log(20), 1201))
    best = grid[np.argmin([loss(logits, labels, temperature) for temperature in grid])]
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(best, rel=0.005)
    assert found == pytest.approx(sharpness, rel=0.1)
    assert fit_temperature(logits, labels) == found  # bit for bit


@pytest.mark.parametrize("seed", range(25))
def test_temperature_stays_in_bounds_and_never_makes_the_loss_worse(seed):
    rng = np.random.default_rng(seed)
    n, K = int(rng.integers(1, 40)), int(rng.integers(2, 6))
    logits, labels = rng.normal(0, 10 ** rng.uniform(-3, 2), (n, K)), rng.integers(0, K, n)
    found = fit_temperature(logits, labels)
    assert 0.05 <= found <= 20
    assert loss(logits, labels, found) <= loss(logits, labels, 1.0)


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        (np.full((4, 3), 2.0), [0, 1, 2, 0]),  # equal logits: every temperature gives the same loss
        (np.eye(3) * 5, [0, 1, 2]),  # no mistake: the loss falls for ever as the temperature does
        (np.zeros((0, 3)), []),
    ],
)
def test_temperature_is_one_where_the_data_cannot_tell(logits, labels):
    assert fit_temperature(logits, np.array(labels, dtype=np.int64)) == 1.0


def test_ece_and_bins_like_a_naive_loop():
    rng = np.random.default_rng(4)
    probabilities, labels = rng.dirichlet(np.ones(3) * 0.5, 400), rng.integers(0, 3, 400)
    bins = [[] for _ in range(15)]
    for row, label in zip(probabilities, labels, strict=True):
        bins[min(int(row.max() * 15), 14)].append((row.max(), row.argmax() == label))
    expected = sum(len(b) / 400 * abs(np.mean([c for c, _ in b]) - np.mean([r for _, r in b])) for b in bins if b)
    assert expected_calibration_error(probabilities, labels) == pytest.approx(expected)
    found = reliability_bins(probabilities, labels)
    assert [each.n for each in found] == [len(b) for b in bins if b]
    assert sum(each.n for each in found) == 400
    for each in found:
        assert each.low - 1e-12 <= each.confidence <= each.high + 1e-12


def test_ece_in_closed_form():
    always_sure = np.array([[1.0, 0.0]] * 4)  # a confidence of 1 belongs to the last bin
    assert expected_calibration_error(always_sure, np.array([0, 0, 0, 1])) == pytest.approx(0.25)
    three_in_four = np.array([[0.75, 0.25]] * 4)
    assert expected_calibration_error(three_in_four, np.array([0, 0, 0, 1])) == 0


def test_temperature_scaling_calibrates():
    logits, labels = drawn_logits(2, 4.0)
    before = expected_calibration_error(softmax(logits), labels)
    after = expected_calibration_error(softmax(logits, fit_temperature(logits, labels)), labels)
    assert after < 0.04
    assert before > 0.15
