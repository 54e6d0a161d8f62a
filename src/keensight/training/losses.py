"""Loss functions for `fit`: each takes (model, images NCHW, labels N) and returns the loss and the logits NK.

A loss gets the model, not its answers, so that a robust loss can ask the model about pictures of its own making.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import nn

Loss: TypeAlias = Callable[[nn.Module, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def cross_entropy(label_smoothing: float = 0.0, class_weights_K: torch.Tensor | None = None) -> Loss:
    """Return mean cross-entropy, with class weights and label smoothing (Szegedy et al., 2015, arXiv:1512.00567)."""

    def loss(model: nn.Module, images_NCHW: torch.Tensor, labels_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits_NK = model(images_NCHW).float()
        weights = None if class_weights_K is None else class_weights_K.to(logits_NK.device)
        value = F.cross_entropy(logits_NK, labels_N, weight=weights, label_smoothing=label_smoothing)
        return value, logits_NK

    return loss


def balanced_weights(labels_N: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Return weights K that let every class count the same in all: N / (K x the class's pictures).

    >>> balanced_weights(torch.tensor([0, 0, 0, 1]), 2)
    tensor([0.6667, 2.0000])
    """
    counts = torch.bincount(labels_N, minlength=num_classes).clamp(min=1)
    return len(labels_N) / (num_classes * counts.float())
