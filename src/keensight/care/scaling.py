"""Which pictures show something else once they are made small without averaging; data/scaling.py says what that is."""

from __future__ import annotations

from collections.abc import Iterator

from keensight.data.in_time import HERE_WORK
from keensight.data.pixels import whole_if_quick
from keensight.data.scaling import two_faces
from keensight.data.sources import Read, reader
from keensight.errors import PictureError
from keensight.executor import Threads
from keensight.machine import cores
from keensight.values import Dataset, Finding, Sample

SURE = 0.99
AT_A_TIME = 64


def scaling(dataset: Dataset) -> Iterator[Finding]:
    """Yield a finding of pictures that show something else at a size that models often have."""
    samples, found = dataset.samples, list[tuple[str, str]]()
    if dataset.kind == "arrays":
        return
    with reader(dataset) as read, Threads(cores()) as threads:

        def some(first: int) -> list[tuple[str, str]]:
            told = ((sample.path, _says(sample, read)) for sample in samples[first : first + AT_A_TIME])
            return [(path, says) for path, says in told if says]

        for each in threads.map(some, range(0, len(samples), AT_A_TIME)):
            found += each
    if found:
        yield Finding("scaling", tuple(path for path, _ in found), SURE, {"says": [says for _, says in found]})


def _says(sample: Sample, read: Read) -> str:
    try:
        picture = read(sample)
        grey_HW1 = whole_if_quick(picture, 1, HERE_WORK) if isinstance(picture, bytes) else None
    except PictureError:
        return ""
    other = two_faces(grey_HW1[..., 0]) if grey_HW1 is not None else None
    return f"{other.how}, to {other.side} pixels: differs by {other.difference:.0f} of 256 levels" if other else ""
