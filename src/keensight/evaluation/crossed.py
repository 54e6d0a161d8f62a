"""Cross-validation, where few pictures are held out and training is cheap: an accuracy that rests on more of them.

Shape letters: N images, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from keensight.evaluation.metrics import accuracy_interval
from keensight.models.classifier import Classifier
from keensight.models.dense import ByHand
from keensight.models.features import features
from keensight.models.layers import layers
from keensight.models.transfer import Transfer
from keensight.training.folds import folds
from keensight.training.head import best_head
from keensight.training.loop import predict_logits, start
from keensight.training.pieces import smallest_batch
from keensight.training.trainers import fit_best, fresh
from keensight.values import CrossValidation, FloatArray, IntArray, Recipe, Split, Splits

FOLDS = 5
CHEAP = 1e11  # multiplications, forward passes only: ten seconds on two cores
MOST = 5_000  # pictures with features: heads on more take long, and this many leave enough held out


@dataclass(frozen=True, slots=True, eq=False)
class Crossed:
    """What cross-validation measured, and logits NK for all training and then all validation pictures, with labels N.

    Each picture's logits are from a network that has not learnt from it.
    """

    measured: CrossValidation
    logits_NK: FloatArray
    labels_N: IntArray


def cross_validate(model: Classifier, splits: Splits, recipe: Recipe) -> Crossed | None:
    """Train as `model` was trained on four fifths of the training and validation pictures, and answer for the others.

    A head on a frozen backbone is fitted to features; any other network is trained again. Within each fold, a fifth of
    what is learnt from chooses what validation chooses. The test pictures take no part.

    Returns None where that is not cheap, or would leave a class out of what is learnt.
    """
    if recipe.model.weights or splits.train.images is not splits.val.images:  # given weights may know what is held out
        return None
    whole = _joined(splits.train, splits.val)
    is_head = isinstance(model.network, Transfer) and model.network.is_frozen
    if not (len(whole) <= MOST if is_head else _is_cheap(model, splits, recipe, len(whole))):
        return None
    parts = list(_parts(whole, len(splits.class_names), recipe.seed))
    if len(parts) < 2:
        return None
    features_NF = torch.from_numpy(features(model, whole)) if is_head else None
    logits_NK = np.zeros((len(whole), len(splits.class_names)), np.float32)
    for learnt, chooses, held_out in parts:
        if features_NF is not None:
            logits_NK[held_out] = _by_head(
                features_NF, whole.labels, learnt, chooses, held_out, len(splits.class_names)
            )
        else:
            logits_NK[held_out] = _by_network(
                splits, recipe, *(whole.take(rows) for rows in (learnt, chooses, held_out))
            )
    correct = int((logits_NK.argmax(axis=1) == whole.labels).sum())
    low, high = accuracy_interval(correct, len(whole))
    measured = CrossValidation(len(parts), len(whole), correct / len(whole), low, high)
    return Crossed(measured, logits_NK, whole.labels)


def _joined(one: Split, other: Split) -> Split:
    rows, labels = np.concatenate([one.rows, other.rows]), np.concatenate([one.labels, other.labels])
    units = None if one.units is None or other.units is None else np.concatenate([one.units, other.units])
    return Split(one.images, rows, labels, one.paths + other.paths, units)


def _is_cheap(model: Classifier, splits: Splits, recipe: Recipe, n: int) -> bool:
    if isinstance(model.network, ByHand) or recipe.train.loss != Recipe().train.loss:
        return False
    per_picture = sum(layer.multiplications for layer in layers(model, splits.preprocessing))
    return FOLDS * n * recipe.train.epochs * max(per_picture, 100_000) <= CHEAP


def _parts(whole: Split, num_classes: int, seed: int) -> Iterator[tuple[IntArray, IntArray, IntArray]]:
    """Yield members to learn from, to choose by, and held out, for each fold; none where a fold would lack a class."""
    units = np.arange(len(whole)) if whole.units is None else whole.units
    if len(np.unique(units)) < 2 * FOLDS:
        return
    found = []
    for rows, held_out in folds(whole.labels, units, FOLDS, seed):
        if len(np.unique(units[rows])) < FOLDS:
            return
        learnt, chooses = next(folds(whole.labels[rows], units[rows], FOLDS, seed))
        if len(np.unique(whole.labels[rows[learnt]])) < num_classes:
            return
        found.append((rows[learnt], rows[chooses], held_out))
    yield from found


def _by_head(
    features_NF: torch.Tensor,
    labels_N: IntArray,
    learnt: IntArray,
    chooses: IntArray,
    held_out: IntArray,
    num_classes: int,
) -> FloatArray:
    labels = torch.from_numpy(labels_N)
    best = best_head(features_NF[learnt], labels[learnt], num_classes, (features_NF[chooses], labels[chooses]))
    logits_NK: FloatArray = best.logits(features_NF[held_out]).numpy()
    return logits_NK


def _by_network(splits: Splits, recipe: Recipe, learnt: Split, chooses: Split, held_out: Split) -> FloatArray:
    fold = replace(splits, train=learnt, val=chooses, test=None)
    # a fold learns from fewer pictures than the run, and its batches may not be cut into as many pieces
    most = smallest_batch(len(learnt), recipe.train.batch_size)
    recipe = recipe.having(pieces=min(recipe.train.pieces, most))
    state = start(fresh(recipe, splits.preprocessing, splits.class_names), fold, recipe)
    fit_best(state, fold, recipe)
    logits_NK: FloatArray = predict_logits(state.model.eval(), held_out, recipe).cpu().numpy()
    return logits_NK
