"""The folder that a gathering fills, and what it remembers there, so that nothing is asked for twice.

    <label>/<source>-<hash of the address>.<suffix>   the pictures, each written whole
    manifest.jsonl     a line for each of them
    ATTRIBUTION.md     their creators and licences, to be given on with them
    gather.jsonl       what the services answered, what was kept, and what was left out and why

A picture's facts are written to gather.jsonl, then the picture, then its line in manifest.jsonl. So a process can be
killed at any moment: a picture that is there has its facts, and one that is not there is fetched again.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from keensight.care.gather.checks import Checked
from keensight.care.gather.found import Found
from keensight.care.gather.manifest import (
    CONFIRMED,
    MANIFEST,
    UNCONFIRMED,
    Row,
    append_line,
    looked_at,
    read_lines,
    read_manifest,
    row_of,
    rows_as_text,
)
from keensight.errors import DataError
from keensight.files import explained, make_folder, write_atomically
from keensight.workspace import LEFTOVER

JOURNAL = "gather.jsonl"
ATTRIBUTION = "ATTRIBUTION.md"
GONE = "removed from the folder"  # by its owner, who does not want it again


class GatherFolder:
    """What was gathered so far. One process has it at a time, and one thread changes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Row] = []
        self.answers: dict[str, Any] = {}  # of services, by what was asked
        self.left_out: Counter[str] = Counter()  # by the reason
        self._counts: Counter[str] = Counter()
        self._known: set[tuple[str, str]] = set()  # label and name: kept, or left out for good
        self._named: dict[str, str] = {}  # the file of each picture that is there, by its name
        self._hashes: dict[tuple[str, str], str] = {}  # the file, by label and sha256
        self._load()

    def __len__(self) -> int:
        return len(self.rows)

    def count(self, label: str) -> int:
        """Return how many pictures a label has."""
        return self._counts[label]

    def is_known(self, label: str, picture: Found) -> bool:
        """Say whether a picture is there under this label, or was left out of it."""
        return (label, picture.name) in self._known

    def file_of(self, picture: Found) -> Path | None:
        """Return a file that is there already for a picture, under whatever label; it need not be fetched."""
        file = self._named.get(picture.name)
        return self.path / file if file else None

    def remember(self, asked: str, answer: Any) -> None:
        """Write down what a service answered."""
        append_line(self.path / JOURNAL, {"asked": asked, "answer": answer})
        self.answers[asked] = answer

    def leave_out(self, label: str, picture: Found, why: str) -> None:
        """Write down that a picture is left out for good."""
        self._note(label, picture.name, picture.url, why)

    def keep(self, label: str, picture: Found, content: bytes, told: Checked) -> bool:
        """Write a picture and its line, and say so; if the label has the same file already, that is noted instead."""
        sha256 = hashlib.sha256(content).hexdigest()
        if same := self._hashes.get((label, sha256)):
            self.leave_out(label, picture, f"identical to {same}")
            return False
        facts = {key: value for key, value in asdict(picture).items() if key != "report"}
        row = Row(
            file=f"{label}/{picture.name}.{told.suffix}", label=label, sha256=sha256, state=UNCONFIRMED,
            date=datetime.now(UTC).isoformat(timespec="seconds"), width=told.width, height=told.height, **facts,
        )  # fmt: skip
        append_line(self.path / JOURNAL, {"keep": asdict(row)})
        make_folder(self.path / label)
        write_atomically(self.path / row.file, content)
        append_line(self.path / MANIFEST, asdict(row))
        self._add(row)
        return True

    def drop(self, why: Mapping[str, str]) -> None:
        """Leave out pictures that were kept, each file for a reason."""
        for row in [row for row in self.rows if row.file in why]:
            self._note(row.label, Path(row.file).stem, row.url, why[row.file])
            self._remove(row)
        self._write()

    def _write(self) -> None:
        write_atomically(self.path / MANIFEST, rows_as_text(self.rows))

    def _remove(self, row: Row) -> None:
        with explained(self.path / row.file):
            (self.path / row.file).unlink(missing_ok=True)
        self.rows.remove(row)
        self._counts[row.label] -= 1
        self._hashes.pop((row.label, row.sha256), None)
        self._named.pop(Path(row.file).stem, None)

    def _note(self, label: str, name: str, url: str, why: str) -> None:
        append_line(self.path / JOURNAL, {"left_out": name, "label": label, "url": url, "why": why})
        self._known.add((label, name))
        self.left_out[_kind(why)] += 1

    def _add(self, row: Row) -> None:
        self.rows.append(row)
        self._counts[row.label] += 1
        self._known.add((row.label, Path(row.file).stem))
        self._named[Path(row.file).stem] = row.file
        self._hashes[row.label, row.sha256] = row.file

    def _load(self) -> None:
        written: dict[str, Row] = {}
        for line in read_lines(self.path / JOURNAL):
            if "asked" in line:
                self.answers[line["asked"]] = line.get("answer")
            elif "keep" in line:
                row = row_of(line["keep"], self.path / JOURNAL)
                written[row.file] = row
            elif all(isinstance(line.get(key), str) for key in ("left_out", "label", "why")):
                self._known.add((line["label"], line["left_out"]))
                self.left_out[_kind(line["why"])] += 1
            else:
                raise DataError(f"{self.path / JOURNAL} is damaged. Restore it, or gather into another folder.")
        rows = {row.file: row for row in read_manifest(self.path / MANIFEST)}
        left_out = self._known.copy()
        for unfinished in self.path.glob("*/.*"):
            if LEFTOVER.fullmatch(unfinished.name):
                unfinished.unlink(missing_ok=True)
        there = {file.stem: f"{file.parent.name}/{file.name}" for file in sorted(self.path.glob("*/*"))}
        for row in (written | rows).values():
            name = Path(row.file).stem
            if (row.label, name) in left_out:
                (self.path / row.file).unlink(missing_ok=True)  # a process was killed before it did that
            elif (self.path / row.file).is_file():
                self._add(row)
            elif (moved := there.get(name)) and moved not in rows:  # somebody gave it another label
                self._known.add((row.label, name))
                self._add(replace(row, file=moved, label=moved.partition("/")[0]))
            elif row.file in rows:
                self._note(row.label, name, row.url, GONE)
        seen = looked_at(self.path)
        self.rows = [replace(row, state=CONFIRMED) if (row.sha256, row.label) in seen else row for row in self.rows]
        if list(rows.values()) != self.rows:
            self._write()


def _kind(why: str) -> str:
    """Return a reason without what it names: such reasons are counted as one."""
    for start in ("identical to", "nearly the same as"):
        if why.startswith(start):
            return f"{start} another"
    return why
