"""The default: a small convolutional network whose depth follows the picture's size."""

from __future__ import annotations

from torch import nn

from keensight.errors import RecipeError
from keensight.models.dropout import Dropout
from keensight.models.mirror import mirrored
from keensight.models.pooling import MaxPool2d


def cnn(
    height: int,
    width: int,
    channels: int,
    num_classes: int,
    filters: int = 24,
    dropout: float = 0.1,
    mirror: bool = False,
) -> nn.Sequential:
    """Build a convolutional network for pictures of any size from 4x4: NCHW to logits NK.

    Blocks of a 3x3 convolution, pooling and ReLU halve the picture while its shorter side is 4 pixels or more;
    channels start at `filters` and double up to 128. One linear layer reads what is left, 2 or 3 pixels high. Pooling
    before ReLU gives the same answer for a quarter of the work. With `mirror`, a trained network answers with the mean
    for the picture and its mirror image, for data in which left and right do not matter.

    Raises RecipeError for a smaller picture.
    """
    if min(height, width) < 4:
        raise RecipeError(
            f"A cnn needs pictures of 4x4 pixels or more, and these are {height}x{width}. Set a larger size, or use "
            "the dense or logistic model."
        )
    layers: list[nn.Module] = []
    before, after = channels, filters
    while min(height, width) >= 4:
        layers += [
            nn.Conv2d(before, after, 3, padding=1, bias=False),
            MaxPool2d(2),
            nn.BatchNorm2d(after),
            nn.ReLU(),
        ]
        height, width, before, after = height // 2, width // 2, after, min(2 * after, max(filters, 128))
    layers.append(nn.Flatten())
    if dropout:
        layers.append(Dropout(dropout))
    layers.append(nn.Linear(before * height * width, num_classes))
    return nn.Sequential(*(mirrored(layers) if mirror else layers))
