"""Decodes once: a dataset's pictures as one memory-mapped array on disk, keyed by content and preprocessing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np

from keensight.cached import cached
from keensight.data.decoding import Reason, Reasons, Target, by_turns, decoders
from keensight.data.in_time import InTime
from keensight.data.levels import data_set_range
from keensight.data.pixels import DECODER_VERSION, Header, read_header
from keensight.data.shard_images import streamed
from keensight.data.shard_index import is_shards
from keensight.data.shard_list import FEW
from keensight.data.sources import reader
from keensight.errors import DataError, KeensightError, PictureError, shortlist
from keensight.executor import Threads
from keensight.files import explained, filling, remove_abandoned, write_atomically
from keensight.values import Dataset, Pixels, Preprocessing, Recipe, Sample, Skipped, Uint8Array

OnProgress: TypeAlias = Callable[[int, int], None]  # (pictures done, pictures in all)
KEPT = 2  # part of the cache's key: raise it when what is kept beside the pixels changes
TINY_PX = 24  # smaller pictures, blown up, show a backbone nothing but blur
SMALL_PX = 64  # pictures up to this size are small: decoded as they are, and blown up for a backbone
CHUNK = 64  # pictures per task: small enough to keep every core busy, large enough to make the queue's cost negligible


def choose_preprocessing(dataset: Dataset, recipe: Recipe) -> Preprocessing:
    """Choose picture size and channels: the recipe's if it has them, else by the pictures.

    Up to 64 headers, evenly spread, are read. Pictures that are all of one size up to 64 pixels keep it; others
    become squares of 64 pixels, or of their typical shorter side if that is less. Grey only if all pictures are grey,
    for which all headers are read. Floats and 32-bit greys are scaled by the lowest and highest level of them all.
    """
    headers = peek(dataset)
    all_grey, levels = all(h.grey for h in headers), None
    has_ranges = all(h.has_range for h in headers)
    if not has_ranges or (all_grey and not recipe.data.channels and dataset.kind != "arrays"):
        all_grey, levels = _look_at_all(dataset, measure=not has_ranges)
    heights, widths = {h.height for h in headers}, {h.width for h in headers}
    if recipe.data.size:
        height = width = recipe.data.size
    elif len(heights) == len(widths) == 1 and max(heights | widths) <= SMALL_PX:
        height, width = heights.pop(), widths.pop()
    else:
        height = width = min(SMALL_PX, int(np.median([min(h.height, h.width) for h in headers])))
    channels = recipe.data.channels or (1 if all_grey else 3)
    return Preprocessing(height, width, channels, recipe.data.fit, levels)  # type: ignore[arg-type]  # it checks itself


def decode(dataset: Dataset, preprocessing: Preprocessing, on_progress: OnProgress | None = None) -> Pixels:
    """Decode every picture of `dataset` on all cores into the cache, or find it there.

    The returned dataset lacks the pictures that could not be read; they are listed in its `skipped`. Pictures that
    could not be read for a reason that may pass, such as a permission, are read again the next time. Shards of pixels
    in that size stay where they are, and are read as they are needed.

    Raises:
        DataError: no picture of some class could be read.
        KeensightError: the cache cannot be written, for example because the disk is full.
    """
    if pixels := streamed(dataset, preprocessing, on_progress):
        return pixels
    folder = cached("pixels", _key(dataset, preprocessing))
    if not (folder / "failures.json").exists():
        _fill(folder, dataset, preprocessing, on_progress)
    images = np.load(folder / "images.npy", mmap_mode="r")
    failures = _tried_again(folder, dataset, preprocessing, images)
    kept = [row for row in range(len(dataset.samples)) if row not in failures]
    if failures:
        skipped = tuple(Skipped(dataset.samples[row].path, reason.text) for row, reason in failures.items())
        samples = tuple(dataset.samples[row] for row in kept)
        _check_no_class_is_empty(dataset, samples, skipped)
        dataset = replace(dataset, samples=samples, skipped=dataset.skipped + skipped)
    return Pixels(dataset, preprocessing, images, np.asarray(kept, np.int64))


def fingerprint(dataset: Dataset) -> str:
    """Return a sha256 of the pictures' content, labels, splits and groups, but not of their paths.

    The same pictures under other names give the same fingerprint: it shows whether a split can be drawn again.
    """
    digest = hashlib.sha256("\n".join(dataset.class_names).encode())
    digest.update("".join(sorted(f"{s.sha256},{s.label},{s.split},{s.group}\n" for s in dataset.samples)).encode())
    return digest.hexdigest()


def peek(dataset: Dataset) -> list[Header]:
    """Return the headers of up to 127 pictures, evenly spread. Raises DataError if none can be read."""
    step = max(1, len(dataset.samples) // 64)
    samples = dataset.samples[::step]
    if not dataset.parts and is_shards(dataset.root):
        samples = samples[:: max(1, len(samples) // FEW)]  # each is in another row group
    headers, reason = [], ""
    with reader(dataset) as read:
        for sample in samples:
            try:
                headers.append(read_header(read(sample)))
            except PictureError as error:
                reason = f"{sample.path}: {error}"
    if not headers:
        raise DataError(f"None of the examined pictures in {dataset.name} can be read. The last one was {reason}.")
    return headers


def _look_at_all(dataset: Dataset, measure: bool) -> tuple[bool, tuple[float, float] | None]:
    """Say whether all pictures that can be read are grey, and with `measure` the range of those that declare none."""
    all_grey, lowest, highest = True, np.inf, -np.inf
    with reader(dataset) as read, InTime() as in_time:
        for sample in dataset.samples:
            with suppress(PictureError):
                picture = read(sample)
                header = read_header(picture)
                all_grey = all_grey and header.grey
                if measure and not header.has_range and isinstance(picture, bytes):
                    low, high = in_time.level_range(picture)
                    lowest, highest = min(lowest, low), max(highest, high)
            if not (all_grey or measure):
                break
    return all_grey, data_set_range(lowest, highest) if lowest <= highest else None


def _key(dataset: Dataset, preprocessing: Preprocessing) -> str:
    digest = hashlib.sha256(json.dumps([DECODER_VERSION, KEPT, asdict(preprocessing)], sort_keys=True).encode())
    digest.update("".join(sample.sha256 for sample in dataset.samples).encode())
    return digest.hexdigest()[:32]


def _fill(folder: Path, dataset: Dataset, preprocessing: Preprocessing, on_progress: OnProgress | None) -> None:
    remove_abandoned(folder.parent)
    try:
        with filling(folder) as temporary:
            with explained(folder), open(temporary / "images.npy", "wb") as file:
                failures = _write_images(file, dataset, preprocessing, on_progress)
            write_atomically(temporary / "failures.json", json.dumps(failures))
    except (OSError, KeensightError):
        if not (folder / "failures.json").exists():  # another process may have been faster
            raise


def _tried_again(folder: Path, dataset: Dataset, preprocessing: Preprocessing, images: Uint8Array) -> Reasons:
    """Return why pictures could not be read, after reading those again whose reason may have passed."""
    file = folder / "failures.json"
    failures = {int(row): Reason(*reason) for row, reason in json.loads(file.read_text()).items()}
    passing = [row for row, reason in failures.items() if reason.passes]
    if not passing:
        return failures
    assert isinstance(images, np.memmap)
    target, still = Target(folder / "images.npy", images.offset, preprocessing), Reasons()
    with explained(folder), reader(dataset) as read, InTime() as in_time:
        for row in passing:  # in place: rows that failed are not used
            still |= target.write(row, [dataset.samples[row]], read, in_time.decode)
    now = {row: still.get(row, reason) for row, reason in failures.items() if row in still or not reason.passes}
    if now != failures:
        write_atomically(file, json.dumps(now))
    return now


def _write_images(
    file: BinaryIO, dataset: Dataset, preprocessing: Preprocessing, on_progress: OnProgress | None
) -> Reasons:
    # plain writes, not a writable memory map: a full disk is then an error, not a SIGBUS
    samples, total = dataset.samples, len(dataset.samples)
    shape = (total, preprocessing.height, preprocessing.width, preprocessing.channels)
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    file.flush()
    target = Target(Path(file.name), file.tell(), preprocessing)
    failures = Reasons()
    with (
        reader(dataset) as read,
        decoders(total, dataset.kind, dataset.root, read, target, dataset.parts) as found,
        Threads(len(found)) as threads,
    ):
        decode_some = by_turns(found)
        firsts = range(0, total, CHUNK)
        answers = threads.map(lambda first: decode_some(first, samples[first : first + CHUNK]), firsts)
        for first, reasons in zip(firsts, answers, strict=True):
            failures |= reasons
            if on_progress:
                on_progress(min(first + CHUNK, total), total)
    return failures


def _check_no_class_is_empty(dataset: Dataset, samples: Sequence[Sample], skipped: Sequence[Skipped]) -> None:
    gone = {sample.label for sample in dataset.samples} - {sample.label for sample in samples}
    empty = [dataset.class_names[label] for label in sorted(gone)]
    if empty:
        reasons = shortlist([f"{s.path} ({s.reason})" for s in skipped], 3)
        raise DataError(
            f"{dataset.name} has no readable picture of class {shortlist(empty)}: {len(skipped):,} could not be read, "
            f"among them {reasons}. Replace them, or leave the class out."
        )
