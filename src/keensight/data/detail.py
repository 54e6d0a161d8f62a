"""How much detail pictures hold: those that were blown up are larger than what they show.

Shape letters: N pictures.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

from keensight.data.cache import SMALL_PX
from keensight.data.in_time import InTime
from keensight.data.pixels import read_header
from keensight.data.sources import reader
from keensight.errors import PictureError
from keensight.values import Dataset, Finding, FloatArray, Preprocessing, Uint8Array

MOST, LEAST = 48, 8  # pictures that are looked at, and that are needed to judge
MOST_PIXELS = 30_000_000  # of them all together: a third of a second
FACTORS = (2, 4, 8)
# Of the contrast, lost by halving and blowing up again. Medians: photographs .11 to .13; those of 32 pixels, blown
# up and saved as JPEG, .03.
LOST = 0.06
PLAIN = 8  # levels: what has less contrast shows nothing that could be sharp


def blown_up(dataset: Dataset) -> Finding | None:
    """Return a finding if most pictures are much larger than what they show, by a sample of them."""
    losses_NF = np.array(list(_losses(dataset))).reshape(-1, 1 + len(FACTORS))
    if len(losses_NF) < LEAST:
        return None
    side, *lost = np.median(losses_NF, axis=0).tolist()
    factor = max((f for f, loss in zip(FACTORS, lost, strict=True) if loss < LOST), default=1)
    if factor == 1:
        return None
    return Finding("quality", evidence={"lacks": "detail", "side": round(side), "detail": round(side / factor)})


def loss(grey_HW: Uint8Array, factor: int) -> float:
    """Return the share of a picture's contrast that is lost when it is made smaller by a factor, and large again."""
    image = Image.fromarray(grey_HW)
    small = image.resize((max(1, image.width // factor), max(1, image.height // factor)), Image.Resampling.BOX)
    again_HW: FloatArray = np.asarray(small.resize(image.size, Image.Resampling.BICUBIC), np.float64)
    difference = np.sqrt(np.mean((grey_HW - again_HW) ** 2))
    return float(difference / max(grey_HW.std(), 1.0))


def _losses(dataset: Dataset) -> Iterator[list[float]]:
    """Yield the shorter side, and the loss for each factor, of pictures that are large enough."""
    left = MOST_PIXELS
    with reader(dataset) as read, InTime() as in_time:
        for sample in dataset.samples[:: max(1, len(dataset.samples) // MOST)]:
            try:
                picture = read(sample)
                header = read_header(picture)
                side, pixels = min(header.height, header.width), header.height * header.width
                if side <= SMALL_PX or pixels > left:
                    continue
                size = Preprocessing(header.height, header.width, 1)
                grey_HW = in_time.decode(picture, size)[..., 0]
            except (PictureError, ValueError):  # it is named where it is left out
                continue
            left -= pixels
            if grey_HW.std() > PLAIN:
                yield [side, *(loss(grey_HW, factor) for factor in FACTORS)]
