"""The index of shards: `_index.json` says what they hold, of what size, and with which digests.

It may come from anywhere, so each value is checked before anything is opened that it names.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keensight.data.stores import Store, is_url
from keensight.errors import DataError
from keensight.files import to_json
from keensight.names import clean_label, odd_name
from keensight.values import IntArray

INDEX = "_index.json"  # tools that read folders of Parquet pass over names that begin so
FORMAT, VERSION = "keensight-shards", 1
ROW_GROUP = 256  # pictures: the unit of reading, of checksums, and of what a flipped bit costs
MAX_INDEX_BYTES = 2**26
MAX_FILES, MAX_CLASSES, MAX_ROWS, MAX_FILE_BYTES = 200_000, 100_000, 2**40, 2**32
SHARD_NAME = re.compile(r"shard-\d{6}\.parquet")
SHA256 = re.compile(r"[0-9a-f]{64}")


class ShardFile(NamedTuple):
    """One file of shards: its name, its pictures, its size and its digest."""

    name: str
    rows: int
    bytes: int
    sha256: str


class Group(NamedTuple):
    """One row group: where it is, which of all rows is its first, and how many it has."""

    file: ShardFile
    number: int  # in its file
    first: int
    rows: int

    @property
    def title(self) -> str:
        """What it is called in a message."""
        return f"row group {self.number} of {self.file.name}"


@dataclass(frozen=True)
class Index:
    """What some shards hold. `shape` is height, width and channels of their pixels; None for encoded pictures."""

    name: str
    class_names: tuple[str, ...]
    files: tuple[ShardFile, ...]
    shape: tuple[int, int, int] | None = None
    fit: str = "squash"  # how pictures came to this shape
    made_from: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """The number of pictures."""
        return sum(file.rows for file in self.files)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """All row groups, in the order of their rows."""
        found, first = [], 0
        for file in self.files:
            for number, start in enumerate(range(0, file.rows, ROW_GROUP)):
                found.append(Group(file, number, first + start, min(ROW_GROUP, file.rows - start)))
            first += file.rows
        return tuple(found)

    @cached_property
    def firsts(self) -> IntArray:
        """The first row of each group."""
        return np.array([group.first for group in self.groups], np.int64)

    @cached_property
    def first_of(self) -> Mapping[str, int]:
        """The first row of each file, by its name without the suffix."""
        found, first = {}, 0
        for file in self.files:
            found[file.name.removesuffix(".parquet")] = first
            first += file.rows
        return found

    def to_json(self) -> str:
        """Return the content of _index.json."""
        pixels = None if self.shape is None else dict(zip(("height", "width", "channels"), self.shape, strict=True))
        return to_json(
            {
                "format": FORMAT, "version": VERSION, "name": self.name, "pictures": self.rows, "row_group": ROW_GROUP,
                "pixels": None if pixels is None else {**pixels, "fit": self.fit},
                "class_names": list(self.class_names), "made_from": dict(self.made_from),
                "files": [file._asdict() for file in self.files],
            }
        )  # fmt: skip


def is_shards(path: str | Path) -> bool:
    """Say whether a local folder holds shards, by its index; a URL is always taken for shards."""
    if is_url(path):
        return True
    try:
        with open(Path(path) / INDEX, "rb") as file:
            return FORMAT.encode() in file.read(200)
    except OSError:
        return False


def read_index(store: Store) -> Index:
    """Read and check the index of the shards in a store. Raises DataError for what is none."""
    text = store.read(INDEX, MAX_INDEX_BYTES)
    try:
        return _index(json.loads(text))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{store.place}/{INDEX} is not an index of shards: {error}. What `keensight shard` writes is accepted; "
            "write the shards again."
        ) from error


def _index(found: Any) -> Index:
    if (found["format"], found["version"]) != (FORMAT, VERSION):
        raise ValueError(f"its format is {found['format']!r} {found['version']!r}, and {FORMAT!r} {VERSION} is read")
    if found["row_group"] != ROW_GROUP:
        raise ValueError(f"its row groups have {found['row_group']!r} pictures, and {ROW_GROUP} are read")
    names = tuple(found["class_names"])
    if not 2 <= len(names) <= MAX_CLASSES or len(set(names)) != len(names):
        raise ValueError(f"it names {len(names):,} classes, or one twice")
    if odd := [name for name in names if not isinstance(name, str) or name != clean_label(name) or odd_name(name)]:
        raise ValueError(f"{odd[0]!r:.100} is no class name")
    files = tuple(_file(each) for each in found["files"])
    if not 1 <= len(files) <= MAX_FILES or len({file.name for file in files}) != len(files):
        raise ValueError(f"it names {len(files):,} files, or one twice")
    if sum(file.rows for file in files) > MAX_ROWS:
        raise ValueError("it has too many pictures")
    name = found["name"]
    if not isinstance(name, str) or not name or len(name) > 200 or odd_name(name):
        raise ValueError(f"{name!r:.100} is no name")
    made_from = found.get("made_from", {})
    if not isinstance(made_from, dict):
        raise TypeError("made_from is no table")
    if (pixels := found["pixels"]) is None:
        return Index(name, names, files, made_from=made_from)
    shape = (_whole(pixels["height"], 4096), _whole(pixels["width"], 4096), _whole(pixels["channels"], 3))
    if shape[2] == 2 or math.prod(shape) * ROW_GROUP > MAX_FILE_BYTES // 2 or not isinstance(pixels["fit"], str):
        raise ValueError(f"its pictures are {'x'.join(map(str, shape))}")
    return Index(name, names, files, shape, pixels["fit"], made_from)


def _file(found: Mapping[str, Any]) -> ShardFile:
    name, sha256 = found["name"], found["sha256"]
    if not isinstance(name, str) or not SHARD_NAME.fullmatch(name):
        raise ValueError(f"{name!r:.100} is no name of a shard, such as shard-000000.parquet")
    if not isinstance(sha256, str) or not SHA256.fullmatch(sha256):
        raise ValueError(f"the sha256 of {name} is none")
    return ShardFile(name, _whole(found["rows"], 2**24), _whole(found["bytes"], MAX_FILE_BYTES), sha256)


def _whole(number: Any, most: int) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= most:
        raise ValueError(f"{number!r:.50} is not a whole number from 1 to {most:,}")
    return number


def described(index: Index) -> dict[str, Any]:
    """Return what `keensight info` says of shards beyond what it says of all data."""
    return {
        "form": "encoded pictures" if index.shape is None else "pixels",
        "pixels": None if index.shape is None else [*index.shape],
        "files": len(index.files),
        "bytes": sum(file.bytes for file in index.files),
        "row_groups": len(index.groups),
        "made_from": dict(index.made_from),
    }
