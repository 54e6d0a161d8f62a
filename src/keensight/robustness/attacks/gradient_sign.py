"""The fast gradient sign method.

Shape letters: N images, C channels, H height, W width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from keensight.robustness.attacks.row import AttackRow
from keensight.robustness.needs import GRADIENTS
from keensight.values import Threat


def fgsm(
    model: nn.Module,
    images_NCHW: torch.Tensor,
    labels_N: torch.Tensor,
    threat: Threat,
    draw: torch.Generator | None = None,
) -> torch.Tensor:
    """Move every pixel by eps in the direction that raises the loss, and keep it in [0, 1].

    The fast gradient sign method, one step in the max norm (Goodfellow, Shlens and Szegedy, 2014, arXiv:1412.6572,
    section 4). Returns pictures float NCHW; each pixel moves by at most eps. `draw` is not used.
    """
    images_NCHW = images_NCHW.detach().clone().requires_grad_()
    loss = F.cross_entropy(model(images_NCHW), labels_N, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, images_NCHW)
    return (images_NCHW + threat.eps * gradient.sign()).clamp(0, 1).detach()


FGSM = AttackRow(fgsm, "FGSM", norms=("linf",), needs=(GRADIENTS,))
