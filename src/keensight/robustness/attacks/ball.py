"""The pictures within a threat: projection onto them, random ones among them, and steps.

Shape letters: N images, C channels, H height, W width.
"""

from __future__ import annotations

import torch

from keensight.errors import RecipeError
from keensight.values import Threat

TINY = 1e-12


def norms(moves_NCHW: torch.Tensor, order: float = 2.0) -> torch.Tensor:
    """Return the norm of each picture's move, N111."""
    lengths_N111: torch.Tensor = torch.linalg.vector_norm(moves_NCHW, order, dim=(1, 2, 3), keepdim=True)
    return lengths_N111


def project(pictures_NCHW: torch.Tensor, images_NCHW: torch.Tensor, threat: Threat) -> torch.Tensor:
    """Return the pictures moved into [0, 1] and within `threat` of `images_NCHW`.

    In linf, these are the nearest such pictures; in l2, the move is shortened first, and then clipped.
    """
    if threat.norm == "linf":
        pictures_NCHW = torch.clamp(pictures_NCHW, images_NCHW - threat.eps, images_NCHW + threat.eps)
    elif threat.norm == "l2":
        moves_NCHW = pictures_NCHW - images_NCHW
        pictures_NCHW = images_NCHW + moves_NCHW * (threat.eps / norms(moves_NCHW).clamp_min(TINY)).clamp_max(1)
    else:
        raise RecipeError(f"Pictures within {threat.norm} {threat.eps:g} form no ball; linf and l2 do.")
    return pictures_NCHW.clamp(0, 1)


def random_start(images_NCHW: torch.Tensor, threat: Threat, draw: torch.Generator) -> torch.Tensor:
    """Return random pictures within `threat`: uniform in the ball of linf; of random length and direction in l2."""
    if threat.norm == "linf":
        moves_NCHW = 2 * torch.rand(images_NCHW.shape, generator=draw) - 1
    else:
        moves_NCHW = torch.randn(images_NCHW.shape, generator=draw)
        moves_NCHW *= torch.rand((len(moves_NCHW), 1, 1, 1), generator=draw) / norms(moves_NCHW).clamp_min(TINY)
    return project(images_NCHW + threat.eps * moves_NCHW.to(images_NCHW.device), images_NCHW, threat)


def uphill(gradients_NCHW: torch.Tensor, threat: Threat) -> torch.Tensor:
    """Return the move of length 1 in the threat's norm that raises the loss most, by its gradient."""
    if threat.norm == "linf":
        return gradients_NCHW.sign()
    return gradients_NCHW / norms(gradients_NCHW).clamp_min(TINY)
