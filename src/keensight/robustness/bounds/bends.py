"""Layers that bend: ReLU and max pooling, each with the straight lines that hold it between them.

Shape letters: N images, M linear forms of each, C channels, H height, W width; a layer's other axes are "...".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch
import torch.nn.functional as F
from torch import nn

from keensight.models.foreign import PaddedPool2d
from keensight.models.pooling import MaxPool2d


class Lines(Protocol):
    """Lines below and above a layer's outputs, for inputs within bounds."""

    def through(self, forms_NM: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return coefficients NM... of the input and constants NM, whose forms are nowhere above the output's forms."""
        ...


@dataclass(frozen=True, slots=True)
class Bend:
    """A layer that rises, or stays level, where any of its inputs rises.

    `apply` is the layer. `lines` makes the lines for inputs between lower and upper bounds N..., and `open` says at
    which inputs tighter bounds would give tighter lines (bool N...).
    """

    apply: Callable[[torch.Tensor], torch.Tensor]
    lines: Callable[[torch.Tensor, torch.Tensor], Lines]
    open: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    is_relu: bool = False


@dataclass(frozen=True, slots=True)
class ReluLines:
    """Slopes and constants N..., or NM... where every form has lines of its own."""

    below: torch.Tensor
    above: torch.Tensor
    shift: torch.Tensor

    def through(self, forms_NM: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return coefficients of the input and constants: lower lines where a form rises, upper ones where it falls."""
        lines = (self.below, self.above, self.shift)
        below, above, shift = (each if each.dim() == forms_NM.dim() else each[:, None] for each in lines)
        rising, falling = forms_NM.clamp(min=0), forms_NM.clamp(max=0)
        return rising * below + falling * above, (falling * shift).flatten(start_dim=2).sum(dim=2)


def relu_lines(lower: torch.Tensor, upper: torch.Tensor, below: torch.Tensor | None = None) -> ReluLines:
    """Return lines that hold a ReLU whose inputs lie between bounds: CROWN's (Zhang et al., 2018, arXiv:1811.00866).

    Above is the chord. Below is any line of a slope in [0, 1]: the input's own sign where that is known, else `below`,
    or the one of 0 and 1 that leaves the smaller triangle. Rounding lifts the chord by a few units in the last place.
    """
    on, off = lower >= 0, upper <= 0
    chord = upper / (upper - lower).clamp(min=torch.finfo(lower.dtype).tiny)
    above = torch.where(on, 1.0, torch.where(off, 0.0, chord))
    shift = torch.where(on | off, 0.0, -above * lower)
    shift = shift + 4 * torch.finfo(lower.dtype).eps * torch.where(on | off, 0.0, upper - lower)
    if below is None:
        below = (upper > -lower).to(lower.dtype)
    else:
        on, off = (each if each.dim() == below.dim() else each[:, None] for each in (on, off))
    return ReluLines(torch.where(on, 1.0, torch.where(off, 0.0, below)), above, shift)


RELU = Bend(F.relu, relu_lines, lambda lower, upper: (lower < 0) & (upper > 0), is_relu=True)


@dataclass(frozen=True, slots=True)
class Windows:
    """Pooling windows: their size, step, and padding left, right, top and bottom, all in pixels."""

    size: tuple[int, int]
    stride: tuple[int, int]
    pads: tuple[int, int, int, int]

    def unfold(self, x_NCHW: torch.Tensor, fill: float = -math.inf) -> torch.Tensor:
        """Return the numbers in each window, NC, windows, numbers of a window; the padding is `fill`."""
        padded = F.pad(x_NCHW, self.pads, value=fill)
        windows = padded.unfold(2, self.size[0], self.stride[0]).unfold(3, self.size[1], self.stride[1])
        return windows.flatten(start_dim=4).flatten(start_dim=2, end_dim=3)

    def largest(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Return the largest number of each window, NCHW."""
        return F.max_pool2d(F.pad(x_NCHW, self.pads, value=-math.inf), self.size, self.stride)


@dataclass(frozen=True, slots=True)
class PoolLines:
    """Of each window: the input with the largest lower bound, whether none can exceed it, and the upper bound.

    All are NC, windows: `place` counts the pixels HW of an input channel.
    """

    place: torch.Tensor
    dominant: torch.Tensor
    most: torch.Tensor
    shape_HW: tuple[int, int]

    def through(self, forms_NM: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return coefficients of the input, NMCHW, and constants NM."""
        forms = forms_NM.flatten(start_dim=3)
        rising, falling = forms.clamp(min=0), forms.clamp(max=0)
        kept = rising + falling * self.dominant[:, None]
        inputs = torch.zeros(*forms.shape[:3], math.prod(self.shape_HW), dtype=forms.dtype, device=forms.device)
        inputs = inputs.scatter_add(3, self.place[:, None].expand_as(kept), kept)
        constants = (falling * torch.where(self.dominant, 0.0, self.most)[:, None]).flatten(start_dim=2).sum(dim=2)
        return inputs.view(*forms.shape[:3], *self.shape_HW), constants


def _max(windows: Windows) -> Bend:
    """Return max pooling, bounded as by CNN-Cert (Boopathy et al., 2018, arXiv:1811.12395), but simpler.

    Below is the input whose lower bound is the largest; above, the same if it dominates its window, else a constant.
    """

    def lines(lower: torch.Tensor, upper: torch.Tensor) -> PoolLines:
        height, width = lower.shape[2:]
        pixels = torch.arange(height * width, dtype=lower.dtype, device=lower.device).view(1, 1, height, width)
        lows, highs = windows.unfold(lower), windows.unfold(upper)
        least, chosen = lows.max(dim=3, keepdim=True)
        others = highs.scatter(3, chosen, -math.inf).amax(dim=3)
        places = windows.unfold(pixels, -1.0).expand(*lower.shape[:2], -1, -1).gather(3, chosen)[..., 0].long()
        return PoolLines(places, others <= least[..., 0], highs.amax(dim=3), (height, width))

    def open(lower: torch.Tensor, upper: torch.Tensor) -> torch.Tensor:
        found = lines(lower, upper)
        least = windows.unfold(lower).amax(dim=3, keepdim=True)
        contends = (windows.unfold(upper) > least) & ~found.dominant[..., None]  # the others are never the largest
        pixels = torch.arange(1, lower[0, 0].numel() + 1, dtype=lower.dtype, device=lower.device)
        places = windows.unfold(pixels.view(1, 1, *lower.shape[2:]), 0.0).long().expand_as(contends)
        counts = torch.zeros(*lower.shape[:2], len(pixels) + 1, dtype=torch.int64, device=lower.device)
        counts = counts.scatter_add(2, places.flatten(start_dim=2), contends.long().flatten(start_dim=2))
        return (counts[..., 1:] > 0).view(lower.shape)

    return Bend(windows.largest, lines, open)


def _max_pool(layer: nn.MaxPool2d) -> Bend | None:
    if layer.dilation not in (1, (1, 1)) or layer.ceil_mode or layer.return_indices:
        return None
    high, wide = _pair(layer.padding)
    return _max(Windows(_pair(layer.kernel_size), _pair(layer.stride), (wide, wide, high, high)))


def _padded_pool(layer: PaddedPool2d) -> Bend | None:
    left, right, top, bottom = layer.pads
    windows = Windows(_pair(layer.kernel_size), _pair(layer.stride), (left, right, top, bottom))
    return _max(windows) if layer.kind == "max" else None


def _global_max(layer: nn.AdaptiveMaxPool2d) -> Bend | None:
    if layer.output_size not in (1, (1, 1)) or layer.return_indices:
        return None

    def of(x_NCHW: torch.Tensor) -> Bend:
        size = (x_NCHW.shape[2], x_NCHW.shape[3])
        return _max(Windows(size, size, (0, 0, 0, 0)))

    return Bend(layer, lambda low, high: of(low).lines(low, high), lambda low, high: of(low).open(low, high))


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


Make: TypeAlias = Callable[[Any], Bend | None]
BENDS: Mapping[type[nn.Module], Make] = {
    nn.ReLU: lambda layer: RELU,
    nn.MaxPool2d: _max_pool,
    MaxPool2d: _max_pool,
    PaddedPool2d: _padded_pool,
    nn.AdaptiveMaxPool2d: _global_max,
}
