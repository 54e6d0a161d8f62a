"""The square attack, which asks for answers alone: no gradients can mislead it.

Shape letters: N images, C channels, H height, W width.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from keensight.robustness.attacks.ball import project
from keensight.robustness.attacks.bumps import bumped
from keensight.robustness.attacks.look import is_wrong
from keensight.robustness.attacks.objectives import margin
from keensight.robustness.attacks.row import AttackRow
from keensight.values import Threat

QUERIES_PER_STEP = 10  # an answer costs about a third of a gradient, and there is much to find by chance
STEPS = 100
FIRST_SHARE = 0.8  # of the picture's area: the first squares
HALVED_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # of 10,000 queries, the shares are halved


def square(
    model: nn.Module, images_NCHW: torch.Tensor, labels_N: torch.Tensor, threat: Threat, draw: torch.Generator
) -> torch.Tensor:
    """Paint random squares, ever smaller ones, by eps up or down in each channel, and keep those that help.

    The square attack (Andriushchenko et al., 2020, arXiv:1912.00049, algorithms 1 and 2), with 10 answers for each of
    `threat.steps` (100). In l2, squares take their length from each other: see `bumps.py`. Returns pictures float NCHW.
    """
    queries = QUERIES_PER_STEP * (threat.steps or STEPS)
    attacked_NCHW = images_NCHW.clone()
    moved = {"linf": painted, "l2": bumped}[threat.norm]
    with torch.no_grad():
        logits_NK = model(images_NCHW)
        rows = (~is_wrong(logits_NK, labels_N)).nonzero()[:, 0]
        if not threat.eps:
            return attacked_NCHW
        worst_N = torch.full((len(rows),), -torch.inf, device=images_NCHW.device)
        for query in range(queries):
            if not len(rows):
                break
            origin_NCHW, labels = images_NCHW[rows], labels_N[rows]
            side = side_of(query, queries, *images_NCHW.shape[2:]) if query else 0
            tried_NCHW = moved(origin_NCHW, attacked_NCHW[rows], side, threat.eps, draw)
            tried_NCHW = project(tried_NCHW, origin_NCHW, threat)
            logits_NK = model(tried_NCHW).float()
            margins_N = margin(logits_NK, labels)
            helps_N = margins_N > worst_N
            attacked_NCHW[rows[helps_N]] = tried_NCHW[helps_N]
            wrong_N = is_wrong(logits_NK, labels)
            attacked_NCHW[rows[wrong_N]] = tried_NCHW[wrong_N]
            rows, worst_N = rows[~wrong_N], torch.maximum(worst_N, margins_N)[~wrong_N]
    return attacked_NCHW


def painted(
    images_NCHW: torch.Tensor, attacked_NCHW: torch.Tensor, side: int, eps: float, draw: torch.Generator
) -> torch.Tensor:
    """Return attacked pictures with a random square changed by `eps`; for a side of 0, with stripes from top down."""
    count, channels, height, width = images_NCHW.shape
    if not side:
        return images_NCHW + eps * _signs((count, channels, 1, width), draw, images_NCHW)
    inside_N1HW = _squares(count, side, height, width, draw).to(images_NCHW.device)
    painted_NCHW = images_NCHW + eps * _signs((count, channels, 1, 1), draw, images_NCHW)
    return torch.where(inside_N1HW, painted_NCHW, attacked_NCHW)


def side_of(query: int, queries: int, height: int, width: int) -> int:
    """Return the side, in pixels, of the squares at a query.

    >>> [side_of(query, 1000, 28, 28) for query in (1, 2, 10, 100, 900)]
    [25, 18, 13, 6, 1]
    """
    halvings = sum(10_000 * query / queries > after for after in HALVED_AFTER)
    side = round(math.sqrt(FIRST_SHARE / 2**halvings * height * width))
    return min(max(side, 1), height, width)


def _signs(shape: tuple[int, ...], draw: torch.Generator, like: torch.Tensor) -> torch.Tensor:
    return (2 * torch.randint(0, 2, shape, generator=draw) - 1).to(like)


def _squares(count: int, side: int, height: int, width: int, draw: torch.Generator) -> torch.Tensor:
    """Return one square per picture at a random place, bool N1HW."""
    tops_N1 = torch.randint(0, height - side + 1, (count, 1), generator=draw)
    lefts_N1 = torch.randint(0, width - side + 1, (count, 1), generator=draw)
    down_H, across_W = torch.arange(height), torch.arange(width)
    rows_NH = (down_H >= tops_N1) & (down_H < tops_N1 + side)
    columns_NW = (across_W >= lefts_N1) & (across_W < lefts_N1 + side)
    return rows_NH[:, None, :, None] & columns_NW[:, None, None, :]


SQUARE = AttackRow(square, "square attack", norms=("linf", "l2"), needs=())
