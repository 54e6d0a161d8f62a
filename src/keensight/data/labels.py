"""What names say: the split that a folder is, the label that a path carries, and the order of class names."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from keensight.errors import DataError, UsageError, shortlist
from keensight.values import DatasetKind, Skipped, SplitName

UNREAD_SUFFIXES = frozenset(
    [".heic", ".heif", ".avif", ".jxl", ".jp2", ".svg", ".psd", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw"]
)
PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"}
)
SPLIT_ALIASES: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
# What would garble a terminal or could not be written to a UTF-8 file: controls, line separators, lone surrogates.
_ODD = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class Entry(NamedTuple):
    """One picture that was found: a path inside the root (or a row, ``train[17]``), and what is known about it."""

    where: str
    label: str
    split: SplitName | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """All that was found in one DATA. Each entry has a content hash in `hashes` or a reason in `unusable`."""

    name: str
    root: Path
    kind: DatasetKind
    entries: Sequence[Entry]
    hashes: Mapping[str, str]
    unusable: Mapping[str, str]
    skipped: Sequence[Skipped] = ()
    class_names: tuple[str, ...] | None = None  # where the data itself gives their order


def split_named(name: str) -> SplitName | None:
    """Return the split that a folder name or a manifest's value stands for, or None.

    >>> split_named("Validation"), split_named("huskies")
    ('val', None)
    """
    return SPLIT_ALIASES.get(name.strip().lower())


def natural_order(names: Iterable[str]) -> list[str]:
    """Return `names` sorted as a reader would sort them: runs of digits count as numbers, case hardly counts.

    >>> natural_order(["10", "2", "b", "A"])
    ['2', '10', 'A', 'b']
    """
    return sorted(names, key=lambda name: (_natural_key(name), name))


def _natural_key(name: str) -> tuple[str | tuple[int, str], ...]:
    # re.split with a group alternates text and digits, so equal positions always hold equal types. Digits are compared
    # by length and then as text: the same order as by value, without int()'s limit of 4,300 digits.
    parts = re.split("([0-9]+)", name.casefold())
    digits = (part.lstrip("0") for part in parts[1::2])
    numbers = [(len(part), part) for part in digits]
    return tuple(numbers[i // 2] if i % 2 else part for i, part in enumerate(parts))


def clean_label(name: str) -> str:
    """Return a label as it is compared: composed Unicode (a zip made on a Mac decomposes é), no outer blanks."""
    return unicodedata.normalize("NFC", name).strip()


def is_picture(name: str) -> bool:
    """Say whether a file counts as a picture: by its suffix, in any case.

    >>> is_picture("cats/TOM.JPG"), is_picture("readme.txt")
    (True, False)
    """
    stem, dot, suffix = name.rpartition(".")  # a PurePosixPath takes 8 times as long
    return (dot + suffix).lower() in PICTURE_SUFFIXES and stem != "" and not stem.endswith("/")


def is_hidden(part: str) -> bool:
    """Say whether a file or folder name is one that operating systems leave behind: ``.DS_Store``, ``__MACOSX``."""
    return part.startswith(".") or part in ("__MACOSX", "Thumbs.db", "desktop.ini")


def odd_name(name: str) -> str | None:
    """Return a printable form of a name with control characters or undecodable bytes, or None where it is fine.

    >>> odd_name("a.jpg") is None, odd_name(chr(27) + "[2J.jpg")
    (True, '\\\\x1b[2J.jpg')
    """
    return _ODD.sub(lambda odd: odd.group().encode("unicode_escape").decode(), name) if _ODD.search(name) else None


class Fields(NamedTuple):
    """What a file name says about its picture."""

    label: str
    group: str | None


def label_pattern(pattern: str) -> Callable[[str], Fields | None]:
    """Return a function from a file name to its fields, or to None where the name does not fit `pattern`.

    ``{label}`` captures the label and ``{group}`` the group; other ``{names}`` and ``*`` stand for anything, ``?`` for
    one character, all else for itself. The suffix of the file name takes no part. A field ends where the text after
    it first occurs. Raises UsageError for a pattern without ``{label}``, or one whose fields have nothing between them.

    >>> fields = label_pattern("{label}__{group}__*")
    >>> fields("1__20170705_180816__-118_34.png")
    Fields(label='1', group='20170705_180816')
    """
    tokens = re.findall(r"\{[^{}]*\}|\*+|[^{}*]+|[{}]", pattern)
    names = [token[1:-1] for token in tokens if len(token) > 1 and token[0] == "{"]
    how = "Write it like '{label}__*': {label} is the label, {other names} and * are anything, ? is one character."
    if "{" in tokens or "}" in tokens or not all(name.isidentifier() for name in names):
        raise UsageError(f"The label pattern '{pattern}' has a brace or a field name that makes no sense. {how}")
    if "label" not in names or len(set(names)) < len(names):
        raise UsageError(f"The label pattern '{pattern}' must have the field {{label}}, and each field once. {how}")
    regex = ""
    for i, token in enumerate(tokens):
        following = tokens[i + 1] if i + 1 < len(tokens) else ""
        if token[0] in "{*":
            if following and following[0] in "{*":
                raise UsageError(
                    f"In the label pattern '{pattern}' nothing separates {token} from {following}, so it cannot be "
                    f"told where the first ends. {how}"
                )
            anything = f"(?P<{token[1:-1]}>.+?)" if token[0] == "{" else ".*?"
            last = not any(later[0] in "{*" for later in tokens[i + 1 :])
            # An atomic group never goes back on the first place where the text after it occurs: hostile names stay
            # cheap, and a match is never missed, because the last wildcard can still stretch.
            regex += anything + _literal(following) if last else f"(?>{anything}{_literal(following)})"
        elif not regex:
            regex = _literal(token)  # later literals were appended with the wildcard before them
    compiled = re.compile(regex, re.DOTALL)

    def fields(name: str) -> Fields | None:
        found = compiled.fullmatch(PurePosixPath(name).stem)
        if not found:
            return None
        group = found.groupdict().get("group")
        return Fields(clean_label(found["label"]), group)

    return fields


def _literal(text: str) -> str:
    return "".join("." if character == "?" else re.escape(character) for character in text)


def describe(names: Iterable[str]) -> str:
    """Count file names by suffix, for a message about what was found instead of pictures.

    >>> describe(["a.txt", "b.TXT", "c.pdf"])
    '2 .txt, 1 .pdf'
    """
    kinds = Counter(PurePosixPath(name).suffix.lower() or "without a suffix" for name in names if name[-1:] != "/")
    return shortlist([f"{count:,} {kind}" for kind, count in kinds.most_common()]) or "nothing"


def arrange(
    pictures: Iterable[str], others: Sequence[str], source: str, pattern: str | None
) -> tuple[list[Entry], list[Skipped]]:
    """Tell split, label and group of every picture from its path; return what is labelled and what is left out.

    `pictures` and `others` (files that are no pictures; folders with nothing in them, ending in ``/``) are POSIX paths
    inside the root. Folders say ``split/class/...`` or ``class/...``, below any number of wrapping folders; with a
    `pattern`, file names give the labels and folders only the splits. `source` names the data in messages. Raises
    DataError where there are no pictures, or where folders or names do not tell what they are.
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
        where = "/".join(path)
        if len(path) > level:
            entries.append(Entry(where, clean_label(path[level - 1]), splits.get(path[depth])))
        else:
            skipped.append(Skipped(where, "lies outside the class folders, so its class is not known"))
    if not entries:
        raise DataError(
            f"{source} holds {len(paths):,} pictures, such as {'/'.join(paths[0])}, but no class folders, so nothing "
            "says what they show. Put the pictures of each class into a folder of their own, or give "
            "--label-pattern '{label}__*' if the file names begin with the label."
        )
    return entries, skipped + _folders_without_pictures(paths, others, level) + unread(others)


def unread(others: Iterable[str]) -> list[Skipped]:
    """Name pictures in formats that are not read, so that a telephone's do not vanish without a word."""
    return [
        Skipped(name, f"{suffix[1:].upper()} pictures are not read; convert it to JPEG or PNG")
        for name in others
        if (suffix := PurePosixPath(name).suffix.lower()) in UNREAD_SUFFIXES
    ]


def _by_pattern(
    paths: list[list[str]], depth: int, splits: Mapping[str, SplitName], source: str, pattern: str
) -> tuple[list[Entry], list[Skipped]]:
    fields_of = label_pattern(pattern)
    entries, skipped = [], []
    for path in paths:
        where, fields = "/".join(path), fields_of(path[-1])
        if splits and len(path) <= depth + 1:
            skipped.append(Skipped(where, "lies beside the split folders, so its split is not known"))
        elif fields is None or not fields.label:
            skipped.append(Skipped(where, f"its name does not fit the label pattern '{pattern}'"))
        else:
            entries.append(Entry(where, fields.label, splits.get(path[depth]), fields.group))
    if not entries:
        raise DataError(
            f"None of the {len(paths):,} pictures in {source} fits the label pattern '{pattern}'; one is named "
            f"'{paths[0][-1]}'. {{label}} stands for the label, * for anything, and all else for itself; the suffix "
            "is left out. Change the pattern, or leave it away if folders are named after the classes."
        )
    return entries, skipped


def _wrapping_depth(paths: list[list[str]]) -> int:
    """Count the folders that merely wrap the rest, as an archive's top folder does."""
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
