"""Manifests: a CSV, TSV or JSON Lines file that names pictures and says what they show."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from keensight.data.decided import Moved, moved_in
from keensight.data.folders import LEADS_OUT, hash_folder, problem_of
from keensight.data.layout import SPLIT_ALIASES, split_named
from keensight.data.listing import Entry, Listing
from keensight.data.manifest_rows import ACCEPTED, NEEDED, READERS, rows
from keensight.errors import DataError, UsageError, counted, shortlist, suggestion
from keensight.names import clean_label, odd_name
from keensight.values import Skipped


def is_manifest(path: Path) -> bool:
    """Say whether a path is named like a manifest."""
    return path.suffix.lower() in READERS


def list_manifest(path: Path, pattern: str | None, needs: Sequence[str] = NEEDED) -> Listing:
    """List and hash the pictures that a CSV (with a header row) or JSON Lines manifest names.

    Raises DataError, with the line, for rows that cannot be understood, that lead out of the manifest's folder, that
    name no existing file, or that contradict each other; raises UsageError for a label pattern. A file to predict for
    `needs` no label.
    """
    if pattern:
        raise UsageError(
            f"A label pattern is for folders and archives, but {path} is a manifest and has labels of its own."
        )
    root = path.parent
    entries: dict[str, tuple[int, Entry]] = {}
    skipped: list[Skipped] = []
    missing: list[str] = []
    unusable: dict[str, str] = {}
    statuses: dict[str, os.stat_result] = {}
    is_inside = _inside_test(root)
    moved = moved_in(root)
    for number, row in rows(path, needs):
        entry = _entry(path, number, row, needs)
        if entry.path in entries:
            _check_same(path, entries[entry.path], (number, entry))
            skipped.append(Skipped(entry.path, f"listed again in line {number}"))
            continue
        status = _status(root / entry.path)
        if status is None and entry.path in moved:
            now = _after_moves(entry, moved)
            if now is None:
                skipped.append(Skipped(entry.path, "left out by a decision"))
                continue
            entry, status = now, _status(root / now.path)
        entries[entry.path] = (number, entry)
        if status is None or stat.S_ISDIR(status.st_mode):
            missing.append(f"{entry.path} (line {number})")
            continue
        if not is_inside(entry.path):
            unusable[entry.path] = LEADS_OUT
        elif problem := problem_of(status):
            unusable[entry.path] = problem
        else:
            statuses[entry.path] = status
    if missing:
        raise DataError(
            f"{path} names {counted(len(missing), 'file')} not found in {root}: {shortlist(missing)}. "
            f"{ACCEPTED}. Correct the paths, or move the manifest to the folder where they begin."
        )
    found = [entry for _, entry in entries.values()]
    _check_splits(path, found)
    hashes, failed = hash_folder(root, statuses)
    return Listing(path.stem, root, "folder", found, hashes, unusable | failed, skipped)


def read_rows(path: Path) -> Iterator[tuple[Entry, str]]:
    """Yield each row's picture, and its sha256 where the manifest has one. Raises DataError as `list_manifest` does."""
    for number, row in rows(path):
        yield _entry(path, number, row), row.get("sha256", "")


def _after_moves(entry: Entry, moved: Mapping[str, Moved]) -> Entry | None:
    """Return a picture as `clean` left it in the manifest's folder, or None if it was dropped."""
    left = dict(moved)  # each is followed once, as a record from elsewhere might lead in a circle
    while then := left.pop(entry.path, None):
        if then.path is None:
            return None
        for each in then.decisions:
            if each.action == "relabel" and each.label:
                entry = entry._replace(label=each.label)
            elif each.action == "move" and entry.split:
                entry = entry._replace(split=each.split)
        entry = entry._replace(path=then.path)
    return entry


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return None


def _entry(path: Path, number: int, row: Mapping[str, str], needs: Sequence[str] = NEEDED) -> Entry:
    name, label = row.get("file", "").strip(), clean_label(row.get("label", ""))
    split_name, group = row.get("split", "").strip(), row.get("group", "").strip()
    for column, value in (("file", name), ("label", label)):
        if not value and column in needs:
            raise DataError(f"Line {number} of {path} has no {column}. {ACCEPTED}. Fill it in or remove the row.")
    for value in (name, label, group):
        if odd := odd_name(value):
            raise DataError(f"Line {number} of {path} has control characters in '{odd[:100]}'. Plain text is accepted.")
    split = split_named(split_name)
    if split_name and split is None:
        raise DataError(
            f"Line {number} of {path} has the split '{split_name[:100]}'. "
            f"{suggestion(split_name.lower(), SPLIT_ALIASES)}These are accepted: {', '.join(SPLIT_ALIASES)}; or leave "
            "it empty in every row."
        )
    return Entry(_inside(path, number, name), label, split, group or None)


def _inside(path: Path, number: int, name: str) -> str:
    root = os.path.abspath(path.parent)  # noqa: PTH100  (keeps links)
    full = os.path.normpath(os.path.join(root, name.replace("\\", "/")))  # noqa: PTH118
    prefix = root.rstrip(os.sep) + os.sep
    if not full.startswith(prefix):
        raise DataError(
            f"Line {number} of {path} names the file '{name[:200]}', which lies outside the manifest's folder. "
            f"{ACCEPTED}. Move the manifest above its pictures."
        )
    return Path(full[len(prefix) :]).as_posix()


def _inside_test(root: Path) -> Callable[[str], bool]:
    """Return a function that checks whether a file really lies inside `root`; it resolves each folder only once."""
    real_root = root.resolve()
    folders: dict[str, bool] = {}

    def is_inside(name: str) -> bool:
        folder, file = os.path.split(name)
        if folder not in folders:
            folders[folder] = (root / folder).resolve().is_relative_to(real_root)
        inside = folders[folder]
        if inside and (root / folder / file).is_symlink():
            inside = (root / name).resolve().is_relative_to(real_root)
        return inside

    return is_inside


def _check_same(path: Path, first: tuple[int, Entry], second: tuple[int, Entry]) -> None:
    for what, one, other in (
        ("labels", first[1].label, second[1].label),
        ("splits", first[1].split, second[1].split),
        ("groups", first[1].group, second[1].group),
    ):
        if one != other:
            raise DataError(
                f"{path} lists {first[1].path} twice, in lines {first[0]} and {second[0]}, with different {what}: "
                f"'{one}' and '{other}'. One label, split and group for each file is accepted; remove the wrong row."
            )


def _check_splits(path: Path, entries: list[Entry]) -> None:
    without = sum(entry.split is None for entry in entries)
    if 0 < without < len(entries):
        raise DataError(
            f"{path} gives a split in {len(entries) - without:,} rows and none in {without:,}. Splits in all rows or "
            "in none are accepted; fill them in, or remove the column and let keensight split."
        )
