"""The rows of a manifest: CSV as spreadsheets write it, tab-separated, or JSON Lines."""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import IO, Any

from keensight.data.folders import MAX_FILES
from keensight.errors import DataError

MAX_ROW_BYTES = 2**20
COLUMNS = ("file", "label", "split", "group")
OTHER_NAMES = {"file_name": "file"}  # as in the metadata.csv of a Hugging Face data set
NEEDED = ("file", "label")
ACCEPTED = (
    "A manifest has the columns file and label, and optionally split (train, val or test) and group; each file is a "
    "path relative to the manifest's folder"
)
SEPARATORS = (",", ";", "\t")  # spreadsheets write semicolons where numbers have decimal commas
NAMES_OF = {",": "a comma", ";": "a semicolon", "\t": "a tab"}
Row = tuple[int, Mapping[str, str]]  # its line number, and its values


def rows(path: Path, needs: Sequence[str] = NEEDED) -> Iterator[Row]:
    """Yield the rows of a manifest, with their line numbers. Raises DataError, with the line, for what is none."""
    try:
        with open(path, encoding=_encoding(path), newline="") as file:
            for count, row in enumerate(READERS[path.suffix.lower()](path, file, needs)):
                if count >= MAX_FILES:
                    raise DataError(
                        f"{path} has more than {MAX_FILES:,} rows, the most that are accepted. Split it up."
                    )
                yield row
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text (byte {error.start:,}). Save it again as UTF-8; in Excel that is the file type "
            "CSV UTF-8."
        ) from error
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {(error.strerror or str(error)).lower()}. Check its permissions."
        ) from error


def _lines(path: Path, file: IO[str]) -> Iterator[str]:
    number = 0
    while line := file.readline(MAX_ROW_BYTES + 1):
        number += 1
        if len(line) > MAX_ROW_BYTES:
            raise DataError(
                f"Line {number} of {path} is longer than {MAX_ROW_BYTES:,} characters; is it a manifest? {ACCEPTED}."
            )
        yield line


def _encoding(path: Path) -> str:
    """Return the encoding that a file's first bytes tell: UTF-16 has a mark there, as Excel's Unicode text does."""
    with open(path, "rb") as file:
        return "utf-16" if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"


def _csv_rows(path: Path, file: IO[str], needs: Sequence[str]) -> Iterator[Row]:
    lines = _lines(path, file)
    first, before = next(lines, ""), 0
    if told := re.fullmatch(r"\"?sep=(.)\"?\s*", first, re.IGNORECASE):  # for Excel alone
        first, before = next(lines, ""), 1
    separator = told[1] if told else _separator(first, needs)
    # with spaces skipped, as in `a.png, "cat"`
    reader = csv.reader(chain([first], lines), delimiter=separator, strict=True, skipinitialspace=True)
    try:
        header = _header(next(reader, []))
        if not set(needs) <= set(header):
            raise DataError(
                f"The first row of {path} is '{separator.join(header)[:200]}'. {ACCEPTED}, separated by commas, "
                "semicolons or tabs."
            )
        for column in COLUMNS:
            if header.count(column) > 1:
                raise DataError(f"The header of {path} has the column {column} twice. {ACCEPTED}.")
        for values in reader:
            if len(values) > len(header):
                raise DataError(
                    f"Line {before + reader.line_num} of {path} has {len(values)} values, but the header has "
                    f"{len(header)} columns. Put a value that contains {NAMES_OF.get(separator, separator)} in "
                    '"double quotes".'
                )
            if any(values):
                yield before + reader.line_num, dict(zip(header, values, strict=False))
    except csv.Error as error:
        raise DataError(
            f"Line {before + reader.line_num} of {path} is not CSV: {error}. {ACCEPTED}; check the quotes there."
        ) from error


def _separator(first: str, needs: Sequence[str]) -> str:
    """Return what separates the columns: whatever gives a first row the columns that are needed.

    >>> _separator("file;label", NEEDED), _separator("file\\tlabel", NEEDED), _separator("something else", NEEDED)
    (';', '\\t', ',')
    """
    for each in SEPARATORS:
        with suppress(csv.Error):
            if set(needs) <= set(_header(next(csv.reader([first], delimiter=each, skipinitialspace=True), []))):
                return each
    return SEPARATORS[0]


def _header(values: Sequence[str]) -> list[str]:
    names = [name.strip().lower() for name in values]
    return [OTHER_NAMES.get(name, name) if OTHER_NAMES.get(name) not in names else name for name in names]


def _json_rows(path: Path, file: IO[str], _: Sequence[str]) -> Iterator[Row]:
    for number, line in enumerate(_lines(path, file), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_no_duplicates, parse_constant=_no_constants)
            if not isinstance(row, dict):
                raise ValueError(f"a JSON {type(row).__name__}, not an object")
            row = {name: row[other] for other, name in OTHER_NAMES.items() if other in row} | row
            yield (
                number,
                {column: _text(column, row[column]) for column in (*COLUMNS, "sha256") if row.get(column) is not None},
            )
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"Line {number} of {path} cannot be used: {error}. Each line is one JSON object, such as "
                '{"file": "cats/tom.jpg", "label": "cat"}, with optional split and group.'
            ) from error


READERS: dict[str, Callable[[Path, IO[str], Sequence[str]], Iterator[Row]]] = {
    ".csv": _csv_rows,
    ".tsv": _csv_rows,
    ".jsonl": _json_rows,
}


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ValueError("it has a key twice")
    return row


def _no_constants(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _text(column: str, value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and column != "file":
        return str(value)
    raise ValueError(f"its {column} is {value!r:.50}, and text is accepted")
