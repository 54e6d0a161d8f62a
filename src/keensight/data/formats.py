"""Pillow's readers for the formats that are read here; those of rare formats are loaded when such a picture comes."""

from __future__ import annotations

import functools

COMMON = ("JPEG", "PNG", "GIF")  # Pillow loads these, with BMP and PPM, before it opens anything
RARE = ("WEBP", "BMP", "TIFF", "PPM", "AVIF")
_COMMON_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a")  # no rare format begins so


def formats_of(picture: bytes) -> tuple[str, ...]:
    """Return the formats, by Pillow's names, that a picture may be in. Their readers are loaded.

    >>> formats_of(b"GIF89a")
    ('JPEG', 'PNG', 'GIF')
    """
    return COMMON if picture.startswith(_COMMON_STARTS) else with_rare()


@functools.cache
def with_rare() -> tuple[str, ...]:
    """Return all formats that are read here, their readers loaded, which takes 15 ms.

    Left to itself, Pillow would load 40 more.
    """
    from PIL import AvifImagePlugin, TiffImagePlugin, WebPImagePlugin  # noqa: F401

    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # pictures are decoded side by side already
    return COMMON + RARE
