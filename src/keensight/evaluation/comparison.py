"""Compares bundles on the same labelled pictures: their differences, whether those may be luck, and their mistakes.

Shape letters: N pictures, K classes, M mistakes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from keensight.evaluation.metrics import gaps, mistakes
from keensight.values import AttackResult, FloatArray, IntArray, Metrics

LUCK = 0.05  # a p-value from here on is called luck
NUM_BINS = 40


@dataclass(frozen=True, slots=True)
class Pair:
    """Two bundles on the same pictures: how many only one of them gets right, and McNemar's exact p-value.

    `first` and `second` are the bundles' letters. With `eps`, the pictures are attacked within that distance in linf.
    """

    first: str
    second: str
    only_first: int
    only_second: int
    p_value: float
    eps: float = 0.0


@dataclass(frozen=True, slots=True)
class Errors:
    """How many of `n` pictures a bundle gets wrong when every pixel may move by `eps` (0: as they are).

    `median_gap` is the median over the mistakes of how far the label's logit lies below the largest; None for none.
    """

    eps: float
    n: int
    wrong: int
    median_gap: float | None


@dataclass(frozen=True, slots=True)
class Compared:
    """One bundle of a comparison, under its letter and name."""

    letter: str
    name: str
    bundle: Path
    model: str
    parameters: int
    metrics: Metrics
    attacks: tuple[AttackResult, ...]
    errors: tuple[Errors, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Several bundles on the same `n` pictures of `data`; each pair is the first bundle with another."""

    data: str
    split: str
    n: int
    bundles: tuple[Compared, ...]
    pairs: tuple[Pair, ...]
    notes: tuple[str, ...]
    page: Path
    attacked_pairs: tuple[Pair, ...] = ()


def mcnemar(right_first_N: NDArray[np.bool_], right_second_N: NDArray[np.bool_]) -> tuple[int, int, float]:
    """Return how many pictures only the first gets right, how many only the second, and the two-sided p-value.

    If both were equally good, each picture that only one gets right would be a coin toss: the p-value is that of the
    binomial distribution (McNemar, 1947; exact as in Fagerland, Lydersen and Laake, 2013). In (0, 1]; 1 if there is no
    such picture. It does not cover the luck in training: another seed gives another model.

    >>> mcnemar(np.array([True, True, True, True]), np.array([False, False, False, True]))
    (3, 0, 0.25)
    """
    from scipy.stats import binomtest  # here, as its import takes half a second

    only_first = int((right_first_N & ~right_second_N).sum())
    only_second = int((right_second_N & ~right_first_N).sum())
    tosses = only_first + only_second
    return only_first, only_second, float(binomtest(only_first, tosses).pvalue) if tosses else 1.0


def decision_values(logits_NK: FloatArray, labels_N: IntArray) -> NDArray[np.float64]:
    """Return the values for a histogram of mistakes, float64 N.

    For two classes f(x) = z1 - z0, whose sign tells the two kinds of mistakes apart; else the `gaps`.
    """
    if logits_NK.shape[1] == 2:
        return np.asarray(logits_NK[:, 1].astype(np.float64) - logits_NK[:, 0])
    return gaps(logits_NK, labels_N)


def errors(logits_NK: FloatArray, labels_N: IntArray, eps: float) -> Errors:
    """Count the mistakes, and give the median of how far they are from right."""
    wrong_M = mistakes(logits_NK, labels_N)
    depths_M = -gaps(logits_NK, labels_N)[wrong_M]
    return Errors(eps, len(labels_N), len(wrong_M), float(np.median(depths_M)) if len(wrong_M) else None)


def telling_eps(attacks: Sequence[Sequence[AttackResult]]) -> float | None:
    """Return the epsilon at which the best and the worst bundle lie farthest apart.

    The largest of equals; None if there was no attack, or only one with epsilon 0.
    """
    accuracies: dict[float, list[float]] = {}
    for each in (each for results in attacks for each in results if each.threat.eps):
        accuracies.setdefault(each.threat.eps, []).append(each.accuracy)
    return max(accuracies, key=lambda eps: (max(accuracies[eps]) - min(accuracies[eps]), eps), default=None)


def shared_edges(values: Sequence[FloatArray], num_bins: int = NUM_BINS) -> NDArray[np.float64]:
    """Return the edges of `num_bins` equal bins that hold all values and 0, with 0 itself an edge.

    So no bin mixes the two sides of the boundary. Without values: bins of [-1, 1].
    """
    together = np.concatenate([np.zeros(1), *values])
    low, high = float(together.min()), float(together.max())
    if low == high:
        low, high = -1.0, 1.0
    below = round(num_bins * -low / (high - low))
    below = min(max(below, int(low < 0)), num_bins - int(high > 0))
    width = max(-low / below if below else 0.0, high / (num_bins - below) if below < num_bins else 0.0)
    width *= 1 + 1e-12  # slightly wider, so that rounding loses no value
    return np.arange(-below, num_bins - below + 1) * np.float64(width)


def hinge_loss(margins: FloatArray, eps: float = 0.0, norm: float = 0.0) -> NDArray[np.float64]:
    """Return max(0, 1 - (m - eps ||w||_1)) for margins m = y f(x); with eps 0 the hinge loss max(0, 1 - m).

    `norm` is ||w||_1: an attacker within `eps` in the max norm can lower a linear model's margin by eps ||w||_1 and
    no more (Wong and Kolter, 2017, arXiv:1711.00851, section 2).

    >>> hinge_loss(np.array([-1.0, 0.5, 2.0])), hinge_loss(np.array([2.0]), eps=0.5, norm=3.0)
    (array([2. , 0.5, 0. ]), array([0.5]))
    """
    return np.asarray(np.maximum(0.0, 1.0 - (np.asarray(margins, np.float64) - eps * norm)))
