"""The meaning of folders: which are splits, which are classes, and which merely wrap the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from keensight.data.listing import PICTURE_SUFFIXES, Entry, describe, unread
from keensight.data.patterns import label_pattern
from keensight.errors import DataError, shortlist
from keensight.names import clean_label
from keensight.values import Skipped, SplitName

SPLIT_ALIASES: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def split_named(name: str) -> SplitName | None:
    """Return the split that a folder name or a manifest's value stands for, or None.

    >>> split_named("Validation"), split_named("huskies")
    ('val', None)
    """
    return SPLIT_ALIASES.get(name.strip().lower())


def arrange(
    pictures: Iterable[str], others: Sequence[str], source: str, pattern: str | None
) -> tuple[list[Entry], list[Skipped]]:
    """Find split, label and group of every picture from its path; return what is labelled and what is left out.

    `pictures` and `others` (files that are not pictures; empty folders, ending in ``/``) are POSIX paths inside the
    root. Folders say ``split/class/...`` or ``class/...``, below any number of wrapping folders; with a `pattern`, file
    names give the labels and folders only the splits. `source` names the data in messages. Raises DataError if there
    are no pictures, or if folders or names do not show what they are.
    """
    paths = [name.split("/") for name in sorted(pictures)]
    if not paths:
        raise DataError(
            f"{source} holds no pictures; found instead: {describe(others)}. Files with these suffixes are pictures: "
            f"{' '.join(sorted(PICTURE_SUFFIXES))}. Give a folder or archive with one folder of pictures per class, or "
            "name a manifest or array file itself."
        )
    depth = _wrapping_depth(paths)
    tops = {path[depth] for path in paths if len(path) > depth + 1}
    splits = _splits_of(tops, source)
    if pattern:
        entries, skipped = _by_pattern(paths, depth, splits, source, pattern)
        return entries, skipped + unread(others)
    entries, skipped = [], []
    level = depth + (2 if splits else 1)  # a picture's class folder is path[level - 1]
    for path in paths:
        name = "/".join(path)
        if len(path) > level:
            entries.append(Entry(name, clean_label(path[level - 1]), splits.get(path[depth])))
        else:
            skipped.append(Skipped(name, "lies outside the class folders, so its class is not known"))
    if not entries:
        raise DataError(
            f"{source} holds {len(paths):,} pictures, such as {'/'.join(paths[0])}, but no class folders, so their "
            "labels are unknown. Put the pictures of each class into a folder of their own, or give "
            "--label-pattern '{label}__*' if the file names begin with the label."
        )
    return entries, skipped + _folders_without_pictures(paths, others, level) + unread(others)


def _by_pattern(
    paths: list[list[str]], depth: int, splits: Mapping[str, SplitName], source: str, pattern: str
) -> tuple[list[Entry], list[Skipped]]:
    fields_of = label_pattern(pattern)
    entries, skipped = [], []
    for path in paths:
        name, fields = "/".join(path), fields_of(path[-1])
        if splits and len(path) <= depth + 1:
            skipped.append(Skipped(name, "lies beside the split folders, so its split is not known"))
        elif fields is None or not fields.label:
            skipped.append(Skipped(name, f"its name does not fit the label pattern '{pattern}'"))
        else:
            entries.append(Entry(name, fields.label, splits.get(path[depth]), fields.group))
    if not entries:
        raise DataError(
            f"None of the {len(paths):,} pictures in {source} fits the label pattern '{pattern}'; one is named "
            f"'{paths[0][-1]}'. {{label}} stands for the label, * for anything, and all else for itself; the suffix "
            "is ignored. Change the pattern, or leave it out if folders are named after the classes."
        )
    return entries, skipped


def _wrapping_depth(paths: list[list[str]]) -> int:
    """Count the nested folders that merely wrap the rest, as an archive's top folder does."""
    depth = 0
    while True:
        paths = [path for path in paths if len(path) > depth + 1]
        tops = {path[depth] for path in paths}
        if len(tops) != 1 or split_named(next(iter(tops))):
            return depth
        inside = {path[depth + 1] for path in paths if len(path) > depth + 2}
        holds_pictures = any(len(path) == depth + 2 for path in paths)
        if not inside or (holds_pictures and not all(map(split_named, inside))):
            return depth  # a class folder
        depth += 1


def _splits_of(tops: Iterable[str], source: str) -> dict[str, SplitName]:
    splits = {top: split for top in sorted(tops) if (split := split_named(top))}
    classes = [top for top in sorted(tops) if top not in splits]
    if splits and classes:
        raise DataError(
            f"In {source} some folders are named like splits ({shortlist(list(splits))}) and some are not "
            f"({shortlist(classes)}). Either all top folders are splits (train, val, test) with class folders inside, "
            "or all are classes. Move or rename the ones that do not belong; a class can be called, say, 'test_'."
        )
    for split in set(splits.values()):
        same = [top for top, meaning in splits.items() if meaning == split]
        if len(same) > 1:
            raise DataError(
                f"In {source} the folders {' and '.join(same)} both stand for the split '{split}'. One folder for each "
                "split is accepted; merge them or rename one."
            )
    return splits


def _folders_without_pictures(paths: list[list[str]], others: Sequence[str], level: int) -> list[Skipped]:
    used = {"/".join(path[:end]) for path in paths for end in range(1, min(level + 1, len(path)))}
    left: dict[str, list[str]] = {}
    for other in others:
        folder = "/".join(other.split("/")[:-1][:level])
        if folder and folder not in used:
            left.setdefault(folder, []).append(other)
    return [Skipped(folder, f"a folder without pictures (found: {describe(left[folder])})") for folder in sorted(left)]
