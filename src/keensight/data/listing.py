"""The listing of one DATA, and which files count as pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from keensight.errors import shortlist
from keensight.values import DatasetKind, Skipped, SplitName

UNREAD_SUFFIXES = frozenset(
    [".heic", ".heif", ".avif", ".jxl", ".jp2", ".svg", ".psd", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw"]
)
PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"}
)


class Entry(NamedTuple):
    """One picture that was found: a path inside the root (or a row, ``train[17]``), and what is known about it."""

    path: str
    label: str
    split: SplitName | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """All that was found in one DATA. Each entry has a content hash in `hashes` or a reason in `unusable`."""

    name: str
    root: Path
    kind: DatasetKind
    entries: Sequence[Entry]
    hashes: Mapping[str, str]
    unusable: Mapping[str, str]
    skipped: Sequence[Skipped] = ()
    class_names: tuple[str, ...] | None = None  # if the data itself gives their order


def is_picture(name: str) -> bool:
    """Say whether a file counts as a picture: by its suffix, in any case.

    >>> is_picture("cats/TOM.JPG"), is_picture("readme.txt")
    (True, False)
    """
    stem, dot, suffix = name.rpartition(".")  # PurePosixPath takes 8 times as long
    return (dot + suffix).lower() in PICTURE_SUFFIXES and stem != "" and not stem.endswith("/")


def picture_files(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the files that are meant: each as it is, and for a folder the pictures in it (itself, if it has none)."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        yield from sorted(file for file in path.rglob("*") if is_picture(file.name)) or [path]


def is_hidden(part: str) -> bool:
    """Say whether a file or folder is a leftover of an operating system, such as ``.DS_Store`` or ``__MACOSX``."""
    return part.startswith(".") or part in ("__MACOSX", "Thumbs.db", "desktop.ini")


def describe(names: Iterable[str]) -> str:
    """Count file names by suffix, for a message about what was found instead of pictures.

    >>> describe(["a.txt", "b.TXT", "c.pdf"])
    '2 .txt, 1 .pdf'
    """
    kinds = Counter(PurePosixPath(name).suffix.lower() or "without a suffix" for name in names if name[-1:] != "/")
    return shortlist([f"{count:,} {kind}" for kind, count in kinds.most_common()]) or "nothing"


def unread(others: Iterable[str]) -> list[Skipped]:
    """List pictures in formats that are not read, so that a phone's pictures are not silently left out."""
    return [
        Skipped(name, f"{suffix[1:].upper()} pictures are not read; convert it to JPEG or PNG")
        for name in others
        if (suffix := PurePosixPath(name).suffix.lower()) in UNREAD_SUFFIXES
    ]
