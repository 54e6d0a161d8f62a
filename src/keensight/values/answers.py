"""A model's answer for a picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one picture. `probabilities` are calibrated and sum to 1."""

    file: str
    label: str
    probability: float
    probabilities: Mapping[str, float]
    abstained: bool
    notes: tuple[str, ...] = ()
