"""Attacks: how a picture can be changed, within a threat, so that the model calls it something else.

Shape letters: N images, C channels, H height, W width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from keensight.errors import KeensightError
from keensight.training.loop import to_images
from keensight.values import AttackResult, Split, Threat

BATCH = 256


def fgsm(model: nn.Module, images_NCHW: torch.Tensor, labels_N: torch.Tensor, threat: Threat) -> torch.Tensor:
    """Move every pixel by eps in the direction that raises the loss, and keep it in [0, 1].

    The fast gradient sign method, one step in the max norm (Goodfellow, Shlens and Szegedy, 2014, arXiv:1412.6572,
    section 4). Returns pictures float NCHW; each pixel moves by eps at most.
    """
    images_NCHW = images_NCHW.detach().clone().requires_grad_()
    loss = F.cross_entropy(model(images_NCHW), labels_N, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, images_NCHW)
    return (images_NCHW + threat.eps * gradient.sign()).clamp(0, 1).detach()


def accuracy_under_attack(model: nn.Module, split: Split, threat: Threat, most: int = 1000) -> AttackResult:
    """Return the accuracy on (at most the first `most`) pictures of a split, each attacked with `fgsm`."""
    rows, labels = split.rows[:most], torch.from_numpy(split.labels[:most])
    if not len(rows):
        raise KeensightError("There is no picture to attack. Give a split that is not empty.")
    where = next(model.parameters()).device
    model.eval()
    correct = 0
    for first in range(0, len(rows), BATCH):
        images = to_images(split.images, rows[first : first + BATCH], where)
        targets = labels[first : first + BATCH].to(where)
        attacked = fgsm(model, images, targets, threat)
        with torch.inference_mode():
            correct += int((model(attacked).argmax(dim=1) == targets).sum())
    return AttackResult("FGSM", threat, correct / len(rows), len(rows))
