"""What `predict` leaves on disk: its answers as .csv or .jsonl, and pictures copied into folders by label."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from keensight.data.given import as_image
from keensight.data.unlabelled import Picture
from keensight.errors import PictureError, UsageError
from keensight.files import encoded, explained, make_folder, replacing, to_json_line, write_atomically
from keensight.names import printable
from keensight.values import Prediction

NOT_SURE = "not sure"  # the folder of pictures whose answer is not sure
NONE = "none of these"  # the folder of pictures that are unlike all that was learnt
# What begins a cell is a formula, which a spreadsheet runs; one of another country begins a cell at each semicolon.
FORMULA = re.compile("(^|;)(\\s*[=+\\-@\t\r＝＋－＠])")
NOT_IN_NAMES = '<>:"/\\|?*'  # of a file, on one system or another
LONGEST_NAME = 200  # bytes; file systems take 255, and a number may be added
Write = Callable[[Path, Prediction | PictureError], None]


@contextmanager
def table(path: Path, labels: Sequence[str]) -> Iterator[Write]:
    """Yield what writes an answer into a new .csv or .jsonl file, which is there, whole, when the block ends.

    Raises UsageError, before anything is written, for another suffix and a file that exists.
    """
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".jsonl"):
        raise UsageError(f"{path} does not end in .csv or .jsonl. Give such a name: its ending says what to write.")
    if path.exists():
        raise UsageError(f"{path} exists, and nothing is overwritten. Give another name, or move it away.")
    make_folder(path.parent)

    def write(text: str) -> None:
        with explained(path):
            file.write(encoded(text))

    with replacing(path) as temporary:
        with explained(path):
            file = open(temporary, "xb")  # noqa: SIM115 - it is closed below, where errors are others
        try:
            if suffix == ".jsonl":
                yield lambda path, answer: write(to_json_line(_object(path, answer)) + "\n")
            else:
                columns = ("file", "label", "probability", "sure", "reasons", "notes", "error")
                write(_row([*columns, *(f"probability of {label}" for label in labels)]))
                yield lambda path, answer: write(_row(_cells(path, answer)))
            with explained(path):
                file.close()  # which writes the rest
        finally:
            with suppress(OSError):
                file.close()


@contextmanager
def folders(path: Path, labels: Sequence[str]) -> Iterator[Callable[[Picture, Prediction | PictureError], None]]:
    """Yield what copies a picture into the folder of its label in `path`, "not sure" or "none of these".

    None is moved.

    Pictures without an answer are not copied. Raises UsageError if `path` is there already, and not an empty folder.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise UsageError(f"{path} is not an empty folder, and nothing is overwritten. Give a new or empty one.")
    make_folder(path)
    taken: dict[str, set[str]] = {}
    not_sure, none = (_free(name, taken, "") for name in (NOT_SURE, NONE))
    homes = {label: _free(label, taken, "") for label in labels}

    def copy(picture: Picture, answer: Prediction | PictureError) -> None:
        if isinstance(answer, PictureError):
            return
        home = none if answer.is_none_of_these else not_sure if answer.abstained else homes[answer.label]
        content, name = picture.read(), picture.path.name
        if not isinstance(content, bytes):  # of an array
            file = io.BytesIO()
            as_image(content).save(file, "PNG")
            content, name = file.getvalue(), f"{name}.png"
        write_atomically(make_folder(path / home) / _free(name, taken, home), content)

    yield copy


def _free(name: str, taken: dict[str, set[str]], folder: str) -> str:
    """Return a name like `name` that every file system takes, and that is not taken in `folder`, and take it."""
    text = "".join("-" if each in NOT_IN_NAMES else each for each in printable(name).replace("\\", "-"))
    stem, suffix = os.path.splitext(text) if folder else (text, "")  # noqa: PTH122 - a label has no suffix
    stem = encoded(stem)[: LONGEST_NAME - len(encoded(suffix[:20]))].decode(errors="ignore").strip(" .") or "unnamed"
    names, number = taken.setdefault(folder, set()), 1
    found = f"{stem}{suffix[:20]}"
    while found.casefold() in names:  # as macOS and Windows compare them
        number += 1
        found = f"{stem} ({number}){suffix[:20]}"
    names.add(found.casefold())
    return found


def _object(path: Path, answer: Prediction | PictureError) -> dict[str, object]:
    return asdict(answer) if isinstance(answer, Prediction) else {"file": str(path), "error": str(answer)}


def _cells(path: Path, answer: Prediction | PictureError) -> list[str]:
    if isinstance(answer, PictureError):
        return [str(path), "", "", "", "", "", str(answer)]
    said = [f"{answer.probability:.6g}", "no" if answer.abstained else "yes"]
    said += ["; ".join(answer.reasons), "; ".join(answer.notes), ""]
    return [str(path), answer.label, *said, *(f"{each:.6g}" for each in answer.probabilities.values())]


def _row(cells: Sequence[str]) -> str:
    """Return a line of a table whose text no spreadsheet takes for a formula, and no terminal for a command."""
    text = [printable(cell) for cell in cells]
    line = io.StringIO()
    csv.writer(line).writerow([FORMULA.sub(r"\1'\2", cell) for cell in text])
    return line.getvalue()
