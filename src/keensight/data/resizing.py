"""Resizing to the same bits as Pillow, four times as fast, by our own C code where it could be compiled."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from PIL import Image

from keensight.data.lent import lent
from keensight.kernels import library
from keensight.values import Uint8Array

TRIED = ((40, 31, 23, 17), (64, 64, 36, 36), (20, 9, 31, 14))  # width and height before, and after


def resized(image: Image.Image, width: int, height: int) -> Uint8Array | None:
    """Return a colour picture resized as by Pillow's bilinear `resize`, uint8 HWC; None for one that is left to Pillow.

    Those are pictures that are not RGB; that shrink to a quarter or less, which Pillow does in two steps; and those
    that are tall, or shrink more in height than in width, of which Pillow 13 resizes some by height first.
    """
    old_width, old_height = image.size
    as_usual = old_height <= old_width and old_height * width <= old_width * height
    if image.mode != "RGB" or not as_usual or old_width >= 4 * width or _resize() is None:
        return None
    return _resized(_resize(), image, width, height)


def _resized(resize: Any, image: Image.Image, width: int, height: int) -> Uint8Array | None:
    images_HWC = np.empty((height, width, 3), np.uint8)
    with lent(image) as pixels:
        done = resize(pixels, image.height, image.width, images_HWC.ctypes.data, height, width)
    return images_HWC if done else None


@functools.cache
def _resize() -> Any:
    """Return the compiled function, or None if there is none or this Pillow gives other pixels."""
    if library() is None:
        return None
    resize = library().keensight_resize
    return resize if all(_agrees(resize, *sizes) for sizes in TRIED) else None


def _agrees(resize: Any, width: int, height: int, new_width: int, new_height: int) -> bool:
    """Say whether Pillow gives the same result for a picture of noise."""
    counts = np.arange(height * width * 3, dtype=np.uint32)
    noise = (counts * np.uint32(2654435761) >> np.uint32(24)).astype(np.uint8)  # numpy.random takes 2 MB, 10 ms
    image = Image.fromarray(noise.reshape(height, width, 3))
    expected = np.asarray(image.resize((new_width, new_height), Image.Resampling.BILINEAR))
    found = _resized(resize, image, new_width, new_height)
    return found is not None and np.array_equal(found, expected)
