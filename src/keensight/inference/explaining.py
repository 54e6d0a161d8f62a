"""Explains an answer of a bundle in the way that its network allows: by its feature maps, or by covering the picture.

Shape letters: H height, W width, C channels, N images, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from keensight.explanation.class_activation import LEAST_SIDE, by_log_odds, class_activation, in_patches
from keensight.explanation.head import slopes
from keensight.explanation.occlusion import occlusion
from keensight.inference.predictor import Predictor
from keensight.values import FloatArray, Uint8Array


@dataclass(frozen=True, slots=True, eq=False)
class Reasons:
    """What each place adds to the log-odds of a class, float64 HW, in points; less than 0 where it speaks against it.

    `by_covering` if that was found by covering it, and not from feature maps.
    """

    points_HW: FloatArray
    by_covering: bool


def reasons(
    predictor: Predictor,
    seen_HWC: Uint8Array,
    class_index: int,
    probabilities: Callable[[Uint8Array], FloatArray] | None = None,
) -> Reasons:
    """Return what an answer rests on, for a uint8 picture as the model sees it.

    The class is 0 to K - 1. Covering a picture asks `probabilities`, uint8 NHWC to float NK: the predictor's, if None.
    """
    found = predictor.features(seen_HWC)
    if found is not None and min(min(maps.shape[2:]) for maps in found.maps.values()) >= LEAST_SIDE:
        by_means = slopes(found.head, found.maps, by_log_odds(found.probabilities_K, class_index))
        parts = [class_activation(maps, by_means[name]) for name, maps in found.maps.items()]
        points_HW = sum((in_patches(points_hw, seen_HWC.shape[:2]) for points_hw in parts), np.zeros(()))
        return Reasons(points_HW, by_covering=False)
    asked = probabilities or predictor.probabilities_as_seen
    return Reasons(occlusion(asked, seen_HWC, class_index), by_covering=True)
