"""Where files go when a folder is cleaned: a new label or split is another folder, and what is dropped leaves it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from keensight.care.decisions import After, Settled
from keensight.care.journal import Move, Quarantine
from keensight.data.folders import on_disk, walk
from keensight.data.layout import Layout, arrange, layout_of
from keensight.data.listing import Entry
from keensight.errors import DataError, counted, shortlist
from keensight.values import Dataset, SplitName


def plan(
    quarantine: Quarantine, dataset: Dataset, settled: Settled, label_pattern: str | None
) -> tuple[list[Move], dict[str, str]]:
    """Return the moves that carry out decisions about a folder, and where each moved picture is then, by path.

    What folders cannot say, such as a split where there are no folders for splits, or a label where a label pattern
    reads it from file names, stays where it is. Links are not put into other folders, where they may lead elsewhere.

    Raises DataError if the folders would mean something else afterwards, or the quarantine is on another disk.
    """
    root = quarantine.data
    contents, _ = walk(root)
    names = sorted([*contents.pictures, *contents.unusable])
    entries = {entry.path: entry for entry in arrange(names, [], str(root), label_pattern)[0]}
    layout = None if label_pattern else layout_of([name.split("/") for name in names], str(root))
    taken = {name.casefold() for name in names}
    moves, moved = [], {}
    homes: dict[tuple[str, SplitName | None], tuple[str, ...] | None] = {}
    dropped = f"{quarantine.path.name}/{quarantine.next_number}"
    for path, after in settled.after.items():
        was, file = entries[path], Path(on_disk(root, path))
        inside = file.relative_to(root).parts
        if after.dropped:
            target = "/".join((dropped, *inside))
            moved[path] = target
        elif (after.label, after.split) != (was.label, was.split) and layout and not _is_linked(root, file):
            wanted = (after.label, after.split)
            if wanted not in homes:
                homes[wanted] = _home(layout, entries, after)
            home = homes[wanted]
            if home is None:
                continue
            rest = path.split("/")[_depth(layout, path) :]
            moved[path] = _free("/".join((*home, *rest)), taken)
            last = moved[path].rpartition("/")[2] if moved[path] != "/".join((*home, *rest)) else inside[-1]
            kept = inside[_depth(layout, path) : -1]
            target = "/".join((root.name, *Path(on_disk(root, "/".join(home))).relative_to(root).parts, *kept, last))
        else:
            continue
        moves.append(Move("/".join((root.name, *inside)), target))
    _check_one_disk(quarantine, [move.source for move in moves])
    _check_meaning(root, names, entries, settled.after, moved, label_pattern)
    return moves, moved


def check_none_is_emptied(dataset: Dataset, after: Mapping[str, After]) -> None:
    """Raise DataError if a class would have no picture left, or none to learn from."""
    names = dataset.class_names
    given = any(sample.split for sample in dataset.samples)

    def learnt(split: SplitName | None) -> bool:
        return not given or split in (None, "train")

    before = {names[sample.label] for sample in dataset.samples if learnt(sample.split)}
    left = set()
    for sample in dataset.samples:
        now = after.get(sample.path, After(names[sample.label], sample.split, False))
        if not now.dropped and learnt(now.split):
            left.add(now.label)
    if emptied := sorted(before - left):
        raise DataError(
            f"These decisions would leave no picture{' to learn from' if given else ''} in {shortlist(emptied)} of "
            f"{dataset.name}, so nothing was changed. Keep some, or remove that class from the data yourself first."
        )


def _depth(layout: Layout, path: str) -> int:
    """Return how many of a path's folders tell its split and its class."""
    return max(layout.levels[path.split("/")[layout.depth]], layout.split_level) + 1


def _home(layout: Layout, entries: Mapping[str, Entry], after: After) -> tuple[str, ...] | None:
    """Return the folders that say a label and a split, or None where no folders can."""
    if after.split is not None and not layout.splits:
        return None

    def folders(wanted: Sequence[Entry]) -> tuple[str, ...] | None:
        return min((tuple(e.path.split("/")[: _depth(layout, e.path)]) for e in wanted), default=None)

    both = [e for e in entries.values() if (e.label, e.split) == (after.label, after.split)]
    if found := folders(both):
        return found
    of_label = folders([e for e in entries.values() if e.label == after.label])
    of_split = folders([e for e in entries.values() if e.split == after.split])
    if of_label is None or of_split is None:
        return None
    level = layout.levels[of_label[layout.depth]]
    if level < layout.split_level:  # cats/train: the label's folders, with the split's name
        return (*of_label[: layout.split_level], of_split[layout.split_level], *of_label[layout.split_level + 1 :])
    return (*of_split[:-1], of_label[level])


def _free(path: str, taken: set[str]) -> str:
    """Return a path that no file has, also where case does not count: 7.jpg, 7-2.jpg, ..."""
    folder, _, name = path.rpartition("/")
    stem, dot, suffix = name.rpartition(".")
    number, free = 1, path
    while free.casefold() in taken:
        number += 1
        free = f"{folder}/{stem}-{number}{dot}{suffix}" if dot else f"{folder}/{name}-{number}"
    taken.add(free.casefold())
    return free


def _is_linked(root: Path, file: Path) -> bool:
    return file.is_symlink() or file.parent.resolve() != root.resolve() / file.parent.relative_to(root)


def _check_one_disk(quarantine: Quarantine, sources: Sequence[str]) -> None:
    disk = quarantine.path.stat().st_dev
    if other := [source for source in sources if (quarantine.base / source).lstat().st_dev != disk]:
        raise DataError(
            f"{quarantine.data} has files on another disk than the folder around it, {quarantine.base}: "
            f"{shortlist(other)}. They could only be copied, not moved, so nothing was changed. Give the data a folder "
            "of their own on that disk, such as DISK/pictures, and clean that."
        )


def _check_meaning(
    root: Path,
    names: Sequence[str],
    entries: Mapping[str, Entry],
    after: Mapping[str, After],
    moved: Mapping[str, str],
    label_pattern: str | None,
) -> None:
    """Check that the moved files, and all others, will be read as what they are to be."""
    gone = {path for path, each in after.items() if each.dropped}
    then = {moved.get(name, name): name for name in names if name not in gone}
    read = {entry.path: entry for entry in arrange(then, [], str(root), label_pattern)[0]}
    wrong = []
    for path, old in then.items():
        if old in entries:
            wanted = (after[old].label, after[old].split) if old in moved else entries[old][1:3]
            if path not in read or read[path][1:3] != wanted:
                wrong.append(path)
    if wrong:
        raise DataError(
            f"With these decisions, the folders of {root} would mean something else for "
            f"{counted(len(wrong), 'picture')}: {shortlist(wrong)}. A folder that they would empty may have told a "
            "split or a class. Nothing was changed; take fewer at a time, or keep a picture in each folder."
        )
