"""The meaning of folders: which are splits, which are classes, and which merely wrap the rest."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from keensight.data.listing import PICTURE_SUFFIXES, Entry, describe
from keensight.data.patterns import label_pattern, path_pattern
from keensight.errors import DataError, PatternError, shortlist
from keensight.names import clean_label, natural_order
from keensight.values import Skipped, SplitName

SPLIT_ALIASES: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "eval": "test",
}


class Layout(NamedTuple):
    """What a tree of folders means: what wraps it, which top folders are splits, and which folder names the class."""

    depth: int  # folders around everything
    splits: Mapping[str, SplitName]  # by top folder, or by the folder in it where classes lie above splits
    levels: Mapping[str, int]  # by top folder: the place in a path of the folder that names the class
    split_level: int  # the place in a path of the folder that names the split

    def place(self, path: Sequence[str]) -> tuple[str, SplitName | None] | None:
        """Return a picture's label and split, or None for one that lies outside the class folders."""
        level = self.levels.get(path[self.depth]) if len(path) > self.depth + 1 else None
        if level is None or len(path) <= max(level, self.split_level) + 1:
            return None
        if not self.splits:
            return clean_label(path[level]), None
        split = self.splits.get(path[self.split_level])
        return (clean_label(path[level]), split) if split else None


def split_named(name: str) -> SplitName | None:
    """Return the split that a manifest's value stands for, or None.

    >>> split_named("Validation"), split_named("huskies")
    ('val', None)
    """
    return SPLIT_ALIASES.get(name.strip().lower())


def split_told(name: str) -> SplitName | None:
    """Return the split that one of a folder name's words stands for, or None where no word or several do.

    >>> split_told("training_set"), split_told("seg_test"), split_told("valset2"), split_told("huskies")
    ('train', 'test', 'val', None)
    """
    words = (word.removesuffix("set") for word in re.split("[^a-z]+", name.lower()))
    told = {SPLIT_ALIASES[word] for word in words if word in SPLIT_ALIASES}
    return told.pop() if len(told) == 1 else None


def arrange(
    pictures: Iterable[str],
    others: Sequence[str],
    source: str,
    pattern: str | None,
    left_out: Sequence[Skipped] = (),
) -> tuple[list[Entry], list[Skipped]]:
    """Find split, label and group of every picture from its path; return what is labelled and what is left out.

    `pictures` and `others` (files that are not pictures; empty folders, ending in ``/``) are POSIX paths inside the
    root. Folders say ``split/class/...`` or ``class/...``, below any number of wrapping folders; with a `pattern`, file
    names give the labels and folders only the splits. `source` names the data in messages, and `left_out` what was
    not looked at. Raises DataError if there are no pictures, or if folders or names do not show what they are.
    """
    paths = [name.split("/") for name in sorted(pictures)]
    if not paths:
        by_reason: dict[str, list[str]] = {}
        for each in left_out:
            by_reason.setdefault(each.reason, []).append(each.path)
        why = "; ".join(f"{shortlist(natural_order(names), 2)}: {reason}" for reason, names in by_reason.items())
        raise DataError(
            f"{source} holds no pictures; found instead: {describe(others)}{why and f' (left out: {why})'}. "
            f"Pictures are recognised by their suffix ({' '.join(sorted(PICTURE_SUFFIXES))}) or their first bytes. "
            "Give a folder or archive with one folder of pictures per class, or name a manifest or array file itself."
        )
    if pattern:
        return (_by_folders if "/" in pattern else _by_pattern)(paths, source, pattern)
    layout = layout_of(paths, source)
    entries, skipped = [], []
    for path in paths:
        name = "/".join(path)
        if placed := layout.place(path):
            entries.append(Entry(name, *placed))
        else:
            skipped.append(Skipped(name, "lies outside the class folders, so its class is not known"))
    if not entries:
        raise DataError(
            f"{source} holds {len(paths):,} pictures, such as {'/'.join(paths[0])}, but no class folders, so their "
            "labels are unknown. Put the pictures of each class into a folder of their own, or give "
            "--label-pattern '{label}__*' if the file names begin with the label."
        )
    level = max(layout.levels.values(), default=layout.depth) + 1
    return entries, skipped + _folders_without_pictures(paths, others, level)


def _by_folders(paths: list[list[str]], source: str, pattern: str) -> tuple[list[Entry], list[Skipped]]:
    """Read labels, splits and groups from whole paths, below the folders that wrap everything."""
    fields_of, depth = path_pattern(pattern), _wrapping_depth(paths)
    entries, skipped = [], []
    for path in paths:
        name, fields = "/".join(path), fields_of(path[depth:]) if len(path) > depth else None
        fields = fields or fields_of(path)
        if fields is None or not fields.label:
            skipped.append(Skipped(name, f"its path does not fit the label pattern '{pattern}'"))
            continue
        split = fields.split and (split_named(fields.split) or split_told(fields.split))
        if fields.split and not split:
            raise DataError(
                f"In {source}, '{fields.split}' stands where the label pattern '{pattern}' has {{split}}, and is not a "
                "split. Rename it to train, val or test (training_set, dev or seg_test will do), or write * for it."
            )
        entries.append(Entry(name, fields.label, split or None, fields.group))
    if not entries:
        raise PatternError(
            f"{_none_of(len(paths))} in {source} fits the label pattern '{pattern}'; one is "
            f"'{'/'.join(paths[0])}'. It has a part for each folder and for the file name; ** stands for any number."
        )
    return entries, skipped


def _by_pattern(paths: list[list[str]], source: str, pattern: str) -> tuple[list[Entry], list[Skipped]]:
    fields_of, depth = label_pattern(pattern), _wrapping_depth(paths)
    tops = {path[depth] for path in paths if len(path) > depth + 1}
    named = {top: split for top in tops if (split := split_named(top) or split_told(top))}
    splits = _once_each(named, source) if len(named) == len(tops) else {}
    if not splits and any(map(split_named, tops)):
        raise _some_are_splits(source, [top for top in tops if split_named(top)], tops)
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
        raise PatternError(
            f"{_none_of(len(paths))} in {source} fits the label pattern '{pattern}'; one is named "
            f"'{paths[0][-1]}'. {{label}} stands for the label, * for anything, and all else for itself; the suffix "
            "is ignored. Change the pattern; if folders are named after the classes, give --label-pattern "
            "'{label}/**'."
        )
    return entries, skipped


def layout_of(paths: list[list[str]], source: str) -> Layout:
    """Read from the folders of pictures' paths which are splits and which are classes.

    The same class folders in every top folder make these the splits, and their names only tell which is which; a
    folder with pictures directly inside is a class, whatever it is called. Raises DataError where that leaves doubt.
    """
    depth = _wrapping_depth(paths)
    below: dict[str, list[list[str]]] = {}
    for path in paths:
        if len(path) > depth + 1:
            below.setdefault(path[depth], []).append(path)
    levels = {top: _unwrapped(inside, depth + 1) for top, inside in below.items()}
    classes = {
        top: {path[levels[top]] for path in inside if len(path) > levels[top] + 1} for top, inside in below.items()
    }
    if splits := _splits_of(classes, source):
        return Layout(depth, splits, {top: level for top, level in levels.items() if top in splits}, depth)
    inner = set().union(*classes.values())
    splits = _splits_in_classes(classes, inner, source)
    if len(classes) > 1 and all(classes.values()) and len(splits) > 1:
        return Layout(depth, splits, dict.fromkeys(below, depth), depth + 1)  # cats/train, cats/test, dogs/train, ...
    _ask_if_alike(classes, source)
    return Layout(depth, {}, dict.fromkeys(below, depth), depth)


def _wrapping_depth(paths: list[list[str]]) -> int:
    """Count the nested folders that merely wrap the rest, as an archive's top folder does."""
    depth = 0
    while True:
        paths = [path for path in paths if len(path) > depth + 1]
        tops = {path[depth] for path in paths}
        if len(tops) != 1:
            return depth
        inside = {path[depth + 1] for path in paths if len(path) > depth + 2}
        inner_splits = {split_told(name) for name in inside}
        if split_named(next(iter(tops))) and (None in inner_splits or len(inner_splits) < 2):
            return depth
        holds_pictures = any(len(path) == depth + 2 for path in paths)
        if not inside or (holds_pictures and not all(map(split_named, inside))):
            return depth  # a class folder
        depth += 1


def _unwrapped(paths: list[list[str]], level: int) -> int:
    """Return where in the paths of a top folder its folders lie, below those that merely wrap: seg_train/seg_train/."""
    while True:
        inside = {path[level] for path in paths if len(path) > level + 1}
        only_wraps = len(inside) == 1 and all(len(path) > level + 1 for path in paths)
        deeper = {path[level + 1] for path in paths if len(path) > level + 2}
        if not only_wraps or not (len(deeper) > 1 or inside == {paths[0][level - 1]}):
            return level
        level += 1


def _splits_of(classes: Mapping[str, set[str]], source: str) -> dict[str, SplitName]:
    """Return which split each top folder is, or nothing where these are none; `classes` are the folders in each."""
    named = _told_by(split_named, classes)
    if len(named) == len(classes):
        return _once_each(named, source)
    told = _told_by(split_told, classes)
    holding = {top: {clean_label(name).casefold() for name in inside} for top, inside in classes.items() if inside}
    alike = not holding or set.intersection(*holding.values())
    # a folder beside splits that holds its pictures directly, such as seg_pred, is not one of their classes
    splits = told if len(told) == len(classes) else {top: told[top] for top in holding if top in told}
    if alike and len(splits) > 1 and set(holding) <= set(splits) and len(set(splits.values())) == len(splits):
        return splits
    if stray := [top for top in named if top in holding]:
        raise _some_are_splits(source, stray, classes)
    return {}


def _splits_in_classes(classes: Mapping[str, set[str]], inner: set[str], source: str) -> dict[str, SplitName]:
    """Return which split each folder inside the classes is, or nothing where these are none."""
    if len(named := _told_by(split_named, inner)) == len(inner):
        return _once_each(named, source)
    told = _told_by(split_told, inner)
    in_each = all(inside == inner for inside in classes.values())  # a word in a name alone makes no split
    return told if in_each and len(told) == len(inner) == len(set(told.values())) else {}


def _told_by(split_of: Callable[[str], SplitName | None], names: Iterable[str]) -> dict[str, SplitName]:
    return {name: split for name in sorted(names) if (split := split_of(name))}


def _some_are_splits(source: str, splits: Sequence[str], tops: Iterable[str]) -> DataError:
    others = [top for top in sorted(tops) if top not in splits]
    return DataError(
        f"In {source} some folders are named like splits ({shortlist(sorted(splits))}) and some are not "
        f"({shortlist(others)}). Either all top folders are splits (train, val, test) with class folders inside, "
        "or all are classes. Move or rename the ones that do not belong; a class that holds its pictures directly can "
        "have any name."
    )


def _once_each(splits: Mapping[str, SplitName], source: str) -> dict[str, SplitName]:
    for split in set(splits.values()):
        same = sorted(top for top, meaning in splits.items() if meaning == split)
        if len(same) > 1:
            raise DataError(
                f"In {source} the folders {' and '.join(same)} both stand for the split '{split}'. One folder for each "
                "split is accepted; merge them or rename one."
            )
    return dict(splits)


def _ask_if_alike(classes: Mapping[str, set[str]], source: str) -> None:
    """Raise DataError where top folders hold the same folders, as splits do, and their names tell no split."""
    alike = [{clean_label(name).casefold() for name in inside} for inside in classes.values()]
    shared = set.intersection(*alike) if len(alike) > 1 else set()
    if len(shared) > 1 and 2 * len(shared) >= len(set.union(*alike)):
        raise DataError(
            f"In {source} the folders {shortlist(natural_order(classes))} hold the same folders "
            f"({shortlist(natural_order(shared))}). Are they splits? Then rename them to train, val and test (names "
            "such as training_set, dev or seg_test do too). Are they the classes? Then give --label-pattern "
            "'{label}/**'. Are the folders inside the classes? Then give --label-pattern '*/{label}/**'."
        )


def _folders_without_pictures(paths: list[list[str]], others: Sequence[str], level: int) -> list[Skipped]:
    used = {"/".join(path[:end]) for path in paths for end in range(1, min(level + 1, len(path)))}
    left: dict[str, list[str]] = {}
    for other in others:
        folder = "/".join(other.split("/")[:-1][:level])
        if folder and folder not in used:
            left.setdefault(folder, []).append(other)
    return [Skipped(folder, f"a folder without pictures (found: {describe(left[folder])})") for folder in sorted(left)]


def _none_of(count: int) -> str:
    return "No picture" if count == 1 else f"None of the {count:,} pictures"
