"""Pictures that a caller has in hand: PIL images, and arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageOps

from keensight.data.levels import is_deep
from keensight.errors import PictureError
from keensight.values import Uint8Array

ACCEPTED = "Give a path, a PIL image, or an array uint8 of shape HW or HWC with 1, 3 or 4 channels"


def pixels_in_hand(given: Image.Image | Uint8Array) -> Uint8Array:
    """Return a PIL image, or an array uint8 HW or HWC with 1, 3 or 4 channels, as uint8 HWC.

    Raises PictureError for what is neither.
    """
    return _pixels_of_image(given) if isinstance(given, Image.Image) else _pixels_of_array(given)


def as_image(levels_HWC: Uint8Array) -> Image.Image:
    """Return an array as an image: grey, colour, or with transparency, by its number of channels."""
    return Image.fromarray(levels_HWC[..., 0] if levels_HWC.shape[2] == 1 else levels_HWC)


def _pixels_of_image(image: Image.Image) -> Uint8Array:
    if is_deep(image):
        raise PictureError(
            f"it has the mode {image.mode}, in which nobody says what is white. Give the file, or image.convert('L') "
            "after scaling its levels to 0 to 255"
        )
    if 0 in image.size:
        raise PictureError(f"it is an image of {image.width}x{image.height} pixels, which shows nothing. {ACCEPTED}")
    try:
        image.load()  # which turns a TIFF by itself
        upright = ImageOps.exif_transpose(image)
        see_through = "A" in upright.mode or "a" in upright.mode or "transparency" in upright.info
        mode = "RGBA" if see_through else "L" if upright.mode in ("1", "L") else "RGB"
        pixels = np.asarray(upright.convert(mode))
    except MemoryError as error:
        raise PictureError("there is not enough memory to decode it") from error
    except Exception as error:  # it may be decoded only now, by Pillow's parsers, which raise anything
        raise PictureError(f"it is damaged or cut short ({type(error).__name__}: {error})") from error
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _pixels_of_array(given: Any) -> Uint8Array:
    try:
        pixels = np.asarray(given)
    except Exception as error:  # arrays of others, on a GPU for example
        raise PictureError(f"it is a {type(given).__name__} that is no array ({error}). {ACCEPTED}") from error
    if pixels.dtype.kind == "f" and pixels.size:
        raise PictureError(
            f"it is an array of {pixels.dtype}, whose white may be 1 or 255. {ACCEPTED}; from 0 to 1, for example, "
            "(array * 255).round().astype('uint8')"
        )
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or not pixels.size:
        what = "a value" if pixels.ndim == 0 else f"an array of {pixels.dtype}, shape {pixels.shape}"
        raise PictureError(f"it is {what} ({type(given).__name__}). {ACCEPTED}")
    if pixels.ndim == 3 and pixels.shape[2] not in (1, 3, 4):
        hint = "; its channels come first: np.moveaxis(array, 0, -1)" if pixels.shape[0] in (1, 3, 4) else ""
        raise PictureError(f"it is an array of shape {pixels.shape}. {ACCEPTED}{hint}")
    return np.ascontiguousarray(pixels[..., None] if pixels.ndim == 2 else pixels)
