"""Projected gradient descent: many small steps of the fast gradient sign method, from random starts.

Shape letters: N images, C channels, H height, W width.
"""

from __future__ import annotations

import torch
from torch import nn

from keensight.robustness.attacks.ball import project, random_start, uphill
from keensight.robustness.attacks.look import is_wrong, look, still_right
from keensight.robustness.attacks.objectives import Objective, cross_entropy
from keensight.robustness.attacks.row import AttackRow
from keensight.robustness.needs import GRADIENTS
from keensight.values import Threat

STEPS = 50
RESTARTS = 3
REACH = 2.5  # all steps together go this many times eps, as in Madry et al.


def pgd(
    model: nn.Module,
    images_NCHW: torch.Tensor,
    labels_N: torch.Tensor,
    threat: Threat,
    draw: torch.Generator,
    restarts: int = RESTARTS,
    objective: Objective = cross_entropy,
) -> torch.Tensor:
    """Take `threat.steps` (50) steps uphill from a random start, and again from others while the answer is right.

    Projected gradient descent (Madry et al., 2017, arXiv:1706.06083), with steps of 2.5 eps / steps. A picture that is
    answered wrongly is left alone from there on, which takes most of the work off models that are easily fooled.
    Returns pictures float NCHW.
    """
    steps = threat.steps or STEPS
    attacked_NCHW = images_NCHW.clone()
    rows = still_right(model, images_NCHW, labels_N)
    for _ in range(restarts):
        if not len(rows) or not threat.eps:
            break
        origin_NCHW, labels = images_NCHW[rows], labels_N[rows]
        at_NCHW = random_start(origin_NCHW, threat, draw)
        for _ in range(steps):
            seen = look(model, at_NCHW, labels, objective)
            attacked_NCHW[rows[seen.wrong_N]] = at_NCHW[seen.wrong_N]
            if seen.wrong_N.any():
                left = ~seen.wrong_N
                rows, origin_NCHW, labels, at_NCHW = rows[left], origin_NCHW[left], labels[left], at_NCHW[left]
                gradients_NCHW = seen.gradients_NCHW[left]
            else:
                gradients_NCHW = seen.gradients_NCHW
            if not len(rows):
                break
            step = REACH * threat.eps / steps
            at_NCHW = project(at_NCHW + step * uphill(gradients_NCHW, threat), origin_NCHW, threat)
        if len(rows):
            attacked_NCHW[rows] = at_NCHW
            with torch.no_grad():
                rows = rows[~is_wrong(model(at_NCHW), labels)]
    return attacked_NCHW


PGD = AttackRow(pgd, "PGD", norms=("linf", "l2"), needs=(GRADIENTS,))
