"""The names of ImageNet's 1,000 classes, in the order of every network that was trained on them.

Each is the first of its synonyms in WordNet 3.0 (Princeton University), which gave ImageNet its classes.
"""

from __future__ import annotations

from functools import cache
from importlib import resources


@cache
def class_names() -> tuple[str, ...]:
    """Return the names.

    >>> class_names()[250], len(class_names())
    ('Siberian husky', 1000)
    """
    text = resources.files("keensight").joinpath("models/imagenet_classes.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())
