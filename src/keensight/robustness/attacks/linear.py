"""The exact attack: the worst possible one on a linear model of two classes.

Shape letters: N images, C channels, H height, W width.
"""

from __future__ import annotations

import torch
from torch import nn

from keensight.models.linear import linear_weights, signed
from keensight.robustness.attacks.row import AttackRow
from keensight.robustness.needs import LINEAR, TWO_CLASSES
from keensight.values import Threat


def exact_linear(
    model: nn.Module,
    images_NCHW: torch.Tensor,
    labels_N: torch.Tensor,
    threat: Threat,
    draw: torch.Generator | None = None,
) -> torch.Tensor:
    """Move two-class pictures straight to a linear model's boundary: x - y eps sign(w), with y = -1 or +1.

    No picture within `eps` is worse for the model, and nothing is clipped: pixels may leave [0, 1], as in the article
    "Introduction to Machine Learning Robustness", so this bounds from below what any attack in [0, 1] leaves. Returns
    pictures float NCHW. `draw` is not used.

    Raises RecipeError for a model that is not linear, or has other than two classes.
    """
    signs_CHW = linear_weights(model).detach().sign().view(images_NCHW.shape[1:])
    return images_NCHW - threat.eps * signed(labels_N).view(-1, 1, 1, 1) * signs_CHW


EXACT_LINEAR = AttackRow(
    exact_linear, "exact attack", norms=("linf",), needs=(LINEAR, TWO_CLASSES), clips=False, exact=True
)
