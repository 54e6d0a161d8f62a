"""`keensight shard`: labelled pictures as Parquet files, for data sets larger than memory, on disk or elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from keensight.data.cache import choose_preprocessing
from keensight.data.shard_writing import as_they_are, in_pixels, write_shards
from keensight.data.sources import open_dataset
from keensight.data.stores import open_store
from keensight.pipeline.watch import Watcher
from keensight.values import Recipe


@dataclass(frozen=True, slots=True)
class Sharded:
    """Shards that were written: where, of how many pictures, in how many files and bytes; pixels have a `shape`."""

    out: str
    pictures: int
    files: int
    bytes: int
    shape: tuple[int, int, int] | None


def shard(
    data: str | Path | Iterable[str | Path],
    out: str,
    *,
    size: int = 0,
    fit: Literal["squash", "letterbox", "crop"] = "squash",
    label_pattern: str | None = None,
    watcher: Watcher | None = None,
) -> Sharded:
    """Write labelled pictures as shards, which `train`, `predict` and the other verbs take as DATA.

    Labels, splits, groups and paths go with the pictures. The index is written last: half-written shards are none.

    Args:
        data: DATA as `train` takes it; several are joined, labels by name.
        out: A new or empty folder, or a URL such as s3://bucket/pets.
        size: Keep pixels, of `size` x `size`: they are streamed, however many there are. Else files are kept as they
            are, and decoded once on each machine; arrays keep their size.
        fit: How pictures are made square, for `size`.
        label_pattern: Take labels from file names, such as `'{label}__*'`; `'{label...}_*'` reaches to the last _.
        watcher: Is told of the progress.

    Raises:
        DataError: the data cannot be used.
        UsageError: `out` has shards already, or is a folder that is not empty.
        KeensightError: `out` cannot be written, or pyarrow is not installed.

    Examples:
        >>> import keensight
        >>> keensight.shard("digits", "digits-shards").pictures  # doctest: +SKIP
        1797
    """
    watcher = watcher or Watcher()
    store = open_store(out)
    places = [data] if isinstance(data, str | Path) else list(data)
    dataset = open_dataset(places, label_pattern=label_pattern)
    watcher.found(dataset, label_pattern or "")
    if size:
        recipe = Recipe().having(size=size, fit=fit)
        source = in_pixels(dataset, choose_preprocessing(dataset, recipe), watcher.pictures)
    else:
        source = as_they_are(dataset)
    index = write_shards(source, store, " ".join(map(str, places)), watcher.pictures)
    watcher.left_out(dataset.name, source.skipped)
    return Sharded(store.place, index.rows, len(index.files), sum(file.bytes for file in index.files), index.shape)
