"""Arrays of pictures: the code that IDX files and .npz share, and scikit-learn's digits, which need no file.

Shape letters: N images, H height, W width, C channels. The arrays of one split are called a block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keensight.data.hashing import Memo, are_hashes, hash_rows, is_hash
from keensight.data.listing import Entry, Listing
from keensight.data.of_sklearn import digits_file, handwritten_digits
from keensight.errors import DataError, PictureError, UsageError
from keensight.values import Sample, SplitName, Uint8Array


class Block(NamedTuple):
    """One split's labels and row hashes; `name` is ``images`` if there are no splits."""

    name: str
    split: SplitName | None
    labels: Sequence[str]
    hashes: Sequence[str]


def list_blocks(name: str, root: Path, blocks: Sequence[Block], class_names: tuple[str, ...] | None) -> Listing:
    """Return the listing of all rows of `blocks`: row 17 of the block ``train`` is called ``train[17]``."""
    entries, hashes = [], {}
    for block in blocks:
        for row, (label, sha256) in enumerate(zip(block.labels, block.hashes, strict=True)):
            path = f"{block.name}[{row}]"
            entries.append(Entry(path, label, block.split))
            hashes[path] = sha256
    return Listing(name, root, "arrays", entries, hashes, {}, (), class_names)


def hash_block(
    memo: Memo, key: str, path: Path, count: int, load: Callable[[], tuple[Uint8Array, str]]
) -> tuple[list[str], str]:
    """Return the row hashes and the content hash of a block, from the memo or by loading it."""
    status = path.stat()
    known = memo.recall(key, status)
    if isinstance(known, dict) and are_hashes(known.get("rows"), count) and is_hash(known.get("sha256")):
        return known["rows"], known["sha256"]
    images, sha256 = load()
    rows = hash_rows(images)
    memo.note(key, status, {"sha256": sha256, "rows": rows})
    return rows, sha256


def check_counts(source: Path, images: str, num_images: int, labels: str, num_labels: int) -> None:
    """Raise DataError unless there is one label for each picture."""
    if num_images != num_labels:
        raise DataError(
            f"In {source}, {images} has {num_images:,} pictures but {labels} has {num_labels:,} labels. One label for "
            "each picture is accepted; check that the two belong together."
        )


def refuse_pattern(pattern: str | None, source: Path) -> None:
    """Raise UsageError if a label pattern is given: arrays have labels of their own."""
    if pattern:
        raise UsageError(
            f"A label pattern is for folders and archives of pictures, but {source} has labels of its own."
        )


def reason_of(error: BaseException) -> str:
    """Return an error's text, ready to be followed by a sentence."""
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).rstrip(".")


@contextmanager
def array_reader(
    root: Path, load: Callable[[Path], Mapping[str, Uint8Array]]
) -> Iterator[Callable[[Sample], Uint8Array]]:
    """Yield a function that returns a sample's pixels, uint8 HWC; it can be called from many threads at once.

    `load` returns the images of each block in `root`, uint8 NHWC.
    """
    arrays = load(root)

    def read(sample: Sample) -> Uint8Array:
        name, _, row = sample.path.rstrip("]").partition("[")
        try:
            picture: Uint8Array = arrays[name][int(row)]
            return picture
        except (KeyError, IndexError, ValueError) as error:
            raise PictureError(f"{sample.path}: no longer in {root}") from error

    yield read


def list_digits() -> Listing:
    """List scikit-learn's 1,797 handwritten digits: 8x8 grey pictures of ten classes."""
    images, labels, root = _sklearn_digits()
    block = Block("images", None, [str(label) for label in labels], hash_rows(images))
    return list_blocks("digits", root, [block], None)


def load_digits(_: Path) -> dict[str, Uint8Array]:
    """Return the images of the digits, uint8 NHWC; they come with scikit-learn, whatever the path."""
    return {"images": _sklearn_digits()[0]}


def _sklearn_digits() -> tuple[Uint8Array, list[int], Path]:
    grey, labels = handwritten_digits()
    images = np.rint(grey * (255 / 16)).astype(np.uint8)  # scikit-learn's grey levels go from 0 to 16
    return images[..., None], labels.tolist(), digits_file()
