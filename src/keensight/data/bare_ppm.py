"""PPM, PGM and PBM files as Pillow reads them quickly. https://netpbm.sourceforge.net/doc/ppm.html

Pillow has three of its decoders for them in Python: 0.5 microseconds for each number. Binary levels of any range are
scaled here, by a table and to the same levels; those in digits are as rare as they are slow, and pass as much work.
"""

from __future__ import annotations

import re

import numpy as np

from keensight.errors import TooMuchWorkError

PPM = (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6")
MOST_HEADER = 10_000  # bytes, which Pillow reads one by one
IN_PYTHON = 60  # what a decoder costs that Pillow has in Python, for each pixel and band


def bare_ppm(picture: bytes) -> tuple[bytes, int]:
    """Return a file whose levels reach to 255 or 65535 if they are binary, and passes over its pixels.

    Raises TooMuchWorkError: Pillow would read remarks for minutes.
    """
    kind, bands = picture[1:2], 3 if picture[1:2] in b"36" else 1
    head = re.sub(rb"#[^\n\r]*", lambda remark: b" " * len(remark[0]), picture[:MOST_HEADER])
    words = [found for found, _ in zip(re.finditer(rb"[^\s]+", head), range(4), strict=False)]
    if len(words) < (3 if kind in b"14" else 4):
        if len(picture) > MOST_HEADER:
            raise TooMuchWorkError(f"its header has more than {MOST_HEADER:,} bytes; save it again")
        return picture, 1
    if kind in b"123":
        if picture.count(b"#") > MOST_HEADER:  # each copies what follows it
            raise TooMuchWorkError("it has too many remarks; save it again")
        return picture, IN_PYTHON * bands
    if kind == b"4" or words[0].end() - words[0].start() != 2:
        return picture, 1
    return _scaled(picture, words, bands), 1


def _scaled(picture: bytes, words: list[re.Match[bytes]], bands: int) -> bytes:
    numbers = [word[0] for word in words[1:]]
    if not all(number.isdigit() and len(number) <= 10 for number in numbers):
        return picture
    width, height, white = map(int, numbers)
    top = 65_535 if white > 255 and bands == 1 else 255
    if white == top or not 0 < white < 65_536:
        return picture
    level = np.dtype("u1" if white < 256 else ">u2")
    begin, count = words[3].end() + 1, width * height * bands
    if begin + count * level.itemsize > len(picture):  # it is cut short
        return picture[:begin]
    table = np.minimum(np.rint(np.arange(256**level.itemsize) / white * top), top).astype(">u2" if top > 255 else "u1")
    levels = table[np.frombuffer(picture, level, count, begin)]
    return b"P%d %d %d %d\n" % (6 if bands == 3 else 5, width, height, top) + levels.tobytes()
