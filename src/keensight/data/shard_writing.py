"""Writes a dataset as shards: its files one after another, and the index last, so that half of them are none."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from keensight.data.cache import decode, fingerprint, peek
from keensight.data.shard_files import MAX_GROUP_BYTES, MAX_TEXT, Fact, is_odd_path, to_parquet
from keensight.data.shard_index import INDEX, ROW_GROUP, Index, ShardFile
from keensight.data.sources import reader
from keensight.data.stores import Store
from keensight.errors import DataError, PictureError, UsageError
from keensight.names import odd_name
from keensight.values import SPLIT_NAMES, Dataset, Preprocessing, Sample, Skipped
from keensight.version import __version__

FILE_BYTES = 2**26  # of pictures in a file, about
HALF = re.compile(r"shard-\d+\.parquet")  # what a writing that was ended leaves, and the next one replaces
OnProgress = Callable[[int, int], None]
Taken = tuple[Sample, bytes]


@dataclass(frozen=True, slots=True)
class Source:
    """Pictures to write: the dataset, the size of their pixels (None for encoded ones), and what yields each once."""

    dataset: Dataset
    preprocessing: Preprocessing | None
    pictures: Iterator[Taken]
    skipped: list[Skipped]  # grows while pictures are taken


def in_pixels(dataset: Dataset, preprocessing: Preprocessing, on_progress: OnProgress | None = None) -> Source:
    """Return a dataset's decoded pictures as what is to be written."""
    pixels = decode(dataset, preprocessing, on_progress)
    samples = pixels.dataset.samples
    order = _order(samples)
    taken = ((samples[i], np.ascontiguousarray(pixels.images[pixels.rows[i]]).tobytes()) for i in order)
    return Source(pixels.dataset, preprocessing, taken, list(pixels.dataset.skipped))


def as_they_are(dataset: Dataset) -> Source:
    """Return a dataset's pictures as what is to be written: files as they are, arrays as pixels in their own size.

    Raises DataError for arrays of several sizes.
    """
    if dataset.kind == "arrays":
        sizes = {(header.height, header.width, header.grey) for header in peek(dataset)}
        if len(sizes) > 1:
            raise DataError(
                f"The pictures of {dataset.name} have several sizes. Choose one for all, such as --size 64."
            )
        ((height, width, is_grey),) = sizes
        return in_pixels(dataset, Preprocessing(height, width, 1 if is_grey else 3))
    skipped = list(dataset.skipped)

    def pictures() -> Iterator[Taken]:
        with reader(dataset) as read:
            for i in _order(dataset.samples):
                sample = dataset.samples[i]
                try:
                    picture = read(sample)
                except PictureError as error:
                    skipped.append(Skipped(sample.path, str(error).removeprefix(f"{sample.path}: ")))
                    continue
                if not isinstance(picture, bytes):
                    raise UsageError(
                        "Some of the DATA are arrays, and some are files. Give one size for all, such as --size 64."
                    )
                yield sample, picture

    return Source(dataset, None, pictures(), skipped)


def write_shards(source: Source, store: Store, data: str, on_progress: OnProgress | None = None) -> Index:
    """Write pictures as shards, and return their index.

    Raises UsageError if shards are there already, or anything else in a folder of this machine, DataError for row
    groups of more than 2 GiB, KeensightError if the store cannot be written.
    """
    if INDEX in store.found():
        raise UsageError(f"{store.place} holds shards already, and nothing is overwritten. Give another place.")
    here = Path(store.root)
    if store.is_local and here.is_dir() and any(not HALF.fullmatch(file.name) for file in here.iterdir()):
        raise UsageError(f"{store.place} is not empty, and what is in it would be hidden. Give a new or empty folder.")
    dataset, size = source.dataset, source.preprocessing
    shape = None if size is None else (size.height, size.width, size.channels)
    files: list[ShardFile] = []
    done, total = 0, len(dataset.samples)
    for some in _files(source.pictures):
        facts = [_fact(sample) for sample, _ in some]
        content = to_parquet([picture for _, picture in some], facts, None if shape is None else int(np.prod(shape)))
        name = f"shard-{len(files):06d}.parquet"
        store.write(name, content)
        files.append(ShardFile(name, len(some), len(content), hashlib.sha256(content).hexdigest()))
        done += len(some)
        if on_progress:
            on_progress(done, total)
    if not files:
        raise DataError(f"None of the pictures of {dataset.name} can be read, so there is nothing to write.")
    made_from: dict[str, Any] = {
        "data": data, "kind": dataset.kind, "sha256": fingerprint(dataset), "keensight": __version__,
        "skipped": len(source.skipped), "decisions": len(dataset.decisions),
    }  # fmt: skip
    index = Index(
        dataset.name, dataset.class_names, tuple(files), shape, "squash" if size is None else size.fit, made_from
    )
    store.write(INDEX, index.to_json().encode())
    return index


def _files(pictures: Iterator[Taken]) -> Iterator[list[Taken]]:
    """Yield the pictures of each file: whole row groups, but for the last."""
    held: list[Taken] = []
    held_bytes = 0
    for group in iter(lambda: list(islice(pictures, ROW_GROUP)), []):
        group_bytes = sum(len(picture) for _, picture in group)
        if group_bytes > MAX_GROUP_BYTES // 2:
            raise DataError(
                f"{ROW_GROUP} pictures have {group_bytes:,} bytes together, and shards take 1 GiB. Give a size for "
                "them, such as --size 512."
            )
        if held and held_bytes + group_bytes > FILE_BYTES:
            yield held
            held, held_bytes = [], 0
        held += group
        held_bytes += group_bytes
    if held:
        yield held


def _order(samples: Sequence[Sample]) -> list[int]:
    """Return samples split by split, else by their hash: random, the same each time, and all classes everywhere."""
    homes = {name: i for i, name in enumerate([*SPLIT_NAMES, None])}
    return sorted(range(len(samples)), key=lambda i: (homes[samples[i].split], samples[i].sha256))


def _fact(sample: Sample) -> Fact:
    path = sample.path.encode(errors="replace")[-MAX_TEXT:].decode(errors="replace").lstrip("/")
    group = sample.group and sample.group.encode(errors="replace").decode()
    if group and (len(group.encode()) > MAX_TEXT or odd_name(group)):
        group = hashlib.sha256(group.encode()).hexdigest()
    return Fact(
        sample.label, sample.split, sample.sha256, f"{sample.sha256[:16]}" if is_odd_path(path) else path, group
    )
