"""Pictures and their labels, from what was found to what is learnt from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from keensight.errors import DataError, RecipeError
from keensight.values.findings import Finding

Uint8Array: TypeAlias = NDArray[np.uint8]
IntArray: TypeAlias = NDArray[np.int64]
FloatArray: TypeAlias = NDArray[np.floating[Any]]
SplitName = Literal["train", "val", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "val", "test")
Fit = Literal["squash", "letterbox", "crop"]
DatasetKind = Literal["folder", "zip", "tar", "arrays"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled picture. `where` is a path inside the dataset's root, or a row such as ``test[17]``."""

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
class Dataset:
    """Labelled pictures that have been found and hashed, but not decoded.

    `root` is what the reader opens: a folder, an archive, or the file or folder of arrays; `kind` says which.
    Labels are indices into `class_names`, which are in natural order and matched by name everywhere.
    """

    name: str
    root: Path
    kind: DatasetKind
    class_names: tuple[str, ...]
    samples: tuple[Sample, ...]
    skipped: tuple[Skipped, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.class_names)) != len(self.class_names):
            raise DataError(f"{self.name} names a class twice: {', '.join(self.class_names)}.")


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a picture of any size and colour mode becomes `height` x `width` x `channels` bytes."""

    height: int
    width: int
    channels: Literal[1, 3]
    fit: Fit = "squash"

    def __post_init__(self) -> None:
        if not (1 <= self.height <= 4096 and 1 <= self.width <= 4096):
            raise RecipeError(
                f"A picture size of {self.height}x{self.width} was asked for. Sizes from 1x1 to 4096x4096 are "
                "accepted; set size to something a model can learn from, such as 64."
            )
        if self.channels not in (1, 3):
            raise RecipeError(f"channels is {self.channels}; 1 (grey) and 3 (colour) are accepted.")
        if self.fit not in ("squash", "letterbox", "crop"):
            raise RecipeError(f"fit is '{self.fit}'; 'squash', 'letterbox' and 'crop' are accepted.")


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """A dataset's decoded pictures: `images` is uint8 NHWC (often memory-mapped), row i for sample i."""

    dataset: Dataset
    preprocessing: Preprocessing
    images: Uint8Array
    rows: IntArray  # which row of `images` holds sample i; rows of unreadable pictures are left out


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """One split: pictures `images[rows]` (uint8 NHWC) and their labels (int64, one each).

    `images` is shared by all splits and often memory-mapped: gather the rows that you need, when you need them.
    """

    images: Uint8Array
    rows: IntArray
    labels: IntArray
    paths: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True, eq=False)
class Splits:
    """Train, validation and test pictures of one dataset, all with the same classes and preprocessing."""

    class_names: tuple[str, ...]
    preprocessing: Preprocessing
    train: Split
    val: Split
    test: Split | None
    findings: tuple[Finding, ...] = ()  # what a reader must know of how they came to be
