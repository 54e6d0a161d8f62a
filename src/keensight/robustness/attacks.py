"""Attacks: how a picture can be changed, within a threat, so that the model calls it something else.

Shape letters: N images, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import nn

from keensight.errors import KeensightError
from keensight.models.linear import linear_weights, signed
from keensight.models.tensors import to_images
from keensight.values import AttackResult, Split, Threat

BATCH = 256
NAMES = {"fgsm": "FGSM", "exact": "exact attack"}

Attack: TypeAlias = Callable[[nn.Module, torch.Tensor, torch.Tensor, Threat], torch.Tensor]


def fgsm(model: nn.Module, images_NCHW: torch.Tensor, labels_N: torch.Tensor, threat: Threat) -> torch.Tensor:
    """Move every pixel by eps in the direction that raises the loss, and keep it in [0, 1].

    The fast gradient sign method, one step in the max norm (Goodfellow, Shlens and Szegedy, 2014, arXiv:1412.6572,
    section 4). Returns pictures float NCHW; each pixel moves by eps at most.
    """
    images_NCHW = images_NCHW.detach().clone().requires_grad_()
    loss = F.cross_entropy(model(images_NCHW), labels_N, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, images_NCHW)
    return (images_NCHW + threat.eps * gradient.sign()).clamp(0, 1).detach()


def exact_linear(model: nn.Module, images_NCHW: torch.Tensor, labels_N: torch.Tensor, threat: Threat) -> torch.Tensor:
    """Move two-class pictures straight to a linear model's boundary: x - y eps sign(w), with y = -1 or +1.

    No picture within `eps` is worse for the model, and nothing is clipped: pixels may leave [0, 1], as in the article
    "Introduction to Machine Learning Robustness", so this bounds from below what any attack in [0, 1] leaves. Returns
    pictures float NCHW. Raises RecipeError for a model that is not linear, or has other than two classes.
    """
    signs_CHW = linear_weights(model).detach().sign().view(images_NCHW.shape[1:])
    return images_NCHW - threat.eps * signed(labels_N).view(-1, 1, 1, 1) * signs_CHW


ATTACKS: dict[str, Attack] = {"fgsm": fgsm, "exact": exact_linear}


def accuracy_under_attack(
    model: nn.Module, split: Split, threat: Threat, attack: str = "fgsm", most: int = 10_000
) -> AttackResult:
    """Return the accuracy on (at most the first `most`) pictures of a split, each attacked."""
    rows, labels = split.rows[:most], torch.from_numpy(split.labels[:most])
    if not len(rows):
        raise KeensightError("There is no picture to attack. Give a split that is not empty.")
    device = next(model.parameters()).device
    model.eval()
    correct = 0
    for first in range(0, len(rows), BATCH):
        images = to_images(split.images, rows[first : first + BATCH], device)
        targets = labels[first : first + BATCH].to(device)
        attacked = ATTACKS[attack](model, images, targets, threat)
        with torch.inference_mode():
            correct += int((model(attacked).argmax(dim=1) == targets).sum())
    return AttackResult(NAMES[attack], threat, correct / len(rows), len(rows))
