"""NumPy's .npz files of pictures: declared sizes are checked first, and nothing pickled is read.

Shape letters: N images, H height, W width, C channels.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from keensight.data.arrays import Block, check_counts, hash_block, list_blocks, reason_of, refuse_pattern
from keensight.data.hashing import Memo
from keensight.data.layout import SPLIT_ALIASES
from keensight.data.listing import Listing
from keensight.errors import DataError, shortlist
from keensight.names import clean_label, odd_name
from keensight.values import SplitName, Uint8Array

MAX_NPZ_BYTES = 64 * 2**30
MAX_NPZ_RATIO = 1000
SMALL_NPZ_BYTES = 2 * 2**30  # up to this, any ratio is accepted
_CHUNK_ROWS = 1024


def is_npz(path: Path) -> bool:
    """Say whether a path is named like a NumPy archive."""
    return path.suffix.lower() == ".npz"


def list_npz(path: Path, pattern: str | None = None) -> Listing:
    """List and hash the rows of an .npz file.

    Images are NHW or NHWC with 1 or 3 channels, of uint8 (0 to 255), bool, or floats in [0, 1]; labels are integers or
    text, of shape N or Nx1. Raises DataError for any other content, for NaN, and for pickled objects.
    """
    refuse_pattern(pattern, path)
    memo, blocks = Memo(path), []
    with _open(path) as (keys, shape, load):
        class_names = _class_names(path, load("class_names")) if "class_names" in keys else None
        for name, split, images_key, labels_key in _blocks(path, keys):
            labels = _labels(path, labels_key, load(labels_key), class_names)
            count = (*shape(images_key), 0)[0]
            check_counts(path, images_key, count, labels_key, len(labels))
            rows, _ = hash_block(memo, name, path, count, partial(_images, path, load, images_key))
            blocks.append(Block(name, split, labels, rows))
    memo.save()
    return list_blocks(path.stem, path, blocks, class_names)


def load_npz(path: Path) -> dict[str, Uint8Array]:
    """Return the images of each block in an .npz file, uint8 NHWC."""
    with _open(path) as (keys, _, load):
        return {name: _images(path, load, key)[0] for name, _, key, _ in _blocks(path, keys)}


class _Npz(NamedTuple):
    keys: Sequence[str]
    shape: Callable[[str], tuple[int, ...]]
    load: Callable[[str], NDArray[Any]]


@contextmanager
def _open(path: Path) -> Iterator[_Npz]:
    """Yield an .npz's keys and a function that reads its arrays; declared sizes are checked first."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            total, on_disk = sum(info.file_size for info in archive.infolist()), path.stat().st_size
            if total > MAX_NPZ_BYTES or total > max(SMALL_NPZ_BYTES, MAX_NPZ_RATIO * on_disk):
                raise ValueError(f"its {on_disk:,} bytes unpack to {total:,} (a 'zip bomb')")

            def load(key: str) -> NDArray[Any]:
                _npy_shape(archive, members[key])
                with archive.open(members[key]) as member:
                    array: NDArray[Any] = np.lib.format.read_array(member, allow_pickle=False)
                return array

            yield _Npz(list(members), lambda key: _npy_shape(archive, members[key]), load)
    except (OSError, EOFError, ValueError, zlib.error, zipfile.BadZipFile, RuntimeError, MemoryError) as error:
        raise DataError(
            f"The array file {path} cannot be used: {reason_of(error)}. A whole .npz of plain arrays, as numpy.savez "
            "writes it, is accepted; write it again without objects (allow_pickle is never used here)."
        ) from error


def _images(path: Path, load: Callable[[str], NDArray[Any]], key: str) -> tuple[Uint8Array, str]:
    return to_uint8(load(key), f"{key} in {path}"), "0" * 64  # the content hash is not used


def _npy_shape(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> tuple[int, ...]:
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{info.filename} is of the format version {version}")
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(member)
        if dtype.hasobject:
            raise ValueError(f"{info.filename} holds Python objects; reading them would run a pickle, which is refused")
        if math.prod(shape) * dtype.itemsize != info.file_size - member.tell():
            raise ValueError(f"the header of {info.filename} does not fit its size")
    return tuple(shape)


def _blocks(path: Path, keys: Sequence[str]) -> list[tuple[str, SplitName | None, str, str]]:
    """Return (block name, split, key of its images, key of its labels) for every block."""
    forms: list[tuple[SplitName | None, str, str]] = [
        (split, *pair)
        for alias, split in SPLIT_ALIASES.items()
        for pair in ((f"x_{alias}", f"y_{alias}"), (f"X_{alias}", f"y_{alias}"), (f"{alias}_images", f"{alias}_labels"))
    ]
    plain: list[tuple[SplitName | None, str, str]] = [(None, "images", "labels"), (None, "x", "y"), (None, "X", "y")]
    found = [form for form in forms if form[1] in keys] or [form for form in plain if form[1] in keys]
    lacking = [labels for _, _, labels in found if labels not in keys]
    if not found or lacking or len({split for split, _, _ in found}) < len(found):
        raise DataError(
            f"{path} has the arrays {shortlist(keys, 12) or '(none)'}"
            f"{f', but not {shortlist(lacking)}' if lacking else ''}. These are accepted: images and labels; x and y; "
            "or for each split x_train and y_train, or train_images and train_labels (also val and test), each split "
            "once; and optionally class_names. Save it again with such names."
        )
    return [(split or "images", split, images, labels) for split, images, labels in found]


def to_uint8(images: NDArray[Any], what: str) -> Uint8Array:
    """Return images NHW or NHWC (1 or 3 channels) of uint8, bool or floats in [0, 1] as uint8 NHWC.

    Raises DataError for other shapes and types, and for values outside the range or not finite.

    >>> to_uint8(np.array([[[0.0, 0.5, 1.0]]]), "x").ravel().tolist()
    [0, 128, 255]
    """
    shape = "x".join(map(str, images.shape))
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 3)) or 0 in images.shape:
        raise DataError(
            f"{what} has the shape {shape}. Pictures as N x height x width, or N x height x width x channels with 1 or "
            "3 channels last, are accepted; transpose or reshape the array, and drop an alpha channel."
        )
    images = images if images.ndim == 4 else images[..., None]
    if images.dtype == np.uint8:
        return images
    if images.dtype != np.bool_ and images.dtype.kind != "f":
        raise DataError(
            f"{what} is of type {images.dtype}. uint8 from 0 to 255, bool, and floats from 0 to 1 are accepted; "
            "convert it, for example with .astype('uint8') where values run from 0 to 255."
        )
    result = np.empty(images.shape, np.uint8)
    bad, low, high = 0, 0.0, 1.0
    for start in range(0, len(images), _CHUNK_ROWS):  # in chunks, to need little memory beyond the result
        chunk = images[start : start + _CHUNK_ROWS].astype(np.float32)
        finite = np.isfinite(chunk)
        bad += int(chunk.size - np.count_nonzero(finite))
        low, high = (
            min(low, float(chunk.min(where=finite, initial=0))),
            max(high, float(chunk.max(where=finite, initial=1))),
        )
        if not bad and low == 0 and high == 1:
            result[start : start + _CHUNK_ROWS] = np.rint(chunk * 255)
    if bad:
        raise DataError(
            f"{what} has {bad:,} values that are NaN or infinite. Finite floats from 0 to 1 are accepted; find where "
            "they come from, or replace them with numpy.nan_to_num."
        )
    if low < 0 or high > 1:
        raise DataError(
            f"{what} has floats from {low:g} to {high:g}. Floats from 0 to 1 are accepted; scale them, or save values "
            "from 0 to 255 as uint8."
        )
    return result


def _labels(path: Path, key: str, labels: NDArray[Any], class_names: tuple[str, ...] | None) -> list[str]:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iuU":
        raise DataError(
            f"{key} in {path} is of type {labels.dtype} and shape {'x'.join(map(str, labels.shape))}. One integer or "
            "text for each picture is accepted; use .astype(int), or .argmax(1) for one-hot labels."
        )
    names = [clean_label(str(label)) for label in labels.tolist()]
    if class_names and labels.dtype.kind != "U":
        wrong = [name for name in sorted(set(names)) if not 0 <= int(name) < len(class_names)]
        names = names if wrong else [class_names[int(name)] for name in names]
    else:
        wrong = [
            name for name in sorted(set(names)) if not name or odd_name(name) or name not in (class_names or names)
        ]
    if wrong:
        raise DataError(
            f"{key} in {path} has the labels {shortlist([repr(name) for name in wrong])}, which are not classes. Plain "
            "text or integers are accepted, and with class_names only its entries or their positions from 0 on; "
            "correct them."
        )
    return names


def _class_names(path: Path, names: NDArray[Any]) -> tuple[str, ...]:
    if names.ndim != 1 or names.dtype.kind != "U":
        raise DataError(f"class_names in {path} is of type {names.dtype}; one text for each class is accepted.")
    return tuple(clean_label(name) for name in names.tolist())
