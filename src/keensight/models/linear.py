"""Linear classifiers: one weight for each pixel, and for each class where there are more than two.

Shape letters: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from keensight.errors import RecipeError


class TwoLogits(nn.Module):
    """One cell's answer z as the logits (0, z) of two classes: a sigmoid is a softmax over them."""

    def forward(self, z_N1: torch.Tensor) -> torch.Tensor:
        """Return logits N2 for answers N1."""
        return F.pad(z_N1, (1, 0))


def logistic(height: int, width: int, channels: int, num_classes: int) -> nn.Sequential:
    """Build multinomial logistic regression on the pixels: NCHW to logits NK.

    The weights start at zero: the problem is convex, and so every run starts from the same place.
    """
    linear = nn.Linear(channels * height * width, num_classes)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(nn.Flatten(), linear)


def linear(height: int, width: int, channels: int, num_classes: int, init: str = "zeros") -> nn.Sequential:
    """Build a two-class linear classifier with a single vector of weights: f(x) = w·x + b, logits (0, f).

    `init` is "zeros", or "glorot" for random weights as Keras draws them (Glorot and Bengio, 2010). Pixels that never
    change keep the weight they start with, and an attacker may change them: zeros are the safer start.

    Raises RecipeError for other than two classes, or another `init`.
    """
    check_two_classes("linear", num_classes)
    layer = nn.Linear(channels * height * width, 1)
    if init not in ("zeros", "glorot"):
        raise RecipeError(f"init is '{init}'; the linear model starts from 'zeros' or from 'glorot'.")
    nn.init.zeros_(layer.weight) if init == "zeros" else nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return nn.Sequential(nn.Flatten(), layer, TwoLogits())


def linear_weights(model: nn.Module) -> torch.Tensor:
    """Return w of f(x) = w·x + b for pixels x in [0, 1], as CHW: how the second logit gains on the first.

    `model` is a Classifier around `linear`, or around `logistic` for two classes; its normalisation is taken into
    account. Differentiable. Raises RecipeError for any other model.
    """
    network = getattr(model, "network", None)
    layers = [layer for layer in network if not isinstance(layer, (nn.Flatten, TwoLogits))] if network else []
    if len(layers) != 1 or not isinstance(layers[0], nn.Linear) or layers[0].out_features > 2:
        raise RecipeError(
            "Robust hinge and exact attack are exact for a linear model of two classes, and this is none. Use model = "
            '"linear", or another loss.'
        )
    rows = layers[0].weight
    difference = rows[0] if len(rows) == 1 else rows[1] - rows[0]
    std = cast("torch.Tensor", model.std)
    return difference.view(len(std), -1) / std.view(-1, 1)


def check_two_classes(model: str, num_classes: int) -> None:
    """Raise RecipeError unless there are two classes."""
    if num_classes != 2:
        raise RecipeError(
            f"The model '{model}' has one answer, which tells two classes apart, and the data has {num_classes} "
            'classes. Choose two of them with classes = ["a", "b"] in the recipe, or use the cnn, dense or logistic '
            "model."
        )
