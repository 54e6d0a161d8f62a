"""The models by name, in one visible table; their options, and how they are built.

Shape letters: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from keensight.errors import RecipeError, shortlist, suggestion
from keensight.models.articles import fashion, husky, planes
from keensight.models.classifier import Classifier
from keensight.models.cnn import cnn
from keensight.models.dense import by_hand, dense
from keensight.models.linear import linear, logistic
from keensight.models.resnet import resnet
from keensight.models.strided import strided
from keensight.models.transfer import transfer
from keensight.values import Preprocessing

MODELS: dict[str, Callable[..., nn.Module]] = {
    "logistic": logistic,
    "linear": linear,
    "dense": dense,
    "scratch": by_hand,
    "cnn": cnn,
    "resnet": resnet,
    "strided": strided,
    "husky": husky,
    "fashion": fashion,
    "planes": planes,
    "transfer": transfer,
}


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
