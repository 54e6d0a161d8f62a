"""What is sure and quick to find, and so is looked for before each training: at most three findings.

`keensight audit` looks for all else, and at all pictures.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from keensight.care.metadata import metadata
from keensight.care.quality import quality
from keensight.care.shortcuts import GROUPS, shortcuts
from keensight.values import Finding, IntArray, Pixels

MOST = 500  # pictures that are looked at
MOST_PX = 64  # of a side: every second pixel, or third... of larger pictures
SURE = 0.9  # borders, corners and colours may be content, and what is dark or blurred is a matter of taste
SURE_GROUPS = {name: group for name, group in GROUPS.items() if group.sure >= SURE}
WORTH_SAYING = ("payload", "place", "person", "thumbnail")  # of what files hold


def cheap_findings(pixels: Pixels) -> tuple[Finding, ...]:
    """Return the gravest sure finding of each kind: a shortcut, what files hold, and pictures unlike the others.

    At most `MOST` pictures, evenly spread, are looked at; `evidence["looked_at"]` is their number where they are not
    all. Blank pictures and copies are found when pictures are divided.
    """
    some = _thinned(pixels)
    found = (
        next(shortcuts(some, groups=SURE_GROUPS), None),
        next((each for each in metadata(some.dataset) if each.evidence["what"] in WORTH_SAYING), None),
        max(
            (each for each in quality(some) if each.kind == "quality" and each.score == 1),
            key=lambda each: len(each.samples),
            default=None,
        ),
    )
    looked_at = len(some.dataset.samples)
    if looked_at == len(pixels.dataset.samples):
        return tuple(filter(None, found))
    return tuple(
        replace(each, evidence={**each.evidence, "looked_at": looked_at}) for each in found if each is not None
    )


def _thinned(pixels: Pixels) -> Pixels:
    """Return some of the pictures, and few pixels of each: enough to tell grey from colour."""
    count = len(pixels.dataset.samples)
    chosen: IntArray = np.linspace(0, count - 1, min(count, MOST)).astype(np.int64)
    step = max(1, max(pixels.images.shape[1:3]) // MOST_PX)
    images = np.stack([pixels.images[row, ::step, ::step] for row in pixels.rows[chosen]])
    dataset = replace(pixels.dataset, samples=tuple(pixels.dataset.samples[i] for i in chosen))
    return Pixels(dataset, pixels.preprocessing, images, np.arange(len(chosen)))
