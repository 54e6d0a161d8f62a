"""Small pictures for the grid: made when they are looked at, and kept in memory."""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path

from PIL import Image

from keensight.data.pixels import decode_picture
from keensight.values import Preprocessing

SIDE_PX = 160
KEPT = 4000  # of some 6 kB


def thumb(file: Path) -> bytes:
    """Return the middle of a picture as a JPEG of 160x160 pixels. Raises PictureError, OSError."""
    return _thumb(file, file.stat().st_mtime_ns)


def small_of(content: bytes) -> Image.Image:
    """Return the middle of an encoded picture, decoded to its end. Raises PictureError."""
    return Image.fromarray(decode_picture(content, Preprocessing(SIDE_PX, SIDE_PX, 3, fit="crop")))


@lru_cache(KEPT)
def _thumb(file: Path, _: int) -> bytes:
    out = io.BytesIO()
    small_of(file.read_bytes()).save(out, "JPEG", quality=80)
    return out.getvalue()
