"""Fill in templates: `$name` is a value, and a line that ends with ``#? word`` is there only if the word is given."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from string import Template


def fill(text: str, values: Mapping[str, str], words: Collection[str] = ()) -> str:
    """Return a template filled in. Raises KeyError for a `$name` without a value.

    >>> fill("image: $image\\nkey: k #? signed\\n", {"image": "digits"})
    'image: digits\\n'
    """
    lines = []
    for line in text.splitlines():
        condition = re.search(r" *#\? ([a-z]+)$", line)
        if condition is None or condition[1] in words:
            lines.append(line[: condition.start()] if condition else line)
    return Template("\n".join(lines) + "\n").substitute(values)


def template(name: str) -> str:
    """Return a template's text."""
    return (files("keensight.deploy") / "templates" / name).read_text()


def templates_in(folder: str) -> dict[str, str]:
    """Return all templates below a folder by their path in it."""

    def walk(place: Traversable, path: str) -> dict[str, str]:
        if place.is_file():
            return {path: place.read_text()}
        found: dict[str, str] = {}
        for child in sorted(place.iterdir(), key=lambda child: child.name):
            found |= walk(child, f"{path}/{child.name}".lstrip("/"))
        return found

    return walk(files("keensight.deploy") / "templates" / folder, "")
