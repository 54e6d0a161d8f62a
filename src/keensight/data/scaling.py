"""Pictures that show something else once they are made small without averaging: image-scaling attacks.

Xiao et al. 2019 (USENIX Security), Quiring et al. 2020 (USENIX Security). Resizing that takes single pixels (nearest
neighbour, or bilinear as OpenCV and TensorFlow have it) reads few of a large picture's pixels; whoever sets just these
decides what a model sees, and nobody looking at the picture notices. keensight's resizing averages over all pixels.
A picture is suspect if the pixels that such a resizing reads differ, in cells of some pixels each, from all the pixels
there by far more than pixels drawn at random would.
Shape letters: H height, W width, S side after resizing, G cells on a side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from keensight.values import FloatArray, IntArray, Uint8Array

SIDES_PX = (28, 32, 64, 96, 128, 150, 160, 192, 224, 240, 256, 260, 288, 299, 300, 320, 331, 380, 384, 448, 512)
LEAST_SHRINKING = 2.0  # times: at less, most pixels are read
LEAST_CELLS, MOST_CELLS, SAMPLES_OF_CELL = 4, 16, 4  # cells on a side; pixels read on a side of each
DIFFERENCE, TIMES_CHANCE = 12.0, 2.8  # levels; how often what chance gives: docs/audit.md has how they were chosen

Positions = Callable[[int, int], FloatArray]
# Where resizing to `side` reads a row of `length` pixels, as fractions: nearest takes the pixel in which that lies.
NEAREST: Mapping[str, Positions] = {
    "nearest, from the middle": lambda length, side: (np.arange(side) + 0.5) * length / side,  # Pillow, scikit-image
    "nearest, from the edge": lambda length, side: np.arange(side) * length / side,  # OpenCV, PyTorch, TensorFlow 1
}
BILINEAR: Mapping[str, Positions] = {
    "bilinear, from the middle": lambda length, side: (np.arange(side) + 0.5) * length / side - 0.5,  # OpenCV, PyTorch
    "bilinear, from the edge": lambda length, side: np.arange(side) * length / side,  # TensorFlow 1
    "bilinear, corners aligned": lambda length, side: np.arange(side) * (length - 1) / max(1, side - 1),
}


@dataclass(frozen=True, slots=True)
class TwoFaces:
    """How a picture shows something else: resized to `side` pixels as `how` says, by `difference` levels."""

    how: str
    side: int
    difference: float


def two_faces(grey_HW: Uint8Array, sides: Sequence[int | tuple[int, int]] = SIDES_PX) -> TwoFaces | None:
    """Return at which of the `sides` (S, or height and width) a grey picture shows most that it does not show itself.

    None if it shows the same at all of them, or is not at least twice as large.
    """
    found: TwoFaces | None = None
    image, means = Image.fromarray(grey_HW), dict[int, FloatArray]()
    for side in sides:
        rows, columns = side if isinstance(side, tuple) else (side, side)
        cells = min(MOST_CELLS, rows // SAMPLES_OF_CELL, columns // SAMPLES_OF_CELL)
        if min(grey_HW.shape[0] / rows, grey_HW.shape[1] / columns) < LEAST_SHRINKING or cells < LEAST_CELLS:
            continue
        if cells not in means:
            means[cells] = _means(image, cells)
        for how, seen_SS in resized(grey_HW, rows, columns).items():
            seen_GG, squares_GG = (_means(Image.fromarray(each), cells) for each in (seen_SS, np.square(seen_SS)))
            chance = float(np.sqrt((squares_GG - np.square(seen_GG)).clip(0).mean() * cells * cells / (rows * columns)))
            difference = float(np.sqrt(np.square(seen_GG - means[cells]).mean()))
            limit = max(DIFFERENCE, TIMES_CHANCE * chance)
            if difference > limit and (not found or difference > found.difference):
                shift = max(grey_HW.shape[0] / rows, grey_HW.shape[1] / columns) / 2
                difference = min(difference, _shifted_difference(grey_HW, seen_GG, shift))
            if difference > limit and (not found or difference > found.difference):
                found = TwoFaces(how, max(rows, columns), difference)
    return found


def _shifted_difference(grey_HW: Uint8Array, seen_GG: FloatArray, most: float) -> float:
    """Return how far cells of the small picture are from the picture's, moved by up to `most` pixels to fit best.

    Reading from the edge moves a picture by half a small pixel: hard edges show it, and it changes nothing else.
    """
    cells, padding = len(seen_GG), math.ceil(most)
    around = np.pad(grey_HW, padding, mode="edge")
    height, width = grey_HW.shape
    steps = sorted({round(share * most) for share in (-1, -0.5, 0, 0.5, 1)})
    moved = (
        around[padding + down : padding + down + height, padding + along : padding + along + width]
        for down in steps
        for along in steps
    )
    return min(float(np.sqrt(np.square(seen_GG - _means(Image.fromarray(each), cells)).mean())) for each in moved)


def resized(grey_HW: Uint8Array, height: int, width: int) -> dict[str, FloatArray]:
    """Return a grey picture made small in each of the ways that do not average."""
    found: dict[str, FloatArray] = {}
    for how, at in NEAREST.items():
        rows, columns = (_within(np.floor(at(*sides)), sides[0]) for sides in _both(grey_HW, height, width))
        found[how] = grey_HW[np.ix_(rows, columns)].astype(np.float32)
    for how, at in BILINEAR.items():
        (top, lower), (left, right) = (_floor(at(*sides)) for sides in _both(grey_HW, height, width))
        lines = [
            grey_HW[np.ix_(_within(top + down, grey_HW.shape[0]), _within(left + along, grey_HW.shape[1]))]
            for down in (0, 1)
            for along in (0, 1)
        ]
        weights = [one[:, None] * other for one in (1 - lower, lower) for other in (1 - right, right)]
        found[how] = np.sum([line * weight for line, weight in zip(lines, weights, strict=True)], axis=0).astype(
            np.float32
        )
    return found


def _both(grey_HW: Uint8Array, height: int, width: int) -> list[tuple[int, int]]:
    return [(grey_HW.shape[0], height), (grey_HW.shape[1], width)]


def _floor(at: FloatArray) -> tuple[FloatArray, FloatArray]:
    return np.floor(at), at - np.floor(at)


def _within(at: FloatArray, length: int) -> IntArray:
    return np.clip(at, 0, length - 1).astype(np.int64)


def _means(image: Image.Image, cells: int) -> FloatArray:
    """Return the means of `cells` x `cells` cells."""
    means_GG: FloatArray = np.asarray(image.resize((cells, cells), Image.Resampling.BOX), np.float64)
    return means_GG
