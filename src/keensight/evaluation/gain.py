"""Whether one classifier is better than another on the same pictures, or may only be luckier."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from keensight.evaluation.metrics import accuracy_interval


@dataclass(frozen=True, slots=True)
class Gain:
    """A difference of two accuracies, as a share of 1, and the ends of its 95 % interval."""

    difference: float
    low: float
    high: float

    @property
    def is_noise(self) -> bool:
        """Whether the difference may be chance: the interval holds zero."""
        return self.low <= 0 <= self.high


def gain(correct: int, n: int, correct_before: int, n_before: int) -> Gain:
    """Return how much better `correct` of `n` is than `correct_before` of `n_before`, with a 95 % interval.

    Newcombe's interval for two shares, from the Wilson interval of each (Newcombe 1998, Statistics in Medicine 17:873,
    method 10). It assumes that the two sets of answers are independent. Answers on the same pictures are not, and a
    paired test would detect smaller gains; this one is conservative, and needs only the counts.

    Raises DataError if a number of pictures is not positive, or a count exceeds it.

    >>> found = gain(56, 70, 48, 80)
    >>> round(found.low, 4), round(found.high, 4), found.is_noise
    (0.0524, 0.3339, False)
    """
    (low, high), (low_before, high_before) = accuracy_interval(correct, n), accuracy_interval(correct_before, n_before)
    share, before = correct / n, correct_before / n_before
    difference = share - before
    return Gain(
        difference,
        difference - sqrt((share - low) ** 2 + (high_before - before) ** 2),
        difference + sqrt((high - share) ** 2 + (before - low_before) ** 2),
    )
