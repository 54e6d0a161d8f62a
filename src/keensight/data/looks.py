"""What pictures look like once they are decoded: which are the same pixel for pixel, and which show nothing."""

from __future__ import annotations

import hashlib
import zlib
from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from keensight.values import IntArray, Pixels, Uint8Array

BLANK_LEVELS = 8  # of 256: a picture that shows something spreads over more
AT_A_TIME = 2**25  # bytes


def looks(pixels: Pixels) -> tuple[list[str], NDArray[np.bool_]]:
    """Return what tells pictures with the same pixels, and a bool N: which are blank.

    Two samples look the same if they have the same text; it is empty for a picture that looks like no other, and for
    a blank one, for all blank pictures look alike.
    """
    sums, spreads = _seen(pixels)
    blank = spreads < BLANK_LEVELS
    often = Counter(sums)
    told = [""] * len(sums)
    for i in np.flatnonzero([often[each] > 1 for each in sums]):
        if not blank[i]:  # sums are quick, and may agree by chance
            told[i] = hashlib.sha256(np.ascontiguousarray(pixels.images[pixels.rows[i]]).data).hexdigest()
    counts = Counter(told)
    return [each if counts[each] > 1 else "" for each in told], blank


def _seen(pixels: Pixels) -> tuple[list[int], IntArray]:
    """Return a checksum of each picture, and how many levels it spreads over."""
    if not isinstance(pixels.images, np.ndarray):  # streamed ones were looked at already
        known, spreads = pixels.images.seen(pixels.rows)
        return known.tolist(), spreads
    sums: list[int] = []
    spreads = np.zeros(len(pixels.rows), np.int64)
    for members, images in _some(pixels):
        sums += [zlib.crc32(row.data) for row in images.reshape(len(images), -1)]
        spreads[members] = spreads_of(images)
    return sums, spreads


def spreads_of(images_NHWC: Uint8Array) -> IntArray:
    """Return how many levels each picture spreads over, N."""
    # over rows of bytes NumPy is quick; over two axes at once, with channels behind them, 40 times as slow as this
    height, width = images_NHWC.shape[1:3]
    images = images_NHWC.reshape(len(images_NHWC), height * width, 1, 1) if images_NHWC.shape[3] == 1 else images_NHWC
    spreads_NC = images.max(axis=1).max(axis=1) - images.min(axis=1).min(axis=1)
    return np.asarray(spreads_NC.max(axis=1), np.int64)


def _some(pixels: Pixels) -> Iterator[tuple[slice, Uint8Array]]:
    step = max(1, AT_A_TIME // max(1, pixels.images[:1].nbytes))
    for first in range(0, len(pixels.rows), step):
        members = slice(first, first + step)
        yield members, np.ascontiguousarray(pixels.images[pixels.rows[members]])
