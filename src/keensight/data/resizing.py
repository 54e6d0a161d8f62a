"""Resizing to the same bits as Pillow, in a fraction of its time, by our own C code where it could be compiled."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from keensight.data.lent import lent
from keensight.kernels import library
from keensight.values import Uint8Array

Order: TypeAlias = Callable[[int, int, int, int], bool | None]  # by width and height before, and after
WIDE = ((40, 31, 23, 17), (64, 64, 36, 36), (20, 9, 31, 14))
TALL = ((40, 95, 29, 72), (40, 94, 29, 72), (20, 33, 31, 32), (20, 32, 31, 33))


def resized(image: Image.Image, width: int, height: int) -> Uint8Array | None:
    """Return a colour picture resized as by Pillow's bilinear `resize`, uint8 HWC; None for one that is left to Pillow.

    Those are pictures that are not RGB; that shrink to a quarter or less, which Pillow does in two steps; that are less
    than 4 pixels wide; and tall ones, where the Pillow at hand has another order than those that are known.
    """
    before = image.size
    is_known = image.mode == "RGB" and 4 <= before[0] < 4 * width and before[1] < 4 * height
    order = _order() if is_known else None
    downwards_first = None if order is None else order(*before, width, height)
    return None if downwards_first is None else _resized(image, width, height, downwards_first)


def _resized(image: Image.Image, width: int, height: int, downwards_first: bool) -> Uint8Array | None:
    resize: Any = library().keensight_resize
    images_HWC = np.empty((height, width, 3), np.uint8)
    with lent(image) as pixels:
        done = resize(pixels, image.height, image.width, images_HWC.ctypes.data, height, width, downwards_first)
    return images_HWC if done else None


def of_13(old_width: int, old_height: int, width: int, height: int) -> bool:
    """Say whether Pillow 13 resizes downwards first: where that takes off more than twice as many rows as columns."""
    return old_height - height > max(0, 2 * (old_width - width))


def of_12(old_width: int, old_height: int, width: int, height: int) -> bool:
    """Say that Pillow 12 and earlier ones always resize sideways first."""
    return False


def of_any(old_width: int, old_height: int, width: int, height: int) -> bool | None:
    """Say that every Pillow resizes sideways first what is neither tall nor made less tall; None for all else."""
    return False if old_height <= old_width and old_height * width <= old_width * height else None


@functools.cache
def _order() -> Order | None:
    """Return the order of the Pillow at hand; None if there is no compiled code, or this Pillow gives other pixels."""
    if library() is None:
        return None
    orders: tuple[Order, ...] = (of_13, of_12, of_any)
    return next((order for order in orders if all(_agrees(order, *sizes) for sizes in (*WIDE, *TALL))), None)


def _agrees(order: Order, width: int, height: int, new_width: int, new_height: int) -> bool:
    """Say whether Pillow gives the same result for a picture of noise, if the order is known."""
    downwards_first = order(width, height, new_width, new_height)
    if downwards_first is None:
        return True
    counts = np.arange(height * width * 3, dtype=np.uint32)
    noise = (counts * np.uint32(2654435761) >> np.uint32(24)).astype(np.uint8)  # numpy.random takes 2 MB, 10 ms
    image = Image.fromarray(noise.reshape(height, width, 3))
    expected = np.asarray(image.resize((new_width, new_height), Image.Resampling.BILINEAR))
    found = _resized(image, new_width, new_height, downwards_first)
    return found is not None and np.array_equal(found, expected)
