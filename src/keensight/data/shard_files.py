"""Reads and writes the Parquet files of shards, through pyarrow.

Shards are hostile input: what a file declares is checked before a column of it is read. Only plain, uncompressed
columns are accepted: nothing then unpacks to more than the file has, and no type of pyarrow's own is made from a file.

Shape letters: N images, H height, W width, C channels.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from keensight.data.shard_index import ROW_GROUP, Group, Index, ShardFile, read_index
from keensight.data.stores import Store, open_store
from keensight.errors import PictureError
from keensight.names import odd_name
from keensight.values import SPLIT_NAMES, SplitName, Uint8Array

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

COLUMNS = ("picture", "label", "split", "sha256", "path", "group")
FACTS = COLUMNS[1:]
MAX_TEXT = 1024  # bytes of a path or a group
MAX_FACT_BYTES = ROW_GROUP * (MAX_TEXT + 64)  # of a column of a row group
MAX_GROUP_BYTES = 2**31  # of the pictures of a row group
MOST_FOOTERS = 4096  # kept at a time
DAMAGED = "is damaged, so its pictures are left out"


class Fact(NamedTuple):
    """What shards say of one picture: its label's number, its split, its content's hash, its old path, its group."""

    label: int
    split: SplitName | None
    sha256: str
    path: str
    group: str | None


@dataclass(frozen=True)
class Shards:
    """Opened shards. Their files may be read by many threads at once."""

    store: Store
    index: Index
    _footers: dict[str, Any] = field(default_factory=dict)  # by file, read and checked once
    _lock: Lock = field(default_factory=Lock)

    def facts(self, group: Group) -> list[Fact]:
        """Return what is said of the pictures of a row group. Raises PictureError where it is damaged."""
        table = self._read(group, FACTS, MAX_FACT_BYTES)
        label, split, sha256, path, held = (table.column(name).to_pylist() for name in FACTS)
        found = []
        for k, s, digest, name, unit in zip(label, split, sha256, path, held, strict=True):
            if not (0 <= k < len(self.index.class_names) and -1 <= s < len(SPLIT_NAMES)) or is_odd_path(name):
                raise PictureError(f"{group.title} {DAMAGED} (a label, a split or a path in it is none)")
            found.append(Fact(k, SPLIT_NAMES[s] if s >= 0 else None, digest.hex(), name, unit or None))
        return found

    def pixels(self, group: Group) -> Uint8Array:
        """Return the pixels of a row group, uint8 NHWC. Raises PictureError where it is damaged."""
        assert self.index.shape is not None
        size = math.prod(self.index.shape)
        column = self._read(group, COLUMNS[:1], group.rows * size + 2**20).column(0)
        parts = [
            np.frombuffer(chunk.buffers()[1], np.uint8)[chunk.offset * size :][: len(chunk) * size]
            for chunk in column.chunks
        ]
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return whole.reshape(group.rows, *self.index.shape)

    def encoded(self, group: Group) -> list[bytes]:
        """Return the encoded pictures of a row group. Raises PictureError where it is damaged."""
        pictures: list[bytes] = self._read(group, COLUMNS[:1], MAX_GROUP_BYTES).column(0).to_pylist()
        return pictures

    def verify(self, file: ShardFile) -> bool:
        """Say whether a file has the size and the sha256 that the index names."""
        try:
            with self.store.open(file.name) as opened:
                if opened.size() != file.bytes:
                    return False
                digest = hashlib.sha256()
                while some := opened.read(2**22):
                    digest.update(some)
                return digest.hexdigest() == file.sha256
        except OSError:
            return False

    def _read(self, group: Group, columns: Sequence[str], most: int) -> pa.Table:
        import pyarrow as pa

        try:
            with self.store.open(group.file.name) as file:
                opened = self._opened(file, group.file)
                table = opened.read_row_group(group.number, columns=list(columns), use_threads=False)
                if table.num_rows != group.rows or table.nbytes > most or any(c.null_count for c in table.columns):
                    raise ValueError("it holds more or less than it should")
                return table
        except FileNotFoundError as error:
            raise PictureError(f"{group.title} is missing: {self.store.place} has no such file") from error
        except MemoryError as error:  # pyarrow's own is one too
            raise PictureError(
                f"{group.title} needs more memory than there is, or claims to; its pictures are left out"
            ) from error
        except (OSError, ValueError, pa.ArrowException, UnicodeDecodeError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(". ")[:200]
            raise PictureError(f"{group.title} {DAMAGED} ({reason})") from error

    def _opened(self, file: Any, shard: ShardFile) -> pq.ParquetFile:
        import pyarrow.parquet as pq

        with self._lock:
            footer = self._footers.get(shard.name)
        opened = pq.ParquetFile(
            file, metadata=footer, page_checksum_verification=True, arrow_extensions_enabled=False,
            thrift_string_size_limit=2**20, thrift_container_size_limit=2**20,
        )  # fmt: skip
        if footer is None:
            _check(opened.metadata, shard, self.index, file.size())
            with self._lock:
                if len(self._footers) >= MOST_FOOTERS:
                    self._footers.clear()
                self._footers[shard.name] = opened.metadata
        return opened


def open_shards(place: Any) -> Shards:
    """Open the shards at a path or URL. Raises KeensightError for what are none."""
    store = open_store(place)
    return Shards(store, read_index(store))


def _check(footer: Any, shard: ShardFile, index: Index, size: int) -> None:
    """Raise ValueError unless a file's footer declares just what the index says, in plain columns."""
    if size != shard.bytes:
        raise ValueError(f"the file has {size:,} bytes, and its index says {shard.bytes:,}")
    schema = footer.schema
    wanted = _types(None if index.shape is None else math.prod(index.shape))
    if [schema.column(i).name for i in range(footer.num_columns)] != list(COLUMNS):
        raise ValueError("its columns are others")
    for i, (kind, length) in enumerate(wanted):
        column = schema.column(i)
        fixed = column.length if column.physical_type == "FIXED_LEN_BYTE_ARRAY" else 0
        if (column.physical_type, fixed, column.max_definition_level, column.max_repetition_level) != (
            kind, length, 0, 0
        ):  # fmt: skip
            raise ValueError(f"its column {column.name} is of another type")
    if footer.num_rows != shard.rows or footer.num_row_groups != -(-shard.rows // ROW_GROUP):
        raise ValueError("its rows are not as many as the index says")
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        if group.num_rows != min(ROW_GROUP, shard.rows - number * ROW_GROUP):
            raise ValueError("its row groups are of another size")
        for i in range(footer.num_columns):
            chunk = group.column(i)
            plain = chunk.compression == "UNCOMPRESSED" and not chunk.has_dictionary_page
            if not plain or not set(chunk.encodings) <= {"PLAIN", "RLE"} or chunk.file_path:
                raise ValueError("its columns are packed, and only plain ones are read")
            most = MAX_GROUP_BYTES if i == 0 else MAX_FACT_BYTES
            if not 0 <= chunk.total_compressed_size <= min(most, size) or chunk.num_values != group.num_rows:
                raise ValueError("a column of it has an impossible size")


@cache
def _types(size: int | None) -> tuple[tuple[str, int], ...]:
    picture = ("BYTE_ARRAY", 0) if size is None else ("FIXED_LEN_BYTE_ARRAY", size)
    texts = (("FIXED_LEN_BYTE_ARRAY", 32), ("BYTE_ARRAY", 0), ("BYTE_ARRAY", 0))
    return (picture, ("INT32", 0), ("INT32", 0), *texts)


def is_odd_path(path: str) -> bool:
    """Say whether a path in shards is none that we write: one that leads elsewhere, or that no terminal should show."""
    parts = path.replace("\\", "/").split("/")
    return not path or ".." in parts or parts[0] == "" or odd_name(path.replace("/", "-")) is not None


def to_parquet(pictures: Sequence[bytes], facts: Sequence[Fact], size: int | None) -> bytes:
    """Return one file of shards. `size` is the bytes of a picture's pixels; None for encoded pictures."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = (
        pa.binary() if size is None else pa.binary(size), pa.int32(), pa.int8(), pa.binary(32), pa.string(), pa.string()
    )  # fmt: skip
    schema = pa.schema([pa.field(name, kind, nullable=False) for name, kind in zip(COLUMNS, kinds, strict=True)])
    columns = (
        list(pictures),
        [fact.label for fact in facts],
        [-1 if fact.split is None else SPLIT_NAMES.index(fact.split) for fact in facts],
        [bytes.fromhex(fact.sha256) for fact in facts],
        [fact.path for fact in facts],
        [fact.group or "" for fact in facts],
    )
    arrays = [pa.array(values, kind) for values, kind in zip(columns, kinds, strict=True)]
    file = io.BytesIO()
    with pq.ParquetWriter(
        file, schema, compression="none", use_dictionary=False, write_statistics=False, store_schema=False,
        write_page_checksum=True,
    ) as writer:  # fmt: skip
        writer.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=ROW_GROUP)
    return file.getvalue()
