"""Interval bounds: what every number in a network can be while each pixel stays in an interval of its own.

They cost about two passes forward, and training can go through them (Gowal et al., 2018, arXiv:1810.12715).

Shape letters: N images, C channels, H height, W width, D numbers of the last layer's input, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from keensight.robustness.bounds.affine import Affine
from keensight.robustness.bounds.bends import Bend
from keensight.robustness.bounds.network import Node


def box(images_NCHW: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the centre and the radius, NCHW, of all pictures within `eps` in the max norm whose pixels are in [0, 1].

    >>> [round(each.item(), 2) for each in box(torch.tensor([0.05]), 0.1)]
    [0.08, 0.08]
    """
    lower, upper = (images_NCHW - eps).clamp(min=0), (images_NCHW + eps).clamp(max=1)
    return (lower + upper) / 2, (upper - lower) / 2


def margins(
    nodes: Sequence[Node], centre_NCHW: torch.Tensor, radius_NCHW: torch.Tensor, labels_N: torch.Tensor
) -> torch.Tensor:
    """Return lower bounds NK of how far the label's logit is above each logit; 0 for itself. Differentiable.

    A last layer that is a matrix is not bounded by itself: its rows are subtracted first, so that what two logits have
    in common cancels out. Bounds are as exact as the tensors' type: for training, not for certificates.
    """
    *before, last = nodes
    matrix = last.op.linear if isinstance(last.op, Affine) else None
    if matrix is None:
        centre, radius = _through(nodes, centre_NCHW, radius_NCHW)
        own = (centre - radius).gather(1, labels_N[:, None])
        return (own - centre - radius).scatter(1, labels_N[:, None], 0.0)
    centre_ND, radius_ND = _through(before, centre_NCHW, radius_NCHW)
    logits_NK, num_classes = matrix(centre_ND), matrix.out_features
    # |difference of two rows| for all pairs of classes is a small matrix; for each picture it would be a large one
    pairs = (matrix.weight[:, None] - matrix.weight).abs().flatten(end_dim=1)
    spread_NKK = F.linear(radius_ND, pairs).view(-1, num_classes, num_classes)
    spread_NK = spread_NKK.take_along_dim(labels_N[:, None, None], dim=1)[:, 0]
    margins_NK: torch.Tensor = logits_NK.gather(1, labels_N[:, None]) - logits_NK - spread_NK
    return margins_NK


def _through(nodes: Sequence[Node], centre: torch.Tensor, radius: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the centre and the radius of the last node's outputs."""
    centres, radii = [centre], [radius]
    for node in nodes:
        inputs = [centres[i] for i in node.inputs], [radii[i] for i in node.inputs]
        centre, radius = _affine(node.op, *inputs) if isinstance(node.op, Affine) else _bend(node.op, *inputs)
        centres.append(centre)
        radii.append(radius)
    return centre, radius


def _affine(op: Affine, centres: list[torch.Tensor], radii: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    return op.apply(*centres), op.absolute(*radii)


def _bend(op: Bend, centres: list[torch.Tensor], radii: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    (centre,), (radius,) = centres, radii
    if op.is_relu:
        both: tuple[torch.Tensor, torch.Tensor] = _Relu.apply(centre, radius)  # type: ignore[no-untyped-call]
        return both
    lower, upper = op.apply(centre - radius), op.apply(centre + radius)
    return (lower + upper) / 2, (upper - lower) / 2


class _Relu(torch.autograd.Function):
    """ReLU for centre and radius, with half the passes over memory that automatic differentiation makes."""

    @staticmethod
    def forward(ctx: Any, centre: torch.Tensor, radius: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        lower, upper = (centre - radius).clamp_(min=0), (centre + radius).clamp_(min=0)
        ctx.save_for_backward(lower, upper)
        centre = (lower + upper).mul_(0.5)
        return centre, upper - centre

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        (lower, upper), (of_centre, of_radius) = ctx.saved_tensors, gradients
        of_lower = torch.ops.aten.threshold_backward(of_centre - of_radius, lower, 0)
        of_upper = torch.ops.aten.threshold_backward(of_centre + of_radius, upper, 0)
        of_centre = (of_lower + of_upper).mul_(0.5)
        return of_centre, of_upper.sub_(of_centre)
