"""A fast reader for simple PNG files: it skips Pillow's overhead, and takes a third of the time for 28x28 pixels.

https://www.w3.org/TR/png-3/. Pillow's decoder still inflates and unfilters; only its search for chunks is skipped.
"""

from __future__ import annotations

import struct
import zlib

from PIL import Image

PNG = b"\x89PNG\r\n\x1a\n"
START = PNG + b"\x00\x00\x00\rIHDR"
END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
MODES = {(8, 0): "L", (8, 2): "RGB"}  # by bit depth and colour type
_HEADER = struct.Struct(">IIBBBBBI I4s")  # width, height, depth, colour, three methods; checksum; next length and kind
_CHECKSUM = struct.Struct(">I")
_FIRST = len(START) + _HEADER.size  # where the deflated pixels begin
_IDAT = zlib.crc32(b"IDAT")


def open_plain_png(picture: bytes, most_pixels: int) -> Image.Image | None:
    """Return an 8-bit grey or RGB picture whose file is only header, pixels and end, all of them valid.

    None for any other file, and for more than `most_pixels`: these are left to Pillow.
    """
    last = len(picture) - len(END) - _CHECKSUM.size
    if not (last > _FIRST and picture.startswith(START) and picture.endswith(END)):
        return None
    width, height, depth, colour, *methods, checksum, length, kind = _HEADER.unpack_from(picture, len(START))
    mode = MODES.get((depth, colour))
    if mode is None or any(methods) or not 0 < width * height <= most_pixels:  # the last method is interlacing
        return None
    if kind != b"IDAT" or length != last - _FIRST or zlib.crc32(picture[12:29]) != checksum:
        return None
    pixels = picture[_FIRST:last]
    if zlib.crc32(pixels, _IDAT) != _CHECKSUM.unpack_from(picture, last)[0]:
        return None
    try:
        return Image.frombytes(mode, (width, height), pixels, "zip", mode)
    except (ValueError, OSError):  # too few, or not deflated
        return None
