"""Fits what tells a model's own pictures from others, and the threshold above which the answer is "none of these".

Shape letters: N own pictures, M pictures of nonsense, F features, P prototypes, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from keensight.data.cache import SMALL_PX
from keensight.data.given import as_image
from keensight.data.nonsense import NONSENSE, nonsense
from keensight.data.polarity import Borders, match_polarity
from keensight.errors import DataError
from keensight.evaluation.kmeans import centres_of
from keensight.executor import Threads
from keensight.machine import cores
from keensight.models.classifier import Classifier
from keensight.models.features import features, last_features
from keensight.models.oddness import LEAST_NORM, Oddness, num_statistics
from keensight.models.tensors import on_one_core
from keensight.models.transfer import Transfer
from keensight.training.folds import folds
from keensight.training.optimizers import AdamW
from keensight.values import FloatArray, IntArray, Split, Splits, Uint8Array

MOST_WEIGHTS = 50_000  # in prototypes and hidden cells: 200 kB, and more only for very long features
LEAST_ROWS, MOST_PROTOTYPES, MOST_HIDDEN = 24, 200, 32
MOST_OWN = 2000  # training pictures, and validation pictures, whose features are used
MOST_MODELS = 500  # training pictures that nonsense is made of
COUNT, LARGE_COUNT, LARGE = 64, 16, 100 * 100  # pictures of each kind of nonsense; fewer of more pixels, for time
SLACK = 1e-4  # of a threshold: rounding differs between batches of different sizes
STEPS, RATE, DECAY = 150, 0.015, 0.01  # of the background network's training
FEW = 100  # validation pictures: with fewer, training pictures in folds help to set the threshold
FOLDS = 5
SHRINK = 1e-3  # of statistics' correlations: 0.01 accepts a fifth more of foreign chips at PlanesNet
ONE = 0.95  # all tests are 0 at the median of validation pictures, and 1 where this share of them is below


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """Features of the pictures that oddness is fitted to: training and validation pictures, and nonsense."""

    train_NF: FloatArray
    labels_N: IntArray  # of the training pictures
    val_NF: FloatArray
    nonsense: Mapping[str, FloatArray]  # by kind, MF each
    num_statistics: int = 0  # the last so many of the features


@dataclass(frozen=True, slots=True, eq=False)
class Learnt:
    """What was fitted, and the oddness N of training pictures by modules that had not met them; empty if not needed."""

    module: Oddness
    crossed_N: FloatArray


def learn_oddness(model: Classifier, splits: Splits, borders: Borders, seed: int) -> Learnt:
    """Return the oddness of a trained classifier's features, fitted to its own pictures and to nonsense.

    With few validation pictures and a frozen backbone, which has learnt from none, training pictures in folds stand
    beside them. `borders` are the bundle's: nonsense that is light where its pictures are dark will be inverted, too.
    Everything random comes from `seed`. Raises RecipeError if the network has no linear layer.
    """
    few = splits.train.thinned(MOST_MODELS)
    own_NHWC, count = few.gather(), LARGE_COUNT if math.prod(few.shape[:2]) > LARGE else COUNT
    kinds = [kind for kind, row in NONSENSE.items() if not row.held_out]
    with Threads(cores()) as threads:
        found = threads.map(lambda kind: match_polarity(nonsense(kind, count, own_NHWC, seed), borders)[0], kinds)
        drawn = dict(zip(kinds, found, strict=True))
    count_of_statistics = num_statistics(model.network, splits.train.shape[2])
    more = count_of_statistics > 0
    both = last_features(model, as_split(np.concatenate(list(drawn.values()))), more)
    parts = np.split(both, len(drawn))
    (train_NF, labels_N), (val_NF, _) = _own(model, splits.train, more), _own(model, splits.val, more)
    units = [_units(splits.train.thinned(MOST_OWN))]
    if is_small(splits.train):
        soft = few.thinned(MOST_MODELS)
        units.append(_units(soft))
        train_NF = np.concatenate([train_NF, last_features(model, softened(soft), more)])
        labels_N = np.concatenate([labels_N, soft.labels])
        val_NF = np.concatenate([val_NF, last_features(model, softened(splits.val.thinned(MOST_MODELS)), more)])
    known = Known(train_NF, labels_N, val_NF, dict(zip(drawn, parts, strict=True)), count_of_statistics)
    size = sum(weights.numel() for weights in model.parameters())  # of a small network, not much more
    most, num_classes = min(MOST_WEIGHTS, size), len(splits.class_names)
    if len(splits.val) >= FEW or not _is_frozen(model):
        return Learnt(fit_oddness(known, num_classes, seed, most), np.zeros(0, np.float32))
    return fit_with_few(known, np.concatenate(units), num_classes, seed, most)


def _units(split: Split) -> IntArray:
    return split.rows if split.units is None else split.units


def is_small(split: Split) -> bool:
    """Whether a split's pictures are so small that a file of another size makes them look softer."""
    return max(split.shape[:2]) <= SMALL_PX


def softened(split: Split) -> Split:
    """Return the pictures as they come back from a file four times as large: a digit that was drawn or photographed."""
    height, width, _ = split.shape
    images = []
    for image_HWC in split.gather():
        large = as_image(image_HWC).resize((4 * width, 4 * height), Image.Resampling.BICUBIC)
        images.append(np.asarray(large.resize((width, height), Image.Resampling.BILINEAR)).reshape(split.shape))
    return Split(np.stack(images), np.arange(len(split)), split.labels, split.paths)


def as_split(images_NHWC: Uint8Array) -> Split:
    """Return pictures without labels or names as a split."""
    n = len(images_NHWC)
    return Split(images_NHWC, np.arange(n), np.zeros(n, np.int64), ("",) * n)


def _own(model: Classifier, split: Split, with_statistics: bool) -> tuple[FloatArray, IntArray]:
    """Return features NF and labels N of at most `MOST_OWN` pictures; a frozen backbone has seen them all before."""
    few = split.thinned(MOST_OWN)
    if _is_frozen(model):
        members = np.arange(len(few)) * len(split) // len(few)
        return features(model, split)[members], few.labels
    return last_features(model, few, with_statistics), few.labels


def _is_frozen(model: Classifier) -> bool:
    return isinstance(model.network, Transfer) and model.network.is_frozen


def fit_with_few(known: Known, units_N: IntArray, num_classes: int, seed: int, most: int = MOST_WEIGHTS) -> Learnt:
    """Return what `fit_oddness` does, its scales set on held-out training pictures too, and their oddness.

    `units_N` numbers the training pictures that stay together in a fold.
    """
    module = fit_oddness(known, num_classes, seed, most)
    tests_NT = np.zeros((len(known.train_NF), len(module.rates)), np.float32)
    try:
        parts = list(folds(known.labels_N, units_N, FOLDS, seed))
    except DataError:  # too few even for that
        return Learnt(module, np.zeros(0, np.float32))
    for learnt, held in parts:
        fold = replace(known, train_NF=known.train_NF[learnt], labels_N=known.labels_N[learnt])
        found = fit_oddness(fold, num_classes, seed, most)
        with torch.no_grad():
            tests_NT[held] = found.tests(torch.from_numpy(known.train_NF[held])).numpy()
    with torch.no_grad():
        of_val_NT = module.tests(torch.from_numpy(known.val_NF)).numpy()
        _set_scales(module, torch.from_numpy(np.concatenate([tests_NT, of_val_NT])))
        return Learnt(module, module.scaled(torch.from_numpy(tests_NT)).numpy())


def fit_oddness(known: Known, num_classes: int, seed: int, most: int = MOST_WEIGHTS) -> Oddness:
    """Return the oddness of features: near 0 for a model's own pictures, above 1 for about one in twenty of them.

    It has about `most` weights.
    """
    num_features = known.train_NF.shape[1] - known.num_statistics
    train_NF = known.train_NF[:, :num_features]
    rows = max(LEAST_ROWS, most // num_features)
    num_hidden = min(MOST_HIDDEN, rows // 3)
    count = min(MOST_PROTOTYPES, rows - num_hidden)
    with on_one_core():
        prototypes_PF = prototypes(train_NF, known.labels_N, num_classes, count, seed)
    module = Oddness(num_features, len(prototypes_PF), num_hidden, known.num_statistics)
    module.prototypes_PF.copy_(torch.from_numpy(prototypes_PF))
    nonsense_MF = _unlike(module, known)[:, :num_features]
    if len(nonsense_MF):
        with on_one_core():
            _learn_background(module, train_NF, nonsense_MF, seed)
    if known.num_statistics:
        usual_S, whitening_SS = whitening(known.train_NF[:, num_features:])
        module.usual_S.copy_(torch.from_numpy(usual_S))
        module.whitening_SS.copy_(torch.from_numpy(whitening_SS))
    with torch.no_grad():
        _set_scales(module, module.tests(torch.from_numpy(known.val_NF)))
    return module.eval()


def whitening(statistics_NS: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the mean S, and a matrix SS: differences from the mean, times it, have an identity covariance.

    It is the correlation that is whitened, with `SHRINK` of the identity in it, so that no direction counts for ever so
    much.
    """
    usual_S = statistics_NS.mean(axis=0, dtype=np.float64)
    spread_S = statistics_NS.std(axis=0, dtype=np.float64)
    spread_S += 1e-3 * spread_S.mean() + LEAST_NORM
    standard_NS = (statistics_NS - usual_S) / spread_S
    correlation_SS = standard_NS.T @ standard_NS / len(standard_NS)
    values_S, vectors_SS = np.linalg.eigh((1 - SHRINK) * correlation_SS + SHRINK * np.eye(len(usual_S)))
    whitening_SS = (vectors_SS / np.sqrt(np.maximum(values_S, SHRINK / 2))).T / spread_S
    return usual_S.astype(np.float32), whitening_SS.astype(np.float32)


def _set_scales(module: Oddness, tests_NT: torch.Tensor) -> None:
    """Let all tests be 0 at the median of their numbers for own pictures, and 1 where `ONE` of them are below."""
    middle_T, high_T = (tests_NT.double().quantile(share, dim=0) for share in (0.5, ONE))
    module.zeros.copy_(middle_T)
    module.rates.copy_(1 / (high_T - middle_T).clamp(min=1e-4))


def oddness(module: Oddness, features_NF: FloatArray) -> NDArray[np.float32]:
    """Return the oddness float32 N of features."""
    with torch.no_grad():
        return np.asarray(module(torch.from_numpy(features_NF)).numpy(), np.float32)


def threshold(own_N: NDArray[np.floating], coverage: float) -> float:
    """Return the oddness that a new picture of the same kind exceeds with a probability of 1 - `coverage` at most.

    It is the value of `own_N`, the oddness of validation pictures, in the place ceil((n + 1) coverage) of their order.
    With too few for that (18 for 95 %), it lies beyond the largest, by as much of their spread as pictures are missing.
    """
    n = len(own_N)
    place = math.ceil((n + 1) * coverage - 1e-9)
    in_order = np.sort(own_N.astype(np.float64))
    if place <= n:
        return float(in_order[place - 1]) + SLACK
    return float(in_order[-1] + (place / n - 1) * max(in_order[-1] - np.median(in_order), 1.0))


def prototypes(features_NF: FloatArray, labels_N: IntArray, num_classes: int, most: int, seed: int) -> FloatArray:
    """Return at most `most` directions PF of length 1: centres of each class's features, or of all features."""
    lengths_N1 = np.maximum(np.linalg.norm(features_NF, axis=1, keepdims=True), LEAST_NORM)
    unit_NF = features_NF / lengths_N1
    groups = [unit_NF[labels_N == k] for k in range(num_classes)] if num_classes <= most else [unit_NF]
    centres = []
    for group_NF in groups:
        count = min(most // len(groups), len(np.unique(group_NF, axis=0)))  # k-means warns of equal rows
        if count:
            centres.append(centres_of(group_NF, count, seed))
    centres_PF = np.concatenate(centres)
    found: FloatArray = centres_PF / np.maximum(np.linalg.norm(centres_PF, axis=1, keepdims=True), LEAST_NORM)
    return found.astype(np.float32)


def _unlike(module: Oddness, known: Known) -> FloatArray:
    """Return the features MF of those kinds of nonsense that are further from the prototypes than own pictures are.

    A kind that is not is none to this model: plain chips where it knows fields, letters where it reads letters.
    """
    with torch.no_grad():
        own = module.tests(torch.from_numpy(known.val_NF))[:, 0].median()
        kept = [
            each_MF
            for each_MF in known.nonsense.values()
            if module.tests(torch.from_numpy(each_MF))[:, 0].median() > own
        ]
    return np.concatenate(kept) if kept else np.zeros((0, known.train_NF.shape[1]), np.float32)


def _learn_background(module: Oddness, train_NF: FloatArray, nonsense_MF: FloatArray, seed: int) -> None:
    """Teach the hidden cells to tell training pictures from nonsense: both sides count the same."""
    both_NF = torch.from_numpy(np.concatenate([train_NF, nonsense_MF]))
    mean_F = both_NF.mean(dim=0)
    std_F = both_NF.std(dim=0, correction=0)
    std_F = std_F.clamp(min=0.05 * float(std_F.mean()) + LEAST_NORM)
    standard_NF = (both_NF - mean_F) / std_F
    is_odd_N = torch.arange(len(both_NF)) >= len(train_NF)
    weights_N = torch.where(is_odd_N, 0.5 / len(nonsense_MF), 0.5 / len(train_NF))
    draw = torch.Generator().manual_seed(seed)
    first_BF = torch.randn(module.hidden.weight.shape, generator=draw) * (2 / both_NF.shape[1]) ** 0.5
    second_1B = torch.randn(module.background.weight.shape, generator=draw) * (2 / len(first_BF)) ** 0.5
    learnt = [first_BF, torch.zeros(len(first_BF)), second_1B, torch.zeros(1)]
    for each in learnt:
        each.requires_grad_(True)
    optimizer = AdamW(learnt, RATE, weight_decay=DECAY)
    for _ in range(STEPS):
        hidden_NB = F.relu(F.linear(standard_NF, learnt[0], learnt[1]))
        logits_N = F.linear(hidden_NB, learnt[2], learnt[3])[:, 0]
        loss = (weights_N * F.binary_cross_entropy_with_logits(logits_N, is_odd_N.float(), reduction="none")).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():  # standardising is part of the weights
        scaled_BF = learnt[0] / std_F
        module.hidden.weight.copy_(scaled_BF)
        module.hidden.bias.copy_(learnt[1] - scaled_BF @ mean_F)
        module.background.weight.copy_(learnt[2])
        module.background.bias.copy_(learnt[3])
