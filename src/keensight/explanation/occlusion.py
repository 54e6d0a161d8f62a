"""Occlusion heat maps: where covering a picture changes the answer. NumPy alone, so that a server can use it too.

Zeiler & Fergus 2013, arXiv:1311.2901, section 4.2, slide a grey square over the picture and watch the probability of
its class. A good model's probability hardly moves from 100 %, whatever is covered; its log-odds do, so we watch them.
Shape letters: N images, H height, W width, C channels, K classes, P patches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from keensight.errors import UsageError
from keensight.values import FloatArray, IntArray, Uint8Array

# a patch's share of the picture's sides, and how many places it takes across: 1 + 16 + 36 pictures are answered, 0.7 s
# of EfficientNet-Lite0 on two cores. Large patches cover a whole object, small ones say where in it.
SIZES = ((0.4, 4), (0.25, 6))
BATCH = 64
BATCH_VALUES = 1_200_000  # of all pictures in a batch: 7 of 224x224x3, whose activations take 100 MB
TINY = 1e-38  # float32 holds no smaller probability in full
STANDS_OUT = 0.5  # points: a smaller change, of odds by less than 1.65, is not worth a word


@dataclass(frozen=True, slots=True)
class Evidence:
    """The place that the answer depends on most: its middle, and how much covering it lowers the log-odds.

    `x` and `y` are fractions of the picture's width and height, from its left and its top. `drop` is by how many points
    the class's log-odds fall there: each makes its odds against all others 2.7 times smaller.
    """

    x: float
    y: float
    drop: float

    @property
    def is_one_spot(self) -> bool:
        """Whether covering that place lowers the log-odds by more than half a point."""
        return self.drop > STANDS_OUT


def occlusion(
    probabilities: Callable[[Uint8Array], FloatArray],
    picture_HWC: Uint8Array,
    class_index: int,
    sizes: tuple[tuple[float, int], ...] = SIZES,
) -> FloatArray:
    """Return how much a class's log-odds fall where the picture is covered, float64 HW, in points.

    A patch of the picture's mean colour takes places all over it. For each size of patch, a pixel's value is the mean
    over the patches that cover it; the map is the mean over the sizes. Below zero, covering helps the class.

    Args:
        probabilities: maps uint8 NHWC to float NK; called with at most 64 pictures at a time, fewer if they are large.
        picture_HWC: one uint8 picture.
        class_index: the class whose log-odds are observed, 0 to K - 1.
        sizes: for each size, the share of the picture's sides that a patch covers, above 0 and at most 1, and how many
        places it takes across and down; the first and the last lie against the borders.

    Raises:
        UsageError: a size is impossible, or its patches leave gaps.

    >>> def brightest(images):  # a "classifier" that looks at one pixel
    ...     p = images[:, 0, 0, 0] / 256 + 0.001
    ...     return np.stack([1 - p, p], axis=1)
    >>> picture = np.zeros((2, 3, 1), np.uint8); picture[0, 0] = 255
    >>> occlusion(brightest, picture, 1, ((0.3, 3),)).round(1)
    array([[7.5, 0. , 0. ],
           [0. , 0. , 0. ]])
    """
    H, W, _ = picture_HWC.shape
    before = float(log_odds(probabilities(picture_HWC[None]), class_index)[0])
    maps_HW = []
    for share, across in sizes:
        _check(share, across)
        patch = max(1, round(share * H)), max(1, round(share * W))
        corners_P2 = patch_corners((H, W), patch, across)
        total_HW, count_HW = np.zeros((H, W)), np.zeros((H, W))
        for part_P2, covered_NHWC in _covered(picture_HWC, corners_P2, patch):
            after_N = log_odds(probabilities(covered_NHWC), class_index)
            for (top, left), after in zip(part_P2, after_N, strict=True):
                total_HW[top : top + patch[0], left : left + patch[1]] += before - float(after)
                count_HW[top : top + patch[0], left : left + patch[1]] += 1
        maps_HW.append(total_HW / count_HW)
    return np.asarray(np.mean(maps_HW, axis=0))


def log_odds(probabilities_NK: FloatArray, class_index: int) -> FloatArray:
    """Return log(p / q) float64 N, with p the probability of a class and q that of all others together.

    q is their sum and not 1 - p, which float32 rounds to 0 where the model is sure.

    >>> log_odds(np.array([[0.5, 0.25, 0.25], [1.0, 1e-12, 0.0]]), 0).round(2).tolist()
    [0.0, 27.63]
    """
    p_N = probabilities_NK[:, class_index].astype(np.float64)
    q_N = np.delete(probabilities_NK, class_index, axis=1).astype(np.float64).sum(axis=1)
    return np.asarray(np.log(np.maximum(p_N, TINY)) - np.log(np.maximum(q_N, TINY)))


def patch_corners(size: tuple[int, int], patch: tuple[int, int], across: int) -> IntArray:
    """Return the upper left corners of a patch's places, int P2 (row, column), row by row.

    There are `across` of them down and across, as evenly as whole pixels allow, and fewer where that would repeat one.
    Small pictures get more where patches would leave a gap.

    >>> patch_corners((2, 5), (2, 2), 3).tolist()
    [[0, 0], [0, 2], [0, 3]]
    """
    rows, columns = (
        np.unique(np.linspace(0, side - length, max(across, -(-side // length))).round().astype(np.int64))
        for side, length in zip(size, patch, strict=True)
    )
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)


def peak(drop_HW: FloatArray) -> Evidence:
    """Return where an occlusion map is largest: the middle of that pixel, or of the first of equals.

    >>> peak(np.array([[0.0, 0.1], [0.3, 0.2]]))
    Evidence(x=0.25, y=0.75, drop=0.3)
    """
    row, column = np.unravel_index(int(drop_HW.argmax()), drop_HW.shape)
    H, W = drop_HW.shape
    return Evidence((int(column) + 0.5) / W, (int(row) + 0.5) / H, float(drop_HW[row, column]))


def _covered(
    picture_HWC: Uint8Array, corners_P2: IntArray, patch: tuple[int, int]
) -> Iterator[tuple[IntArray, Uint8Array]]:
    colour_C = picture_HWC.mean(axis=(0, 1)).round().astype(np.uint8)
    batch = max(1, min(BATCH, BATCH_VALUES // picture_HWC.size))
    for first in range(0, len(corners_P2), batch):
        part_P2 = corners_P2[first : first + batch]
        covered_NHWC = np.repeat(picture_HWC[None], len(part_P2), axis=0)
        for image_HWC, (top, left) in zip(covered_NHWC, part_P2, strict=True):
            image_HWC[top : top + patch[0], left : left + patch[1]] = colour_C
        yield part_P2, covered_NHWC


def _check(share: float, across: int) -> None:
    if not 0 < share <= 1:
        raise UsageError(
            f"A patch of {share:g} of the picture's sides was asked for. Its share is above 0 and at most 1; choose "
            "another, or leave it out."
        )
    if across < 1:
        raise UsageError(
            f"{across} places across were asked for. There must be at least 1; choose more, or leave it out."
        )
