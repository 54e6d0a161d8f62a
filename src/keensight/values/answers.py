"""A model's answer for a picture, and the rule of its set of labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

NONE_OF_THESE = "none of these: unlike anything it has learnt"  # a reason for abstaining


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one picture. `probabilities` are calibrated and sum to 1.

    `reasons` say why it abstained, and are empty if it did not. `label_set` holds the true label with the probability
    that the bundle states; it is None for a bundle that states none.
    """

    file: str
    label: str
    probability: float
    probabilities: Mapping[str, float]
    abstained: bool
    notes: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    label_set: tuple[str, ...] | None = None

    @property
    def is_none_of_these(self) -> bool:
        """Whether the picture is unlike all that the model has learnt; its label is then only the nearest one."""
        return NONE_OF_THESE in self.reasons


@dataclass(frozen=True, slots=True)
class LabelSets:
    """The rule for sets that hold the true label with probability `coverage`: labels whose score is at most `quantile`.

    `penalty` is added to the score for each rank beyond `free_ranks`; see `evaluation/conformal.py`.
    """

    quantile: float
    coverage: float
    penalty: float
    free_ranks: int
