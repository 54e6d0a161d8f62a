"""Reads untrusted JSON: a file has exactly one meaning or is refused, within limits."""

from __future__ import annotations

import json
import math
import re
from typing import Any

MAX_DEPTH = 32
MAX_CONTAINERS = 200_000  # lists and objects; a confusion matrix of 1,000 classes has 1,000
MAX_VALUES = 5_000_000
MAX_DIGITS = 20  # of an integer: 64 bits
# A string, also an unfinished one at the end of a damaged file, or a bracket outside strings.
TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)


def strict_json(content: bytes) -> Any:
    """Return the content of a JSON file.

    Raises ValueError, with what is wrong, for anything but JSON in UTF-8; for a repeated key, which programs read
    differently; for NaN, infinity and integers of more than 64 bits; and, before anything is built in memory, for
    nesting deeper than `MAX_DEPTH` and more values than `MAX_VALUES`.

    >>> strict_json(b'{"a": 1, "a": 2}')
    Traceback (most recent call last):
    ValueError: the key 'a' comes twice
    """
    depth = containers = 0
    for token in TOKEN.finditer(content):
        character = content[token.start()]
        if character in b"[{":
            depth, containers = depth + 1, containers + 1
            if depth > MAX_DEPTH:
                raise ValueError(f"it is nested more than {MAX_DEPTH} deep")
        elif character in b"]}":
            depth -= 1
    if containers > MAX_CONTAINERS or content.count(b",") > MAX_VALUES:
        raise ValueError("it holds more values than any bundle needs")
    return json.loads(
        content.decode(),
        object_pairs_hook=without_repeats,
        parse_int=_integer,
        parse_float=_number,
        parse_constant=_number,
    )


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object, as json's `object_pairs_hook`. Raises ValueError for a key that comes twice."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key '{key[:100]}' comes twice")
        found[key] = value
    return found


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"an integer has {len(digits):,} digits")
    return int(digits)


def _number(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"it holds {text[:MAX_DIGITS]}")
    return number
