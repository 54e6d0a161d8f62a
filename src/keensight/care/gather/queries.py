"""What is to be gathered, as people type it: ``"husky=siberian husky" "nothusky=dog,cat,forest"``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from keensight.care.gather.folder import ATTRIBUTION, JOURNAL
from keensight.care.gather.found import Found
from keensight.care.gather.listed import ACCEPTED, read_list
from keensight.care.gather.manifest import MANIFEST
from keensight.data.layout import split_named
from keensight.data.listing import is_hidden
from keensight.errors import DataError, UsageError
from keensight.names import clean_label, odd_name

MOST_LETTERS = 100
OWN = {name.casefold() for name in (MANIFEST, JOURNAL, ATTRIBUTION)}  # files, where labels are folders
EXAMPLE = 'keensight gather "husky=siberian husky" "nothusky=dog,cat,forest" --out pictures'


def queries_of(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the queries of each label. Raises UsageError.

    >>> queries_of(["husky=siberian husky", "nothusky=dog, cat"]), queries_of(["owl"])
    ({'husky': ('siberian husky',), 'nothusky': ('dog', 'cat')}, {'owl': ('owl',)})
    """
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        label, equals, words = text.partition("=")
        if not equals and "," in text:
            raise UsageError(f"'{text[:100]}' has several queries and no label. Put one in front: label={text[:100]}.")
        some = tuple(" ".join(word.split()) for word in (words if equals else text).split(","))
        if not all(some) or odd_name("".join(some)):
            raise UsageError(f"'{text[:100]}' has an empty query. Write label=words to search for, as in {EXAMPLE}.")
        name = checked_label(label)
        found[name] = tuple(dict.fromkeys((*found.get(name, ()), *some)))
    if not found:
        raise UsageError(f"No query was given. Write label=words to search for, as in {EXAMPLE}; or give --urls FILE.")
    _check_names(list(found))
    return found


def listed_in(path: Path, labels: Sequence[str]) -> dict[str, list[Found]]:
    """Return the pictures in a list of addresses, by label; where a line has none, the one label in `labels` counts.

    Raises DataError and UsageError.
    """
    if len(labels) > 1 or any("=" in label for label in labels):
        raise UsageError(
            f"With a list of addresses, nothing is searched, and one label is accepted for its lines that have none; "
            f"'{' '.join(labels)[:100]}' was given."
        )
    found: dict[str, list[Found]] = {}
    for label, picture in read_list(path):
        if not label and not labels:
            raise DataError(f"{path} has no label for {picture.url[:100]}. {ACCEPTED}.")
        found.setdefault(checked_label(label or labels[0]), []).append(picture)
    if not found:
        raise DataError(f"{path} has no address in it. {ACCEPTED}.")
    _check_names(list(found))
    return found


def checked_label(text: str) -> str:
    """Return a label that can be a folder's name. Raises UsageError for any other."""
    label = clean_label(text)
    if not label or len(label) > MOST_LETTERS or odd_name(label) or set(label) & set('/\\:*?"<>|') or is_hidden(label):
        raise UsageError(
            f"The label '{odd_name(label[:100]) or label[:100]}' cannot be a folder's name. Letters, digits, blanks, - "
            f"and _ are accepted, {MOST_LETTERS} at most, as in {EXAMPLE}."
        )
    return label


def _check_names(labels: list[str]) -> None:
    if taken := [label for label in labels if label.casefold() in OWN]:
        raise UsageError(
            f"The label {taken[0]} is the name of a file that gathering writes beside the labels' folders. Choose "
            "another label."
        )
    if all(map(split_named, labels)):
        raise UsageError(
            f"The label{'s' * (len(labels) > 1)} {', '.join(labels)} would be taken for the name of a split. Choose "
            "another label, such as trains."
        )
    if len({label.casefold() for label in labels}) < len(labels):
        raise UsageError(f"Of the labels {', '.join(labels)}, two differ only in capital letters. Spell them alike.")
