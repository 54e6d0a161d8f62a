"""Epsilons that somebody asked for: checked, and never converted."""

from __future__ import annotations

import math
from collections.abc import Sequence

from keensight.errors import UsageError
from keensight.values import Norm

LEVELS = 255


def checked_eps(epsilons: Sequence[float], norm: Norm = "linf") -> tuple[float, ...]:
    """Return epsilons in ascending order, each once.

    Raises UsageError for one that is no size in the pixels' range of 0 to 1, above all for one in levels of 255.
    """
    for eps in epsilons:
        if norm == "linf" and 1 < eps <= LEVELS:
            raise UsageError(
                f"An epsilon of {eps:g} was asked for, which looks like one on the scale of 0 to 255. Epsilons are "
                f"parts of the pixel range, 0 to 1, and nothing is converted: give --eps {eps / LEVELS:.4g} for "
                f"{eps:g} levels of 255. Normalisation is inside the model, so do not divide by its deviation."
            )
        if not math.isfinite(eps) or eps < 0 or (norm == "linf" and eps > 1):
            ends = "from 0 to 1" if norm == "linf" else "of 0 or more"
            raise UsageError(
                f"An epsilon of {eps:g} was asked for. It is a part of the pixel range: give numbers {ends}, such as "
                "--eps 0.1 0.2."
            )
    return tuple(sorted({float(eps) for eps in epsilons}))
