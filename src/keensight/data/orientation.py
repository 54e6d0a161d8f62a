"""Which way up a picture is meant: the one number of its EXIF or XMP data that pixels need.

Read here and not by Pillow, which reads all of EXIF for it and gives a picture up for a camera's odd number elsewhere.
"""

from __future__ import annotations

import re
import struct

from PIL import Image

ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_XMP = re.compile(rb"tiff:Orientation(?:=[\"']|>)\s*([1-8])")
_MOST = 65_536  # bytes and entries that are looked at


def of_exif(block: bytes) -> int:
    """Return the orientation in an EXIF block, 1 to 8; 0 where it has none, or is damaged.

    >>> of_exif(b"II*\\0" + bytes([8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0]))
    6
    """
    block = block.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None or len(block) < 10:
        return 0
    (at,) = struct.unpack_from(f"{order}I", block, 4)
    if at + 2 > len(block):
        return 0
    (count,) = struct.unpack_from(f"{order}H", block, at)
    last = min(at + 2 + 12 * count, len(block) - 11)
    for entry in range(at + 2, last, 12):
        tag, kind = struct.unpack_from(f"{order}HH", block, entry)
        if tag == ORIENTATION and kind in (3, 4):
            (turn,) = struct.unpack_from(order + ("H" if kind == 3 else "I"), block, entry + 8)
            return int(turn) if 1 <= turn <= 8 else 0
    return 0


def of_xmp(packet: bytes) -> int:
    """Return the orientation in an XMP packet, 1 to 8; 0 where it has none."""
    found = _XMP.search(packet, 0, _MOST)
    return int(found[1]) if found else 0


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """Return a picture turned and mirrored as its orientation says."""
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image
