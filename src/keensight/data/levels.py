"""Greys of more than eight bits, in eight: by the range that their file declares, never by one picture's own.

A picture that is a little lighter than another stays so. PNG and PPM declare their range, and TIFF does for whole
numbers of up to 16 bits. Floats and 32-bit numbers declare none (what TIFF calls a maximum is often one picture's own):
they have the data set's range, which a bundle remembers. What lies outside is cut.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from keensight.errors import PictureError
from keensight.values import Uint8Array

STRIP = 500_000  # pixels converted at a time, to keep memory flat
USUAL = (1.0, 255.0, 4095.0, 65535.0)  # white in a data set whose files do not say: the first that none is above
_BITS, _PHOTOMETRIC = 258, 262  # tags of TIFF


def is_deep(image: Image.Image) -> bool:
    """Say whether a picture has greys of more than eight bits."""
    return image.mode.startswith("I") or image.mode == "F"


def white_of(image: Image.Image) -> float | None:
    """Return the level of white that a deep grey's file declares; None where it declares none."""
    tags = getattr(image, "tag_v2", None)
    if tags is None:
        return 65535.0 if image.mode.startswith("I") else None  # Pillow has scaled PPM to that
    bits = tags.get(_BITS, (1,))[0]
    if image.mode == "F" or bits > 16:
        return None
    return float(2 ** (bits - (image.mode == "I")) - 1)  # mode I of 16 bits has a sign


def data_set_range(lowest: float, highest: float) -> tuple[float, float]:
    """Return the levels of black and white for a data set whose levels run from `lowest` to `highest`.

    >>> data_set_range(0, 200), data_set_range(-1000, 3000)
    ((0.0, 255.0), (-1000.0, 3000.0))
    """
    if lowest >= 0:
        return 0.0, next((white for white in USUAL if highest <= white), float(highest))
    return float(lowest), max(0.0, float(highest))


def in_eight_bits(image: Image.Image, levels: tuple[float, float] | None = None) -> Image.Image:
    """Return deep greys as `L`, or as `LA` if one level is transparent. Raises PictureError for NaN or infinity.

    `levels` are those of black and white if the file declares none; without them, floats are fractions of white, and
    whole numbers have 16 bits.
    """
    declared = white_of(image)
    black, white = levels or (0.0, 1.0 if image.mode == "F" else 65535.0)
    if declared is not None:
        black, white = 0.0, declared
    is_negative = getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0
    key = image.info.get("transparency")
    bands = np.empty((image.height, image.width, 1 if key is None else 2), np.uint8)
    rows = max(1, STRIP // image.width)
    for top in range(0, image.height, rows):
        part = np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))
        bands[top : top + rows, :, 0] = _scaled(part, black, white, is_negative)
        if key is not None:
            bands[top : top + rows, :, 1] = np.where(part == key, 0, 255)
    return Image.fromarray(bands[..., 0] if key is None else bands)


def _scaled(levels: np.ndarray, black: float, white: float, is_negative: bool) -> Uint8Array:
    fractions = (levels.astype(np.float64) - black) / (white - black)
    if not np.isfinite(fractions).all():
        raise PictureError("it has pixels that are not numbers")
    fractions = np.clip(fractions, 0, 1)
    scaled: Uint8Array = np.round((1 - fractions if is_negative else fractions) * 255).astype(np.uint8)
    return scaled


def key_in_eight_bits(image: Image.Image, depth: int) -> None:
    """Give the transparent level or colour of a PNG the range of its pixels, which Pillow has scaled to eight bits."""
    key = image.info.get("transparency")
    if image.mode == "L" and isinstance(key, int):
        image.info["transparency"] = key * {2: 85, 4: 17}.get(depth, 1)
    elif image.mode == "RGB" and isinstance(key, tuple) and depth == 16:
        image.info["transparency"] = tuple(level >> 8 for level in key)
