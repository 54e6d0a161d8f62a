"""The strips or tiles of a large TIFF file, each as a small TIFF of its own, so that each can be decoded alone.

https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf, and BigTIFF, whose numbers have 64 bits.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from keensight.data.bare_tiff import check_parts, first_directory
from keensight.data.pixels import MAX_PIXELS
from keensight.errors import PictureError

WIDTH, HEIGHT, BITS, COMPRESSION, ORIENTATION, SAMPLES = 256, 257, 258, 259, 274, 277
OFFSETS, ROWS, COUNTS, PLANAR, FORMAT = 273, 278, 279, 284, 339
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS = 322, 323, 324, 325
# how pixels are stored: bits, compression, colours, order of bits, planes, predictor, palette, kinds of samples,
# JPEG's tables, YCbCr
COPIED = (258, 259, 262, 266, 277, 284, 317, 320, 338, 339, 347, 529, 530, 531, 532)
PLAIN, OLD_JPEG = 1, 6
COLOURS, YCBCR = 262, 6
PLAIN_ROWS = 256
KINDS = {1: "B", 2: "s", 3: "H", 4: "I", 5: "II", 7: "s", 12: "d", 16: "Q"}  # of a tag's values, by their number
MOST_TAGS = 4096
MOST_VALUES = 2**26


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a picture, row by row of parts; all have `part_width` x `part_height` pixels, some beyond the edge.

    `tags` are those that each part shares, by number: the kind, and the bytes of all values.
    """

    height: int
    width: int
    part_height: int
    part_width: int
    order: str
    tags: dict[int, tuple[int, bytes]]
    places: list[tuple[int, int]]  # offset and bytes of each part, plane after plane
    planes: int
    path: Path
    is_tiled: bool = field(default=True)

    def rows(self) -> Iterator[list[bytes]]:
        """Yield the parts of each row, each as a TIFF file. Raises PictureError if the file is cut short."""
        across, down = -(-self.width // self.part_width), -(-self.height // self.part_height)
        with self.path.open("rb") as file:  # read, not mapped: pages of a map that were read count as memory
            for row in range(down):
                height = (
                    self.part_height if self.is_tiled else min(self.part_height, self.height - row * self.part_height)
                )
                yield [self._alone(file, row * across + column, across * down, height) for column in range(across)]

    def _alone(self, file: IO[bytes], number: int, per_plane: int, height: int) -> bytes:
        found = []
        for plane in range(self.planes):
            offset, count = self.places[number + plane * per_plane]
            if not count or offset + count > os.fstat(file.fileno()).st_size:
                raise PictureError("it is cut short: a strip or tile lies beyond its end")
            file.seek(offset)
            found.append(file.read(count))
        return _small_tiff(self.order, self.part_width, height, self.tags, found)


def parts_of_tiff(path: Path) -> Parts | str:
    """Return the parts of a file's first picture, or what does not allow to decode these one by one.

    Raises PictureError for a file that is damaged.
    """
    try:
        return _parts(path, *tags_of_tiff(path))
    except (struct.error, ValueError, KeyError, IndexError) as error:
        raise PictureError("its directory is damaged or cut short") from error


def tags_of_tiff(path: Path) -> tuple[str, dict[int, tuple[int, bytes]]]:
    """Return the order of bytes, and the first directory: the kind and the bytes of the values, by tag.

    Raises PictureError for a file that is damaged.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _directory(content)
    except (struct.error, ValueError) as error:
        raise PictureError("its directory is damaged or cut short") from error


def _parts(path: Path, order: str, tags: dict[int, tuple[int, bytes]]) -> Parts | str:

    def numbers(tag: int) -> list[int]:
        kind, held = tags[tag]
        return list(struct.unpack(f"{order}{len(held) // struct.calcsize(KINDS[kind])}{KINDS[kind]}", held))

    def number(tag: int, otherwise: int) -> int:
        return numbers(tag)[0] if tag in tags else otherwise

    width, height = number(WIDTH, 0), number(HEIGHT, 0)
    if width < 1 or height < 1:
        raise PictureError("it has no pixels")
    bits, compression = numbers(BITS) if BITS in tags else [1], number(COMPRESSION, PLAIN)
    if number(ORIENTATION, 1) not in (0, 1):
        return "its orientation, which is not upright,"
    if set(bits) - {1, 8} or number(FORMAT, 1) != 1:
        return f"its depth of {max(bits)} bits"
    if compression == OLD_JPEG:
        return "its old kind of JPEG compression"
    is_tiled = TILE_OFFSETS in tags
    part_width = number(TILE_WIDTH, 0) if is_tiled else width
    part_height = number(TILE_HEIGHT, 0) if is_tiled else min(height, number(ROWS, height))
    if part_width < 1 or part_height < 1:
        raise PictureError("its strips or tiles have no pixels")
    offsets = numbers(TILE_OFFSETS if is_tiled else OFFSETS)
    counts = numbers(TILE_COUNTS if is_tiled else COUNTS)
    planes = number(SAMPLES, 1) if number(PLANAR, 1) == 2 else 1
    row_bytes = -(-width * sum(bits) // 8)
    is_plain = (compression, planes, len(counts)) == (PLAIN, 1, 1) and number(COLOURS, 0) != YCBCR
    if is_plain and not is_tiled and counts[0] >= height * row_bytes:  # the one strip is cut into several
        part_height = min(height, PLAIN_ROWS)
        tops = range(0, height, part_height)
        counts = [row_bytes * min(part_height, height - top) for top in tops]
        offsets = [offsets[0] + row_bytes * top for top in tops]
    if part_height * max(width, part_width) > MAX_PIXELS:
        return "its single strip" if part_height >= height else "the height of its strips or tiles"
    needed = -(-width // part_width) * -(-height // part_height) * planes
    check_parts(needed, width * height * planes)
    if min(len(offsets), len(counts)) < needed:
        raise PictureError("its directory is damaged: it does not place all of its strips or tiles")
    copied = {tag: tags[tag] for tag in COPIED if tag in tags}
    places = list(zip(offsets[:needed], counts[:needed], strict=True))
    return Parts(height, width, part_height, part_width, order, copied, places, planes, path, is_tiled)


def _directory(content: mmap.mmap) -> tuple[str, dict[int, tuple[int, bytes]]]:
    order, number, first, entry_bytes, count = first_directory(content)
    room = struct.calcsize(number)  # for a value in its entry
    if count > MOST_TAGS:
        raise PictureError(f"its directory has {count:,} entries")
    tags = {}
    for at in range(first, first + count * entry_bytes, entry_bytes):
        tag, kind = struct.unpack_from(f"{order}HH", content, at)
        (num_values,) = struct.unpack_from(number, content, at + 4)
        if kind not in KINDS:
            continue
        num_bytes = num_values * struct.calcsize(f"={KINDS[kind]}")
        place = at + entry_bytes - room
        if num_bytes > room:
            (place,) = struct.unpack_from(number, content, place)
        if num_values > MOST_VALUES or place + num_bytes > len(content):
            raise PictureError("its directory is damaged: a tag claims more than the file has")
        tags[tag] = (kind, content[place : place + num_bytes])
    return order, tags


def _small_tiff(order: str, width: int, height: int, tags: dict[int, tuple[int, bytes]], planes: list[bytes]) -> bytes:
    """Return a TIFF file of one strip, or one for each plane."""
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)

    def longs(*values: int) -> tuple[int, bytes]:
        return 4, struct.pack(f"{order}{len(values)}I", *values)

    own = tags | {
        WIDTH: longs(width),
        HEIGHT: longs(height),
        ROWS: longs(height),
        OFFSETS: longs(*(0 for _ in planes)),
        COUNTS: longs(*map(len, planes)),
    }
    at = len(head) + 2 + 12 * len(own) + 4
    held = {tag: value for tag, (_, value) in own.items() if len(value) > 4}
    places, end = {}, at
    for tag, value in held.items():
        places[tag], end = end, end + len(value) + len(value) % 2
    offsets = []
    for plane in planes:
        offsets.append(end)
        end += len(plane) + len(plane) % 2
    own[OFFSETS] = longs(*offsets)
    if OFFSETS in held:
        held[OFFSETS] = own[OFFSETS][1]
    entries = b"".join(
        struct.pack(f"{order}HHI", tag, kind, len(value) // struct.calcsize(f"={KINDS[kind]}"))
        + (struct.pack(f"{order}I", places[tag]) if tag in places else value.ljust(4, b"\0"))
        for tag, (kind, value) in sorted(own.items())
    )
    body = b"".join(value.ljust(len(value) + len(value) % 2, b"\0") for value in (*held.values(), *planes))
    return head + struct.pack(f"{order}H", len(own)) + entries + bytes(4) + body
