"""How the default chose a model: what was tried, and how good that was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Attempt:
    """A model that was tried: what it is, the recipe's keys that make it, and how good it was without test pictures.

    `val_accuracy` is on `val_n` validation pictures, between `val_low` and `val_high` (95 % Wilson interval). With a
    fitted head, `cv_accuracy` and `cv_loss` (nats) are those of cross-validation on the training pictures.
    """

    what: str
    settings: Mapping[str, Any]
    seconds: float
    val_accuracy: float
    val_low: float
    val_high: float
    val_n: int
    cv_accuracy: float | None = None
    cv_loss: float | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """What the default chose, in one line, and everything that it tried, in that order; `chosen` is the index there."""

    line: str
    attempts: tuple[Attempt, ...]
    chosen: int
    budget_s: float | None = None
