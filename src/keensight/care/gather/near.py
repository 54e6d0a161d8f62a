"""Copies among gathered pictures: within a label the later ones go, across labels both stay and a person decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from keensight.care.copies import Copy, copies, findings_of_copies
from keensight.care.gather.checks import TINY
from keensight.care.gather.folder import GatherFolder
from keensight.care.gather.manifest import Row
from keensight.data.folders import read_file
from keensight.data.pixels import decode_picture
from keensight.errors import PictureError
from keensight.executor import Threads
from keensight.machine import cores
from keensight.names import natural_order
from keensight.values import Dataset, Finding, Pixels, Sample, Uint8Array

Tiny = dict[str, Uint8Array]  # by the file


def settle(folder: GatherFolder, tiny: Tiny, on_progress: Callable[[int, int], None]) -> tuple[Finding, ...]:
    """Remove copies within each label, and return the findings about those across labels.

    `tiny` holds what was decoded already; the others are decoded, and added to it.
    """
    if len(folder) < 2:
        return ()
    pixels = _pixels(folder, tiny)
    found = copies(pixels, on_progress)
    goes = _later_ones(folder.rows, found)
    across = [
        each
        for each in found
        if folder.rows[each.one].label != folder.rows[each.other].label
        and not {folder.rows[each.one].file, folder.rows[each.other].file} & set(goes)
    ]
    findings = tuple(findings_of_copies(pixels, across))
    if goes:
        folder.drop(goes)
    return findings


def _later_ones(rows: list[Row], found: list[Copy]) -> Mapping[str, str]:
    """Return which files are copies of earlier ones of their label, each with the reason."""
    goes: dict[str, str] = {}
    for each in sorted(found, key=lambda copy: (min(copy.one, copy.other), max(copy.one, copy.other))):
        first, second = sorted((each.one, each.other))
        if rows[first].label == rows[second].label and rows[first].file not in goes:
            same = "nearly the same as" if each.by == "likeness" else "identical to"
            goes.setdefault(rows[second].file, f"{same} {rows[first].file}")
    return goes


def _pixels(folder: GatherFolder, tiny: Tiny) -> Pixels:
    rows = folder.rows
    missing = [row.file for row in rows if row.file not in tiny]
    with Threads(cores()) as threads:
        tiny.update(zip(missing, threads.map(lambda file: _tiny(folder.path, file), missing), strict=True))
    names = tuple(natural_order({row.label for row in rows}))
    numbers = {name: number for number, name in enumerate(names)}
    samples = tuple(Sample(row.file, numbers[row.label], row.sha256) for row in rows)
    dataset = Dataset(folder.path.name, folder.path, "folder", names, samples)
    return Pixels(dataset, TINY, np.stack([tiny[row.file] for row in rows]), np.arange(len(rows)))


def _tiny(root: Path, file: str) -> Uint8Array:
    try:
        return decode_picture(read_file(root, file), TINY)  # it was decoded apart once, so it is no danger
    except PictureError:  # somebody has changed it
        return np.zeros((TINY.height, TINY.width, TINY.channels), np.uint8)  # blank, so it is like no other
