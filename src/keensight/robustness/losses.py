"""Robust losses: the loss of a model on the worst pictures within a threat.

Shape letters: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import nn

from keensight.models.linear import linear_weights, signed

# (model, images NCHW, labels N, draw) to the mean loss and the logits NK. A loss gets the model, not its answers, so
# that a robust one can evaluate attacked pictures (see `held_still`). Its randomness comes from `draw` only.
Loss: TypeAlias = Callable[[nn.Module, torch.Tensor, torch.Tensor, torch.Generator], tuple[torch.Tensor, torch.Tensor]]


def hinge(eps: float = 0.0) -> Loss:
    """Return the mean hinge loss max(0, 1 - y f(x)) of a two-class model, with f the difference of its logits.

    With `eps`, the loss under the worst attack within that max-norm distance: max(0, 1 - (y f(x) - eps ||w||_1)).
    For a linear model that is exact (Wong and Kolter, 2017, arXiv:1711.00851, section 2; Xu, Caramanis and Mannor,
    2009, for the support vector machine); for others there is no such w, and `linear_weights` refuses.
    """

    def loss(
        model: nn.Module, images_NCHW: torch.Tensor, labels_N: torch.Tensor, draw: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        logits_NK = model(images_NCHW).float()
        margins_N = signed(labels_N) * (logits_NK[:, 1] - logits_NK[:, 0])
        if eps:
            margins_N = margins_N - eps * linear_weights(model).abs().sum()
        return F.relu(1 - margins_N).mean(), logits_NK

    return loss
