"""Floors: the accuracies of trivial classifiers, which a model must exceed before its own means anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from keensight.models.softmax_regression import learn
from keensight.models.tensors import on_one_core, to_images
from keensight.training.loop import shuffled_batches
from keensight.training.schedule import one_cycle
from keensight.values import Floor, IntArray, Preprocessing, Recipe, Split, Splits

STEPS = 2000  # enough to come within two points of scikit-learn's converged accuracy; a test compares
MANY = 20_000  # training pictures: from here on, batches of 256 save half the time and cost 0.1 points of accuracy
MOST = 100_000  # training pictures: more of them hardly change a weight


def majority_floor(splits: Splits) -> Floor:
    """Return the accuracy of always answering the most frequent *training* class, the first one where two tie."""
    answer = int(np.bincount(splits.train.labels, minlength=len(splits.class_names)).argmax())
    return Floor(
        name="majority class",
        val_accuracy=_share(splits.val, answer),
        test_accuracy=None if splits.test is None else _share(splits.test, answer),
    )


def logistic_floor(splits: Splits, seed: int = 0) -> Floor:
    """Return the accuracy of softmax regression on the pixels, averaged to at most 32x32, after its best epoch.

    It gets the same training pictures as the model (at most 100,000 of them, evenly spread), and no augmentation.
    """
    splits = _small(splits)
    epochs = min(100, max(4, round(STEPS * 128 / len(splits.train))))
    recipe = Recipe().having(epochs=epochs, learning_rate=0.01, seed=seed)
    if len(splits.train) >= MANY:
        recipe = recipe.having(batch_size=256, learning_rate=0.014)
    epochs_learnt = learn(
        splits.train, len(splits.class_names), passes(splits.train, recipe), recipe.train.weight_decay
    )
    with on_one_core():
        # a generator, so that only the best epoch is kept: with a thousand classes, each takes 12 MB
        told = ((each.accuracy(splits.val), each) for each in epochs_learnt)
        val_accuracy, best = max(told, key=lambda pair: pair[0])
        return Floor("logistic regression", val_accuracy, None if splits.test is None else best.accuracy(splits.test))


def passes(train: Split, recipe: Recipe) -> Iterator[list[tuple[IntArray, float]]]:
    """Yield each epoch's steps: a batch's members, and the learning rate of a one-cycle schedule."""
    for epoch in range(recipe.train.epochs):
        batches = shuffled_batches(train, recipe, epoch + 1)
        yield [
            (batch, recipe.train.learning_rate * one_cycle((epoch + i / len(batches)) / recipe.train.epochs))
            for i, batch in enumerate(batches)
        ]


def _small(splits: Splits) -> Splits:
    """Return the splits with pictures averaged to at most 32x32: a hundred epochs on large ones would take minutes."""
    train, size = splits.train, splits.preprocessing
    if len(train) > MOST:
        few = np.linspace(0, len(train) - 1, MOST).round().astype(np.int64)
        train = train.take(few)
    small = replace(size, height=min(size.height, 32), width=min(size.width, 32))
    if small == size:
        return replace(splits, train=train)
    val, test = _averaged(splits.val, small), splits.test and _averaged(splits.test, small)
    return replace(splits, preprocessing=small, train=_averaged(train, small), val=val, test=test)


def _averaged(split: Split, size: Preprocessing) -> Split:
    parts = []
    for batch in split.batches(64):
        images_NCHW = to_images(split.gather(batch), torch.device("cpu"))
        averaged_NCHW = F.adaptive_avg_pool2d(images_NCHW, (size.height, size.width))
        parts.append((255 * averaged_NCHW).round().byte().permute(0, 2, 3, 1).numpy())
    return replace(split, images=np.concatenate(parts), rows=np.arange(len(split)))


def _share(split: Split, answer: int) -> float:
    return float((split.labels == answer).mean()) if len(split) else 0.0
