"""Which pictures are the same in all their pixels, in the size of their files and not in the smaller one of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256

import numpy as np

from keensight.data.in_time import HERE_WORK
from keensight.data.pixels import whole_if_quick
from keensight.data.sources import Read, reader
from keensight.errors import PictureError
from keensight.executor import Threads
from keensight.machine import cores
from keensight.values import Dataset, Sample, Uint8Array

Levels = tuple[float, float] | None


def digests(dataset: Dataset, numbers: Sequence[int], levels: Levels) -> Mapping[int, str]:
    """Return what tells samples with the same pixels, by their numbers, from their files as they are now.

    Two samples have all pixels in common, in colour and size, if they have the same text. Those that cannot be read,
    or would take long to decode, are left out: nothing is certain of them. `levels` are as in `Preprocessing`.
    """
    if not numbers:
        return {}
    with reader(dataset) as read, Threads(cores()) as threads:
        told = threads.map(lambda i: _digest(dataset.samples[i], read, levels), numbers)
        return {i: digest for i, digest in zip(numbers, told, strict=True) if digest}


def _digest(sample: Sample, read: Read, levels: Levels) -> str:
    try:
        picture = read(sample)
        whole_HWC = whole_if_quick(picture, 3, HERE_WORK, levels) if isinstance(picture, bytes) else _coloured(picture)
    except PictureError:
        return ""
    if whole_HWC is None:
        return ""
    return f"{whole_HWC.shape[:2]} {sha256(np.ascontiguousarray(whole_HWC).data).hexdigest()}"


def _coloured(pixels_HWC: Uint8Array) -> Uint8Array:
    return pixels_HWC if pixels_HWC.shape[2] == 3 else pixels_HWC.repeat(3, axis=2)
