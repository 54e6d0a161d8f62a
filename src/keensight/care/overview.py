"""Pictures as a whole: a map of them, the typical and the odd ones of each class, and what they look like.

Shape letters: N pictures, F features, K classes, J classes of ImageNet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors

from keensight.care.labels import features_of, pixel_components
from keensight.models.features import OnProgress
from keensight.models.imagenet import class_names
from keensight.values import FloatArray, IntArray, Pixels

DIMENSIONS = 50
LANDMARKS = 2000  # pictures that t-SNE arranges; of more, the others are put between their nearest landmarks
NEAREST = 5
FEW = 5  # of names for a class


@dataclass(frozen=True, slots=True, eq=False)
class Overview:
    """Pictures in relation to each other.

    `places` N2 in [0, 1] are on the map. `distance` N is how far a picture is from the middle of its class, in the
    class's own usual distances. `looks_like` has for each class the names that ImageNet's classes give it, with their
    mean probability; it is empty where no backbone looked, and `why_not` says why.
    """

    places: FloatArray
    distance: FloatArray
    looks_like: tuple[tuple[tuple[str, float], ...], ...]
    why_not: str = ""


def overview(pixels: Pixels, on_progress: OnProgress | None = None) -> Overview:
    """Return where pictures are beside each other, by a backbone's features, or else by their pixels."""
    labels_N = np.array([sample.label for sample in pixels.dataset.samples], np.int64)
    num_classes = len(pixels.dataset.class_names)
    features_NF = features_of(pixels, on_progress)
    why_not = ""
    if isinstance(features_NF, str):
        why_not, features_NF = features_NF.partition(": ")[2], pixel_components(pixels)
    names = class_names()
    has_classes = not why_not and features_NF.shape[1] > len(names)
    few_NF = reduced(features_NF)
    return Overview(
        places=places(few_NF),
        distance=distances(few_NF, labels_N, num_classes),
        looks_like=told(features_NF[:, -len(names) :] ** 2, labels_N, num_classes) if has_classes else (),
        why_not=why_not or ("" if has_classes else "small pictures are not what ImageNet's networks know"),
    )


def reduced(features_NF: FloatArray) -> FloatArray:
    """Return at most 50 principal components of features."""
    most = min(DIMENSIONS, *features_NF.shape)
    few_NF: FloatArray = PCA(most, svd_solver="randomized", random_state=0).fit_transform(features_NF)
    return few_NF


def places(features_NF: FloatArray, landmarks: int = LANDMARKS) -> FloatArray:
    """Return places N2 in [0, 1] where similar pictures are near each other (t-SNE, van der Maaten and Hinton 2008).

    Of more than `landmarks` pictures, so many, evenly spread, are arranged, and each other is put at the mean of its
    five nearest of them, weighted by nearness: t-SNE itself takes minutes for tens of thousands.
    """
    N = len(features_NF)
    chosen = np.arange(N) if landmarks >= N else np.arange(landmarks) * N // landmarks
    if len(chosen) < 5:  # too few to have neighbours
        start_N2 = np.zeros((N, 2))
        start_N2[:, : min(2, features_NF.shape[1])] = features_NF[:, :2]
        return _scaled(start_N2)
    perplexity = min(30.0, (len(chosen) - 1) / 3)
    arranged_M2 = TSNE(2, init="pca" if features_NF.shape[1] > 1 else "random", perplexity=perplexity, random_state=0,
                       ).fit_transform(np.ascontiguousarray(features_NF[chosen], np.float32))  # fmt: skip
    if landmarks >= N:
        return _scaled(arranged_M2)
    found = NearestNeighbors(n_neighbors=NEAREST).fit(features_NF[chosen])
    far_NJ, near_NJ = found.kneighbors(features_NF)
    weights_NJ = 1 / np.maximum(far_NJ, 1e-9) ** 2
    weights_NJ /= weights_NJ.sum(axis=1, keepdims=True)
    return _scaled(np.einsum("nj,njd->nd", weights_NJ, arranged_M2[near_NJ]))


def distances(features_NF: FloatArray, labels_N: IntArray, num_classes: int) -> FloatArray:
    """Return how far each picture is from its class's mean, where 1 is usual in that class."""
    far_N = np.zeros(len(labels_N))
    for k in range(num_classes):
        members = labels_N == k
        if members.any():
            far_M = np.linalg.norm(features_NF[members] - features_NF[members].mean(axis=0), axis=1)
            far_N[members] = far_M / (np.median(far_M) or 1.0)
    return far_N


def told(
    probabilities_NJ: FloatArray, labels_N: IntArray, num_classes: int
) -> tuple[tuple[tuple[str, float], ...], ...]:
    """Return for each class the names of ImageNet's classes that its pictures look like most, with their mean share."""
    names, answer = class_names(), []
    for k in range(num_classes):
        members = labels_N == k
        mean_J = probabilities_NJ[members].mean(axis=0) if members.any() else np.zeros(len(names))
        best = np.argsort(-mean_J, kind="stable")[:FEW]
        answer.append(tuple((names[j], round(float(mean_J[j]), 4)) for j in best if mean_J[j] > 0.01))
    return tuple(answer)


def _scaled(places_N2: FloatArray) -> FloatArray:
    """Return places with both axes from 0 to 1."""
    low, high = places_N2.min(axis=0), places_N2.max(axis=0)
    scaled: FloatArray = (places_N2 - low) / np.where(high > low, high - low, 1)
    return scaled
