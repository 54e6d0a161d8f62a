"""The results of each epoch of a training run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Epoch:
    """The results of one pass over the training pictures. Accuracies are in [0, 1], losses are mean cross-entropies."""

    number: int  # 1 for the first
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float
    seconds: float
    best: bool  # its weights are kept: the best validation accuracy so far (ties go to the lower loss), or the last
    stopped: str = ""  # why training ends here, if it does


def best_epoch(history: Iterable[Epoch]) -> Epoch | None:
    """Return the epoch whose weights were kept: the last one that was the best so far. None if there is no history."""
    return max((epoch for epoch in history if epoch.best), key=lambda epoch: epoch.number, default=None)
