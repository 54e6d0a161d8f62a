"""Loss functions for `fit`: each takes (model, images NCHW, labels N) and returns the loss and the logits NK.

A loss gets the model, not its answers, so that a robust loss can ask the model about pictures of its own making.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import nn

from keensight.models.linear import linear_weights, signed
from keensight.values import Recipe, Split

Loss: TypeAlias = Callable[[nn.Module, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def cross_entropy(label_smoothing: float = 0.0, class_weights_K: torch.Tensor | None = None) -> Loss:
    """Return mean cross-entropy, with class weights and label smoothing (Szegedy et al., 2015, arXiv:1512.00567).

    The mean is over images, weighted or not, as Keras has it: so the loss of a batch is the mean of its pieces' losses.
    """

    def loss(model: nn.Module, images_NCHW: torch.Tensor, labels_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits_NK = model(images_NCHW).float()
        weights = None if class_weights_K is None else class_weights_K.to(logits_NK.device)
        total = F.cross_entropy(logits_NK, labels_N, weights, label_smoothing=label_smoothing, reduction="sum")
        return total / len(labels_N), logits_NK

    return loss


def squared_error() -> Loss:
    """Return the squared difference between probabilities and one-hot labels: summed over classes, mean over images."""

    def loss(model: nn.Module, images_NCHW: torch.Tensor, labels_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits_NK = model(images_NCHW).float()
        targets_NK = F.one_hot(labels_N, logits_NK.shape[1]).float()
        return (logits_NK.softmax(dim=1) - targets_NK).square().sum(dim=1).mean(), logits_NK

    return loss


def hinge(eps: float = 0.0) -> Loss:
    """Return the mean hinge loss max(0, 1 - y f(x)) of a two-class model, with f the difference of its logits.

    With `eps`, the worst that an attacker within that max-norm distance can do: max(0, 1 - (y f(x) - eps ||w||_1)).
    For a linear model that is exact (Wong and Kolter, 2017, arXiv:1711.00851, section 2; Xu, Caramanis and Mannor,
    2009, for the support vector machine); for others there is no such w, and `linear_weights` refuses.
    """

    def loss(model: nn.Module, images_NCHW: torch.Tensor, labels_N: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits_NK = model(images_NCHW).float()
        margins_N = signed(labels_N) * (logits_NK[:, 1] - logits_NK[:, 0])
        if eps:
            margins_N = margins_N - eps * linear_weights(model).abs().sum()
        return F.relu(1 - margins_N).mean(), logits_NK

    return loss


def balanced_weights(labels_N: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Return weights K that let every class count the same in all: N / (K x the class's pictures).

    >>> balanced_weights(torch.tensor([0, 0, 0, 1]), 2)
    tensor([0.6667, 2.0000])
    """
    counts = torch.bincount(labels_N, minlength=num_classes).clamp(min=1)
    return len(labels_N) / (num_classes * counts.float())


LOSSES: dict[str, Callable[[Recipe, Split, int], Loss]] = {
    "cross-entropy": lambda recipe, train, num_classes: cross_entropy(
        recipe.train.label_smoothing,
        balanced_weights(torch.from_numpy(train.labels), num_classes)
        if recipe.train.class_weights == "balanced"
        else None,
    ),
    "squared-error": lambda recipe, train, num_classes: squared_error(),
    "hinge": lambda recipe, train, num_classes: hinge(),
    "robust-hinge": lambda recipe, train, num_classes: hinge(recipe.train.eps),
}
