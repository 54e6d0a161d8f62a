"""A classifier of small pictures as one convolution over a large one: what neighbouring places share is computed once.

A dense layer after convolutions is itself a convolution whose kernel is all of the picture's last map (Sermanet et al.,
2014, arXiv 1312.6229). Where the convolutions have no padding, the answers are those for each place alone. Where they
have, a place's border sees its surroundings in place of zeros, and the answers are near those.

Shape letters: N images, C channels, H height, W width, K classes; h and w of a map.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import nn

from keensight.models.classifier import Classifier
from keensight.models.dropout import Dropout
from keensight.models.foreign import Add
from keensight.models.graph import INPUT
from keensight.models.linear import TwoLogits
from keensight.models.pooling import MaxPool2d
from keensight.models.trace import Step, run, trace, without_norms
from keensight.values import Preprocessing

POINTWISE = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Sigmoid, nn.Tanh, nn.Identity,
    nn.BatchNorm2d, Dropout, nn.Dropout, Add,
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Sliding:
    """A network that answers for all places of a picture that are `stride` pixels apart.

    `is_exact`: whether each answer is that for its place alone, up to rounding.
    """

    steps: list[Step]
    mean: torch.Tensor
    std: torch.Tensor
    stride: int
    is_exact: bool

    def logits(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """Return logits NKhw for images float NCHW in [0, 1]; place (i, j) begins at pixel (i, j) * stride."""
        return run(self.steps, (images_NCHW - self.mean) / self.std)


def sliding(model: Classifier, size: Preprocessing) -> Sliding | None:
    """Return a classifier of pictures of this size as a network for larger ones, or None if its layers do not allow it.

    Layers that allow it: convolutions, poolings, what works on each number alone, and dense layers after these.
    """
    steps = without_norms(trace(model.network))
    maps = {INPUT: torch.zeros(1, size.channels, size.height, size.width)}
    strides, made, is_exact = {INPUT: 1}, [], True
    with torch.no_grad():
        for step in steps:
            inputs = [maps[name] for name in step.inputs]
            layer = _over_maps(step.layer, inputs[0])
            if layer is None or len({strides[name] for name in step.inputs}) != 1:
                return None
            maps[step.name] = layer.eval()(*inputs)
            factor, pads = _reach(layer)
            strides[step.name] = strides[step.inputs[0]] * factor
            is_exact &= not pads
            made.append(replace(step, layer=layer))
    if not made or maps[made[-1].name].shape[2:] != (1, 1):
        return None
    return Sliding(made, model.mean, model.std, strides[made[-1].name], is_exact)


class TwoMaps(nn.Module):
    """Does to maps what `TwoLogits` does to numbers."""

    def forward(self, z_N1hw: torch.Tensor) -> torch.Tensor:
        """Return logits N2hw for answers N1hw."""
        return F.pad(z_N1hw, (0, 0, 0, 0, 1, 0))


def _over_maps(layer: nn.Module, before: torch.Tensor) -> nn.Module | None:
    """Return what does to maps of any size what a layer does to `before`, those of one picture, or None."""
    if isinstance(layer, nn.Conv2d):
        return layer if layer.padding_mode == "zeros" and layer.dilation == (1, 1) and _is_even(layer.stride) else None
    if isinstance(layer, (nn.MaxPool2d, MaxPool2d, nn.AvgPool2d)):
        plain = not layer.ceil_mode and getattr(layer, "dilation", 1) == 1 and _is_even(layer.stride)
        return layer if plain else None
    if isinstance(layer, nn.AdaptiveAvgPool2d) and layer.output_size in (1, (1, 1)):
        return nn.AvgPool2d((before.shape[2], before.shape[3]), stride=1)
    if isinstance(layer, nn.AdaptiveMaxPool2d) and layer.output_size in (1, (1, 1)):
        return nn.MaxPool2d((before.shape[2], before.shape[3]), stride=1)
    if isinstance(layer, nn.Flatten):
        return nn.Identity() if (layer.start_dim, layer.end_dim) == (1, -1) else None
    if isinstance(layer, nn.Linear):
        return _as_convolution(layer, before.shape[1], before.shape[2], before.shape[3])
    if isinstance(layer, TwoLogits):
        return TwoMaps()
    return layer if isinstance(layer, POINTWISE) else None


def _as_convolution(layer: nn.Linear, channels: int, height: int, width: int) -> nn.Module | None:
    if layer.in_features != channels * height * width:
        return None
    convolution = nn.Conv2d(channels, layer.out_features, (height, width), bias=layer.bias is not None)
    convolution.weight.data = layer.weight.data.view(layer.out_features, channels, height, width)
    if layer.bias is not None and convolution.bias is not None:
        convolution.bias.data = layer.bias.data
    return convolution


def _is_even(stride: int | tuple[int, ...]) -> bool:
    return isinstance(stride, int) or len(set(stride)) == 1


def _reach(layer: nn.Module) -> tuple[int, bool]:
    """Return by how much a layer's map is smaller than its input, and whether it reads beyond the input's edge."""
    if not isinstance(layer, (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)):
        return 1, False
    stride = layer.stride if isinstance(layer.stride, int) else layer.stride[0]
    padding = layer.padding
    pads = padding == "same" if isinstance(padding, str) else any(torch.tensor(padding).reshape(-1).tolist())
    return stride, pads
