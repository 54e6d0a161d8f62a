"""What attacks raise: a number for each picture, larger the nearer its answer is to being wrong.

Shape letters: N images, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F

# (logits NK, labels N) to N numbers. Only their order for one picture counts, and the direction of their gradients.
Objective: TypeAlias = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

TINY = 1e-12


def cross_entropy(logits_NK: torch.Tensor, labels_N: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy N. Its gradient vanishes where the model is very sure, which can hide weak answers."""
    return F.cross_entropy(logits_NK, labels_N, reduction="none")


def margin(logits_NK: torch.Tensor, labels_N: torch.Tensor) -> torch.Tensor:
    """Return the largest other logit minus the label's, N: positive if the answer is wrong.

    Its gradient never vanishes in a model that is very sure, and it is right for any number of classes from two.
    """
    own_N1 = logits_NK.gather(1, labels_N[:, None])
    others_NK = logits_NK.scatter(1, labels_N[:, None], -torch.inf)
    return others_NK.amax(dim=1) - own_N1[:, 0]


def dlr(logits_NK: torch.Tensor, labels_N: torch.Tensor) -> torch.Tensor:
    """Return the difference of logits ratio N, which no rescaling of the logits changes; the margin for two classes.

    The margin divided by the distance from the largest logit to the third (Croce and Hein, 2020, arXiv:2003.01690,
    section 5). Two classes have no third, and a ratio to the second would be constant.
    """
    if logits_NK.shape[1] < 3:
        return margin(logits_NK, labels_N)
    top_N3 = logits_NK.topk(3, dim=1).values
    return margin(logits_NK, labels_N) / (top_N3[:, 0] - top_N3[:, 2] + TINY)


def targeted_dlr(logits_NK: torch.Tensor, labels_N: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
    """Return how near each answer is to one other class, whichever is the nearest, N.

    The targeted difference of logits ratio (Croce and Hein, 2020, arXiv:2003.01690, section 5), which needs four
    classes; below that, the target's logit minus the label's.
    """
    raised_N = (logits_NK.gather(1, targets_N[:, None]) - logits_NK.gather(1, labels_N[:, None]))[:, 0]
    if logits_NK.shape[1] < 4:
        return raised_N
    top_N4 = logits_NK.topk(4, dim=1).values
    return raised_N / (top_N4[:, 0] - (top_N4[:, 2] + top_N4[:, 3]) / 2 + TINY)
