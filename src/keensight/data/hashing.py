"""Content hashes, and a memo of them, so that a second run does not read every picture again."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keensight import files
from keensight.cached import cached
from keensight.errors import KeensightError, PictureError
from keensight.executor import Threads
from keensight.machine import cores
from keensight.values import Uint8Array

_CHUNK = 64  # pictures per task: a task costs some 30 µs, hashing a small picture 2
_SETTLED_NS = 2_000_000_000  # a file written this recently may change again within its clock's resolution


def hash_rows(images: Uint8Array) -> list[str]:
    """Return the SHA-256 of every row of `images` (uint8 NHWC or NHW): of its shape and its pixels.

    >>> import numpy as np
    >>> first, second, third = hash_rows(np.array([[[0, 1]], [[0, 1]], [[1, 0]]], np.uint8))
    >>> first == second, first == third
    (True, False)
    """
    start = hashlib.sha256(f"uint8 {'x'.join(map(str, images.shape[1:]))}\n".encode())
    size = int(np.prod(images.shape[1:]))
    pixels = np.ascontiguousarray(images).reshape(-1).data
    hashes = []
    for offset in range(0, len(images) * size, size):
        digest = start.copy()
        digest.update(pixels[offset : offset + size])
        hashes.append(digest.hexdigest())
    return hashes


def hash_files(read: Callable[[str], bytes], names: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Read and hash files on all cores; return the SHA-256 of each by name, and the reasons of those that failed.

    `read` is called from several threads, and raises PictureError (``name: reason``) for a file that cannot be read.
    """

    def hash_chunk(chunk: Sequence[str]) -> list[tuple[str, str, str]]:
        done = []
        for name in chunk:
            try:
                done.append((name, hashlib.sha256(read(name)).hexdigest(), ""))
            except PictureError as error:
                done.append((name, "", str(error).removeprefix(f"{name}: ")))
        return done

    chunks = [names[start : start + _CHUNK] for start in range(0, len(names), _CHUNK)]
    hashes: dict[str, str] = {}
    failed: dict[str, str] = {}
    with Threads(cores()) as threads:
        for done in threads.map(hash_chunk, chunks):
            hashes.update((name, sha256) for name, sha256, _ in done if sha256)
            failed.update((name, reason) for name, sha256, reason in done if not sha256)
    return hashes, failed


class Memo:
    """Hashes of earlier runs for the dataset at `root`, each kept for as long as its file's stamp stays the same.

    The memo is in the user's cache. If it is damaged, unreadable or cannot be written, it is silently ignored, because
    it only saves time.
    """

    def __init__(self, root: Path) -> None:
        self._records: dict[str, list[Any]] = {}
        self._used: dict[str, list[Any]] = {}
        self._changed = False
        self._path: Path | None = None
        try:
            key = hashlib.sha256(os.fsencode(os.path.abspath(root))).hexdigest()  # noqa: PTH100  (keeps links)
            self._path = cached("hashes", f"{key}.json")
            records = json.loads(self._path.read_bytes())
        except (OSError, ValueError, RecursionError, KeensightError):
            return
        if isinstance(records, dict):
            self._records = {key: value for key, value in records.items() if isinstance(value, list)}

    def recall(self, key: str, status: os.stat_result) -> Any:
        """Return what was noted under `key` for a file with this stamp, or None."""
        record = self._records.get(key)
        if record is None or len(record) != 4 or record[:3] != stamp(status):
            return None
        self._used[key] = record
        return record[3]

    def note(self, key: str, status: os.stat_result, value: Any) -> None:
        """Remember `value` (anything JSON can hold) for a file that was read after `status` was taken."""
        if is_settled(status):
            self._used[key] = [*stamp(status), value]
            self._changed = True

    def save(self) -> None:
        """Write the entries that were noted or recalled in this run; others are dropped."""
        if self._path is None or not self._changed:
            return
        try:
            files.write_atomically(self._path, json.dumps(self._used, separators=(",", ":")))
        except (OSError, ValueError, KeensightError):
            return


def is_hash(value: object) -> bool:
    """Say whether a value from a memo looks like a SHA-256."""
    return isinstance(value, str) and len(value) == 64


def are_hashes(values: object, count: int) -> bool:
    """Say whether a value from a memo is a list of `count` SHA-256s."""
    return isinstance(values, list) and len(values) == count and all(map(is_hash, values))


def known_hashes(values: object, names: Iterable[str]) -> dict[str, str]:
    """Return the usable part of a memo's table from names to SHA-256s."""
    if not isinstance(values, dict):
        return {}
    return {name: values[name] for name in names if is_hash(values.get(name))}


def is_settled(status: os.stat_result) -> bool:
    """Say whether a file was last written long enough ago that any further change would change its stamp."""
    return time.time_ns() - status.st_mtime_ns > _SETTLED_NS


def stamp(status: os.stat_result) -> list[int]:
    """Return the size, modification time in ns and inode of a file: if they are the same, it is unchanged."""
    return [status.st_size, status.st_mtime_ns, status.st_ino]
