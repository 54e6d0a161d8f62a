import numpy as np
import pytest

from keensight.errors import DataError
from keensight.evaluation.gain import gain


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [  # Newcombe (1998), Statistics in Medicine 17:873, table II, method 10
        ((56, 70, 48, 80), 0.0524, 0.3339),
        ((9, 10, 3, 10), 0.1705, 0.8090),
        ((10, 10, 0, 10), 0.6075, 1.0000),
        ((5, 56, 0, 29), -0.0381, 0.1926),
        ((0, 10, 0, 10), -0.2775, 0.2775),
    ],
)
def test_published_intervals(counts, low, high):
    found = gain(*counts)
    assert (found.low, found.high) == pytest.approx((low, high), abs=6e-5)


def test_it_covers_the_truth_at_least_as_often_as_it_says():
    """Simulated: 2,000 pairs of classifiers that are right on 93 and 96 of a hundred, on 200 pictures each."""
    rng = np.random.default_rng(0)
    after, before = rng.binomial(200, 0.96, 2000), rng.binomial(200, 0.93, 2000)
    found = [gain(int(a), 200, int(b), 200) for a, b in zip(after, before, strict=True)]
    covered = np.mean([each.low <= 0.03 <= each.high for each in found])
    assert 0.94 < covered < 0.975


def test_noise_is_called_noise():
    assert gain(266, 269, 264, 269).is_noise
    assert not gain(9600, 10000, 9400, 10000).is_noise
    assert gain(264, 269, 264, 269).difference == 0
    worse = gain(9400, 10000, 9600, 10000)
    assert worse.high < 0 and not worse.is_noise


@pytest.mark.parametrize("counts", [(1, 0, 0, 5), (6, 5, 1, 5), (1, 5, 1, 0)])
def test_impossible_counts(counts):
    with pytest.raises(DataError, match="at least one picture"):
        gain(*counts)
