"""Layers that are affine, W x + b, in one table: what bounds need to know of each.

Shape letters: R rows, each the coefficients of a linear form in a layer's output or input; N images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.grad import conv2d_input

from keensight.models import foreign
from keensight.models.dropout import Dropout
from keensight.models.linear import TwoLogits
from keensight.models.mirror import AddMirrored, MeanOfMirrored

Layer: TypeAlias = Callable[..., torch.Tensor]


@dataclass(frozen=True, slots=True)
class Affine:
    """A layer that computes W x + b, or W1 x1 + W2 x2 + ... + b if it reads several inputs.

    `apply` is the layer itself, `absolute` is |W| x, with the same input shapes. `terms` is at least the number of
    products that are summed for one output, for bounds of rounding errors. `transposed` takes rows R of coefficients
    of the output and the input's shape to rows of coefficients of the input, rows W; without it, automatic
    differentiation does that. `linear` is the layer if it is a matrix, as the last one of most networks is.
    """

    apply: Layer
    absolute: Layer
    terms: int
    transposed: Callable[[torch.Tensor, Sequence[int]], torch.Tensor] | None = None
    linear: nn.Linear | None = None

    def backward(self, rows: torch.Tensor, shapes: Sequence[Sequence[int]]) -> tuple[torch.Tensor, ...]:
        """Return the rows of coefficients of each input, R and the input's shape, for rows of the output.

        `shapes` are those of the inputs; their first number is R, or half of it before a layer that doubles it.
        """
        if self.transposed is not None:
            return (self.transposed(rows, shapes[0]),)
        with torch.enable_grad():
            inputs = [rows.new_zeros(tuple(shape)).requires_grad_() for shape in shapes]
            outputs = self.apply(*inputs)
            return torch.autograd.grad(outputs, inputs, rows.reshape(outputs.shape), create_graph=rows.requires_grad)


def _conv(layer: nn.Conv2d) -> Affine | None:
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        return None
    options: Any = (layer.stride, layer.padding, layer.dilation, layer.groups)

    def absolute(x_NCHW: torch.Tensor) -> torch.Tensor:
        # abs() of a weight of one channel forgets that it is channels_last, which makes later sums many times slower
        weight = layer.weight.permute(0, 2, 3, 1).abs().permute(0, 3, 1, 2)
        return F.conv2d(x_NCHW, weight, None, *options)

    def transposed(rows: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
        found: torch.Tensor = conv2d_input(list(shape), layer.weight, rows, *options)  # type: ignore[no-untyped-call]
        return found

    return Affine(layer, absolute, layer.weight[0].numel() + 1, transposed)


def _linear(layer: nn.Linear) -> Affine:
    def absolute(x_ND: torch.Tensor) -> torch.Tensor:
        return F.linear(x_ND, layer.weight.abs())

    return Affine(layer, absolute, layer.in_features + 1, lambda rows, shape: rows @ layer.weight, layer)


def _norm(layer: nn.BatchNorm2d | nn.BatchNorm1d) -> Affine | None:
    if layer.running_mean is None or layer.running_var is None:
        return None
    mean, var = layer.running_mean, layer.running_var

    def scale() -> torch.Tensor:
        factor = (var + layer.eps).rsqrt()
        return factor if layer.weight is None else factor * layer.weight

    def per_channel(x: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return values.view(1, -1, *[1] * (x.dim() - 2))

    def apply(x: torch.Tensor) -> torch.Tensor:
        shift = -mean * scale() if layer.bias is None else layer.bias - mean * scale()
        return x * per_channel(x, scale()) + per_channel(x, shift)

    return Affine(
        apply,
        lambda x: x * per_channel(x, scale().abs()),
        4,
        lambda rows, shape: rows * per_channel(rows, scale()),
    )


def _average(layer: nn.AvgPool2d) -> Affine:
    size = layer.kernel_size
    return _weighing(layer, size * size if isinstance(size, int) else math.prod(size))


def _global_average(layer: nn.AdaptiveAvgPool2d) -> Affine:
    return _weighing(layer, 2**16)  # as many pixels as a picture here can have; more only cost precision


def _weighing(layer: Layer, terms: int = 1) -> Affine:
    """Return a layer with no constant, and no weight below 0."""
    return Affine(layer, layer, terms)


def _padded_pool(layer: foreign.PaddedPool2d) -> Affine | None:
    return _weighing(layer, math.prod(layer.kernel_size) + 1) if layer.kind == "average" else None


def _joint(layer: nn.Module) -> Affine:
    return _weighing(layer, 16)


# A layer that is made into None has options that bounds do not know.
AFFINE: Mapping[type[nn.Module], Callable[[Any], Affine | None]] = {
    nn.Conv2d: _conv,
    nn.Linear: _linear,
    nn.BatchNorm2d: _norm,
    nn.BatchNorm1d: _norm,
    nn.AvgPool2d: _average,
    nn.AdaptiveAvgPool2d: _global_average,
    foreign.PaddedPool2d: _padded_pool,
    nn.Flatten: _weighing,
    nn.Unflatten: _weighing,
    nn.Identity: _weighing,
    nn.ZeroPad2d: _weighing,
    Dropout: lambda layer: _weighing(nn.Identity()),
    nn.Dropout: lambda layer: _weighing(nn.Identity()),
    nn.Dropout2d: lambda layer: _weighing(nn.Identity()),
    TwoLogits: _weighing,
    AddMirrored: lambda layer: _weighing(lambda x_NCHW: torch.cat([x_NCHW, x_NCHW.flip(3)])),
    MeanOfMirrored: lambda layer: _weighing(lambda x_NK: x_NK.view(2, -1, x_NK.shape[1]).mean(dim=0), 2),
    foreign.Add: _joint,
    foreign.Subtract: lambda layer: Affine(layer, torch.add, 2),
    foreign.Average: _joint,
    foreign.Concatenate: _weighing,
    foreign.Permute: _weighing,
    foreign.ChannelOrder: _weighing,
}
