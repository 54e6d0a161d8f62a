"""What is in the user's cache, which of it running processes use, and how it stays within its size.

An entry is what lies directly in one of the cache's folders: decoded pixels, an unpacked archive, a download. Its time
stamp is that of its last use. Each process keeps a list of the entries that it uses, locked for as long as it lives.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from keensight.errors import KeensightError
from keensight.files import cache_folder, cache_root

KINDS = (
    "archives",
    "backbones",
    "datasets",
    "engines",
    "features",
    "hashes",
    "pixels",
    "runtimes",
)  # what is ours in the cache's folder
USERS = ".in-use"  # the folder of the processes' lists
SIZE = "KEENSIGHT_CACHE_SIZE"
DEFAULT_SIZE = "20 GB"
UNITS = {"": 1, "b": 1, **{unit: 1000**i for i, unit in enumerate(("kb", "mb", "gb", "tb"), 1)},
         **{unit: 1024**i for i, unit in enumerate(("kib", "mib", "gib", "tib"), 1)}}  # fmt: skip
_lists: dict[Path, IO[str]] = {}  # this process's, by the cache's folder
_used: set[Path] = set()


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing in the cache: its kind, its place, its size, and when it was last used, in seconds since 1970."""

    kind: str
    path: Path
    size_bytes: int
    last_used: float
    in_use: bool  # by a running process


def cached(kind: str, name: str) -> Path:
    """Return the place of an entry of the cache, there or not, and keep it there for as long as this process runs.

    A process that may have added an entry brings the cache within its size when it ends. Raises KeensightError if that
    size is none, or the cache cannot be made.
    """
    path = cache_folder(kind) / name
    if path not in _used:
        if not path.exists():
            limit()  # a size that cannot be read is refused before any work
            atexit.unregister(_leave)
            atexit.register(_leave)
        _used.add(path)
        _note(path)
        with suppress(OSError):  # none yet, or of a cache that cannot be written
            os.utime(path)
    return path


def entries() -> list[Entry]:
    """Return what is in the cache, the least recently used first."""
    root, found = cache_root(), []
    taken = _in_use(root)
    for kind in KINDS:
        with suppress(OSError):
            for path in sorted((root / kind).iterdir()):
                with suppress(OSError):
                    used = path.name in taken.get(kind, ()) or path.name.startswith(".")  # being written
                    found.append(Entry(kind, path, _size(path), path.lstat().st_mtime, used))
    return sorted(found, key=lambda each: each.last_used)


def trim(limit_bytes: int) -> list[Entry]:
    """Remove what was not used for longest until the cache is within its limit; return what was removed.

    What a running process uses stays.
    """
    found, removed = entries(), []
    excess = sum(each.size_bytes for each in found) - limit_bytes
    for each in found:
        if excess <= 0:
            break
        if not each.in_use and _remove(each.path):
            excess -= each.size_bytes
            removed.append(each)
    return removed


def remove_others(kind: str, pattern: str, but: Path) -> None:
    """Remove the entries of a kind that match a pattern of file names, but for one, and for those in use."""
    taken = _in_use(cache_root()).get(kind, ())
    for path in but.parent.glob(pattern):
        if path != but and path.name not in taken:
            _remove(path)


def limit() -> int:
    """Return the most bytes that the cache may keep: KEENSIGHT_CACHE_SIZE, or 20 GB.

    Raises KeensightError for any other text than a size, such as "500 MB".
    """
    text = os.environ.get(SIZE) or DEFAULT_SIZE
    said = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)\s*", text.lower())
    if not said or said[2] not in UNITS or (not said[2] and 0 < float(said[1]) < 1000):
        raise KeensightError(
            f"{SIZE} is '{text[:40]}'. A number with its unit is accepted, such as 500MB or 20GB; set it again, or "
            f"unset it for {DEFAULT_SIZE}."
        )
    return int(float(said[1]) * UNITS[said[2]])


def _leave() -> None:
    """Bring the cache within its size. This process ends, and uses nothing any more."""
    for file in _lists.values():
        with suppress(OSError):
            file.close()
    _lists.clear()
    _used.clear()
    with suppress(OSError, KeensightError):
        trim(limit())


def _note(path: Path) -> None:
    """Add an entry to this process's list. Where files cannot be locked, nothing is kept from other processes."""
    root = path.parent.parent
    with suppress(OSError, ImportError):
        if root not in _lists:
            import fcntl

            (root / USERS).mkdir(mode=0o700, exist_ok=True)
            while root not in _lists:
                file = open(root / USERS / f"{os.getpid()}-{os.urandom(4).hex()}", "w", encoding="utf-8")  # noqa: SIM115
                fcntl.flock(file, fcntl.LOCK_EX)
                if os.fstat(file.fileno()).st_nlink:  # another process may have removed it before it was locked
                    _lists[root] = file
        print(path.parent.name, path.name, sep="/", file=_lists[root], flush=True)


def _in_use(root: Path) -> dict[str, Collection[str]]:
    """Return the names of the entries that running processes use, by kind. Lists of ended processes are removed."""
    taken: dict[str, set[str]] = {}
    for kind, name in _listed(root):
        taken.setdefault(kind, set()).add(name)
    return dict(taken)


def _listed(root: Path) -> Iterator[tuple[str, str]]:
    try:
        import fcntl
    except ImportError:  # Windows, which keeps what is open by itself
        yield from ((path.parent.name, path.name) for path in _used if path.parent.parent == root)
        return
    own = _lists[root].name if root in _lists else ""
    for file in (root / USERS).glob("*"):
        with suppress(OSError), open(file, encoding="utf-8") as listed:
            if str(file) != own:
                try:
                    fcntl.flock(listed, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    file.unlink()
                    continue
                except BlockingIOError:
                    pass
            for line in listed.read().splitlines():
                kind, _, name = line.partition("/")
                yield kind, name


def _size(path: Path) -> int:
    if path.is_symlink() or not path.is_dir():
        return path.lstat().st_size
    return sum(each.lstat().st_size for each in path.rglob("*") if not each.is_dir())


def _remove(path: Path) -> bool:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError:
        return False
    return True
