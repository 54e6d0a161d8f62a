"""What a trivial classifier reaches: the floor that a model must clear before its accuracy means anything."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from keensight.models.zoo import Classifier, build
from keensight.training.loop import evaluate, fit
from keensight.values import Floor, Preprocessing, Recipe, Split, Splits

STEPS = 2000  # enough to come within a point of scikit-learn's converged answer; a test compares


def majority_floor(splits: Splits) -> Floor:
    """Return the accuracy of always answering the most frequent *training* class, the first one where two tie."""
    answer = int(np.bincount(splits.train.labels, minlength=len(splits.class_names)).argmax())
    return Floor(
        name="majority class",
        val_accuracy=_share(splits.val, answer),
        test_accuracy=None if splits.test is None else _share(splits.test, answer),
    )


def logistic_floor(splits: Splits, seed: int = 0) -> Floor:
    """Return the accuracy of softmax regression on the pixels, averaged to 32x32 at most, from the best of its epochs.

    It gets the same training pictures as the model, and no augmentation.
    """
    size = splits.preprocessing
    small = Preprocessing(min(size.height, 32), min(size.width, 32), size.channels)
    epochs = min(100, max(5, round(STEPS * 128 / len(splits.train))))
    recipe = Recipe(model="logistic", epochs=epochs, learning_rate=0.01, seed=seed, precision="float32")
    model = build("logistic", {}, small, len(splits.class_names), seed)
    if (small.height, small.width) != (size.height, size.width):
        network = nn.Sequential(nn.AdaptiveAvgPool2d((small.height, small.width)), model.network)
        model = Classifier(network, size.channels)
    best: dict[str, torch.Tensor] = {}
    val_accuracy = 0.0
    for epoch in fit(model, splits, recipe):
        if epoch.best:
            best = {name: tensor.clone() for name, tensor in model.state_dict().items()}
            val_accuracy = epoch.val_accuracy
    model.load_state_dict(best)
    test_accuracy = None if splits.test is None else evaluate(model, splits.test, recipe)[1]
    return Floor("logistic regression", val_accuracy, test_accuracy)


def _share(split: Split, answer: int) -> float:
    return float((split.labels == answer).mean()) if len(split) else 0.0
