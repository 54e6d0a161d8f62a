"""Epsilons that somebody asked for: checked, and never converted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import TypeAlias

from keensight.errors import UsageError
from keensight.values import Norm
from keensight.values.threats import fraction

Epsilons: TypeAlias = float | str | Sequence[float | str]
LEVELS = 255
RANGES: dict[Norm, tuple[int, float, str, str]] = {  # the smallest and largest, what it is, and an example
    "linf": (0, 1, "a part of the pixel range", "--eps 0.1 0.2"),
    "l2": (0, math.inf, "a part of the pixel range", "--eps 0.1 0.2"),
    "shift": (0, math.inf, "a number of whole pixels", "--eps 1 2"),
    "rotation": (0, 180, "an angle in degrees", "--eps 10 20"),
}


def checked_eps(asked: Epsilons, norm: Norm = "linf") -> tuple[float, ...]:
    """Return epsilons in ascending order, each once. A single one will do, and a fraction in words, such as "8/255".

    Raises UsageError for none, for what is no number, and for one that is out of the norm's range, above all for one in
    levels of 255.
    """
    listed = [asked] if isinstance(asked, (str, int, float, Real)) else asked
    epsilons = [_number(each, norm) for each in listed]
    if not epsilons:
        raise UsageError(f"No epsilon is in the list. Give one or more, such as {RANGES[norm][3]}, or leave it out.")
    for eps in epsilons:
        if norm == "linf" and 1 < eps <= LEVELS:
            raise UsageError(
                f"An epsilon of {eps:g} was asked for, which looks like one on the scale of 0 to 255. Epsilons are "
                f"parts of the pixel range, 0 to 1, and nothing is converted: give --eps {eps / LEVELS:.4g} for "
                f"{eps:g} levels of 255. Normalisation is inside the model, so do not divide by its deviation."
            )
        low, high, unit, example = RANGES[norm]
        if not low <= eps <= high or not math.isfinite(eps):
            ends = f"from {low} to {high:g}" if math.isfinite(high) else f"of {low} or more"
            raise UsageError(
                f"An epsilon of {eps:g} was asked for. It is {unit}: give numbers {ends}, such as {example}."
            )
        if norm == "shift" and eps != int(eps):
            raise UsageError(f"A shift by {eps:g} pixels was asked for. Give whole numbers, such as {example}.")
    return tuple(sorted(set(epsilons)))


def _number(asked: object, norm: Norm) -> float:
    try:
        if isinstance(asked, str):
            return fraction(asked)
        if isinstance(asked, Real) and not isinstance(asked, bool):
            return float(asked)
    except ValueError:
        pass
    raise UsageError(f"An epsilon of {asked!r} was asked for. Give numbers, such as {RANGES[norm][3]}.")
