"""Decisions about pictures: the JSON Lines file that holds them, and data as these decisions make them.

The decisions about `pets.zip` stand in `pets.zip.decisions.jsonl` beside it, its record. Whoever opens the data follows
it, so archives, manifests and arrays stay as they are.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import stat
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, NamedTuple, get_args

from keensight.data.layout import SPLIT_ALIASES, split_named
from keensight.data.listing import Entry, Listing
from keensight.errors import DataError, shortlist, suggestion
from keensight.names import clean_label, odd_name
from keensight.values import Action, Decision, Finding, Skipped

SUFFIX = ".decisions.jsonl"
JOURNAL = "journal.jsonl"  # in the quarantine: its last line says whether all moves are made
MAX_LINE = 2**16
MAX_BYTES, MAX_TEXT = 2**28, 2000
MOST_NOTED = 10_000  # in a bundle.json, which may have 32 MiB
ACTIONS = get_args(Action)
KEYS = tuple(each.name for each in fields(Decision))
ACCEPTED = (
    'Each line is a JSON object such as {"sha256": "3b5c...", "action": "relabel", "label": "cat", "file": '
    f'"dogs/7.jpg", "why": "looked at it"}}; the actions are {", ".join(ACTIONS)}, and move has "split": "train", '
    '"val" or "test"'
)


def record_of(data: Path) -> Path:
    """Return where the decisions about these data stand, whether there are any or not: beside the data, not a link.

    >>> record_of(Path("data/pets.zip")).name
    'pets.zip.decisions.jsonl'
    """
    return Path(os.path.realpath(data) + SUFFIX)


def quarantine_of(data: Path) -> Path:
    """Return the folder beside the data to which `clean` moves what is dropped; `data` is a path without links."""
    return data.parent / f".{data.name}.quarantine"


def check_all_moved(data: Path) -> None:
    """Raise DataError while a cleaning, or its undoing, is at work on the data, or was cut short by a kill."""
    journal = quarantine_of(Path(os.path.realpath(data))) / JOURNAL
    try:
        if not journal.is_file():
            return
        with open(journal, "rb") as file:
            file.seek(max(0, journal.stat().st_size - MAX_LINE))
            *_, last, _ = (b"\n" + file.read()).split(b"\n")
        what = json.loads(last)["what"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return  # there is none, or `clean` says what is wrong with it
    if what not in ("end", "undone"):
        raise DataError(
            f"A cleaning of {data} is at work or was interrupted, so some pictures are moved and others are not. "
            f"If none is at work, put them back: keensight clean {shlex.quote(str(data))} --undo"
        )


def read_decisions(file: Path) -> list[Decision]:
    """Return the decisions in a file, in its order. Raises DataError, with the line, for what is none."""
    try:
        if _is_endless(status := file.stat()):
            raise DataError(
                f"{file} is a pipe or a device, and may have no end. Save the decisions in a file, and give that."
            )
        if status.st_size > MAX_BYTES:
            raise DataError(f"{file} is larger than {MAX_BYTES // 2**20} MiB: it is no file of decisions. {ACCEPTED}.")
        # JSON may have other line separators, such as U+2028, within its texts
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise DataError(f"{file} is not UTF-8 text. {ACCEPTED}.") from None
    except OSError as error:
        raise DataError(
            f"{file} cannot be read: {(error.strerror or str(error)).lower()}. Give the file of decisions that the "
            "audit's page saved."
        ) from error
    return [_decision(file, number, line) for number, line in enumerate(lines, 1) if line.strip()]


def audit_facts(file: Path) -> dict[str, Any] | None:
    """Return the content of an audit.json, or None for any other file."""
    try:
        if _is_endless(status := file.stat()) or status.st_size > MAX_BYTES:
            return None
        found = json.loads(file.read_text(encoding="utf-8"))
        findings, hashes = found["findings"], found["sha256"]
        fits = isinstance(hashes, dict) and all(isinstance(each["evidence"], dict) for each in findings)
        return found if fits else None
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def _is_endless(status: os.stat_result) -> bool:
    return not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode))


def decisions_jsonl(decisions: Iterable[Decision]) -> str:
    """Return decisions as JSON Lines, without what is left empty."""
    return "".join(json.dumps(told(decision)) + "\n" for decision in decisions)


def told(decision: Decision) -> dict[str, str]:
    """Return what is known of a decision, by name."""
    return {name: value for name, value in asdict(decision).items() if value}


def provenance(decisions: Sequence[Decision]) -> dict[str, Any]:
    """Return what a bundle notes of decisions: their number, the sha256 of all as JSON Lines, and the first of them."""
    digest = hashlib.sha256(decisions_jsonl(decisions).encode()).hexdigest()
    return {"count": len(decisions), "sha256": digest, "list": [told(each) for each in decisions[:MOST_NOTED]]}


def followed(listing: Listing, record: Path, *, of_folder: bool = False) -> Listing:
    """Return the listing as the decisions in `record` make it, if there is such a file.

    With `of_folder`, the listing is a manifest's, and the record its folder's: it may name other pictures, and labels.

    Raises DataError if the file is damaged, or gives a label that no picture has.
    """
    try:
        if not record.is_file():
            return listing
    except OSError:  # the name is too long for a file
        return listing
    decisions = read_decisions(record)
    labels = {entry.label for entry in listing.entries} | set(listing.class_names or ())
    if not of_folder and (
        unknown := sorted({each.label for each in decisions if each.label and not each.moved_to} - labels)
    ):
        raise DataError(
            f"{record} gives the label {shortlist(unknown)}, which no picture of {listing.name} has. "
            f"{suggestion(unknown[0], labels)}Correct that line, or remove it."
        )
    as_listed = {entry.path: entry for entry in listing.entries}
    entries, whys, lost = dict(as_listed), dict[str, str](), []
    for decision, paths in places(decisions, {path: sha for path, sha in listing.hashes.items() if path in as_listed}):
        if not paths and not of_folder:
            lost.append(
                Skipped(decision.file or decision.sha256, "a decision is about it, and it is not there any more")
            )
        for path in paths:
            whys[path] = decision.why
            if decision.action == "drop":
                entries.pop(path, None)
            else:
                entries[path] = _after(decision, as_listed[path], entries.get(path, as_listed[path]))
    dropped = [
        Skipped(path, f"left out by a decision{f' ({whys[path]})' if whys[path] else ''}")
        for path in as_listed
        if path not in entries
    ]
    return replace(
        listing,
        entries=[entries[path] for path in as_listed if path in entries],
        skipped=[*listing.skipped, *dropped, *lost],
        decisions=(*listing.decisions, *decisions),
    )


class Moved(NamedTuple):
    """Where `clean` moved a file of a folder, None if it was dropped, and the decisions that say so."""

    path: str | None
    decisions: list[Decision]


def moved_in(folder: Path) -> dict[str, Moved]:
    """Return what `clean` moved in a folder, by the path from which it went; paths are relative to the folder."""
    moved: dict[str, Moved] = {}
    record = record_of(folder)
    for each in read_decisions(record) if record.is_file() else ():
        if each.moved_to and each.file:
            path = None if each.action == "drop" else each.moved_to
            moved.setdefault(each.file, Moved(path, [])).decisions.append(each)
    return moved


def places(decisions: Sequence[Decision], hashes: Mapping[str, str]) -> Iterator[tuple[Decision, list[str]]]:
    """Yield each decision that is still to be followed with the paths of its pictures: none if there is none any more.

    `hashes` are the sha256 by path. A decision with a `file` means that one, or, where that is gone, the only picture
    with this content; one without means all pictures with this content.
    """
    wanted = {each.sha256 for each in decisions}
    found: dict[str, list[str]] = defaultdict(list)
    for path, sha256 in hashes.items():
        if sha256 in wanted:
            found[sha256].append(path)
    for each in decisions:
        if each.moved_to is None:
            same = found[each.sha256]
            means_all = len(same) == 1 or not each.file
            yield each, [each.file] if each.file in same else same if means_all else []


def finding_of(decisions: Sequence[Decision]) -> Finding | None:
    """Return what was decided, by whom and until when, or None where nothing was."""
    if not decisions:
        return None
    counts = Counter(each.action for each in decisions)
    return Finding(
        "decided",
        evidence={
            "counts": {action: counts[action] for action in ACTIONS if counts[action]},
            "who": sorted({each.who for each in decisions if each.who}),
            "last": max(each.when for each in decisions)[:10],
        },
    )


def _after(decision: Decision, listed: Entry, now: Entry) -> Entry:
    """Return a picture after a decision; the last one about its label, and the last one about its split, count."""
    if decision.action == "relabel" and decision.label:
        return now._replace(label=decision.label)
    if decision.action == "move":
        return now._replace(split=decision.split)
    return now._replace(label=listed.label) if decision.action == "keep" else now


def _decision(file: Path, number: int, line: str) -> Decision:
    def wrong(what: str) -> DataError:
        return DataError(f"Line {number} of {file} {what}. {ACCEPTED}. Correct the line, or remove it.")

    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise wrong(f"is not JSON: {odd_name(line[:60]) or line[:60]}") from None
    if not isinstance(row, dict):
        raise wrong("is not a JSON object")
    if unknown := [key for key in row if key not in KEYS]:
        raise wrong(
            f"has the key '{unknown[0][:40]}', which no decision has. {suggestion(unknown[0], KEYS)}".rstrip(" .")
        )
    given = {key: value for key, value in row.items() if value is not None}
    for key, value in given.items():
        if not isinstance(value, str) or len(value) > MAX_TEXT or (key not in {"file", "moved_to"} and odd_name(value)):
            raise wrong(f"has {key} = {ascii(value)[:60]}; text on one line is accepted")
    if not re.fullmatch("[0-9a-fA-F]{64}", given.get("sha256", "")):
        raise wrong("has no sha256 of 64 hexadecimal digits")
    if given.get("action") not in ACTIONS:
        raise wrong(
            f"has the action '{given.get('action', '')[:40]}'. {suggestion(given.get('action', ''), ACTIONS)}".rstrip(
                " ."
            )
        )
    return Decision(**_checked(given, wrong))


def _checked(given: dict[str, Any], wrong: Any) -> dict[str, Any]:
    given = {**given, "sha256": given["sha256"].lower()}
    if given["action"] == "relabel" and not clean_label(given.get("label", "")):
        raise wrong("is to relabel a picture, and has no label")
    if "label" in given:
        given["label"] = clean_label(given["label"]) or None
    if given["action"] == "move" and not split_named(given.get("split", "")):
        accepted = ", ".join(SPLIT_ALIASES)
        raise wrong(f"is to move a picture, and its split is '{given.get('split', '')[:40]}'; {accepted} are accepted")
    given["split"] = split_named(given.get("split", ""))
    return given
