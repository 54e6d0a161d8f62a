"""The one place that writes files: whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from keensight.errors import KeensightError


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write `content` to a temporary name beside `path`, flush it to disk, and rename it over `path`.

    Of text, what UTF-8 cannot hold (from paths that are no valid text) is written as an escape, as in JSON.
    Raises KeensightError, with the temporary file removed, where the folder cannot be written or the disk is full.
    """
    data = encoded(content) if isinstance(content, str) else content
    with explained(path):
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def encoded(text: str) -> bytes:
    """Return text as it is written to files, in UTF-8."""
    return text.encode(errors="backslashreplace")


def to_json(value: Any) -> str:
    """Return `value` as readable JSON with a newline at the end. NaN and infinity are refused, not written."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def make_folder(path: Path) -> Path:
    """Create `path` and its parents if need be, and return it."""
    with explained(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def cache_folder(name: str) -> Path:
    """Return the folder `name` in the cache (``KEENSIGHT_CACHE``, else ``~/.cache/keensight``), made if need be."""
    return make_folder(_cache() / name)


def _cache() -> Path:
    if root := os.environ.get("KEENSIGHT_CACHE"):
        return Path(root)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keensight"


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write `path` into a KeensightError that says what to do."""
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
            errno.EEXIST: "A file has that name already. Choose another name.",
        }.get(error.errno or 0)
        if advice is None:
            raise
        if path.is_relative_to(_cache()):
            advice += " It is the cache; set KEENSIGHT_CACHE to have it elsewhere."
        raise KeensightError(f"Cannot write {path}: {os.strerror(error.errno or 0).lower()}. {advice}") from error
