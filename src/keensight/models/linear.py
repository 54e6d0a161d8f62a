"""Linear classifiers: one weight for each pixel, and for each class where there are more than two.

Shape letters: N images, C channels, H height, W width, X pixels of a channel, D numbers of a picture, K classes.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from keensight.errors import RecipeError


class TwoLogits(nn.Module):
    """Turns one cell's answer z into the logits (0, z) of two classes: a sigmoid is a softmax over them."""

    def forward(self, z_N1: torch.Tensor) -> torch.Tensor:
        """Return logits N2 for answers N1."""
        return F.pad(z_N1, (1, 0))


def logistic(height: int, width: int, channels: int, num_classes: int) -> nn.Sequential:
    """Build multinomial logistic regression on the pixels: NCHW to logits NK.

    The weights start at zero: the problem is convex, so no random start is needed.
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


def is_linear(model: nn.Module) -> bool:
    """Say whether a Classifier is linear in the pixels: one layer of weights, and no activation function."""
    return _only_layer(model) is not None


def pixel_weights(model: nn.Module) -> torch.Tensor:
    """Return a linear Classifier's weights as KCX, X the pixels of a channel: how logits grow with pixels in [0, 1].

    Its normalisation is taken into account. Raises RecipeError for a model that is not linear.
    """
    if (layer := _only_layer(model)) is None:
        raise RecipeError(
            "Only a linear model has a weight for each pixel, and this one is not. Use the model linear or logistic."
        )
    rows_KD = layer.weight if layer.out_features > 1 else F.pad(layer.weight, (0, 0, 1, 0))  # the logits (0, z)
    std = cast("torch.Tensor", model.std)
    return rows_KD.view(len(rows_KD), len(std), -1) / std.view(-1, 1)


def linear_weights(model: nn.Module) -> torch.Tensor:
    """Return w of f(x) = w·x + b for pixels x in [0, 1], as CX: the second logit less the first.

    `model` is a Classifier around `linear`, or around `logistic` for two classes; its normalisation is taken into
    account. Differentiable. Raises RecipeError for any other model.
    """
    layer = _only_layer(model)
    if layer is None or layer.out_features > 2:
        raise RecipeError(
            "The robust hinge loss and the exact attack need a linear model of two classes, and this is not one. Use "
            'model = "linear", or another loss.'
        )
    rows = layer.weight
    difference = rows[0] if len(rows) == 1 else rows[1] - rows[0]
    std = cast("torch.Tensor", model.std)
    return difference.view(len(std), -1) / std.view(-1, 1)


def _only_layer(model: nn.Module) -> nn.Linear | None:
    """Return the one layer of a linear Classifier; None for a model that is not linear."""
    network = getattr(model, "network", None)
    leaves = [layer for layer in network.modules() if not list(layer.children())] if network else []
    weighing = [layer for layer in leaves if not isinstance(layer, (nn.Flatten, TwoLogits))]
    return weighing[0] if len(weighing) == 1 and isinstance(weighing[0], nn.Linear) else None


def check_two_classes(model: str, num_classes: int) -> None:
    """Raise RecipeError unless there are two classes."""
    if num_classes != 2:
        raise RecipeError(
            f"The model '{model}' tells only two classes apart, and the data has {num_classes} "
            'classes. Choose two of them with classes = ["a", "b"] in the recipe, or use the cnn, dense or logistic '
            "model."
        )


def signed(labels_N: torch.Tensor) -> torch.Tensor:
    """Return labels 0 and 1 as -1 and +1."""
    return 2 * labels_N - 1
