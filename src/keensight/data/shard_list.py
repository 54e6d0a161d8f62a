"""Shards as DATA: their listing, and what reads one of their pictures.

A picture is called by its file and its row there, then by the path that it had: ``shard-000003[17]/cats/tom.jpg``.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Generic, TypeVar

from keensight.data.arrays import refuse_pattern
from keensight.data.listing import Entry, Listing
from keensight.data.shard_files import Fact, open_shards
from keensight.data.shard_index import ROW_GROUP, Group, Index
from keensight.data.stores import is_url, place_of
from keensight.errors import DataError, PictureError
from keensight.executor import Threads
from keensight.machine import cores
from keensight.values import DatasetKind, Sample, Skipped, Uint8Array

CALLED = re.compile(r"(shard-\d{6})\[(\d{1,9})\]/")
FEW = 4  # row groups that a reader keeps
Held = TypeVar("Held")


def list_shards(place: str | Path, pattern: str | None = None) -> Listing:
    """List the pictures of shards, by their labels and hashes alone: no picture is read.

    A row group whose labels are damaged is in `skipped`. Raises DataError for what is no shards, and for ones of which
    nothing can be read; UsageError for a label pattern.
    """
    refuse_pattern(pattern, Path(place))
    shards = open_shards(place)
    entries: list[Entry] = []
    hashes: dict[str, str] = {}
    skipped: list[Skipped] = []

    def facts(group: Group) -> list[Fact] | str:
        try:
            return shards.facts(group)
        except PictureError as error:
            return str(error)

    names = shards.index.class_names
    with Threads(cores() if not is_url(place) else 16) as threads:  # requests wait, and take no core
        for group, found in zip(shards.index.groups, threads.map(facts, shards.index.groups), strict=True):
            if isinstance(found, str):
                skipped.append(Skipped(group.title, found.removeprefix(f"{group.title} ")))
                continue
            for i, fact in enumerate(found, group.number * ROW_GROUP):
                path = f"{group.file.name.removesuffix('.parquet')}[{i}]/{fact.path}"
                entries.append(Entry(path, names[fact.label], fact.split, fact.group))
                hashes[path] = fact.sha256
    if not entries:
        raise DataError(
            f"Nothing can be read of the shards in {place}: {skipped[0].path} {skipped[0].reason}. Copy or write them "
            "again, with keensight shard."
        )
    return Listing(shards.index.name, place_of(str(place)), kind_of(shards.index), entries, hashes, {}, skipped, names)


def kind_of(index: Index) -> DatasetKind:
    """Return what kind of data shards are: arrays where they hold pixels."""
    return "shards" if index.shape is None else "arrays"


def row_of(index: Index, path: str) -> int:
    """Return the row, among all of some shards, of a picture by its path. Raises PictureError for another path."""
    match = CALLED.match(path)
    first = index.first_of.get(match[1]) if match else None
    if match is None or first is None:
        raise PictureError(f"{path}: not in the shards")
    return first + int(match[2])


@contextmanager
def shard_reader(place: str | Path) -> Iterator[Callable[[Sample], bytes | Uint8Array]]:
    """Yield a function that returns a sample's encoded picture, or its pixels, uint8 HWC, from many threads at once."""
    shards = open_shards(place)
    read_group: Callable[[Group], list[bytes] | Uint8Array] = (
        shards.encoded if shards.index.shape is None else shards.pixels
    )
    kept = Kept(read_group, 2 * cores() + FEW)

    def read(sample: Sample) -> bytes | Uint8Array:
        row = row_of(shards.index, sample.path)
        group = shards.index.groups[bisect_right(shards.index.firsts, row) - 1]
        if row - group.first >= group.rows:
            raise PictureError(f"{sample.path}: no longer in the shards")
        return kept.get(group)[row - group.first]

    yield read


class Kept(Generic[Held]):
    """The last few row groups that were read, for many threads at once: each is read by one of them."""

    def __init__(self, read: Callable[[Group], Held], most: int) -> None:
        self._read, self._lock, self.most = read, Lock(), most
        self._held: OrderedDict[int, Future[Held]] = OrderedDict()

    def get(self, group: Group) -> Held:
        """Return a row group. Raises what reading it does."""
        with self._lock:
            future = self._held.get(group.first)
            is_first = future is None
            if future is None:
                future = self._held[group.first] = Future()
            self._held.move_to_end(group.first)
            while len(self._held) > self.most:
                self._held.popitem(last=False)
        if is_first:
            try:
                future.set_result(self._read(group))
            except BaseException as error:
                future.set_exception(error)
        return future.result()

    def has(self, group: Group) -> bool:
        """Say whether a row group is here, or being read."""
        return group.first in self._held
