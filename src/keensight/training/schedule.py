"""Schedules: the learning rate over a run."""

from __future__ import annotations

import math
from collections.abc import Callable

WARM_UP = 0.2  # the part of a one-cycle run in which the rate rises


def one_cycle(progress: float) -> float:
    """Rise linearly from 4 % to the full rate, then fall linearly to nothing (after Smith, 2018, arXiv:1803.09820).

    >>> [round(one_cycle(p), 2) for p in (0, 0.2, 0.6, 1)]
    [0.04, 1.0, 0.5, 0.0]
    """
    if progress < WARM_UP:
        return 0.04 + 0.96 * progress / WARM_UP
    return (1 - progress) / (1 - WARM_UP)


def cosine(progress: float) -> float:
    """Fall from the full rate to nothing along half a cosine (Loshchilov and Hutter, 2016, arXiv:1608.03983)."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def linear(progress: float) -> float:
    """Fall from the full rate to nothing along a straight line."""
    return 1 - progress


def constant(progress: float) -> float:
    """Keep the full rate."""
    return 1.0


SCHEDULES: dict[str, Callable[[float], float]] = {
    "one-cycle": one_cycle,
    "cosine": cosine,
    "linear": linear,
    "constant": constant,
}
