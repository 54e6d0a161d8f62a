"""The default: a small convolutional network whose depth follows the picture's size."""

from __future__ import annotations

from torch import nn

from keensight.errors import RecipeError


def cnn(
    height: int, width: int, channels: int, num_classes: int, filters: int = 16, dropout: float = 0.1
) -> nn.Sequential:
    """Build a convolutional network for pictures of any size from 4x4: NCHW to logits NK.

    Blocks of a 3x3 convolution, pooling and ReLU halve the picture while its shorter side is 4 pixels or more, four
    blocks at most; channels start at `filters` and double. The maximum over what is left feeds one linear layer, so the
    number of parameters does not grow with the picture. Pooling before ReLU gives the same answer for a quarter of
    the work.
    """
    if min(height, width) < 4:
        raise RecipeError(
            f"A cnn needs pictures of 4x4 pixels or more, and these are {height}x{width}. Set a larger size, or use "
            "the dense or logistic model."
        )
    layers: list[nn.Module] = []
    side, before, after = min(height, width), channels, filters
    while side >= 4 and len(layers) < 4 * 4:
        layers += [
            nn.Conv2d(before, after, 3, padding=1, bias=False),
            nn.MaxPool2d(2),
            nn.BatchNorm2d(after),
            nn.ReLU(),
        ]
        side, before, after = side // 2, after, 2 * after
    layers += [nn.AdaptiveMaxPool2d(1), nn.Flatten()]
    if dropout:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers, nn.Linear(before, num_classes))
