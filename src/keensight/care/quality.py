"""Pictures that may not belong: blank, dark, light, blurred, tiny, oddly shaped, or grey among colour.

Each is judged beside the others of the same data: where half are dark, dark is how they are. The kinds are
those of CleanVision that a single picture shows. Shape letters: N pictures, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from keensight.data.looks import looks
from keensight.data.pixels import read_header
from keensight.data.sources import reader
from keensight.errors import PictureError
from keensight.values import Finding, FloatArray, Pixels

RARE = 0.1  # of the pictures: what more of them are is how these data are
DARK, LIGHT = 0.12, 0.93  # of the brightest level: below, above this are 95 of 100 pixels
SHARP = 0.2  # of the usual sharpness of these data: blurred is what has less
ODD_SIZE, ODD_SHAPE = 4.0, 2.0  # times smaller than the usual side; times further from square than usual
COLOURED = 6.0  # levels between the channels of a picture with colours, on average
AT_A_TIME = 256


class Look(NamedTuple):
    """What is measured of each picture: all N, `sides` N2 are height and width of the file's picture, 0 if unknown."""

    dark: FloatArray
    light: FloatArray
    sharp: FloatArray
    colour: FloatArray
    sides: FloatArray


def quality(pixels: Pixels, look: Look | None = None) -> Iterator[Finding]:
    """Yield a finding for each kind of picture that is rare among these: blank ones first.

    `look` is what `measure` says of them, where that is known.
    """
    _, blank = looks(pixels)
    paths = [sample.path for sample in pixels.dataset.samples]
    if blank.any():
        yield Finding("blank", tuple(paths[i] for i in np.flatnonzero(blank)))
    look = look or measure(pixels)
    shorter = look.sides.min(axis=1)
    aspect = np.divide(look.sides.max(axis=1), shorter, out=np.ones(len(shorter)), where=shorter > 0)
    usual_side, usual_aspect = np.median(shorter), np.median(aspect)
    seen = ~blank
    usual_sharp = np.median(look.sharp[seen]) if seen.any() else 0.0
    kinds = {
        "dark": seen & (look.dark < DARK),
        "light": seen & (look.light > LIGHT),
        "blurred": seen & (look.sharp < SHARP * usual_sharp),
        "tiny": (shorter > 0) & (shorter * ODD_SIZE < usual_side),
        "long": aspect > ODD_SHAPE * usual_aspect,
        "grey": seen & (look.colour < 1) & (np.median(look.colour) > COLOURED),
    }
    for what, members in kinds.items():
        found = np.flatnonzero(members)
        if 0 < len(found) <= RARE * len(paths):
            says = [f"{look.sides[i, 1]:.0f}×{look.sides[i, 0]:.0f}" if look.sides[i, 0] else "" for i in found]
            sure = 1.0 if what in ("tiny", "long", "grey") else 0.8
            yield Finding("quality", tuple(paths[i] for i in found), sure, {"what": what, "says": says})


def measure(pixels: Pixels) -> Look:
    """Measure all pictures: the 95th and 5th percentile of brightness in [0, 1], sharpness, and colour in levels."""
    parts = []
    for first in range(0, len(pixels.rows), AT_A_TIME):
        images_NHWC = pixels.images[pixels.rows[first : first + AT_A_TIME]].astype(np.float32)
        grey_NHW = images_NHWC.mean(axis=3)
        flat_NP = grey_NHW.reshape(len(grey_NHW), -1) / 255
        dark_N, light_N = np.quantile(flat_NP, 0.95, axis=1), np.quantile(flat_NP, 0.05, axis=1)
        contrast_N = np.maximum(grey_NHW.std(axis=(1, 2)), 1)
        parts.append((dark_N, light_N, _edges(grey_NHW) / contrast_N, np.ptp(images_NHWC, axis=3).mean(axis=(1, 2))))
    dark, light, sharp, colour = (np.concatenate(each) for each in zip(*parts, strict=True))
    return Look(dark, light, sharp, colour, _sides(pixels))


def _edges(grey_NHW: FloatArray) -> FloatArray:
    """Return how far pixels are from the mean of their neighbours, as a root of the mean square."""
    if min(grey_NHW.shape[1:]) < 3:
        return np.ones(len(grey_NHW))
    inner = grey_NHW[:, 1:-1, 1:-1]
    around = grey_NHW[:, :-2, 1:-1] + grey_NHW[:, 2:, 1:-1] + grey_NHW[:, 1:-1, :-2] + grey_NHW[:, 1:-1, 2:]
    edges_N: FloatArray = np.sqrt(np.square(inner - around / 4).mean(axis=(1, 2)))
    return edges_N


def _sides(pixels: Pixels) -> FloatArray:
    sides_N2 = np.zeros((len(pixels.dataset.samples), 2))
    with reader(pixels.dataset) as read:
        for i, sample in enumerate(pixels.dataset.samples):
            try:
                header = read_header(read(sample))
            except PictureError:
                continue
            sides_N2[i] = header.height, header.width
    return sides_N2
