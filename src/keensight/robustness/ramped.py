"""A loss that changes while a run goes on: what it counts on grows from nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from keensight.robustness.losses import Loss


@dataclass(frozen=True, slots=True)
class Ramped:
    """A loss for each moment of a run: `at` takes the run's progress in [0, 1].

    It is a `Loss` as well, that of the run's end. It must depend on the progress alone, so that a resumed run has the
    same bits.
    """

    at: Callable[[float], Loss]

    def __call__(
        self, model: nn.Module, images_NCHW: torch.Tensor, labels_N: torch.Tensor, draw: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean loss and the logits NK at the run's end."""
        return self.at(1.0)(model, images_NCHW, labels_N, draw)


def risen(progress: float, ramp: float) -> float:
    """Return how much of the ramp has been climbed: from 0 to 1 in the first part `ramp` of a run, then 1.

    >>> risen(0.1, 0.4), risen(0.5, 0.4), risen(0.0, 0.0)
    (0.25, 1.0, 1.0)
    """
    return min(1.0, progress / ramp) if ramp else 1.0


def moment(loss: Loss, progress: float) -> Loss:
    """Return the loss to use at this moment of a run: most are the same at all."""
    return loss.at(progress) if isinstance(loss, Ramped) else loss
