"""What a host's robots.txt allows (RFC 9309).

Ours, because `urllib.robotparser` takes the first rule that fits instead of the longest, and knows no wildcards.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

AGENT = "keensight"
MAX_BYTES = 500 * 1024  # as the RFC asks to read at least; what comes after is ignored
MOST_DELAY_S = 60.0


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules for us: patterns, each with whether it allows; and how many seconds to leave between requests."""

    patterns: tuple[tuple[str, bool], ...] = ()
    delay_s: float = 0.0

    def allow(self, path: str) -> bool:
        """Say whether a path, with its query, may be fetched: the longest pattern that fits decides, or allows.

        >>> Rules((("/", False), ("/photos/", True))).allow("/photos/1.jpg")
        True
        """
        normal = _normal(path)
        fitting = [(len(pattern), allows) for pattern, allows in self.patterns if _fits(pattern, normal)]
        return max(fitting, default=(0, True))[1]


def rules_in(text: str, agent: str = AGENT) -> Rules:
    """Return the rules in a robots.txt for an agent: of the groups that name it, or else of those for all.

    >>> rules_in("User-agent: *\\nDisallow: /private").allow("/private/1.jpg")
    False
    """
    patterns: dict[bool, list[tuple[str, bool]]] = {True: [], False: []}  # by whether the group names the agent
    delays: dict[bool, float] = {}
    named: set[bool] = set()  # what the group that is being read is for
    is_named = False
    begins = True
    for line in text.removeprefix("\ufeff").splitlines():
        field, colon, value = line.partition("#")[0].partition(":")
        field, value = field.strip().lower(), value.strip()
        if not colon:
            continue
        if field == "user-agent":
            if not begins:
                named, begins = set(), True
            token = re.match(r"[a-zA-Z_-]*", value)
            if value.startswith("*"):
                named.add(False)
            elif token and token[0].lower() == agent:
                named.add(True)
                is_named = True
        elif field in ("allow", "disallow"):
            begins = False
            if value:  # an empty one is no rule
                for each in named:
                    patterns[each].append((_normal(value), field == "allow"))
        elif field == "crawl-delay":
            begins = False
            if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value):
                delays |= dict.fromkeys(named, min(MOST_DELAY_S, float(value)))
    return Rules(tuple(patterns[is_named]), delays.get(is_named, 0.0))


def _normal(path: str) -> str:
    return quote(unquote(path), safe="/*$?=&+,:;@!'()~")


def _fits(pattern: str, path: str) -> bool:
    """Match ``*`` and a ``$`` at the end, each piece where it first occurs: a regular expression could take for ever.

    >>> _fits("/*.gif$", "/a.gif/b.gif"), _fits("/*.gif$", "/a.gif?x"), _fits("/fish*", "/fishes")
    (True, False, True)
    """
    if not pattern.startswith(("/", "*")):
        return False
    ends = pattern.endswith("$")
    first, *others = pattern.removesuffix("$").split("*")
    if not path.startswith(first):
        return False
    at = len(first)
    if not others:
        return not ends or at == len(path)
    *middle, last = others
    for piece in middle:
        found = path.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    if ends:
        return len(path) - len(last) >= at and path.endswith(last)
    return path.find(last, at) >= 0
