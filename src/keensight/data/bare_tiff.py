"""A TIFF file with a directory of nothing but the tags that say how pixels are stored.

https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf, and BigTIFF, whose numbers have 64 bits.
"""

from __future__ import annotations

import struct

from keensight.errors import TooMuchWorkError

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SIZES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8)  # of a value, by its kind
# strips, tiles, colours and compression; orientation, which Pillow applies itself; and the range of the levels
_KEPT = frozenset(
    (
        *(254, 256, 257, 258, 259, 262, 263, 266, 273, 274, 277, 278, 279, 280, 281, 284, 290, 291, 292, 293, 317, 320),
        *(322, 323, 324, 325, 332, 333, 334, 336, 338, 339, 340, 341, 347, *range(512, 522), *range(529, 533)),
    )
)
_JPEG = (6, 7)  # the two ways to have JPEG data within


def bare_tiff(picture: bytes) -> tuple[bytes, int, int]:
    """Return a file with its first directory's tags about pixels alone, 0 for no orientation, and passes over it all.

    Raises TooMuchWorkError: the tags have more data than the file. struct.error: it is cut short.
    """
    order = "<" if picture[:2] == b"II" else ">"
    big = picture[2:4] in (b"+\0", b"\0+")
    head, count_format, entry_size = (8, "Q", 20) if big else (4, "H", 12)
    number = order + ("Q" if big else "I")
    (start,) = struct.unpack_from(number, picture, head)
    (count,) = struct.unpack_from(order + count_format, picture, start)
    first = start + struct.calcsize(count_format)
    if count > 65_535:
        raise TooMuchWorkError(f"its directory has {count:,} entries; save it anew")
    kept, num_bytes, compression = [], 0, 1
    for i in range(count):
        entry = picture[first + i * entry_size : first + (i + 1) * entry_size]
        tag, kind = struct.unpack_from(f"{order}HH", entry)
        if tag in _KEPT:
            num_bytes += struct.unpack_from(number, entry, 4)[0] * _SIZES[kind if kind < len(_SIZES) else 0]
            kept.append(entry)
            if tag == 259:
                (compression,) = struct.unpack_from(f"{order}H", entry, entry_size - (8 if big else 4))
    if num_bytes > 2 * len(picture) + 10_000:
        raise TooMuchWorkError("its tags claim more data than the file has; save it anew")
    passes = _most_scans(picture) if compression in _JPEG else 1
    if len(kept) == count:
        return picture, 0, passes
    at = len(picture) + len(picture) % 2
    directory = struct.pack(order + count_format, len(kept)) + b"".join(kept) + bytes(struct.calcsize(number))
    content = picture[:head] + struct.pack(number, at) + picture[head + struct.calcsize(number) :]
    return content.ljust(at, b"\0") + directory, 0, passes


def _most_scans(picture: bytes) -> int:
    """Return the most scans that one strip or tile of JPEG data can have: those between two beginnings of one."""
    return max(1, *(part.count(b"\xff\xda") for part in picture.split(b"\xff\xd8")))
