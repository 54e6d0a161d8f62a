"""The listing of one DATA, and which files count as pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from keensight.data.kinds import is_picture_start, unread, what_is
from keensight.errors import shortlist
from keensight.values import DatasetKind, Decision, Part, Skipped, SplitName

PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".gif", ".bmp", ".dib", ".webp", ".tif", ".tiff",
     ".ppm", ".pgm", ".pbm", ".pnm", ".heic", ".heif", ".hif", ".avif"}
)  # fmt: skip
RAW_SUFFIXES = frozenset(  # camera raw; most begin as TIFF files do, with a thumbnail
    {".raw", ".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".orf", ".pef", ".raf", ".rw2",
     ".rwl", ".srw", ".x3f", ".3fr", ".iiq", ".kdc", ".mrw"}
)  # fmt: skip
KNOWN_SUFFIXES = frozenset(  # of what so often lies beside pictures that its first bytes are not asked
    {".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".md", ".html", ".htm", ".yaml", ".yml", ".toml", ".ini",
     ".log", ".pdf", ".py", ".ipynb", ".zip", ".tar", ".gz", ".npz"}
)  # fmt: skip
SYSTEM_NAMES = frozenset(  # what operating systems, file managers and network drives keep among one's files, lower case
    [
        "__macosx", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r",
        "$recycle.bin", "recycler", "system volume information", "lost+found",
        "@eadir", "@tmp", "@recycle", "@recently-snapshot", "@synoresource", "@synoeastream", "#recycle", "#snapshot",
        "network trash folder", "temporary items", "__pycache__",
    ]
)  # fmt: skip
BESIDE = frozenset(  # what is written about pictures and lies beside them, without its suffix, lower case
    {"readme", "license", "licence", "copying", "notice", "authors", "citation", "changelog", "labels", "classes",
     "classnames", "class_names", "names", "index", "metadata", "info", "about", "requirements", ".ds_store",
     "thumbs", "desktop"}
)  # fmt: skip
TABLES = frozenset({".json", ".jsonl", ".csv", ".tsv", ".xml", ".yaml", ".yml", ".md"})  # that describe pictures
KEPT_BY_SYSTEM = "hidden, or kept by a system or a network drive, so it is not looked into"


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
    root: Path | str
    kind: DatasetKind
    entries: Sequence[Entry]
    hashes: Mapping[str, str]
    unusable: Mapping[str, str]
    skipped: Sequence[Skipped] = ()
    class_names: tuple[str, ...] | None = None  # if the data itself gives their order
    parts: tuple[Part, ...] = ()  # of several DATA
    decisions: tuple[Decision, ...] = ()  # taken about these data, and followed here


def is_picture(name: str) -> bool:
    """Say whether a file is taken for a picture by its suffix alone, in any case.

    >>> is_picture("cats/TOM.JPG"), is_picture("readme.txt")
    (True, False)
    """
    stem, dot, suffix = name.rpartition(".")  # PurePosixPath takes 8 times as long
    return (dot + suffix).lower() in PICTURE_SUFFIXES and stem != "" and not stem.endswith("/")


def is_beside(path: str) -> bool:
    """Say whether a file is none of the pictures but what so often lies beside them, by its name alone.

    >>> [is_beside(path) for path in ("pets/README.md", "LICENSE", ".DS_Store", "boxes.json", "cat.heic", "notes.txt")]
    [True, True, True, True, False, False]
    """
    name = path.rpartition("/")[2].lower()
    stem, dot, suffix = name.rpartition(".")
    if dot + suffix in TABLES:
        return True
    known = dot + suffix in KNOWN_SUFFIXES or name in SYSTEM_NAMES
    return (stem if stem and known else name) in BESIDE


def is_hidden(part: str) -> bool:
    """Say whether a file or folder is hidden or what a system leaves behind, such as ``.DS_Store`` or ``@eaDir``."""
    return part.startswith(".") or part.lower() in SYSTEM_NAMES


def hidden_part(path: str) -> str | None:
    """Return the path of the uppermost hidden file or folder in a POSIX path, or None.

    >>> hidden_part("nas/cat/@eaDir/1.jpg/THUMB.jpg")
    'nas/cat/@eaDir'
    """
    parts = path.split("/")
    return next(("/".join(parts[: i + 1]) for i, part in enumerate(parts) if is_hidden(part)), None)


def problem_by_start(path: str, start: Callable[[], bytes]) -> str | None:
    """Say why a file without a picture's suffix is not a picture, or None if its first bytes are a picture's.

    `start` returns these bytes, and is called only if the suffix does not decide.
    """
    suffix = PurePosixPath(path).suffix.lower()
    if suffix in RAW_SUFFIXES:
        return unread(suffix[1:].upper())
    if suffix in KNOWN_SUFFIXES:
        return f"a {suffix} file and not a picture"
    first = start()
    if is_picture_start(first):
        return None
    if suffix == ".tga" and first:
        return unread("TGA")
    return what_is(first) or "not a picture that can be read"


def describe(names: Iterable[str]) -> str:
    """Count file names by suffix, for a message about what was found instead of pictures.

    >>> describe(["a.txt", "b.TXT", "c.pdf"])
    '2 .txt, 1 .pdf'
    """
    kinds = Counter(PurePosixPath(name).suffix.lower() or "without a suffix" for name in names if name[-1:] != "/")
    return shortlist([f"{count:,} {kind}" for kind, count in kinds.most_common()]) or "nothing"
