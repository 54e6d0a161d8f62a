"""Calibration: whether a classifier that says 90 % is right nine times in ten, and the temperature that makes it so.

Guo, Pleiss, Sun & Weinberger (2017), "On Calibration of Modern Neural Networks", arXiv:1706.04599.
Shape letters: N pictures, K classes.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from keensight.errors import DataError
from keensight.values import FloatArray, IntArray, ReliabilityBin

NUM_BINS = 15  # as in Guo et al. (2017)
LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.05, 20.0


def softmax(logits_NK: FloatArray, temperature: float = 1.0) -> NDArray[np.float64]:
    """Return softmax(logits / temperature) over the last axis, in float64; rows sum to 1.

    Raises DataError if the temperature is not positive.

    >>> softmax(np.array([[0.0, 0.0]]))
    array([[0.5, 0.5]])
    """
    if not temperature > 0:
        raise DataError(f"The temperature is {temperature}. It must be above 0; use 1 to change nothing.")
    scaled = np.asarray(logits_NK, dtype=np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def fit_temperature(logits_NK: FloatArray, labels_N: IntArray) -> float:
    """Return the temperature in [0.05, 20] that minimises the negative log-likelihood (Guo et al. 2017, eq. 9).

    Fit it on validation pictures. Returns 1.0 if the data cannot tell: no pictures, equal logits, or no mistake at all
    (the likelihood then rises without bound as the temperature falls, and the smallest one would claim certainty).
    The likelihood is never worse than at 1.
    """
    logits_NK = np.asarray(logits_NK, dtype=np.float64)
    if not len(logits_NK):
        return 1.0
    gaps_NK = logits_NK - logits_NK.max(axis=1, keepdims=True)
    gap_N = gaps_NK[np.arange(len(labels_N)), labels_N]  # 0 where the label has the top logit
    if (gap_N == 0).all():
        return 1.0

    def loss(inverse: float) -> float:
        return float((np.log(np.exp(gaps_NK * inverse).sum(axis=1)) - gap_N * inverse).mean())

    def slope(inverse: float) -> float:
        powers_NK = np.exp(gaps_NK * inverse)
        return float(((powers_NK * gaps_NK).sum(axis=1) / powers_NK.sum(axis=1) - gap_N).mean())

    # The loss is convex in 1/T, so its slope changes sign only at the minimum, and bisection finds that to 1e-9 of
    # T. SciPy's search is no faster, and its import takes 0.3 s.
    low, high = 1 / HIGHEST_TEMPERATURE, 1 / LOWEST_TEMPERATURE
    for _ in range(32):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return 1 / middle if loss(middle) < loss(1.0) else 1.0


def reliability_bins(
    probabilities_NK: FloatArray, labels_N: IntArray, num_bins: int = NUM_BINS
) -> tuple[ReliabilityBin, ...]:
    """Sort predictions by their top probability into `num_bins` equal bins of [0, 1]; empty bins are left out."""
    confidence_N = np.asarray(probabilities_NK, dtype=np.float64).max(axis=1)
    right_N = np.asarray(probabilities_NK).argmax(axis=1) == labels_N
    bin_N = np.clip((confidence_N * num_bins).astype(np.int64), 0, num_bins - 1)
    return tuple(
        ReliabilityBin(
            low=b / num_bins,
            high=(b + 1) / num_bins,
            confidence=float(confidence_N[bin_N == b].mean()),
            accuracy=float(right_N[bin_N == b].mean()),
            n=int((bin_N == b).sum()),
        )
        for b in range(num_bins)
        if (bin_N == b).any()
    )


def expected_calibration_error(probabilities_NK: FloatArray, labels_N: IntArray, num_bins: int = NUM_BINS) -> float:
    """Return the mean gap between confidence and accuracy over the bins, weighted by size (Guo et al. 2017, eq. 3).

    In [0, 1]; 0 where a classifier that says 90 % is right nine times in ten.
    """
    bins = reliability_bins(probabilities_NK, labels_N, num_bins)
    return sum(each.n * abs(each.confidence - each.accuracy) for each in bins) / sum(each.n for each in bins)
