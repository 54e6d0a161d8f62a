"""Class names that a reader would take for one, and names that stand for a label that is missing."""

from __future__ import annotations

import math
import unicodedata
from collections import defaultdict
from collections.abc import Sequence

from keensight.values import Finding

MISSING = frozenset(["nan", "none", "null", "nil", "n/a", "#n/a", "na", "<na>", "nat", "?"])
QUOTES = "\"'`´“”„‘’‚«»"


def spellings(class_names: Sequence[str]) -> list[Finding]:
    """Return what is odd about class names: several spellings of one, and words for no label at all.

    >>> [dict(found.evidence) for found in spellings(["Cat", "cat", "dog", "nan"])]
    [{'spellings': [['Cat', 'cat']]}, {'missing': ['nan']}]
    """
    alike: dict[str, list[str]] = defaultdict(list)
    for name in class_names:
        alike[_plain(name)].append(name)
    several = [names for names in alike.values() if len(names) > 1]
    missing = [name for name in class_names if _plain(name) in MISSING]
    found = [Finding("label", evidence={"spellings": several})] if several else []
    return found + ([Finding("label", evidence={"missing": missing})] if missing else [])


def _plain(name: str) -> str:
    """Return a name without case, quotes, invisible characters, and its ways to write blanks and numbers."""
    text = "".join(c for c in unicodedata.normalize("NFKC", name) if unicodedata.category(c) != "Cf")
    text = text.casefold().strip(QUOTES + " ")
    if text[:1] in tuple("+-.0123456789") and "_" not in text:
        try:
            number = float(text)
        except ValueError:
            pass
        else:
            return repr(number + 0.0) if math.isfinite(number) else text  # which makes -0 a 0
    return " ".join(text.replace("_", " ").replace("-", " ").split()) or name
