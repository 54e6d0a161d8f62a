"""Finds what a classifier of small pictures knows in a large one: scores on a grid of places, peaks, and their overlap.

A place is a window as large as the model's pictures. Its score is the log-odds of the wanted labels together.

Shape letters: N places, H height, W width, C channels, K classes; h and w of a grid of places.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from keensight.inference.predictor import BLANK, Predictor
from keensight.machine import images_at_a_time
from keensight.values import FloatArray, IntArray, Uint8Array

TINY = 1e-7  # of a probability, so that log-odds are finite
TIE = 0.01  # of the smoothed score: it decides between places that the model is equally sure of
Score = Callable[[Uint8Array], FloatArray]  # a tile, uint8 HWC, to probabilities hwK of all places in it


@dataclass(frozen=True, slots=True)
class Detection:
    """Something that was found: a label, its probability, and a box in pixels of the scene. `rank` orders them."""

    label: str
    probability: float
    x: float
    y: float
    width: float
    height: float
    rank: float

    def moved(self, factor: float) -> Detection:
        """Return the same in a scene that is `factor` times as large."""
        x, y, width, height = (factor * each for each in (self.x, self.y, self.width, self.height))
        return Detection(self.label, self.probability, x, y, width, height, self.rank)


def by_batches(predictor: Predictor, step: int) -> Score:
    """Return what asks the bundle's own engine for each place by itself, many at a time."""
    size = predictor.bundle.preprocessing
    at_a_time = images_at_a_time(size.height, size.width, size.channels)

    def score(tile_HWC: Uint8Array) -> FloatArray:
        windows = sliding_window_view(tile_HWC, (size.height, size.width), (0, 1))[::step, ::step]
        windows_hwHWC = windows.transpose(0, 1, 3, 4, 2)
        h, w = windows_hwHWC.shape[:2]
        answers = []
        for first in range(0, h * w, at_a_time):
            places = np.unravel_index(np.arange(first, min(h * w, first + at_a_time)), (h, w))
            answers.append(predictor.probabilities(np.ascontiguousarray(windows_hwHWC[places]))[0])
        return np.concatenate(answers).reshape(h, w, -1)

    return score


def log_odds(probabilities_hwK: FloatArray, wanted: Sequence[int]) -> FloatArray:
    """Return the log-odds hw that a place has one of the `wanted` labels."""
    share_hw = probabilities_hwK[..., list(wanted)].sum(axis=-1, dtype=np.float64).clip(TINY, 1 - TINY)
    odds: FloatArray = np.log(share_hw / (1 - share_hw))
    return odds


def smoothed(score_hw: FloatArray) -> FloatArray:
    """Return the mean of each score and its eight neighbours; so the middle of a plateau is its peak."""
    padded = np.pad(score_hw, 1, mode="edge")
    h, w = score_hw.shape
    total: FloatArray = sum((padded[i : i + h, j : j + w] for i in range(3) for j in range(3)), np.zeros((h, w)))
    return total / 9


def peaks(score_hw: FloatArray, least: float) -> IntArray:
    """Return the places, N2, with a score of at least `least` that are a peak of the smoothed scores, or beside one.

    >>> peaks(np.array([[0.0, 1, 0, 0, 0], [1, 9, 1, 0, 8], [0, 1, 0, 0, 0]]), 5).tolist()
    [[1, 1], [1, 4]]
    """
    rank_hw = smoothed(score_hw)
    is_peak_hw = rank_hw >= _best_near(rank_hw)
    found: IntArray = np.argwhere((_best_near(is_peak_hw.astype(np.float64)) > 0) & (score_hw >= least))
    return found


def _best_near(values_hw: FloatArray) -> FloatArray:
    """Return the largest of each value and its eight neighbours."""
    padded, (h, w) = np.pad(values_hw, 1, mode="edge"), values_hw.shape
    best_hw = values_hw
    for i in range(3):
        for j in range(3):
            best_hw = np.maximum(best_hw, padded[i : i + h, j : j + w])
    return best_hw


def confirmed(
    predictor: Predictor,
    tile_HWC: Uint8Array,
    places_N2: IntArray,
    smoothed_N: FloatArray,
    wanted: Sequence[int],
    least: float,
) -> list[Detection]:
    """Return those places of a tile that the bundle's own engine gives a wanted label, with at least that probability.

    What it calls none of these, or what is blank, is left out. Places are pixels: y and x of the top left corner. They
    are ranked by the engine's log-odds.
    """
    size, labels = predictor.bundle.preprocessing, {predictor.bundle.labels[i] for i in wanted}
    found = []
    at_a_time = images_at_a_time(size.height, size.width, size.channels)
    for first in range(0, len(places_N2), at_a_time):
        some = places_N2[first : first + at_a_time].tolist()
        images_NHWC = np.stack([tile_HWC[y : y + size.height, x : x + size.width] for y, x in some])
        for (y, x), mean, answer in zip(
            some, smoothed_N[first:].tolist(), predictor.on_images(images_NHWC), strict=False
        ):
            refused = answer.is_none_of_these or BLANK in answer.notes
            if answer.label in labels and answer.probability >= least and not refused:
                rank = float(log_odds(np.array([answer.probability]), [0])) + TIE * mean
                found.append(Detection(answer.label, answer.probability, x, y, size.width, size.height, rank))
    return found


def without_overlaps(found: Sequence[Detection], most: float) -> list[Detection]:
    """Return the best of those that overlap by more than `most`, an intersection over union in [0, 1].

    Detections are taken greedily, by rank, and those of all labels compete. Each is compared only with what lies in the
    cells that it touches.

    >>> boxes = [Detection("plane", 0.9, x, 0, 10, 10, rank) for x, rank in ((0, 1.0), (2, 3.0), (30, 2.0))]
    >>> [each.x for each in without_overlaps(boxes, 0.3)]
    [2, 30]
    """
    side = max((max(each.width, each.height) for each in found), default=1.0)
    cells: dict[tuple[int, int], list[Detection]] = defaultdict(list)
    kept: list[Detection] = []
    for each in sorted(found, key=lambda each: (-each.rank, -each.probability, each.y, each.x)):
        own = [
            (row, column)
            for row in range(math.floor(each.y / side), math.floor((each.y + each.height) / side) + 1)
            for column in range(math.floor(each.x / side), math.floor((each.x + each.width) / side) + 1)
        ]
        if all(overlap(each, other) <= most for cell in own for other in cells[cell]):
            kept.append(each)
            for cell in own:
                cells[cell].append(each)
    return sorted(kept, key=lambda each: (each.y, each.x))


def overlap(a: Detection, b: Detection) -> float:
    """Return the intersection over union of two boxes."""
    width = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
    height = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
    shared = max(0.0, width) * max(0.0, height)
    return shared / (a.width * a.height + b.width * b.height - shared)


class HeatMap:
    """The highest probability of the wanted labels near each spot of the scene, on a grid of fixed size."""

    def __init__(self, height: int, width: int, most: int) -> None:
        self._factor = max(1.0, max(height, width) / most)
        self.heat_HW: NDArray[np.float32] = np.zeros(
            (math.ceil(height / self._factor), math.ceil(width / self._factor)), np.float32
        )

    def add(self, share_hw: FloatArray, top: float, left: float, step: float) -> None:
        """Note the probabilities of places whose middles are `step` pixels of the scene apart, from (top, left)."""
        each = max(1, math.ceil(step / self._factor))  # cells that a place covers, each way
        parts = [step * ((part + 0.5) / each - 0.5) for part in range(each)]
        for y in parts:
            rows = self._cells(top + y + step * np.arange(share_hw.shape[0]), 0)
            for x in parts:
                columns = self._cells(left + x + step * np.arange(share_hw.shape[1]), 1)
                np.maximum.at(self.heat_HW, (rows[:, None], columns[None]), share_hw)

    def _cells(self, middles: FloatArray, axis: int) -> IntArray:
        return (middles / self._factor).astype(np.int64).clip(0, self.heat_HW.shape[axis] - 1)
