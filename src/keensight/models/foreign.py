"""Layers that Keras has and torch lacks, and those that read several steps.

Shape letters: N images, C channels, H height, W width, D numbers of a picture or vector. Where a shape is said as CHW
or HW, the images N stand in front of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn


class Add(nn.Module):
    """The sum of inputs of one shape, as in a residual connection; axes of 1 are broadcast."""

    def forward(self, a: torch.Tensor, b: torch.Tensor, *more: torch.Tensor) -> torch.Tensor:
        """Return their sum."""
        return sum(more, a + b)


class Multiply(nn.Module):
    """The product of inputs, number by number; axes of 1 are broadcast."""

    def forward(self, a: torch.Tensor, b: torch.Tensor, *more: torch.Tensor) -> torch.Tensor:
        """Return their product."""
        product = a * b
        for each in more:
            product = product * each
        return product


class Subtract(nn.Module):
    """The first of two inputs less the second."""

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return their difference."""
        return a - b


class Divide(nn.Module):
    """The first of two inputs, divided by the second."""

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return their quotient."""
        return a / b


class Average(nn.Module):
    """The mean of several inputs, number by number."""

    def forward(self, a: torch.Tensor, b: torch.Tensor, *more: torch.Tensor) -> torch.Tensor:
        """Return their mean."""
        return sum(more, a + b) / (2 + len(more))


class Maximum(nn.Module):
    """The largest of several inputs, number by number."""

    def forward(self, a: torch.Tensor, b: torch.Tensor, *more: torch.Tensor) -> torch.Tensor:
        """Return the largest."""
        for each in (b, *more):
            a = torch.maximum(a, each)
        return a


class Minimum(nn.Module):
    """The smallest of several inputs, number by number."""

    def forward(self, a: torch.Tensor, b: torch.Tensor, *more: torch.Tensor) -> torch.Tensor:
        """Return the smallest."""
        for each in (b, *more):
            a = torch.minimum(a, each)
        return a


class Concatenate(nn.Module):
    """Several inputs behind each other along the axis `dim`: 1 for channels, or the numbers of vectors."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, a: torch.Tensor, b: torch.Tensor, *more: torch.Tensor) -> torch.Tensor:
        """Return them as one."""
        return torch.cat([a, b, *more], dim=self.dim)


class PaddedPool2d(nn.Module):
    """Maximum or average pooling, NCHW to NCHW, with padding that does not count.

    `pads` are left, right, top and bottom, and may differ, as in Keras' "same" (and unlike in torch).
    """

    def __init__(self, kind: str, kernel_size: Sequence[int], stride: Sequence[int], pads: Sequence[int]) -> None:
        super().__init__()
        if kind not in ("max", "average"):
            raise ValueError(f"there is no pooling '{kind}'")
        self.kind, self.kernel_size, self.stride, self.pads = kind, list(kernel_size), list(stride), list(pads)

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Return the maximum or average of each window."""
        if self.kind == "max":
            return F.max_pool2d(F.pad(x_NCHW, self.pads, value=float("-inf")), self.kernel_size, self.stride)
        inside = F.avg_pool2d(F.pad(torch.ones_like(x_NCHW[:1, :1]), self.pads), self.kernel_size, self.stride)
        return F.avg_pool2d(F.pad(x_NCHW, self.pads), self.kernel_size, self.stride) / inside


class ChannelNorm(nn.Module):
    """Layer normalisation (Ba et al., 2016, arXiv:1607.06450) over the channels alone: NCHW to NCHW, or ND to ND."""

    def __init__(self, num_channels: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the same shape: every position with mean 0 and spread 1 over its channels, scaled and shifted."""
        centred = x - x.mean(dim=1, keepdim=True)
        normal = centred / (centred.square().mean(dim=1, keepdim=True) + self.eps).sqrt()
        shape = (-1, *[1] * (x.dim() - 2))
        return normal * self.weight.view(shape) + self.bias.view(shape)


class PReLU(nn.Module):
    """A PReLU, which learns its slope below zero, one per channel or per number: `shape` of CHW or D."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(*shape))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the same shape."""
        return x.clamp(min=0) + self.weight * x.clamp(max=0)


class HardSigmoid(nn.Module):
    """A hard sigmoid: `slope` x + 1/2, clipped to [0, 1]. Keras 2 has a slope of 1/5, Keras 3 one of 1/6."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the same shape."""
        return (self.slope * x + 0.5).clamp(0, 1)


class BentReLU(nn.Module):
    """Keras' rectifier with all options at once: below `threshold` there is but a slope, and `max_value` is the top."""

    def __init__(self, max_value: float | None, negative_slope: float, threshold: float) -> None:
        super().__init__()
        self.max_value, self.negative_slope, self.threshold = max_value, negative_slope, threshold

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the same shape."""
        kept = x * (x > self.threshold)
        if self.max_value is not None:
            kept = kept.clamp(0.0, self.max_value)
        return kept - self.negative_slope * F.relu(self.threshold - x)


class Exponential(nn.Module):
    """e to the power of each number."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the same shape."""
        return x.exp()


class Log(nn.Module):
    """The logarithm of each number, of probabilities down to 1e-30: a softmax behind it gives them back."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the same shape."""
        return x.clamp(min=1e-30).log()


class SquareRoot(nn.Module):
    """The square root of each number."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the square roots, in the input's shape."""
        return x.sqrt()


class Permute(nn.Module):
    """The axes behind the images in another order: `dims` are all of them, from 1 on."""

    def __init__(self, dims: Sequence[int]) -> None:
        super().__init__()
        self.dims = list(dims)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the same numbers, turned over."""
        return x.permute(0, *self.dims)


class ChannelOrder(nn.Module):
    """The channels in another order: 2, 1, 0 makes BGR of RGB. NCHW to NCHW."""

    def __init__(self, order: Sequence[int]) -> None:
        super().__init__()
        self.order = list(order)

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Return the same pictures."""
        return x_NCHW[:, self.order]


class Resize2d(nn.Module):
    """Pictures of `from_size`, height and width, in another size, from the nearest pixel or from the four around.

    NCHW to NCHW.
    """

    def __init__(self, from_size: Sequence[int], size: Sequence[int], bilinear: bool) -> None:
        super().__init__()
        self.from_size, self.size, self.bilinear = list(from_size), list(size), bilinear

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Return the pictures with the height and width `size`."""
        if self.bilinear:
            return F.interpolate(x_NCHW, self.size, mode="bilinear", align_corners=False)
        return F.interpolate(x_NCHW, self.size, mode="nearest-exact")
