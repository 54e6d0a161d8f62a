"""What is known of each gathered picture, as lines of manifest.jsonl: a manifest that `train` takes as DATA, too."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from keensight.data.decided import read_decisions, record_of
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
    """Return the sha256 of each picture in a manifest that nobody has looked at yet, with its label."""
    seen = looked_at(path.parent)
    rows = [row for row in read_manifest(path) if row.state == UNCONFIRMED]
    return {row.sha256: row.label for row in rows if (row.sha256, row.label) not in seen}


def looked_at(folder: Path) -> set[tuple[str, str]]:
    """Return the pictures of a gathered folder that somebody has decided about, by their sha256 and label.

    Read are the decisions that `keensight clean` noted, about the folder and about its manifest: to confirm a picture
    is to say that its label is right, and so is to give it another. Raises DataError for damaged ones.
    """
    records = [record for data in (folder, folder / MANIFEST) if (record := record_of(data)).is_file()]
    decisions = [each for record in records for each in read_decisions(record)]
    relabelled = {(each.sha256, each.label or "") for each in decisions if each.action == "relabel"}
    confirmed = {each.sha256 for each in decisions if each.action == "confirm"}
    rows = read_manifest(folder / MANIFEST)
    return relabelled | {(row.sha256, row.label) for row in rows if row.sha256 in confirmed}


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
        size = _whole_size(path)
        with open(path, "ab", buffering=0) as file:
            if file.tell() > size:  # the power went off in the middle of the last line
                file.truncate(size)
            if file.write(line) < len(line):  # the disk is full
                file.truncate(size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())


def _whole_size(path: Path) -> int:
    """Return the size of a file up to the end of its last whole line."""
    if not path.exists():
        return 0
    with open(path, "rb") as file:
        at = file.seek(0, os.SEEK_END)
        while at:
            first = max(0, at - 2**16)
            file.seek(first)
            if (found := file.read(at - first).rfind(b"\n")) >= 0:
                return first + found + 1
            at = first
    return 0
