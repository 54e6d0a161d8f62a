"""A small residual network.

Shape letters: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import torch
from torch import nn

from keensight.errors import RecipeError
from keensight.models.dropout import Dropout
from keensight.models.mirror import mirrored
from keensight.models.pooling import MaxPool2d


class Residual(nn.Module):
    """Adds the output of some layers to their input (He et al., 2015, arXiv:1512.03385)."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*layers)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return NCHW in the input's shape."""
        outputs: torch.Tensor = inputs + self.body(inputs)
        return outputs


def resnet(
    height: int,
    width: int,
    channels: int,
    num_classes: int,
    filters: int = 16,
    dropout: float = 0.0,
    mirror: bool = False,
) -> nn.Sequential:
    """Build a residual network for pictures of any size from 8x8: NCHW to logits NK.

    A first convolution of `filters` channels; then stages that halve the picture and double the channels, each a
    convolution, pooling, and a residual convolution, while the shorter side is 4 pixels or more; then the largest value
    of each channel. After ResNet and Page's ResNet-9. With `mirror`, a trained network answers with the mean for the
    picture and its mirror image: for twice the work, and only if left and right do not matter.

    Raises RecipeError for a smaller picture.
    """
    if min(height, width) < 8:
        raise RecipeError(
            f"A resnet needs pictures of 8x8 pixels or more, and these are {height}x{width}. Set a larger size, or use "
            "the cnn, dense or logistic model."
        )
    layers: list[nn.Module] = _block(channels, filters)
    before = filters
    while min(height, width) >= 4:
        after = min(2 * before, max(filters, 256))
        layers += [*_block(before, after, MaxPool2d(2)), Residual(*_block(after, after))]
        height, width, before = height // 2, width // 2, after
    layers += [nn.AdaptiveMaxPool2d(1), nn.Flatten(), Dropout(dropout), nn.Linear(before, num_classes)]
    return nn.Sequential(*(mirrored(layers) if mirror else layers))


def _block(before: int, after: int, *pool: nn.Module) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, padding=1, bias=False), *pool, nn.BatchNorm2d(after), nn.ReLU()]
