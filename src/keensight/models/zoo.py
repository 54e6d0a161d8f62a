"""The models by name, in one visible table, and what can be asked of any of them.

Shape letters: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from keensight.errors import RecipeError, shortlist, suggestion
from keensight.models.articles import fashion, husky, planes
from keensight.models.cnn import cnn
from keensight.models.dense import by_hand, dense
from keensight.models.linear import linear, logistic
from keensight.models.resnet import resnet
from keensight.models.transfer import transfer
from keensight.values import FloatArray, Preprocessing, Split

MODELS: dict[str, Callable[..., nn.Module]] = {
    "logistic": logistic,
    "linear": linear,
    "dense": dense,
    "scratch": by_hand,
    "cnn": cnn,
    "resnet": resnet,
    "husky": husky,
    "fashion": fashion,
    "planes": planes,
    "transfer": transfer,
}


class Classifier(nn.Module):
    """A network with its normalisation inside: images float NCHW in [0, 1] to logits NK.

    The normalisation is measured on the training pictures, unless the network has an attribute `normalisation`, (mean,
    std) of the channels that it was pretrained with. Grey pictures have then as many channels as these, all equal.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: nn.Module, channels: int) -> None:
        super().__init__()
        mean, std = getattr(network, "normalisation", ([0.0] * channels, [1.0] * channels))
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))
        self.network = network

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """Return logits NK."""
        logits_NK: torch.Tensor = self.network((images_NCHW - self.mean) / self.std)
        return logits_NK


@dataclass(frozen=True, slots=True)
class Layer:
    """One row of a model's table: its kind, the shape it gives for one picture, and its parameters."""

    name: str
    shape: tuple[int, ...]
    parameters: int
    multiplications: int  # for one picture


def options_of(model: str) -> dict[str, Any]:
    """Return the options of a model and their defaults. Raises RecipeError for an unknown model."""
    if model not in MODELS:
        raise RecipeError(
            f"There is no model '{model}'. {suggestion(model, MODELS)}The models are {shortlist(list(MODELS))}."
        )
    parameters = inspect.signature(MODELS[model]).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}


def build(
    model: str, options: Mapping[str, Any], preprocessing: Preprocessing, num_classes: int, seed: int
) -> Classifier:
    """Build a model with freshly drawn weights; the same `seed` draws the same ones.

    Raises RecipeError for an unknown model, unknown options, or layers that do not fit the picture.
    """
    known = options_of(model)
    if unknown := [name for name in options if name not in known]:
        raise RecipeError(
            f"The model '{model}' has no option '{unknown[0]}'. {suggestion(unknown[0], known)}"
            f"Its options are {shortlist(list(known)) or 'none'}."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            network = MODELS[model](
                preprocessing.height, preprocessing.width, preprocessing.channels, num_classes, **options
            )
        except (TypeError, ValueError, RuntimeError) as error:
            settings = ", ".join(f"{name}={value}" for name, value in options.items())
            raise RecipeError(f"The model '{model}' cannot be built with {settings}: {error}.") from error
    return Classifier(network, preprocessing.channels)


def set_normalisation(model: Classifier, train: Split) -> None:
    """Measure mean and standard deviation of each channel on (at most 10,000 of) the training pictures.

    A network that brings its own normalisation keeps it.
    """
    if hasattr(model.network, "normalisation"):
        return
    mean_C, std_C = channel_statistics(train)
    model.mean.copy_(torch.from_numpy(mean_C).view(-1, 1, 1))
    model.std.copy_(torch.from_numpy(std_C).view(-1, 1, 1))


def channel_statistics(train: Split) -> tuple[FloatArray, FloatArray]:
    """Return mean and standard deviation of each channel, levels in [0, 1], of at most some 10,000 pictures."""
    rows = train.rows[:: max(1, len(train) // 10_000)]
    channels = train.images.shape[3]
    counts = np.zeros((channels, 256), np.int64)  # of each level: exact, and ten times faster than sums in float64
    for first in range(0, len(rows), 64):  # a few at a time, so that memory stays flat
        part = train.images[rows[first : first + 64]]
        for channel in range(channels):
            counts[channel] += np.bincount(part[..., channel].reshape(-1), minlength=256)
    levels = np.arange(256) / 255
    shares = counts / counts.sum(axis=1, keepdims=True)
    mean = shares @ levels
    variance = shares @ levels**2 - mean**2
    return mean, np.sqrt(np.maximum(variance, 1e-6))


def layer_table(model: Classifier, preprocessing: Preprocessing) -> list[dict[str, Any]]:
    """Return `layers` as reports and `keensight info` show them: a list of {"name", "shape", "parameters"}."""
    return [
        {"name": layer.name, "shape": list(layer.shape), "parameters": layer.parameters}
        for layer in layers(model, preprocessing)
    ]


def layers(model: Classifier, preprocessing: Preprocessing) -> list[Layer]:
    """Return the model's table: a row for each layer, in the order in which a picture passes them."""
    rows: list[Layer] = []

    def note(module: nn.Module, _: Any, output: torch.Tensor) -> None:
        shape = tuple(output.shape[1:])
        positions = output[0].numel() // output.shape[1]
        weights = sum(p.numel() for p in module.parameters() if p.dim() > 1)
        parameters = sum(p.numel() for p in module.parameters())
        rows.append(Layer(type(module).__name__, shape, parameters, weights * positions))

    hooks = [m.register_forward_hook(note) for m in model.modules() if not list(m.children())]
    was_training = model.training
    model.eval()
    with torch.no_grad():
        shape = (1, preprocessing.channels, preprocessing.height, preprocessing.width)
        model(torch.zeros(shape, device=model.mean.device))
    model.train(was_training)
    for hook in hooks:
        hook.remove()
    return rows
