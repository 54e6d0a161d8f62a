"""Arrays of pictures: IDX files as MNIST has them, NumPy's .npz, and scikit-learn's digits.

Shape letters: N images, H height, W width, C channels. The arrays of one split are called a block.
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from keensight.data.hashing import Memo, are_hashes, hash_rows, is_hash
from keensight.data.labels import SPLIT_ALIASES, Entry, Listing, clean_label, odd_name
from keensight.errors import DataError, PictureError, UsageError, shortlist
from keensight.values import Sample, SplitName, Uint8Array

MAX_ARRAY_BYTES = 8 * 2**30
MAX_NPZ_BYTES = 64 * 2**30
MAX_NPZ_RATIO = 1000
SMALL_NPZ_BYTES = 2 * 2**30  # up to this, any ratio is accepted
_GZIP_MOST = 1032  # deflate cannot do better, so a header that promises more is lying
_CHUNK_ROWS = 1024

FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
CLASS_NAMES: dict[str, tuple[str, ...]] = {  # by the SHA-256 of the raw training images; others are named 0, 1, 2 ...
    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888": FASHION,
}
_IDX_SPLITS: dict[SplitName, tuple[str, ...]] = {"train": ("train",), "test": ("t10k", "test")}


class Block(NamedTuple):
    """One split's labels and row hashes; `name` is ``images`` where there are no splits."""

    name: str
    split: SplitName | None
    labels: Sequence[str]
    hashes: Sequence[str]


def _listing(name: str, root: Path, blocks: Sequence[Block], class_names: tuple[str, ...] | None) -> Listing:
    entries, hashes = [], {}
    for block in blocks:
        for row, (label, sha256) in enumerate(zip(block.labels, block.hashes, strict=True)):
            where = f"{block.name}[{row}]"
            entries.append(Entry(where, label, block.split))
            hashes[where] = sha256
    return Listing(name, root, "arrays", entries, hashes, {}, (), class_names)


def _remembered(
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


# --- IDX -------------------------------------------------------------------------------------------------------------


def is_idx_folder(path: Path) -> bool:
    """Say whether a path is a folder with IDX files named as MNIST's are."""
    return path.is_dir() and bool(find_idx(path))


def find_idx(folder: Path) -> dict[str, Path]:
    """Return the IDX files in `folder` by role: ``train-images``, ``train-labels``, ``test-images`` ..."""
    found: dict[str, Path] = {}
    for split, (what, dims) in itertools.product(_IDX_SPLITS, (("images", 3), ("labels", 1))):
        for prefix, dot, suffix in itertools.product(_IDX_SPLITS[split], "-.", ("", ".gz")):
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
    _refuse_pattern(pattern, folder)
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
    for split in _IDX_SPLITS:
        if f"{split}-images" not in found:
            continue
        images_path, labels_path = found[f"{split}-images"], found[f"{split}-labels"]
        labels, labels_sha256 = read_idx(labels_path, 1)
        count = idx_shape(images_path, 3)[0]
        _check_counts(folder, images_path.name, count, labels_path.name, len(labels))
        load = partial(read_idx, images_path, 3)
        rows, sha256 = _remembered(memo, images_path.name, images_path, count, load)
        for role, content in ((f"{split}-images", sha256), (f"{split}-labels", labels_sha256)):
            if expected and expected[role] != content:
                raise DataError(
                    f"{found[role]} has another content than {name} should have (SHA-256 {content[:12]}...)."
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
    return _listing(name or folder.name, folder, blocks, class_names)


def idx_shape(path: Path, num_dims: int) -> tuple[int, ...]:
    """Return the sizes in an IDX file's header: N, H, W for images, N for labels."""
    with _explained_idx(path), _open(path) as file:
        return _idx_header(path, file, num_dims)[1]


def read_idx(path: Path, num_dims: int) -> tuple[Uint8Array, str]:
    """Read an IDX file of unsigned bytes, gzipped or not; return its array and the SHA-256 of its raw content.

    A file that is not gzipped is memory-mapped. Raises DataError for a header or size that makes no sense.
    """
    with _explained_idx(path), _open(path) as file:
        header, shape = _idx_header(path, file, num_dims)
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


def _idx_header(path: Path, file: IO[bytes], num_dims: int) -> tuple[bytes, tuple[int, ...]]:
    """Read a header and check it against the room that the file has; return it and the sizes it gives."""
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
def _explained_idx(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, ValueError, zlib.error, MemoryError) as error:
        raise DataError(
            f"The IDX file {path} cannot be used: {_why(error)}. A whole file of unsigned bytes as MNIST has them is "
            "accepted, gzipped or not; it may be damaged or cut short, so download it again."
        ) from error


# --- NPZ -------------------------------------------------------------------------------------------------------------


def is_npz(path: Path) -> bool:
    """Say whether a path is named like a NumPy archive."""
    return path.suffix.lower() == ".npz"


def list_npz(path: Path, pattern: str | None = None) -> Listing:
    """List and hash the rows of an .npz file.

    Images are NHW or NHWC with 1 or 3 channels, of uint8 (0 to 255), bool, or floats in [0, 1]; labels are integers or
    text, of shape N or Nx1. Raises DataError for any other content, for NaN, and for pickled objects.
    """
    _refuse_pattern(pattern, path)
    memo, blocks = Memo(path), []
    with _open_npz(path) as (keys, shape, load):
        class_names = _class_names(path, load("class_names")) if "class_names" in keys else None
        for name, split, images_key, labels_key in _npz_blocks(path, keys):
            labels = _npz_labels(path, labels_key, load(labels_key), class_names)
            count = (*shape(images_key), 0)[0]
            _check_counts(path, images_key, count, labels_key, len(labels))
            rows, _ = _remembered(memo, name, path, count, partial(_npz_images, path, load, images_key))
            blocks.append(Block(name, split, labels, rows))
    memo.save()
    return _listing(path.stem, path, blocks, class_names)


class _Npz(NamedTuple):
    keys: Sequence[str]
    shape: Callable[[str], tuple[int, ...]]
    load: Callable[[str], NDArray[Any]]


@contextmanager
def _open_npz(path: Path) -> Iterator[_Npz]:
    """Yield an .npz's keys and what reads its arrays: as numpy.load does, but only after a look at what is declared."""
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
            f"The array file {path} cannot be used: {_why(error)}. A whole .npz of plain arrays, as numpy.savez writes "
            "it, is accepted; write it again without objects (allow_pickle is never used here)."
        ) from error


def _npz_images(path: Path, load: Callable[[str], NDArray[Any]], key: str) -> tuple[Uint8Array, str]:
    return to_uint8(load(key), f"{key} in {path}"), "0" * 64  # nobody asks for the content hash


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


def _npz_blocks(path: Path, keys: Sequence[str]) -> list[tuple[str, SplitName | None, str, str]]:
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
            "once; and class_names if you like. Save it again with such names."
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


def _npz_labels(path: Path, key: str, labels: NDArray[Any], class_names: tuple[str, ...] | None) -> list[str]:
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
            f"{key} in {path} has the labels {shortlist([repr(name) for name in wrong])}, which are no classes. Plain "
            "text or integers are accepted, and with class_names only its entries or their positions from 0 on; "
            "correct them."
        )
    return names


def _class_names(path: Path, names: NDArray[Any]) -> tuple[str, ...]:
    if names.ndim != 1 or names.dtype.kind != "U":
        raise DataError(f"class_names in {path} is of type {names.dtype}; one text for each class is accepted.")
    return tuple(clean_label(name) for name in names.tolist())


# --- digits, and what all have in common -----------------------------------------------------------------------------


def list_digits() -> Listing:
    """List scikit-learn's 1,797 handwritten digits: 8x8 grey pictures of ten classes."""
    images, labels, root = _load_digits()
    return _listing("digits", root, [Block("images", None, [str(label) for label in labels], hash_rows(images))], None)


def _load_digits() -> tuple[Uint8Array, list[int], Path]:
    try:
        from sklearn import datasets
    except ImportError as error:
        raise DataError(
            "The digits come with scikit-learn, which is not installed. Run pip install 'keensight[train]', or give "
            "pictures of your own."
        ) from error
    digits = datasets.load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # grey levels are 0 to 16 there
    return images[..., None], digits.target.tolist(), Path(datasets.__file__).parent / "data" / "digits.csv.gz"


@contextmanager
def array_reader(root: Path) -> Iterator[Callable[[Sample], Uint8Array]]:
    """Yield a function that returns a sample's pixels, uint8 HWC; it can be called from many threads at once."""
    arrays = _load(root)

    def read(sample: Sample) -> Uint8Array:
        name, _, row = sample.where.rstrip("]").partition("[")
        try:
            picture: Uint8Array = arrays[name][int(row)]
            return picture
        except (KeyError, IndexError, ValueError) as error:
            raise PictureError(f"{sample.where}: no longer in {root}") from error

    yield read


def _load(root: Path) -> dict[str, Uint8Array]:
    if root.is_dir():
        paths = {split: path for split in _IDX_SPLITS if (path := find_idx(root).get(f"{split}-images"))}
        return {split: read_idx(path, 3)[0][..., None] for split, path in paths.items()}
    if is_npz(root):
        with _open_npz(root) as (keys, _, load):
            return {name: _npz_images(root, load, key)[0] for name, _, key, _ in _npz_blocks(root, keys)}
    return {"images": _load_digits()[0]}


def _check_counts(source: Path, images: str, num_images: int, labels: str, num_labels: int) -> None:
    if num_images != num_labels:
        raise DataError(
            f"In {source}, {images} has {num_images:,} pictures but {labels} has {num_labels:,} labels. One label for "
            "each picture is accepted; check that the two belong together."
        )


def _refuse_pattern(pattern: str | None, source: Path) -> None:
    if pattern:
        raise UsageError(
            f"A label pattern is for folders and archives of pictures, but {source} has labels of its own."
        )


def _why(error: BaseException) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).rstrip(".")
