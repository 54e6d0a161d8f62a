"""What is known of each gathered picture, as lines of manifest.jsonl: a manifest that `train` takes as DATA, too."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from keensight.errors import DataError
from keensight.files import explained, to_json_line

MANIFEST = "manifest.jsonl"
UNCONFIRMED, CONFIRMED = "unconfirmed", "confirmed"


@dataclass(frozen=True, slots=True)
class Row:
    """A gathered picture. `file` is its path in the folder, `date` when it was fetched (UTC).

    `state` is "unconfirmed" until somebody has looked whether it shows what its label says: a search only guesses.
    """

    file: str
    label: str
    sha256: str
    state: str
    source: str
    query: str
    url: str
    landing_page: str
    title: str
    creator: str
    creator_url: str
    licence: str
    licence_url: str
    date: str
    width: int
    height: int


NAMES = tuple(each.name for each in fields(Row))


def read_manifest(path: Path) -> list[Row]:
    """Return the rows of a manifest that a gathering wrote. Raises DataError for another file."""
    return [row_of(line, path) for line in read_lines(path)]


def row_of(line: Any, path: Path) -> Row:
    """Return a line of the file `path` as a row. Raises DataError for one that is none."""
    is_row = isinstance(line, dict) and all(
        isinstance(line.get(name), int if name in ("width", "height") else str) for name in NAMES
    )
    if not is_row:
        raise DataError(
            f"{path} is not a file that `keensight gather` wrote: a row lacks some of {', '.join(NAMES)}. Gather into "
            "another folder."
        )
    return Row(**{name: line[name] for name in NAMES})


def unconfirmed(path: Path) -> dict[str, str]:
    """Return the sha256 of each gathered picture that nobody has looked at yet, with its label."""
    return {row.sha256: row.label for row in read_manifest(path) if row.state == UNCONFIRMED}


def rows_as_text(rows: Iterable[Row]) -> str:
    """Return the content of a manifest."""
    return "".join(to_json_line(asdict(row)) + "\n" for row in rows)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects in a file of JSON Lines, none without a file. A last line that was cut off is left out."""
    try:
        text = path.read_bytes()
        *whole, _ = text.split(b"\n")
        lines = [json.loads(line) for line in whole]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is damaged ({error}). Restore it, or gather into another folder.") from error
    if not all(isinstance(line, dict) for line in lines):
        raise DataError(f"{path} is damaged: a line is no JSON object. Restore it, or gather into another folder.")
    return lines


def append_line(path: Path, value: dict[str, Any]) -> None:
    """Add one line to a file of JSON Lines, whole or not at all, whatever ends this process. Raises KeensightError."""
    line = (to_json_line(value) + "\n").encode(errors="backslashreplace")
    with explained(path):
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            size = os.fstat(file).st_size
            if size and os.pread(file, 1, size - 1) != b"\n":  # the power went off in the middle of a line
                size = _cut_off(file, size)
            if os.write(file, line) < len(line):  # the disk is full
                os.ftruncate(file, size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file)
        finally:
            os.close(file)


def _cut_off(file: int, size: int) -> int:
    """Remove a last line that was not written whole; return the size without it."""
    at = size
    while at:
        first = max(0, at - 2**16)
        found = os.pread(file, at - first, first).rfind(b"\n")
        if found >= 0:
            at = first + found + 1
            break
        at = first
    os.ftruncate(file, at)
    return at
