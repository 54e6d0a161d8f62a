"""Pictures whose addresses somebody has listed in a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from keensight.care.gather.found import Found, found
from keensight.errors import DataError

MAX_LINE = 100_000
TOLD = ("landing_page", "title", "creator", "creator_url", "licence", "licence_url")
ACCEPTED = (
    "Each line is an address, with its label in front if the command names no single one (husky "
    'https://example.org/1.jpg), or a JSON object such as {"url": "https://example.org/1.jpg", "label": "husky", '
    '"licence": "by"}, also with creator, landing_page and licence_url'
)


class Line(NamedTuple):
    """A line of the list: a label, empty if it has none, and the picture."""

    label: str
    found: Found


def read_list(path: Path) -> list[Line]:
    """Return what a list of addresses holds; lines that begin with # are remarks. Raises DataError, with the line."""
    try:
        return list(_lines(path))
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start:,}). Save it again as UTF-8.") from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"The list of addresses, {path}, cannot be read: {reason}. {ACCEPTED}.") from error


def _lines(path: Path) -> Iterator[Line]:
    with open(path, encoding="utf-8-sig") as file:
        number = 0
        while text := file.readline(MAX_LINE + 1):
            number += 1
            if len(text) > MAX_LINE:
                raise DataError(f"Line {number} of {path} is longer than {MAX_LINE:,} characters. {ACCEPTED}.")
            if not text.strip() or text.startswith("#"):
                continue
            label, picture = _parsed(text.strip())
            if picture is None:
                raise DataError(
                    f"Line {number} of {path} has no address of the web: {text.strip()[:80]!a}. {ACCEPTED}."
                )
            yield Line(label, picture)


def _parsed(text: str) -> tuple[str, Found | None]:
    if not text.startswith("{"):
        label, _, url = text.rpartition("\t") if "\t" in text else text.rpartition(" ")
        return label.strip(" \t,"), next(found("urls", "", url.strip()), None)
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return "", None
    label = told.get("label")
    some = {name: told.get(name) for name in TOLD}
    return label if isinstance(label, str) else "", next(found("urls", "", told.get("url"), **some), None)
