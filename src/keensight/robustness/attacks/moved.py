"""Shifts and rotations: what a camera does by itself, as attacks that try them all.

Shape letters: N images, C channels, H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import nn

from keensight.robustness.attacks.look import is_wrong, still_right
from keensight.robustness.attacks.objectives import margin
from keensight.robustness.attacks.row import AttackRow
from keensight.values import Threat

ANGLES = 15  # to each side


# the nth version of the pictures in these rows
Version: TypeAlias = Callable[[int, torch.Tensor], torch.Tensor]


def shifted(
    model: nn.Module, images_NCHW: torch.Tensor, labels_N: torch.Tensor, threat: Threat, draw: torch.Generator
) -> torch.Tensor:
    """Try all shifts by up to eps whole pixels in both directions; uncovered pixels repeat the border.

    Returns pictures float NCHW. `draw` is not used.
    """
    most = int(threat.eps)
    around_NCHW = F.pad(images_NCHW, (most,) * 4, mode="replicate")
    height, width = images_NCHW.shape[2:]
    every = range(-most, most + 1)
    places = sorted(((down, right) for down in every for right in every), key=lambda place: max(map(abs, place)))

    def version(nth: int, rows: torch.Tensor) -> torch.Tensor:
        top, left = (most - pixels for pixels in places[nth])
        return around_NCHW[rows, :, top : top + height, left : left + width]

    return _worst(model, images_NCHW, labels_N, version, len(places))


def rotated(
    model: nn.Module, images_NCHW: torch.Tensor, labels_N: torch.Tensor, threat: Threat, draw: torch.Generator
) -> torch.Tensor:
    """Try 15 angles to each side, up to eps degrees, around the centre; uncovered pixels repeat the border.

    Returns pictures float NCHW. `draw` is not used.
    """
    angles = [sign * threat.eps * nth / ANGLES for nth in range(1, ANGLES + 1) for sign in (1, -1)]
    height, width = images_NCHW.shape[2:]

    def version(nth: int, rows: torch.Tensor) -> torch.Tensor:
        cosine, sine = math.cos(math.radians(angles[nth])), math.sin(math.radians(angles[nth]))
        turn = images_NCHW.new_tensor([[cosine, -sine * height / width, 0], [sine * width / height, cosine, 0]])
        pictures = images_NCHW[rows]
        grid = F.affine_grid(turn.expand(len(rows), 2, 3), list(pictures.shape), align_corners=False)
        return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False).clamp(0, 1)

    return _worst(model, images_NCHW, labels_N, version, len(angles))


@torch.no_grad()
def _worst(
    model: nn.Module, images_NCHW: torch.Tensor, labels_N: torch.Tensor, version: Version, count: int
) -> torch.Tensor:
    """Return the first version of each picture that is answered wrongly, else the one nearest to that."""
    attacked_NCHW = images_NCHW.clone()
    rows = still_right(model, images_NCHW, labels_N)
    worst_N = torch.full((len(rows),), -torch.inf, device=images_NCHW.device)
    for nth in range(count):
        if not len(rows):
            break
        tried_NCHW = version(nth, rows)
        logits_NK = model(tried_NCHW).float()
        margins_N, wrong_N = margin(logits_NK, labels_N[rows]), is_wrong(logits_NK, labels_N[rows])
        helps_N = wrong_N | (margins_N > worst_N)
        attacked_NCHW[rows[helps_N]] = tried_NCHW[helps_N]
        rows, worst_N = rows[~wrong_N], torch.maximum(worst_N, margins_N)[~wrong_N]
    return attacked_NCHW


SHIFTS = AttackRow(shifted, "shifts", norms=("shift",), needs=())
ROTATIONS = AttackRow(rotated, "rotations", norms=("rotation",), needs=())
