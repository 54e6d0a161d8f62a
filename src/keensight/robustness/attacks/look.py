"""How an attack looks at a model: the objective, its gradient, and which pictures it gets wrong.

Shape letters: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from keensight.robustness.attacks.objectives import Objective


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """The objective N, its gradient NCHW with respect to the pictures, and whether each answer is wrong, bool N."""

    values_N: torch.Tensor
    gradients_NCHW: torch.Tensor
    wrong_N: torch.Tensor

    def __getitem__(self, kept_N: torch.Tensor) -> Look:
        return Look(self.values_N[kept_N], self.gradients_NCHW[kept_N], self.wrong_N[kept_N])

    def where(self, chosen_N: torch.Tensor, other: Look) -> Look:
        """Return this look for the chosen pictures, and the other for the rest."""
        return Look(
            torch.where(chosen_N, self.values_N, other.values_N),
            torch.where(chosen_N.view(-1, 1, 1, 1), self.gradients_NCHW, other.gradients_NCHW),
            torch.where(chosen_N, self.wrong_N, other.wrong_N),
        )


def look(model: nn.Module, pictures_NCHW: torch.Tensor, labels_N: torch.Tensor, objective: Objective) -> Look:
    """Ask a model once, and go back through it once. No gradient reaches its parameters."""
    pictures_NCHW = pictures_NCHW.detach().requires_grad_()
    with torch.enable_grad():
        logits_NK = model(pictures_NCHW)
        values_N = objective(logits_NK.float(), labels_N)
        (gradients_NCHW,) = torch.autograd.grad(values_N.sum(), pictures_NCHW)
    return Look(values_N.detach(), gradients_NCHW, is_wrong(logits_NK.detach(), labels_N))


def is_wrong(logits_NK: torch.Tensor, labels_N: torch.Tensor) -> torch.Tensor:
    """Say which answers are wrong, bool N. An answer that is not a number is wrong."""
    return (logits_NK.argmax(dim=1) != labels_N) | ~logits_NK.isfinite().all(dim=1)


@torch.no_grad()
def still_right(model: nn.Module, pictures_NCHW: torch.Tensor, labels_N: torch.Tensor) -> torch.Tensor:
    """Return the indices of the pictures that a model gets right."""
    return (~is_wrong(model(pictures_NCHW), labels_N)).nonzero()[:, 0]
