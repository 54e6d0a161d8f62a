"""The pictures of shards as one array that is never whole in memory: row groups are read when they are needed.

Training takes row groups in a random order and shuffles pictures within a window of them, so each is read once an
epoch; the next window is read while the model learns from this one. The order depends on the recipe alone.

Shape letters: N pictures, H height, W width, C channels; B batches, P pieces of a batch.
"""

from __future__ import annotations

import hashlib
import io
import json
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from keensight.cached import cached
from keensight.data.looks import spreads_of
from keensight.data.shard_files import Shards, open_shards
from keensight.data.shard_index import Group, Index, is_shards
from keensight.data.shard_list import Kept, row_of
from keensight.errors import DataError, KeensightError, PictureError, shortlist
from keensight.executor import Threads
from keensight.files import make_folder, write_atomically
from keensight.machine import cores
from keensight.values import Dataset, IntArray, Pixels, Preprocessing, Skipped, Uint8Array

WINDOW_BYTES, WINDOW_GROUPS, LEAST_GROUPS = 2**26, 8, 2  # shuffled together: this much, at most and at least
AHEAD = 4  # requests under way at a time; on a disk, two would do


class Streamed:
    """Pictures of shards, uint8 NHWC: indexed as an array is, by rows first."""

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, shards: Shards) -> None:
        assert shards.index.shape is not None
        self._shards, self._index = shards, shards.index
        self.shape = (self._index.rows, *shards.index.shape)
        group_bytes = int(np.prod(self.shape[1:])) * self._index.groups[0].rows
        self._window = max(LEAST_GROUPS, min(WINDOW_GROUPS, WINDOW_BYTES // group_bytes))
        self._kept = Kept(self._read, 2 * self._window + cores())
        self._next: dict[int, int] = {}
        self._pool = ThreadPoolExecutor(AHEAD, thread_name_prefix="shards")
        self._seen: tuple[IntArray, IntArray] | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def __reduce__(self) -> tuple[Callable[[str, Index], Streamed], tuple[str, Index]]:
        """Another process opens the shards again, by their place."""
        return _opened_again, (self._shards.store.place, self._index)

    def __getitem__(self, key: Any) -> Uint8Array:
        rows, *rest = key if isinstance(key, tuple) else (key,)
        if isinstance(rows, int | np.integer):
            one: Uint8Array = self._gather(np.array([rows]))[0][tuple(rest)]
            return one
        if not (isinstance(rows, np.ndarray) and rows.dtype.kind in "iu" and (rows >= 0).all()):
            rows = np.arange(len(self))[rows]  # which takes as long as all are many
        some: Uint8Array = self._gather(rows)[(slice(None), *rest)]
        return some

    def _gather(self, rows: IntArray) -> Uint8Array:
        numbers = np.searchsorted(self._index.firsts, rows, side="right") - 1
        needed = np.unique(numbers)
        images = np.empty((len(rows), *self.shape[1:]), np.uint8)
        for number in needed[1:] if len(needed) <= self._kept.most else ():
            self._ahead(int(number))
        for number in needed:
            group, mine = self._index.groups[number], numbers == number
            images[mine] = self._kept.get(group)[rows[mine] - group.first]
            if (after := self._next.get(int(number))) is not None:
                self._ahead(after)
        return images

    def _ahead(self, number: int) -> None:
        if not self._kept.has(self._index.groups[number]):
            self._pool.submit(self._try, number)

    def _try(self, number: int) -> None:
        with suppress(KeensightError):  # whoever needs it is told
            self._kept.get(self._index.groups[number])

    def _read(self, group: Group) -> Uint8Array:
        try:
            return self._shards.pixels(group)
        except PictureError as error:
            raise DataError(
                f"The shards in {self._shards.store.place} changed, or cannot be reached any more: {error}. What was "
                "trained so far is kept; put them right, and go on with --resume."
            ) from error

    def shuffled(self, rows: IntArray, rng: np.random.Generator, batches: int, pieces: int = 1) -> IntArray:
        """Return the members of a split, whose `rows` are given, in a random order that reads each group once.

        Cut into so many `batches`, and each of these into `pieces`, as `numpy.array_split` does, a piece's pictures
        come from row groups of its own: a worker that has a part of the pieces reads that part of the shards.
        """
        numbers = np.searchsorted(self._index.firsts, rows, side="right") - 1
        place = rng.permutation(len(self._index.groups))
        by_group = np.argsort(place[numbers], kind="stable")
        sizes_BP = _sizes(len(rows), batches, pieces)
        window = max(LEAST_GROUPS, self._window // pieces)
        span = max(1, round(window * len(rows) / max(1, len(np.unique(numbers)))))
        sections = np.split(by_group, np.cumsum(sizes_BP.sum(axis=0))[:-1])
        self._next = {}
        for section in sections:
            order = list(dict.fromkeys(numbers[section].tolist()))
            self._next |= dict(zip(order, order[window:], strict=False))
            for first in range(0, len(section), span):
                rng.shuffle(section[first : first + span])
        self._kept.most = pieces * 2 * (window + 1) + cores()
        ends_BP = np.cumsum(sizes_BP, axis=0)
        return np.concatenate(
            [sections[p][ends_BP[b, p] - sizes_BP[b, p] : ends_BP[b, p]] for b in range(batches) for p in range(pieces)]
        )

    def seen(self, rows: IntArray) -> tuple[IntArray, IntArray]:
        """Return a checksum of each picture's pixels, and how many levels of 256 they spread over."""
        assert self._seen is not None
        return self._seen[0][rows], self._seen[1][rows]

    def look(self, on_progress: Callable[[int, int], None] | None) -> dict[int, str]:
        """Read every row group once, for `seen`; return the numbers of damaged ones, and why. It is noted in the cache.

        A change of any file's size or time stamp has all of them read again.
        """
        noted = make_folder(cached("shards", self._key())) / "seen.npy"
        with suppress(OSError, ValueError):
            found = np.load(noted, allow_pickle=False)
            if found.shape == (2, len(self)):
                self._seen = (found[0], found[1])
                return {}
        sums, spreads = np.zeros(len(self), np.int64), np.zeros(len(self), np.int64)
        damaged = {}
        with Threads(cores()) as threads:
            for group, answer in zip(self._index.groups, threads.map(self._looked, self._index.groups), strict=True):
                some = slice(group.first, group.first + group.rows)
                if isinstance(answer, str):
                    damaged[int(np.searchsorted(self._index.firsts, group.first))] = answer
                else:
                    sums[some], spreads[some] = answer
                if on_progress:
                    on_progress(some.stop, len(self))
        self._seen = (sums, spreads)
        if not damaged:  # that may pass
            file = io.BytesIO()
            np.save(file, np.stack(self._seen))
            write_atomically(noted, file.getvalue())
        return damaged

    def _looked(self, group: Group) -> tuple[list[int], IntArray] | str:
        try:
            images = self._shards.pixels(group)
        except PictureError as error:
            return str(error)
        return [zlib.crc32(row.data) for row in images.reshape(len(images), -1)], spreads_of(images)

    def _key(self) -> str:
        found = self._shards.store.found()
        stamps = [found.get(file.name) for file in self._index.files]
        return hashlib.sha256(json.dumps([1, self._index.to_json(), stamps]).encode()).hexdigest()[:32]


def _opened_again(place: str, index: Index) -> Streamed:
    shards = open_shards(place)
    if shards.index != index:
        raise DataError(
            f"The shards in {place} are others on this machine. All need the same: copy them, or give a URL."
        )
    return Streamed(shards)


def streamed(
    dataset: Dataset, preprocessing: Preprocessing, on_progress: Callable[[int, int], None] | None = None
) -> Pixels | None:
    """Return the pictures of a dataset of shards without decoding them; None where they are not shards of that size.

    Row groups that are damaged are left out, and named in the dataset's `skipped`. Raises DataError where a class is
    then empty.
    """
    if dataset.kind != "arrays" or dataset.parts or not is_shards(dataset.root):
        return None
    shards = open_shards(dataset.root)
    if shards.index.shape != (preprocessing.height, preprocessing.width, preprocessing.channels):
        return None
    images = Streamed(shards)
    damaged = images.look(on_progress)
    rows = np.array([row_of(shards.index, sample.path) for sample in dataset.samples], np.int64)
    if not damaged:
        return Pixels(dataset, preprocessing, images, rows)
    good = ~np.isin(np.searchsorted(shards.index.firsts, rows, side="right") - 1, list(damaged))
    samples = tuple(sample for sample, is_good in zip(dataset.samples, good, strict=True) if is_good)
    skipped = tuple(_skipped(shards.index, number, reason) for number, reason in damaged.items())
    gone = {sample.label for sample in dataset.samples} - {sample.label for sample in samples}
    if gone:
        raise DataError(
            f"{dataset.name} has no readable picture of class {shortlist([dataset.class_names[k] for k in gone])}: "
            f"{shortlist([each.path for each in skipped], 3)} cannot be read. Copy or write the shards again."
        )
    dataset = replace(dataset, samples=samples, skipped=dataset.skipped + skipped)
    return Pixels(dataset, preprocessing, images, rows[good])


def _skipped(index: Index, number: int, reason: str) -> Skipped:
    group = index.groups[number]
    return Skipped(group.title, reason.removeprefix(f"{group.title} "))


def _sizes(total: int, batches: int, pieces: int) -> IntArray:
    """Return the sizes BP of what `numpy.array_split` makes of `total` pictures, and then of each batch."""

    def cut(whole: int, parts: int) -> Iterable[int]:
        return (whole // parts + (i < whole % parts) for i in range(parts))

    return np.array([[*cut(size, pieces)] for size in cut(total, batches)], np.int64).reshape(batches, pieces)
