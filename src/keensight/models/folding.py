"""Batch normalisation folded into the convolution before it: after training, the same answers for less work."""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
from torch import nn


def fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weight and bias of the convolution that equals `conv` followed by `norm` in evaluation.

    Computed in float64, on the CPU, and returned in float32, since rounding would otherwise add up over the layers.
    """
    scale, shift = scale_and_shift(norm)
    if conv.bias is not None:
        shift = shift + conv.bias.cpu().double() * scale
    return (conv.weight.cpu().double() * scale[:, None, None, None]).float(), shift.float()


def merged(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """Return a copy of the convolution, for evaluation, that has taken in the batch normalisation after it."""
    both = copy.deepcopy(conv)
    folds = (tensor.to(conv.weight.device) for tensor in fold(conv, norm))
    both.weight, both.bias = (nn.Parameter(tensor, requires_grad=False) for tensor in folds)
    return both


def scale_and_shift(norm: nn.BatchNorm2d | nn.BatchNorm1d) -> tuple[torch.Tensor, torch.Tensor]:
    """Return batch normalisation after training as a factor and a summand per channel, in float64, on the CPU."""
    assert norm.running_mean is not None and norm.running_var is not None  # always tracked in our models
    scale = (norm.running_var.cpu().double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.cpu().double()
    shift = -norm.running_mean.cpu().double() * scale
    if norm.bias is not None:
        shift = shift + norm.bias.cpu().double()
    return scale.detach(), shift.detach()


def folded(network: nn.Module) -> nn.Module:
    """Return a copy for evaluation in which batch normalisation is folded into the convolutions of every Sequential."""
    network = copy.deepcopy(network).eval()
    for sequence in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for i, (conv, norm) in enumerate(pairwise(sequence)):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                sequence[i], sequence[i + 1] = merged(conv, norm), nn.Identity()
    return network.requires_grad_(False)
