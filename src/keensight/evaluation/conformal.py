"""Sets of labels that hold the true one with a stated probability, whatever the model is (conformal prediction).

Regularised adaptive prediction sets, RAPS: Angelopoulos, Bates, Malik & Jordan (2020), arXiv:2009.14193, equation 3,
with its random number u at 0. A label's score is then the probability of all labels that are likelier, plus a penalty
for its rank. So the likeliest label is in every set, and the same picture always has the same set.

Shape letters: N pictures, K classes.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from keensight.errors import DataError
from keensight.values import FloatArray, IntArray, LabelSets

COVERAGE = 0.95
PENALTY, FREE_RANKS = 0.01, 1  # of the ranks beyond the free ones: it keeps sets of many classes small


def scores(probabilities_NK: FloatArray, rule: LabelSets) -> NDArray[np.float64]:
    """Return how far down its picture's list each label stands, float64 NK; ties are in the labels' order.

    >>> scores(np.array([[0.2, 0.7, 0.1]]), LabelSets(0.8, 0.95, penalty=0.0, free_ranks=1))
    array([[0.7, 0. , 0.9]])
    """
    probabilities_NK = np.asarray(probabilities_NK, np.float64)
    order_NK = np.argsort(-probabilities_NK, axis=1, kind="stable")
    sorted_NK = np.take_along_axis(probabilities_NK, order_NK, axis=1)
    ranks_K = np.arange(1, sorted_NK.shape[1] + 1)
    before_NK = np.concatenate([np.zeros((len(sorted_NK), 1)), np.cumsum(sorted_NK, axis=1)[:, :-1]], axis=1)
    before_NK += rule.penalty * np.maximum(0, ranks_K - rule.free_ranks)
    found_NK = np.empty_like(before_NK)
    np.put_along_axis(found_NK, order_NK, before_NK, axis=1)
    return found_NK


def calibrate(probabilities_NK: FloatArray, labels_N: IntArray, coverage: float = COVERAGE) -> LabelSets:
    """Return the rule whose sets hold the true label of a new picture with probability `coverage` or more.

    It holds if new pictures come from where these did, which the model must not have learnt from. With too few pictures
    for a promise (18 for 95 %), all labels are in every set. Raises DataError for a coverage outside of (0, 1).
    """
    if not 0 < coverage < 1:
        raise DataError(f"The coverage is {coverage:g}. It must lie between 0 and 1, such as 0.95.")
    n, num_classes = probabilities_NK.shape
    rule = LabelSets(1.0 + PENALTY * num_classes, coverage, PENALTY, FREE_RANKS)  # every label is in
    place = math.ceil((n + 1) * coverage - 1e-9)  # equation 4, with the correction for n
    if place > n:
        return rule
    of_label_N = scores(probabilities_NK, rule)[np.arange(n), labels_N]
    return LabelSets(float(np.sort(of_label_N)[place - 1]), coverage, PENALTY, FREE_RANKS)


def label_sets(probabilities_NK: FloatArray, rule: LabelSets) -> NDArray[np.bool_]:
    """Return bool NK: which labels are in a picture's set. The likeliest always is.

    >>> label_sets(np.array([[0.2, 0.7, 0.1], [0.04, 0.95, 0.01]]), LabelSets(0.8, 0.95, penalty=0.0, free_ranks=1))
    array([[ True,  True, False],
           [False,  True, False]])
    """
    return np.asarray(scores(probabilities_NK, rule) <= rule.quantile)
