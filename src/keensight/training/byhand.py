"""Training the network of `models/scratch.py`: NumPy does the arithmetic, and torch only carries the weights.

So a network trained by hand gets the same report and the same bundle as any other. Shape letters: N images,
D pixels of an image (C, H, W in a row), I cells that a layer reads, O cells that it has.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from keensight.errors import RecipeError
from keensight.models import scratch
from keensight.models.classifier import Classifier
from keensight.training.loop import OnStep, State, evaluate, is_best, why_stop
from keensight.values import Epoch, FloatArray, Recipe, Split, Splits
from keensight.values.recipe import KEYS

LOSSES = {"cross-entropy": scratch.cross_entropy, "squared-error": scratch.squared_error}


def fit_by_hand(state: State, splits: Splits, recipe: Recipe, on_step: OnStep | None = None) -> Iterator[Epoch]:
    """Train a `ByHand` network by plain mini-batch gradient descent in NumPy, with the interface of `fit`.

    Raises RecipeError if `recipe` asks for something that `scratch.train` cannot do, TrainingError if the loss is no
    longer a number.
    """
    check_by_hand(recipe)
    network = state.model.network
    images_ND = _pixels(state.model, splits.train)
    lessons = scratch.train(
        parameters_of(network),
        images_ND,
        splits.train.labels,
        LOSSES[recipe.train.loss],
        epochs=recipe.train.epochs,
        batch_size=recipe.train.batch_size,
        learning_rate=recipe.train.learning_rate,
        seed=recipe.seed,
        done=len(state.history),
    )
    while not (state.history and state.history[-1].stopped):
        begin = time.perf_counter()
        lesson = next(lessons)
        put_parameters(network, lesson.parameters)
        train_accuracy = scratch.accuracy(lesson.parameters, images_ND, splits.train.labels)
        val_loss, val_accuracy = evaluate(state.model, splits.val, recipe)
        seconds = time.perf_counter() - begin
        state.seconds += seconds
        best = is_best(state.history, recipe, val_accuracy, val_loss)
        stopped = why_stop(state, recipe, lesson.number, val_accuracy, best)
        epoch = Epoch(
            lesson.number, lesson.loss, train_accuracy, val_loss, val_accuracy, lesson.learning_rate,
            round(seconds, 3), best, stopped,
        )  # fmt: skip
        state.history.append(epoch)
        if on_step:
            on_step(1, 1)
        yield epoch


def check_by_hand(recipe: Recipe) -> None:
    """Raise RecipeError for a key that gradient descent by hand does not have."""
    unknown = ("label_smoothing", "class_weights", "budget_s", *recipe.augment.strengths)
    needed = {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "schedule": "linear"}
    needed |= {name: KEYS[name].default for name in unknown}
    said = recipe.flat()
    other = [name for name, value in needed.items() if said[name] != value]
    if recipe.train.pieces > 1:
        needed["pieces"] = 1
        other.append("pieces")
    if recipe.train.loss not in LOSSES:
        raise RecipeError(
            f"loss is '{recipe.train.loss}'; the model 'scratch' has {' and '.join(LOSSES)}. Use one of these, or the "
            "model 'dense', which is the same network in torch."
        )
    if other:
        wanted = ", ".join(f"{key} = {needed[key]!r}" for key in other)
        raise RecipeError(
            f"The model 'scratch' learns only by plain gradient descent: it needs {wanted}. Start from the "
            "recipe 'digits-scratch', or use the model 'dense', which is the same network in torch."
        )


def parameters_of(network: nn.Module) -> scratch.Parameters:
    """Return a `ByHand` network's weights in NumPy's layout: IO and O for each layer."""
    linears = [module for module in network.modules() if isinstance(module, nn.Linear)]
    return scratch.Parameters(
        *(
            array
            for linear in linears
            for array in (linear.weight.detach().cpu().numpy().T.copy(), linear.bias.detach().cpu().numpy().copy())
        )
    )


def put_parameters(network: nn.Module, parameters: scratch.Parameters) -> None:
    """Copy weights from NumPy into a `ByHand` network."""
    linears = [module for module in network.modules() if isinstance(module, nn.Linear)]
    arrays = scratch.arrays(parameters)
    with torch.no_grad():
        for linear, weights_IO, biases_O in zip(linears, arrays[::2], arrays[1::2], strict=True):
            linear.weight.copy_(torch.from_numpy(weights_IO.T.copy()))
            linear.bias.copy_(torch.from_numpy(biases_O))


def _pixels(model: Classifier, split: Split) -> FloatArray:
    """Return a split's pictures as float32 ND, normalised as in the model."""
    images_NHWC = split.gather()
    mean, std = (stat.detach().cpu().numpy() for stat in (model.mean, model.std))
    images_NCHW = (images_NHWC.transpose(0, 3, 1, 2).astype(np.float32) / 255 - mean) / std
    images_ND: FloatArray = images_NCHW.reshape(len(images_NCHW), -1)
    return images_ND
