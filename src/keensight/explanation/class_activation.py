"""Class activation maps: what each place of a picture adds to an answer, from one run of the network. NumPy and Pillow.

Zhou et al. 2015, arXiv:1512.04150: where a network ends in the mean of its last feature maps and one linear layer, each
logit is a sum over the places of these maps. Nothing has to be covered, so that it also finds what a class shows by
itself where the rest of the picture would be taken for that class, too; and a large network runs once, not 53 times.
On pictures with a textured part on noise, the peak lay in that part for 24 of 24 pictures with EfficientNet-Lite0, and
that of occlusion for 13: noise alone was "stripes" to it, by 11 points.
Shape letters: H height, W width, C channels, K classes; h, w of a feature map.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from keensight.values import FloatArray

LEAST_SIDE = 4  # of a feature map: with fewer places, it does not tell where something is
SHARE = 0.25  # of the picture's sides, for the patch whose evidence is summed at each pixel


def class_activation(
    features_Chw: FloatArray, weights_KC: FloatArray, probabilities_K: FloatArray, class_index: int
) -> FloatArray:
    """Return what each place of a feature map adds to the log-odds of a class, float64 hw, in points.

    Logits are `weights_KC` times the mean of the features over all places, and more that no place adds. The log-odds
    are the class's logit less those of the others, which count by their share of the others' probability: their
    gradient. For two classes, the map's sum is the log-odds, but for the difference of the biases.

    >>> features = np.array([[[0.0, 8.0]]])  # one channel that saw something at the right
    >>> class_activation(features, np.array([[1.0], [-1.0]]), np.array([1.0, 0.0]), 0).tolist()
    [[0.0, 8.0]]
    """
    others_K = probabilities_K.astype(np.float64)
    others_K[class_index] = 0
    total = others_K.sum()
    others_K = others_K / total if total > 0 else (np.arange(len(others_K)) != class_index) / (len(others_K) - 1)
    weights_C = weights_KC[class_index].astype(np.float64) - others_K @ weights_KC.astype(np.float64)
    places = features_Chw.shape[1] * features_Chw.shape[2]
    return np.asarray(np.einsum("c,chw->hw", weights_C, features_Chw.astype(np.float64)) / places)


def in_patches(points_hw: FloatArray, size: tuple[int, int], share: float = SHARE) -> FloatArray:
    """Return for each pixel of a picture how many points the patch around it adds, float64 HW.

    `size` is the picture's height and width. The patch has `share` of them; beyond the borders there is nothing.

    >>> in_patches(np.ones((4, 4)), (4, 4), 0.5)[1].round(2).tolist()
    [2.0, 4.0, 4.0, 4.0]
    """
    H, W = size
    image = Image.fromarray(points_hw.astype(np.float32)).resize((W, H), Image.Resampling.BICUBIC)
    pixels_HW: FloatArray = np.asarray(image, np.float64) * (points_hw.size / (H * W))  # the sum stays the same
    for axis, side in enumerate(size):
        pixels_HW = _sums(pixels_HW, max(1, round(share * side)), axis)
    return pixels_HW


def _sums(values_HW: FloatArray, length: int, axis: int) -> FloatArray:
    """Return the sums of `length` neighbours along an axis, with zeros beyond its ends."""
    before = length // 2
    padding = [(0, 0), (0, 0)]
    padding[axis] = (before + 1, length - 1 - before)
    sums = np.cumsum(np.pad(values_HW, padding), axis=axis)
    side = values_HW.shape[axis]
    upper, lower = (np.take(sums, np.arange(side) + first, axis=axis) for first in (length, 0))
    return np.asarray(upper - lower)
