"""Interval bounds of what a float32 engine computes, rounding included, in two passes: the first proof to be tried.

Shape letters: N images, D numbers of the last layer's input, K classes; a value's other axes are "...".
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from keensight.robustness.bounds.affine import Affine
from keensight.robustness.bounds.known import FINER, MORE_TERMS, UNIT, pictures
from keensight.robustness.bounds.network import Node


def quick_margins(
    nodes: Sequence[Node], images_NCHW: torch.Tensor, eps: float, labels_N: torch.Tensor
) -> torch.Tensor | None:
    """Return lower bounds NK of how far a float32 engine finds the label's logit above each; infinity for itself.

    Above 0, no picture within `eps` gets another answer. Rounding errors only widen the intervals, so that they need
    no pass of their own as in `known.py`: after a layer W x + b of n terms whose inputs lie in c ± r, numbers are off
    by n u / (1 - n u) of |W| (|c| + r) + |b| at most (Higham, 2002, section 3.1). The last layer's rows are subtracted
    before they are bounded. None if the last layer is not a matrix.
    """
    *before, last = nodes
    if not isinstance(last.op, Affine) or last.op.linear is None:
        return None
    known = pictures(images_NCHW, eps)
    values = [((known.lower + known.upper) / 2, (known.upper - known.lower) / 2)]
    for node in before:
        values.append(_next(node, [values[i] for i in node.inputs]))
    (source,) = last.inputs
    return _last(last.op.linear, *values[source], _share(last.op), labels_N)


def _share(op: Affine) -> float:
    """Return the part of the magnitudes by which a sum may be off: in float32, and a little more for float64's own."""
    terms = (op.terms + MORE_TERMS) * UNIT
    return terms / (1 - terms) * (1 + 4 * FINER)


def _next(node: Node, inputs: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    if not isinstance(node.op, Affine):
        ((centre, radius),) = inputs
        lower, upper = node.op.apply(centre - radius), node.op.apply(centre + radius)
        return (lower + upper) / 2, (upper - lower) / 2
    share = _share(node.op)
    nothing = [torch.zeros_like(centre[:1]).repeat(2, *[1] * (centre.dim() - 1)) for centre, _ in inputs]
    constant = node.op.apply(*nothing)[:1]  # of two, as one layer halves the number of images
    centre = node.op.apply(*(each for each, _ in inputs))
    radius = node.op.absolute(*(torch.add(radius, each.abs() + radius, alpha=share) for each, radius in inputs))
    return centre, radius + share * constant.abs()


def _last(
    matrix: nn.Linear, centre_ND: torch.Tensor, radius_ND: torch.Tensor, share: float, labels_N: torch.Tensor
) -> torch.Tensor:
    logits_NK = matrix(centre_ND)
    bias = None if matrix.bias is None else matrix.bias.abs()
    off_NK = share * F.linear(centre_ND.abs() + radius_ND, matrix.weight.abs(), bias)
    margins_NK: torch.Tensor = (
        logits_NK.gather(1, labels_N[:, None]) - off_NK.gather(1, labels_N[:, None]) - logits_NK - off_NK
    )
    for label in sorted(set(labels_N.tolist())):
        rows = (labels_N == label).nonzero()[:, 0]
        apart_KD = (matrix.weight[label] - matrix.weight).abs()
        margins_NK[rows] -= F.linear(radius_ND[rows], apart_KD)
    return margins_NK.scatter(1, labels_N[:, None], torch.inf)
