"""IDX files of pictures, as MNIST has them.

Shape letters: N images, H height, W width.
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import math
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from keensight.data.arrays import Block, check_counts, hash_block, list_blocks, reason_of, refuse_pattern
from keensight.data.hashing import Memo, is_settled, stamp
from keensight.data.listing import Listing
from keensight.errors import DataError, shortlist
from keensight.values import SplitName, Uint8Array

MAX_ARRAY_BYTES = 8 * 2**30
KEPT_BYTES = 2**28  # unpacked; larger files are unpacked again at every read
_GZIP_MOST = 1032  # deflate's best ratio: a header that promises more is false

FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
CLASS_NAMES: dict[str, tuple[str, ...]] = {  # by the SHA-256 of the raw training images; others are named 0, 1, 2 ...
    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888": FASHION,
}
_SPLITS: dict[SplitName, tuple[str, ...]] = {"train": ("train",), "test": ("t10k", "test")}


def is_idx_folder(path: Path) -> bool:
    """Say whether a path is a folder with IDX files named as MNIST's are."""
    return path.is_dir() and bool(find_idx(path))


def find_idx(folder: Path) -> dict[str, Path]:
    """Return the IDX files in `folder` by role: ``train-images``, ``train-labels``, ``test-images`` ..."""
    found: dict[str, Path] = {}
    for split, (what, dims) in itertools.product(_SPLITS, (("images", 3), ("labels", 1))):
        for prefix, dot, suffix in itertools.product(_SPLITS[split], "-.", ("", ".gz")):
            path = folder / f"{prefix}-{what}{dot}idx{dims}-ubyte{suffix}"
            if f"{split}-{what}" not in found and path.is_file():
                found[f"{split}-{what}"] = path
    return found


def list_idx(
    folder: Path, pattern: str | None = None, *, name: str | None = None, expected: Mapping[str, str] | None = None
) -> Listing:
    """List and hash the rows of a folder's IDX files, gzipped or not.

    `expected` gives the SHA-256 that each role's raw content must have. Raises DataError for a file that is missing,
    damaged, not of unsigned bytes, or not the expected one.
    """
    refuse_pattern(pattern, folder)
    found, memo = find_idx(folder), Memo(folder)
    blocks, class_names = [], None
    missing = {role for role in expected or () if role not in found}
    missing |= {role.replace(*swap) for role in found for swap in (("images", "labels"), ("labels", "images"))} - set(
        found
    )
    if missing:
        raise DataError(
            f"{folder} has {shortlist([path.name for path in found.values()]) or 'no IDX files'}, but not "
            f"{shortlist(sorted(missing))}. Images and labels are accepted in pairs, such as "
            "train-images-idx3-ubyte.gz and train-labels-idx1-ubyte.gz; put the missing file there."
        )
    for split in _SPLITS:
        if f"{split}-images" not in found:
            continue
        images_path, labels_path = found[f"{split}-images"], found[f"{split}-labels"]
        labels, labels_sha256 = read_idx(labels_path, 1)
        count = idx_shape(images_path, 3)[0]
        check_counts(folder, images_path.name, count, labels_path.name, len(labels))
        load = partial(read_idx, images_path, 3)
        rows, sha256 = hash_block(memo, images_path.name, images_path, count, load)
        for role, content in ((f"{split}-images", sha256), (f"{split}-labels", labels_sha256)):
            if expected and expected[role] != content:
                raise DataError(
                    f"{found[role]} does not have the content that {name} should have (SHA-256 {content[:12]}...)."
                )
        if split == "train":
            class_names = CLASS_NAMES.get(sha256)
        names = class_names or [str(label) for label in range(256)]
        if labels.max() >= len(names):
            raise DataError(
                f"{labels_path} has the label {labels.max()}, but there are {len(names)} classes. Check the file."
            )
        blocks.append(Block(split, split, [names[label] for label in labels.tolist()], rows))
    memo.save()
    return list_blocks(name or folder.name, folder, blocks, class_names)


def load_idx(folder: Path) -> dict[str, Uint8Array]:
    """Return the images of each split in `folder`, uint8 NHWC with one channel."""
    paths = {split: path for split in _SPLITS if (path := find_idx(folder).get(f"{split}-images"))}
    return {split: read_idx(path, 3)[0][..., None] for split, path in paths.items()}


def idx_shape(path: Path, num_dims: int) -> tuple[int, ...]:
    """Return the sizes in an IDX file's header: N, H, W for images, N for labels."""
    with _explained(path), _open(path) as file:
        return _header(path, file, num_dims)[1]


def read_idx(path: Path, num_dims: int) -> tuple[Uint8Array, str]:
    """Read an IDX file of unsigned bytes, gzipped or not; return its array and the SHA-256 of its raw content.

    A file that is not gzipped is memory-mapped; an unpacked one is kept, up to 256 MB, until the file changes. Raises
    DataError for a header or size that makes no sense.
    """
    with _explained(path):
        status = path.stat()
        keep = _is_gzipped(path) and is_settled(status) and math.prod(idx_shape(path, num_dims)) <= KEPT_BYTES
        return _read_again(path, num_dims, tuple(stamp(status))) if keep else _read(path, num_dims)


@lru_cache(maxsize=4)  # a run reads its pictures four times: to hash, to choose a size, to decode, to check the bundle
def _read_again(path: Path, num_dims: int, _: tuple[int, ...]) -> tuple[Uint8Array, str]:
    return _read(path, num_dims)


def _read(path: Path, num_dims: int) -> tuple[Uint8Array, str]:
    with _open(path) as file:
        header, shape = _header(path, file, num_dims)
        array: Uint8Array
        if _is_gzipped(path):
            size = math.prod(shape)
            content = file.read(size)
            if len(content) != size or file.read(1):
                raise ValueError(f"it does not hold the {size:,} bytes that its header promises")
            array = np.frombuffer(content, np.uint8).reshape(shape)
        else:
            array = np.memmap(path, np.uint8, "r", len(header), shape)
        digest = hashlib.sha256(header)
        digest.update(array.reshape(-1).data)
    return array, digest.hexdigest()


def _is_gzipped(path: Path) -> bool:
    return path.suffix == ".gz"


def _open(path: Path) -> Any:
    return gzip.open(path) if _is_gzipped(path) else open(path, "rb")


def _header(path: Path, file: IO[bytes], num_dims: int) -> tuple[bytes, tuple[int, ...]]:
    """Read a header and check it against the file's size; return it and the sizes that it gives."""
    header = file.read(4 + 4 * num_dims)
    if len(header) < 4 + 4 * num_dims:
        raise ValueError("it is shorter than an IDX header")
    magic, *shape = struct.unpack(f">{1 + num_dims}I", header)
    if magic != 0x0800 + num_dims:
        raise ValueError(
            f"it begins with 0x{magic:08x}, and unsigned bytes in {num_dims} dimensions begin with "
            f"0x{0x800 + num_dims:08x}"
        )
    if 0 in shape:
        raise ValueError(f"its header gives the sizes {'x'.join(map(str, shape))}, and none may be 0")
    size, on_disk = math.prod(shape), path.stat().st_size
    if size > MAX_ARRAY_BYTES or size > on_disk * (_GZIP_MOST if _is_gzipped(path) else 1):
        raise ValueError(f"its header promises {size:,} bytes, more than it can hold")
    if not _is_gzipped(path) and on_disk != len(header) + size:
        raise ValueError(f"it has {on_disk - len(header):,} bytes of data, but its header promises {size:,}")
    return header, tuple(shape)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, ValueError, zlib.error, MemoryError) as error:
        raise DataError(
            f"The IDX file {path} cannot be used: {reason_of(error)}. A whole file of unsigned bytes as MNIST has them "
            "is accepted, gzipped or not; it may be damaged or cut short, so download it again."
        ) from error
