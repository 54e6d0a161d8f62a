"""Writes all files and folders that last: whole or not at all.

Each is written under a temporary name in its own folder, and renamed. A killed process can leave such a temporary name,
which begins with a dot, behind.
"""

from __future__ import annotations

import atexit
import errno
import json
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from keensight.errors import KeensightError
from keensight.names import UNPRINTABLE

ABANDONED_S = 24 * 3600
_caches: set[Path] = set()  # those that this process used: errors in writing there name KEENSIGHT_CACHE


@cache  # asked for every picture
def open_flags(*names: str) -> int:
    """Return those flags of `os.open` that this system has. Windows lacks some, and has one more: bytes as they are."""
    return sum(getattr(os, name, 0) for name in ("O_BINARY", *names))


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write `content` to a temporary name beside `path`, flush it to disk, and rename it over `path`.

    Characters of text that UTF-8 cannot hold (from paths that are not valid text) are escaped, as in JSON.
    Raises KeensightError, with the temporary file removed, if the folder cannot be written or the disk is full.
    """
    data = encoded(content) if isinstance(content, str) else content
    with replacing(path) as temporary, explained(path), open(temporary, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`, for a file that replaces `path` when the block ends.

    If the block fails, the file is removed, and `path` is as it was. Raises KeensightError if the file cannot be
    renamed. Wrap the block's own writing in `explained`.
    """
    temporary = _beside(path)
    try:
        yield temporary
        with explained(path):
            temporary.replace(path)
    except BaseException:
        with suppress(OSError):  # where nothing can be written, nothing can be removed, and the first error counts
            temporary.unlink(missing_ok=True)
        raise


@contextmanager
def filling(path: Path) -> Iterator[Path]:
    """Yield an empty folder, which is `path` when the block ends; `path` must be new, or an empty folder.

    If the block fails, the folder is removed with all that is in it. An existing empty folder is kept, as it may be a
    mount point, and the content is moved into it. Raises KeensightError if the folder cannot be made, or is not empty.
    """
    with explained(path):
        is_there = path.is_dir()
        if is_there and any(path.iterdir()):
            raise OSError(errno.ENOTEMPTY, "")
    temporary = make_folder(_beside(path / "filling" if is_there else path))
    try:
        yield temporary
        with explained(path):
            if is_there:
                for child in sorted(temporary.iterdir()):
                    child.rename(path / child.name)
            else:
                temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_folder(path: Path, contents: Mapping[str, bytes | str]) -> None:
    """Write a folder of files, whole or not at all; names may have folders in them. See `filling` for the rest."""
    with filling(path) as folder:
        for name, content in contents.items():
            make_folder((folder / name).parent)
            write_atomically(folder / name, content)


def remove_abandoned(folder: Path) -> None:
    """Remove half-written leftovers of killed processes from a folder of the cache, once they are a day old."""
    for leftover in folder.glob(".*"):
        with suppress(OSError):
            if time.time() - leftover.stat().st_mtime > ABANDONED_S:
                if leftover.is_dir():
                    shutil.rmtree(leftover)
                else:
                    leftover.unlink()


def remove_half_written(path: Path) -> None:
    """Remove what killed processes have left of writing `path`. Call it only where nobody else may be writing it."""
    name = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{12}}")
    with suppress(OSError):
        for each in path.parent.iterdir():
            if name.fullmatch(each.name) and each.is_file():
                with suppress(OSError):
                    each.unlink()


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}")


def encoded(text: str) -> bytes:
    """Return the bytes of text in files, in UTF-8."""
    return text.encode(errors="backslashreplace")


def to_json(value: Any) -> str:
    """Return `value` as readable JSON with a newline at the end. NaN and infinity are refused, not written."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_json_line(value: Any) -> str:
    """Return `value` as JSON on one line, with every name as it is but for what would command a terminal."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    # a terminal obeys control characters beyond ASCII, too, which JSON would leave as they are
    return UNPRINTABLE.sub(lambda odd: f"\\u{ord(odd.group()):04x}", text)


def make_folder(path: Path) -> Path:
    """Create `path` and its parents if needed, and return it."""
    with explained(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def cache_folder(name: str) -> Path:
    """Return the folder `name` in the cache, made if needed; see `cache_root`."""
    root = cache_root()
    _caches.add(root)
    with explained(root):
        root.mkdir(mode=0o700, parents=True, exist_ok=True)  # it holds the user's pictures
    return make_folder(root / name)


def cache_root() -> Path:
    """Return the cache's folder: ``KEENSIGHT_CACHE``, else ``~/.cache/keensight``, else a private temporary folder.

    The last one is for users without a home folder that can be written, as in a container; a note on stderr says so.
    """
    if root := os.environ.get("KEENSIGHT_CACHE"):
        return Path(root)
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache) / "keensight"
    try:
        own = Path.home() / ".cache" / "keensight"  # RuntimeError: no HOME, and no account for this user id
        own.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.access(own, os.W_OK | os.X_OK):
            return own
    except (RuntimeError, OSError):
        pass
    return _without_home(Path(tempfile.gettempdir()))


@cache
def _without_home(folder: Path) -> Path:
    """Return a folder that is only this user's, and say so, once."""
    root = folder / f"keensight-{os.getuid() if hasattr(os, 'getuid') else 'cache'}"
    with explained(folder):
        try:
            root.mkdir(mode=0o700)
        except FileExistsError:
            if not _is_private(root):  # anyone may write in a temporary folder
                root = Path(tempfile.mkdtemp(prefix="keensight-", dir=folder))
                atexit.register(shutil.rmtree, root, ignore_errors=True)
    note = f"note: this user has no home folder that can be written, so the cache is in {root}. "
    sys.stderr.write(f"{note}Set KEENSIGHT_CACHE to a folder to keep it there.\n")
    return root


def _is_private(folder: Path) -> bool:
    found = folder.lstat()
    is_own = not hasattr(os, "getuid") or found.st_uid == os.getuid()
    return stat.S_ISDIR(found.st_mode) and is_own and not stat.S_IMODE(found.st_mode) & 0o077


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the operating system's errors in writing `path` into a KeensightError that says what to do."""
    try:
        yield
    except OSError as error:
        advice = {
            errno.ENOSPC: "The disk is full. Free some space, or choose a folder on another disk.",
            errno.EDQUOT: "The disk quota is used up. Free some space, or choose a folder on another disk.",
            errno.EROFS: "It is on a read-only file system. Choose a folder that can be written.",
            errno.EACCES: "This user may not write there. Choose another folder, or change its permissions.",
            errno.EPERM: "This user may not write there. Choose another folder, or change its permissions.",
            errno.ENOENT: "It cannot be made there. Choose a folder elsewhere.",
            errno.ENAMETOOLONG: "Its name is too long. Choose a shorter one.",
            errno.ELOOP: "Its links lead in a circle. Choose another folder.",
            errno.ENOTDIR: "A part of that path is a file. Choose a path whose parents are folders.",
            errno.EISDIR: "A folder has that name. Move it elsewhere, or choose another name.",
            errno.EEXIST: "A file has that name already. Choose another name.",
            errno.ENOTEMPTY: "Nothing is overwritten. Choose a new or empty folder.",
        }.get(error.errno or 0)
        if advice is None:
            raise
        if any(map(path.is_relative_to, _caches)):
            advice += " It is the cache; set KEENSIGHT_CACHE to have it elsewhere."
        raise KeensightError(f"Cannot write {path}: {os.strerror(error.errno or 0).lower()}. {advice}") from error
