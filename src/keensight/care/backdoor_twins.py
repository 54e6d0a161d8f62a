"""Clean twins of a network: the same recipe, trained anew on the same pictures with other seeds."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from keensight.errors import TrainingError
from keensight.models.classifier import Classifier
from keensight.models.transfer import Transfer
from keensight.training.loop import start
from keensight.training.trainers import fit_any, fresh
from keensight.values import Recipe, Split, Splits

FIRST_SEED = 1_000  # far from those that people give; a bundle's own seed would give the bundle's own network


def twins(
    recipe: Recipe, splits: Splits, count: int, goes_on: Callable[[], bool] = lambda: True
) -> Iterator[Classifier]:
    """Yield `count` networks, trained as `recipe` says with other seeds; fewer where `goes_on` says no between epochs.

    Initial weights, the order of pictures and augmentation differ. A head on a frozen backbone has none of these: its
    twins learn from other draws of training and validation pictures, of the same numbers.
    """
    for number in range(count):
        own = recipe.having(seed=(recipe.seed + FIRST_SEED + number) % 2**32, weights="", splits="")
        model = fresh(own, splits.preprocessing, splits.class_names)
        drawn = _drawn_anew(splits, own.seed) if isinstance(model.network, Transfer) else splits
        state, best = start(model, drawn, own), model.state_dict()
        try:
            for epoch in fit_any(state, drawn, own):
                if epoch.best:
                    best = copy.deepcopy(state.model.state_dict())
                if not (goes_on() or epoch.stopped):
                    return
        except TrainingError:
            continue  # a twin that diverged says nothing
        state.model.load_state_dict(best)
        yield state.model.eval()


def _drawn_anew(splits: Splits, seed: int) -> Splits:
    """Return the splits with training and validation pictures drawn anew, of the same numbers."""
    train, val = splits.train, splits.val
    if train.images is not val.images:
        return splits
    rows, labels = np.concatenate([train.rows, val.rows]), np.concatenate([train.labels, val.labels])
    paths = (*train.paths, *val.paths)
    units = None
    if train.units is not None and val.units is not None:
        units = np.concatenate([train.units, val.units])
    every = Split(train.images, rows, labels, paths, units)
    order = np.random.default_rng(seed).permutation(len(every))
    return replace(splits, train=every.take(order[: len(train)]), val=every.take(order[len(train) :]))
