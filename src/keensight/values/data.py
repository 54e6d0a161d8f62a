"""Pictures and their labels: found, decoded, and divided into splits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from keensight.errors import DataError, RecipeError
from keensight.values.findings import Decision, Finding, SplitName

Uint8Array: TypeAlias = NDArray[np.uint8]
IntArray: TypeAlias = NDArray[np.int64]
FloatArray: TypeAlias = NDArray[np.floating[Any]]
Members: TypeAlias = IntArray | slice  # of a split: their numbers in it
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "val", "test")
Fit = Literal["squash", "letterbox", "crop"]
DatasetKind = Literal["folder", "zip", "tar", "arrays", "shards", "several"]


class Stream(Protocol):
    """Pictures, uint8 NHWC, that are indexed as an array is, and read piece by piece."""

    @property
    def shape(self) -> tuple[int, ...]:
        """N, H, W and C."""

    def __getitem__(self, key: Any) -> Any: ...

    def shuffled(self, rows: IntArray, rng: np.random.Generator, batches: int, pieces: int = 1) -> IntArray:
        """Return the members of a split, whose `rows` are given, in a random order in which reading them is cheap."""

    def seen(self, rows: IntArray) -> tuple[IntArray, IntArray]:
        """Return a checksum of each picture's pixels, and how many levels of 256 they spread over."""


Images: TypeAlias = Uint8Array | Stream  # uint8 NHWC


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled picture. `path` is one inside the dataset's root, or a row such as ``test[17]``."""

    path: str
    label: int
    sha256: str
    split: SplitName | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that was left out, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Part:
    """One of several places where a dataset's pictures are: their paths begin with its `name` and a slash."""

    name: str
    root: Path | str
    kind: DatasetKind


@dataclass(frozen=True, slots=True)
class Dataset:
    """Labelled pictures that have been found and hashed, but not decoded.

    `decisions` are those that people took about the data, which the labels and splits here follow.
    `root` is what the reader opens: a folder, an archive, the file or folder of arrays, or the folder or URL of shards;
    `kind` says which. Pictures from several places are in `parts`.
    Labels are indices into `class_names`, which are in natural order and matched by name everywhere.
    """

    name: str
    root: Path | str
    kind: DatasetKind
    class_names: tuple[str, ...]
    samples: tuple[Sample, ...]
    skipped: tuple[Skipped, ...] = ()
    parts: tuple[Part, ...] = ()
    decisions: tuple[Decision, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.class_names)) != len(self.class_names):
            raise DataError(f"{self.name} names a class twice: {', '.join(self.class_names)}.")


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a picture of any size and colour mode becomes `height` x `width` x `channels` bytes.

    `levels` are those of black and white in the data set's floats and 32-bit greys, whose files declare none.
    """

    height: int
    width: int
    channels: Literal[1, 3]
    fit: Fit = "squash"
    levels: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.levels is not None:
            black, white = map(float, self.levels)
            if not (math.isfinite(black) and math.isfinite(white) and black < white):
                raise RecipeError(f"levels are {black:g} and {white:g}; finite ones, black below white, are accepted.")
            object.__setattr__(self, "levels", (black, white))  # JSON has lists
        if not (1 <= self.height <= 4096 and 1 <= self.width <= 4096):
            raise RecipeError(
                f"A picture size of {self.height}x{self.width} was asked for. Sizes from 1x1 to 4096x4096 are "
                "accepted; set size to one that a model can learn from, such as 64."
            )
        if self.channels not in (1, 3):
            raise RecipeError(f"channels is {self.channels}; 1 (grey) and 3 (colour) are accepted.")
        if self.fit not in ("squash", "letterbox", "crop"):
            raise RecipeError(f"fit is '{self.fit}'; 'squash', 'letterbox' and 'crop' are accepted.")


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """A dataset's decoded pictures: `images` is uint8 NHWC (often memory-mapped, or streamed), row i for sample i."""

    dataset: Dataset
    preprocessing: Preprocessing
    images: Images
    rows: IntArray  # which row of `images` holds sample i; rows of unreadable pictures are left out


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Split:
    """One split: its pictures and their labels (int64, one each). A picture's number in the split is its member.

    `units` (int64, one each) numbers what must stay together: the same picture again, and pictures of one group. None
    means that each picture is by itself.

    Member i's picture is `images[rows[i]]` (uint8 HWC). `images` is shared by all splits and often memory-mapped, so
    only this class looks into it: `gather` the members that you need, when you need them.

    >>> split = Split(np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1), np.array([2, 0]), np.array([0, 1]), ("c", "a"))
    >>> split.gather(np.array([1, 0])).ravel().tolist(), split.take(np.array([1])).paths
    ([0, 2], ('a',))
    """

    images: Images
    rows: IntArray
    labels: IntArray
    paths: tuple[str, ...]
    units: IntArray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of a picture."""
        height, width, channels = self.images.shape[1:]
        return height, width, channels

    def gather(self, members: Members = slice(None)) -> Uint8Array:
        """Return pictures, uint8 NHWC: a copy, by default of all of them."""
        return self.images[self.rows[members]]

    def take(self, members: Members) -> Split:
        """Return the split of these members alone, in their order. No picture is copied."""
        paths = self.paths[members] if isinstance(members, slice) else tuple(self.paths[i] for i in members)
        units = None if self.units is None else self.units[members]
        return Split(self.images, self.rows[members], self.labels[members], paths, units)

    def shuffled(self, size: int, rng: np.random.Generator, pieces: int = 1) -> list[IntArray]:
        """Return all members in a random order, in batches of about `size`, so equal that none is tiny.

        Streamed pictures are mixed within a window, so that each is read once; batches will be cut into `pieces`.
        """
        count = math.ceil(len(self) / size)
        if isinstance(self.images, np.ndarray):
            return np.array_split(rng.permutation(len(self)), count)
        return np.array_split(self.images.shuffled(self.rows, rng, count, pieces), count)

    def thinned(self, most: int) -> Split:
        """Return at most `most` members, evenly spread over the split: a folder's pictures lie class by class.

        >>> split = Split(np.zeros((9, 1, 1, 1), np.uint8), np.arange(9), np.arange(9), tuple("abcdefghi"))
        >>> split.thinned(3).paths
        ('a', 'd', 'g')
        """
        return self if len(self) <= most else self.take(np.arange(most) * len(self) // most)

    def batches(self, size: int) -> Iterator[slice]:
        """Yield all members in their order, `size` at a time: pictures are best gathered so, and memory stays flat."""
        return (slice(first, first + size) for first in range(0, len(self), size))


@dataclass(frozen=True, slots=True, eq=False)
class Splits:
    """Train, validation and test pictures of one dataset, all with the same classes and preprocessing."""

    class_names: tuple[str, ...]
    preprocessing: Preprocessing
    train: Split
    val: Split
    test: Split | None
    findings: tuple[Finding, ...] = ()  # what a reader must know about how they were made

    @property
    def held_out(self) -> Split:
        """The pictures that a report's headline is about: the test split, or validation where there is none."""
        return self.test or self.val
