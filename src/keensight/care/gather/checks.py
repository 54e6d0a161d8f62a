"""Whether what was fetched is a picture that can be used: told by its content alone, and decoded in a process apart."""

from __future__ import annotations

import re
from dataclasses import dataclass

from keensight.data.apart import Apart, ApartError
from keensight.data.kinds import is_heif, is_picture_start, what_is
from keensight.data.pixels import decode_picture, read_header
from keensight.errors import PictureError
from keensight.values import Preprocessing, Uint8Array

MAX_BYTES = 30 * 2**20
MAX_PIXELS, MIN_SIDE = 50_000_000, 32  # smaller ones are icons, and what counts visitors
DECODE_S = 20.0
TINY = Preprocessing(64, 64, 3)  # what is compared to find copies
SUFFIXES = (  # by the first bytes; what is sent as its type, and the suffix in the address, are not believed
    (rb"\xff\xd8\xff", "jpg"),
    (rb"\x89PNG", "png"),
    (rb"GIF8", "gif"),
    (rb"RIFF....WEBP", "webp"),
    (rb"BM", "bmp"),
    (rb"II|MM", "tif"),
    (rb"P[1-6]", "ppm"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Checked:
    """A picture that can be used: its suffix by what it is, its size, and itself in `TINY`, uint8 HWC."""

    suffix: str
    width: int
    height: int
    tiny: Uint8Array


def checked(content: bytes, apart: Apart) -> Checked:
    """Return what is known of a picture. Raises PictureError, with the reason, for anything that is none to be used."""
    if not is_picture_start(content):
        raise PictureError(f"it is {what_is(content) or 'not a picture that can be read'}")
    header = read_header(content)
    if header.width * header.height > MAX_PIXELS:
        raise PictureError(f"it has {header.width * header.height / 1e6:,.0f} megapixels")
    if min(header.width, header.height) < MIN_SIDE:
        raise PictureError(f"it is only {header.width} by {header.height} pixels large")
    try:
        tiny = apart.decode(content, TINY, DECODE_S)
    except ApartError:
        tiny = decode_picture(content, TINY)
    return Checked(suffix_of(content), header.width, header.height, tiny)


def suffix_of(content: bytes) -> str:
    """Return the suffix for a picture's file.

    >>> suffix_of(b"GIF89a..."), suffix_of(b"\\0\\0\\0\\x1cftypheic")
    ('gif', 'heic')
    """
    for start, suffix in SUFFIXES:
        if re.match(start, content, re.DOTALL):
            return suffix
    return "heic" if is_heif(content) else "avif"
