"""Occlusion heat maps: where covering a picture changes the answer. NumPy alone, so that a server can use it too.

Zeiler & Fergus 2013, arXiv:1311.2901, section 4.2, slide a grey square over the picture and watch the probability of
its class. Shape letters: N images, H height, W width, C channels, K classes, P patches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from keensight.errors import UsageError
from keensight.values import FloatArray, IntArray, Uint8Array

PATCHES_ACROSS = 5  # patches, side by side, that span a picture's side
STEPS_A_PATCH = 3
BATCH = 64
BATCH_BYTES = 32 * 2**20  # of covered pictures at a time, so fewer of large ones


@dataclass(frozen=True, slots=True)
class Evidence:
    """The place that the answer depends on most: its middle, and how much covering it lowers the probability.

    `x` and `y` are fractions of the picture's width and height, from its left and its top. `drop` is by how much the
    class's probability falls there, in [-1, 1].
    """

    x: float
    y: float
    drop: float

    @property
    def is_one_spot(self) -> bool:
        """Whether covering that place lowers the probability by more than half a point."""
        return self.drop > 0.005


def occlusion(
    probabilities: Callable[[Uint8Array], FloatArray],
    picture_HWC: Uint8Array,
    class_index: int,
    patch_px: tuple[int, int] | None = None,
    stride_px: tuple[int, int] | None = None,
) -> FloatArray:
    """Return how much a class's probability falls where the picture is covered, float64 HW in [-1, 1].

    A patch of the picture's mean colour slides over it, and a pixel's value is the mean over all the patches that
    cover it. Below zero, covering helps the class.

    Args:
        probabilities: maps uint8 NHWC to float NK; called with at most 64 pictures at a time.
        picture_HWC: one uint8 picture.
        class_index: the class whose probability is observed, 0 to K - 1.
        patch_px: the patch's height and width; a fifth of the picture's sides if None.
        stride_px: how far it moves, down and across; a third of the patch if None. The last patches always lie against
        the lower and the right border, so that every pixel is covered.

    Raises:
        UsageError: the patch does not fit into the picture, or a stride leaves gaps between patches.

    >>> def brightest(images):  # a "classifier" that looks at one pixel
    ...     p = images[:, 0, 0, 0] / 255
    ...     return np.stack([1 - p, p], axis=1)
    >>> picture = np.zeros((2, 3, 1), np.uint8); picture[0, 0] = 255
    >>> occlusion(brightest, picture, 1, (1, 1)).round(2)
    array([[0.84, 0.  , 0.  ],
           [0.  , 0.  , 0.  ]])
    """
    H, W, _ = picture_HWC.shape
    patch = patch_px or (max(1, round(H / PATCHES_ACROSS)), max(1, round(W / PATCHES_ACROSS)))
    stride = stride_px or (max(1, patch[0] // STEPS_A_PATCH), max(1, patch[1] // STEPS_A_PATCH))
    _check(patch, stride, (H, W))
    corners_P2 = patch_corners((H, W), patch, stride)
    before = float(probabilities(picture_HWC[None])[0, class_index])
    total_HW, count_HW = np.zeros((H, W)), np.zeros((H, W))
    for part_P2, covered_NHWC in _covered(picture_HWC, corners_P2, patch):
        after_N = probabilities(covered_NHWC)[:, class_index]
        for (top, left), after in zip(part_P2, after_N, strict=True):
            total_HW[top : top + patch[0], left : left + patch[1]] += before - float(after)
            count_HW[top : top + patch[0], left : left + patch[1]] += 1
    return total_HW / count_HW


def patch_corners(size: tuple[int, int], patch: tuple[int, int], stride: tuple[int, int]) -> IntArray:
    """Return the upper left corners of all patches, int P2 (row, column), row by row.

    >>> patch_corners((2, 5), (2, 2), (1, 2)).tolist()
    [[0, 0], [0, 2], [0, 3]]
    """
    rows, columns = (
        [*range(0, side - length, step), side - length] for side, length, step in zip(size, patch, stride, strict=True)
    )
    return np.array([(row, column) for row in rows for column in columns], np.int64)


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
    batch = max(1, min(BATCH, BATCH_BYTES // picture_HWC.size))
    for first in range(0, len(corners_P2), batch):
        part_P2 = corners_P2[first : first + batch]
        covered_NHWC = np.repeat(picture_HWC[None], len(part_P2), axis=0)
        for image_HWC, (top, left) in zip(covered_NHWC, part_P2, strict=True):
            image_HWC[top : top + patch[0], left : left + patch[1]] = colour_C
        yield part_P2, covered_NHWC


def _check(patch: tuple[int, int], stride: tuple[int, int], size: tuple[int, int]) -> None:
    if not all(1 <= length <= side for length, side in zip(patch, size, strict=True)):
        raise UsageError(
            f"A patch of {patch[0]}x{patch[1]} pixels was asked for. It must be at least 1x1 and fit into the picture "
            f"of {size[0]}x{size[1]}; choose a smaller one, or leave it out."
        )
    if not all(1 <= step <= length for step, length in zip(stride, patch, strict=True)):
        raise UsageError(
            f"A stride of {stride[0]}x{stride[1]} pixels was asked for. It must be at least 1x1 and no larger than the "
            f"patch of {patch[0]}x{patch[1]}, or pixels are left out; choose a smaller one, or leave it out."
        )
