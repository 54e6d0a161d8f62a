"""Reduces a TIFF file's directory to the tags that say how pixels are stored.

https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf, and BigTIFF, whose numbers have 64 bits.
"""

from __future__ import annotations

import math
import mmap
import struct

import numpy as np

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
_NUMBERS = {1: "u1", 3: "u2", 4: "u4", 16: "u8"}  # kinds of values that are whole numbers
_WIDTH, _HEIGHT, _COMPRESSION, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 259, 322, 323
_OFFSETS, _NUM_BYTES = (273, 324), (279, 325)  # of each strip, of each tile
_PLAIN = 1
_JPEG = (6, 7)  # the two compressions that are JPEG


def bare_tiff(picture: bytes) -> tuple[bytes, int, int, bool]:
    """Return the file with its first directory's tags about pixels only, the orientation 0, the number of passes over
    all pixels, and whether decoding takes no more than these: TIFF has codecs of many kinds.

    Raises TooMuchWorkError if tags, strips or tiles claim more data than the file has, and struct.error if it is cut
    short.
    """
    order, number, first, entry_size, count = first_directory(picture)
    head, count_format = struct.calcsize(number), "Q" if number[1] == "Q" else "H"
    if count > 65_535:
        raise TooMuchWorkError(f"its directory has {count:,} entries; save it again")
    kept, num_bytes, num_parts, values = [], 0, 0, dict[int, list[int]]()
    for i in range(count):
        entry = picture[first + i * entry_size : first + (i + 1) * entry_size]
        tag, kind = struct.unpack_from(f"{order}HH", entry)
        if tag in _KEPT:
            num_values = struct.unpack_from(number, entry, 4)[0]
            num_bytes += num_values * _SIZES[kind if kind < len(_SIZES) else 0]
            num_parts += num_values * (tag in _OFFSETS)
            kept.append(entry)
            if tag in (_WIDTH, _HEIGHT, _COMPRESSION, _TILE_WIDTH, _TILE_HEIGHT, *_NUM_BYTES):
                values[tag] = _values(picture, entry, order, number)
    if num_bytes > 2 * len(picture) + 10_000:
        raise TooMuchWorkError("its tags claim more data than the file has; save it again")
    check_parts(num_parts, math.prod(sum(values.get(tag, [])[:1]) for tag in (_WIDTH, _HEIGHT)))
    compression = values.get(_COMPRESSION, [_PLAIN])[:1]
    if compression != [_PLAIN] and any(_claimed(values.get(tag, []), picture) for tag in _NUM_BYTES):
        raise TooMuchWorkError("its strips or tiles claim more data than the file has; save it again")
    passes = _tiled(values) * (_most_scans(picture) if compression and compression[0] in _JPEG else 1)
    if len(kept) == count:
        return picture, 0, passes, compression == [_PLAIN]
    at = len(picture) + len(picture) % 2
    directory = struct.pack(order + count_format, len(kept)) + b"".join(kept) + bytes(struct.calcsize(number))
    content = picture[:head] + struct.pack(number, at) + picture[head + struct.calcsize(number) :]
    return content.ljust(at, b"\0") + directory, 0, passes, compression == [_PLAIN]


def first_directory(content: bytes | mmap.mmap) -> tuple[str, str, int, int, int]:
    """Return the order of bytes, the format of large numbers (64 bits in BigTIFF), and where the first directory's
    entries begin, how long each is, and how many they are. Raises struct.error if the file is cut short.
    """
    order, is_big = "<" if content[:2] == b"II" else ">", 43 in content[2:4]
    number, count_format = (order + "Q", order + "Q") if is_big else (order + "I", order + "H")
    (start,) = struct.unpack_from(number, content, struct.calcsize(number))
    (count,) = struct.unpack_from(count_format, content, start)
    return order, number, start + struct.calcsize(count_format), 20 if is_big else 12, count


def check_parts(count: int, pixels: int) -> None:
    """Raise TooMuchWorkError for more strips or tiles than pixels can need: Pillow goes through them in Python."""
    if count > 10_000 + pixels // 256:
        raise TooMuchWorkError(f"it is cut into {count:,} strips or tiles; save it again")


def _values(picture: bytes, entry: bytes, order: str, number: str) -> list[int]:
    """Return what a tag holds, in its entry or elsewhere, or nothing where these are no whole numbers."""
    kind, (count,) = struct.unpack_from(f"{order}H", entry, 2)[0], struct.unpack_from(number, entry, 4)
    if kind not in _NUMBERS:
        return []
    room, numbers = struct.calcsize(number), np.dtype(order + _NUMBERS[kind])
    held = entry[-room:]
    if count * numbers.itemsize > room:
        (at,) = struct.unpack(number, held)
        held = picture[at : at + count * numbers.itemsize]
    there = min(count, len(held) // numbers.itemsize)
    values: list[int] = np.frombuffer(held, numbers, there).tolist()
    return values


def _claimed(counts: list[int], picture: bytes) -> bool:
    """Say whether parts share so many bytes that together they are more than twice the file."""
    return sum(min(count, len(picture)) for count in counts) > 2 * len(picture) + 10_000


def _tiled(values: dict[int, list[int]]) -> int:
    """Return how many times as many pixels as the picture its tiles have: they may reach far beyond its edges."""
    tags = (_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT)
    width, height, *tile = (values.get(tag, [0])[0] if values.get(tag) else 0 for tag in tags)
    if not (width and height and all(tile)):
        return 1
    across, down = -(-width // tile[0]), -(-height // tile[1])
    return -(-across * down * tile[0] * tile[1] // (width * height))


def _most_scans(picture: bytes) -> int:
    """Return the largest number of scans in one strip or tile of JPEG data, which ends where the next one starts."""
    return max(1, *(part.count(b"\xff\xda") for part in picture.split(b"\xff\xd8")))
