"""Labels and groups from file names, by a pattern such as ``{label}__*``."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import NamedTuple

from keensight.errors import UsageError
from keensight.names import clean_label


class Fields(NamedTuple):
    """The fields of a file name."""

    label: str
    group: str | None


def label_pattern(pattern: str) -> Callable[[str], Fields | None]:
    """Return a function from a file name to its fields, or to None if the name does not fit `pattern`.

    ``{label}`` captures the label and ``{group}`` the group; other ``{names}`` and ``*`` stand for anything, ``?`` for
    one character, all else for itself. The file name's suffix is ignored. A field ends where the text after
    it first occurs. Raises UsageError for a pattern without ``{label}``, or one whose fields are not separated.

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
            # An atomic group never backtracks from the first place where the text after it occurs: hostile names stay
            # cheap, and no match is missed, because the last wildcard can still extend.
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
