"""The networks of the articles, layer by layer.

ReLU comes after pooling here and before it there: a maximum commutes with ReLU, so the answers, the shapes and the
parameters are the same. Networks that were written in Keras have Keras' initial weights.
"""

from __future__ import annotations

from torch import nn

from keensight.errors import RecipeError
from keensight.models.chain import Chain
from keensight.models.dropout import Dropout
from keensight.models.linear import TwoLogits, check_two_classes
from keensight.models.pooling import MaxPool2d


def husky(height: int, width: int, channels: int, num_classes: int, dropout: float = 0.4) -> nn.Sequential:
    """Build Husky AI's network: three valid 3x3 convolutions, a dense layer of 128, and one sigmoid cell.

    At 128x128x3 it has 3,304,769 parameters. The sigmoid is a softmax over (0, z): class 1 is the cell's "yes".

    Raises RecipeError for other than two classes, or a picture smaller than 22x22.
    """
    check_two_classes("husky", num_classes)
    layers: list[nn.Module] = []
    for before, after in ((channels, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(before, after, 3), MaxPool2d(2), nn.ReLU(), Dropout(dropout)]
        height, width = (height - 2) // 2, (width - 2) // 2
    _check_something_is_left("husky", 22, height, width)
    layers += [nn.Flatten(), nn.Linear(128 * height * width, 128), nn.ReLU(), nn.Linear(128, 1), TwoLogits()]
    return _as_keras_starts(Chain(*layers))


def fashion(height: int, width: int, channels: int, num_classes: int) -> nn.Sequential:
    """Build the Fashion-MNIST article's network: convolutions of 16 and 64, one pooling, dense 64, 32 and K.

    At 28x28x1 and ten classes it has 507,530 parameters.

    Raises RecipeError for a picture smaller than 7x7.
    """
    height, width = (height - 4 - 3) // 2 + 1, (width - 4 - 3) // 2 + 1
    _check_something_is_left("fashion", 7, height, width)
    network = Chain(
        nn.Conv2d(channels, 16, 3),
        nn.ReLU(),
        nn.Conv2d(16, 64, 3),
        MaxPool2d(3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * height * width, 64),
        nn.ReLU(),
        nn.Linear(64, 32),
        nn.ReLU(),
        nn.Linear(32, num_classes),
    )
    return _as_keras_starts(network)


def planes(height: int, width: int, channels: int, num_classes: int, dropout: float = 0.5) -> nn.Sequential:
    """Build the PlanesNet article's network: two convolutional layers, dropout, and a readout layer.

    The article names the layers but no sizes; 32 and 64 channels of 5x5 are ours.

    Raises RecipeError for a picture smaller than 4x4.
    """
    _check_something_is_left("planes", 4, height // 4, width // 4)
    return Chain(
        nn.Conv2d(channels, 32, 5, padding=2),
        MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(32, 64, 5, padding=2),
        MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        Dropout(dropout),
        nn.Linear(64 * (height // 4) * (width // 4), num_classes),
    )


def _as_keras_starts(network: nn.Sequential) -> nn.Sequential:
    """Draw weights after Glorot and Bengio (2010) and set biases to 0; torch's weights are up to 2.4 times smaller."""
    for module in network:
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


def _check_something_is_left(model: str, least: int, height: int, width: int) -> None:
    if min(height, width) < 1:
        raise RecipeError(
            f"The model '{model}' needs pictures of {least}x{least} pixels or more: its convolutions and poolings "
            "leave nothing of smaller ones. Set a larger size, or use the cnn, dense or logistic model."
        )
