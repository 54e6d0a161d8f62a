"""A run's `splits.jsonl` as DATA: the pictures of the run, with the labels and splits that stand there.

The file may have been edited: a corrected label, a line taken out. Its pictures lie where the run found them, which the
run's data.json says.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from keensight.data.listing import Entry, Listing
from keensight.data.manifests import read_rows
from keensight.data.several import joined
from keensight.data.stores import is_url
from keensight.errors import DataError, UsageError, counted, shortlist
from keensight.workspace import RunFolder, run_name

ListData = Callable[[str | Path, str | None], Listing]


def is_run_list(path: Path) -> bool:
    """Say whether a file is the list of pictures in a run's folder."""
    run = RunFolder(path.parent)
    return path.name == run.splits.name and run.data.is_file()


def list_run(path: Path, pattern: str | None, list_data: ListData) -> Listing:
    """List the pictures that a run's `splits.jsonl` names; `list_data` lists the DATA that the run was given.

    A picture is found by its content, or by its path where that changed. Raises DataError if one is not there any more,
    and UsageError for a label pattern.
    """
    if pattern:
        raise UsageError(f"A label pattern is for folders and archives, but {path} has labels of its own.")
    places, learnt_pattern = _data_of(path)
    try:
        listings = [list_data(place, learnt_pattern) for place in places]
    except DataError as error:
        raise DataError(
            f"{path} lists pictures of {shortlist(places)}, which cannot be read any more: {error} Put them back, or "
            f"copy {path.name} beside the pictures where its file names begin, and give the copy."
        ) from error
    held = joined(listings) if len(listings) > 1 else listings[0]
    by_path = {entry.path: entry for entry in held.entries}
    by_content = {sha256: name for name, sha256 in held.hashes.items()}
    entries: dict[str, Entry] = {}
    missing = []
    for entry, sha256 in read_rows(path):
        same = held.hashes.get(entry.path) == sha256
        found = entry.path if same or sha256 not in by_content else by_content[sha256]
        if found not in by_path:
            missing.append(entry.path)
        else:
            entries[found] = entry._replace(path=found, group=by_path[found].group)
    if missing:
        raise DataError(
            f"{path} names {counted(len(missing), 'picture')} not found in {shortlist(places)}: "
            f"{shortlist(missing)}. Put them back, or remove their lines."
        )
    return replace(
        held,
        name=run_name(path.parent),
        entries=list(entries.values()),
        hashes={name: held.hashes[name] for name in entries if name in held.hashes},
        unusable={name: reason for name, reason in held.unusable.items() if name in entries},
        skipped=[],
        class_names=None if held.class_names is None else _those_used(held.class_names, entries.values()),
    )


def data_json(data: Sequence[str | Path], label_pattern: str | None, names: Sequence[str]) -> dict[str, object]:
    """Return what a run notes of its DATA: absolute paths, or one of the built-in `names`."""
    places = [str(each) if isinstance(each, str) and (each in names or is_url(each)) else str(Path(each).absolute())
              for each in data]  # fmt: skip
    return {"data": places, "label_pattern": label_pattern or ""}


def _data_of(path: Path) -> tuple[list[str], str | None]:
    file = RunFolder(path.parent).data
    try:
        noted = json.loads(file.read_text(encoding="utf-8"))
        return [str(place) for place in noted["data"]], str(noted["label_pattern"]) or None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(
            f"{file} does not say where the pictures are ({error}). It is what a run writes; copy {path.name} beside "
            "the pictures where its file names begin, and give the copy."
        ) from None


def _those_used(class_names: Sequence[str], entries: object) -> tuple[str, ...]:
    used = {entry.label for entry in entries}  # type: ignore[attr-defined]
    return tuple(dict.fromkeys([*(name for name in class_names if name in used), *sorted(used - set(class_names))]))
