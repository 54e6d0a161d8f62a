"""An attack for the nearest picture that is answered wrongly.

Shape letters: N images, C channels, H height, W width.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from keensight.robustness.attacks.ball import norms
from keensight.robustness.attacks.look import look
from keensight.robustness.attacks.objectives import margin
from keensight.robustness.attacks.row import AttackRow
from keensight.robustness.needs import GRADIENTS
from keensight.values import Threat

STEPS = 100
FIRST_STEP, LAST_STEP = {"linf": 3.0, "l2": 1.0}, 0.01  # lengths in l2, and the last as a share of the first
FIRST_CHANGE, LAST_CHANGE = 0.05, 0.001  # by which share the radius shrinks or grows
ORDER, DUAL = {"linf": math.inf, "l2": 2.0}, {"linf": 1.0, "l2": 2.0}
TINY = 1e-12


def fmn(
    model: nn.Module, images_NCHW: torch.Tensor, labels_N: torch.Tensor, threat: Threat, draw: torch.Generator
) -> torch.Tensor:
    """Look for the nearest picture that is answered wrongly, in `threat.steps` (100) steps.

    The fast minimum-norm attack (Pintor et al., 2021, arXiv:2102.12827, algorithm 1): the radius within which it
    searches shrinks while the answer is wrong and grows while it is right. Returns pictures float NCHW; those for
    which nothing was found within `threat.eps` are as they were. `draw` is not used.
    """
    steps = threat.steps or STEPS
    moves_NCHW = torch.zeros_like(images_NCHW)
    nearest_NCHW, shortest_N111 = images_NCHW.clone(), images_NCHW.new_full((len(images_NCHW), 1, 1, 1), math.inf)
    radius_N111 = shortest_N111.clone()
    for done in range(steps + 1):
        pictures_NCHW = images_NCHW + moves_NCHW
        seen = look(model, pictures_NCHW, labels_N, margin)
        wrong_N111, lengths_N111 = seen.wrong_N.view(-1, 1, 1, 1), norms(moves_NCHW, ORDER[threat.norm])
        is_nearer_N111 = wrong_N111 & (lengths_N111 < shortest_N111)
        nearest_NCHW = torch.where(is_nearer_N111, pictures_NCHW, nearest_NCHW)
        shortest_N111 = torch.where(is_nearer_N111, lengths_N111, shortest_N111)
        if done == steps:
            break
        cosine = (1 + math.cos(math.pi * done / steps)) / 2
        change = LAST_CHANGE + (FIRST_CHANGE - LAST_CHANGE) * cosine
        step = FIRST_STEP[threat.norm] * (LAST_STEP + (1 - LAST_STEP) * cosine)
        # a little farther than a linear model of this slope would have to go
        slopes_N111 = norms(seen.gradients_NCHW, DUAL[threat.norm]).clamp_min(TINY)
        linear_N111 = lengths_N111 + seen.values_N.abs().view(-1, 1, 1, 1) / slopes_N111
        outward_N111 = torch.where(shortest_N111.isinf(), linear_N111, radius_N111) * (1 + change)
        inward_N111 = torch.minimum(radius_N111, shortest_N111) * (1 - change)
        radius_N111 = torch.where(wrong_N111, inward_N111, outward_N111)
        moves_NCHW = moves_NCHW + step * seen.gradients_NCHW / norms(seen.gradients_NCHW).clamp_min(TINY)
        moves_NCHW = _within(moves_NCHW, radius_N111, threat)
        moves_NCHW = (images_NCHW + moves_NCHW).clamp(0, 1) - images_NCHW
    return torch.where(shortest_N111 <= threat.eps, nearest_NCHW, images_NCHW)


def _within(moves_NCHW: torch.Tensor, radius_N111: torch.Tensor, threat: Threat) -> torch.Tensor:
    if threat.norm == "linf":
        return torch.minimum(torch.maximum(moves_NCHW, -radius_N111), radius_N111)
    return moves_NCHW * (radius_N111 / norms(moves_NCHW).clamp_min(TINY)).clamp_max(1)


MINIMAL = AttackRow(fmn, "minimal attack", norms=("linf", "l2"), needs=(GRADIENTS,))
