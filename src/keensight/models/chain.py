"""A network as data: a list of its layers by name, with their options, from input to output.

The bundle of an imported model holds its network in this form, as no recipe of ours builds it. The modules here are
those that torch lacks. Shape letters: N images, C channels, H height, W width, D numbers of a picture or vector.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from keensight.errors import BundleError
from keensight.models.linear import TwoLogits


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


LAYERS: dict[str, Callable[..., nn.Module]] = {
    layer.__name__: layer
    for layer in (
        nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.BatchNorm1d, ChannelNorm, nn.ZeroPad2d, nn.MaxPool2d, nn.AvgPool2d,
        PaddedPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Flatten, nn.Unflatten, nn.ReLU, nn.ReLU6,
        nn.Hardtanh, nn.LeakyReLU, PReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Softplus, nn.Sigmoid, HardSigmoid,
        nn.Tanh, nn.Softmax, TwoLogits,
    )
}  # fmt: skip


def chain(steps: Sequence[Mapping[str, Any]]) -> nn.Sequential:
    """Build the network that `steps` describe: a list of {"layer": a name in LAYERS, and its options}.

    On torch's "meta" device, nothing is allocated. Raises BundleError for an unknown layer, or one that cannot have its
    options.

    >>> network = chain([{"layer": "Flatten"}, {"layer": "Linear", "in_features": 4, "out_features": 2}])
    >>> network(torch.ones(3, 1, 2, 2)).shape
    torch.Size([3, 2])
    """
    try:
        layers = [LAYERS[step["layer"]](**{key: step[key] for key in step if key != "layer"}) for step in steps]
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        why = f"there is no layer {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
        raise BundleError(
            f"The network of this bundle cannot be built: {why}. It must be a list of layers as keensight writes them; "
            "import the model again."
        ) from error
    return nn.Sequential(*layers)
