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


@lru_cache(KEPT)
def _thumb(file: Path, _: int) -> bytes:
    pixels = decode_picture(file.read_bytes(), Preprocessing(SIDE_PX, SIDE_PX, 3, fit="crop"))
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=80)
    return out.getvalue()
