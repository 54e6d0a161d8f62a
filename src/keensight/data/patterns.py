"""Labels and groups from file names, by a pattern such as ``{label}__*``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import PurePosixPath
from typing import NamedTuple

from keensight.errors import UsageError
from keensight.names import clean_label, natural_order


class Fields(NamedTuple):
    """The fields of a file name, or of a path."""

    label: str
    group: str | None
    split: str | None = None


def label_pattern(pattern: str) -> Callable[[str], Fields | None]:
    """Return a function from a file name to its fields, or to None if the name does not fit `pattern`.

    ``{label}`` captures the label and ``{group}`` the group; other ``{names}`` and ``*`` stand for anything, ``?`` for
    one character, all else for itself. The file name's suffix is ignored. A field ends where the text after it first
    occurs; one field with dots, ``{label...}``, reaches to where that text last occurs. Raises UsageError for a pattern
    without ``{label}``, or one whose fields are not separated.

    >>> fields = label_pattern("{label}__{group}__*")
    >>> fields("1__20170705_180816__-118_34.png")
    Fields(label='1', group='20170705_180816', split=None)
    >>> label_pattern("{label...}_*")("american_bulldog_12.jpg").label
    'american_bulldog'
    """
    tokens = re.findall(r"\{[^{}]*\}|\*+|[^{}*]+|[{}]", pattern)
    fields = [token for token in tokens if _is_field(token)]
    names = [_name(token) for token in fields]
    far = [i for i, token in enumerate(tokens) if token in fields and _is_far(token)]
    how = (
        "Write it like '{label}__*': {label} is the label, {other names} and * are anything, ? is one character; "
        "{label...}_* reaches to the last _."
    )
    if "{" in tokens or "}" in tokens or not all(name.isidentifier() for name in names):
        raise UsageError(f"The label pattern '{pattern}' has a brace or a field name that makes no sense. {how}")
    if "label" not in names or len(set(names)) < len(names):
        raise UsageError(f"The label pattern '{pattern}' must have the field {{label}}, and each field once. {how}")
    if len(far) > 1:
        raise UsageError(f"In the label pattern '{pattern}' more than one field has dots; one can reach far. {how}")
    for one, following in pairwise(tokens):
        if one[0] in "{*" and following[0] in "{*":
            raise UsageError(
                f"In the label pattern '{pattern}' nothing separates {one} from {following}, so it cannot be "
                f"told where the first ends. {how}"
            )
    at = far[0] if far else len(tokens)
    # what follows a field with dots is read from the end, backwards, so that it takes no more than it must
    start, end = _compiled(tokens[:at]), _compiled([_reversed(token) for token in tokens[:at:-1]])

    def read(name: str) -> Fields | None:
        stem = PurePosixPath(name).stem
        if not far:
            found = start.fullmatch(stem)
            return _fields(found.groupdict()) if found else None
        left, right = start.match(stem), end.match(stem[::-1])
        middle = stem[left.end() : len(stem) - right.end()] if left and right else ""
        if not (left and right and middle):
            return None
        backwards = {name: text[::-1] for name, text in right.groupdict().items()}
        return _fields({**left.groupdict(), **backwards, _name(tokens[at]): middle})

    return read


def path_pattern(pattern: str) -> Callable[[Sequence[str]], Fields | None]:
    """Return a function from the parts of a path to its fields, or to None if the path does not fit `pattern`.

    The pattern has a part for each folder and for the file name, whose suffix is ignored; ``**`` stands for any number
    of parts. In a part, fields and ``*`` are those of `label_pattern`; ``{split}`` names the split. Raises UsageError
    for a pattern that makes no sense.

    >>> fields = path_pattern("{label}/**")
    >>> fields(["cats", "indoor", "1.jpg"]).label, path_pattern("*/{label}/*")(["cats", "indoor", "1.jpg"]).label
    ('cats', 'indoor')
    """
    parts = pattern.split("/")
    tokens = [re.findall(r"\{[^{}]*\}|\*+|[^{}*]+|[{}]", part) for part in parts]
    names = [_name(token) for part in tokens for token in part if _is_field(token)]
    wrong = any(token in ("{", "}") or _is_far(token) for part in tokens for token in part)
    wrong |= any(one[0] in "{*" and following[0] in "{*" for part in tokens for one, following in pairwise(part))
    if wrong or not all(parts) or names.count("label") != 1 or len(set(names)) < len(names) or parts.count("**") > 1:
        raise UsageError(
            f"The label pattern '{pattern}' makes no sense as one of folders. Write it like '{{label}}/**' or "
            "'{split}/{label}/*': a part for each folder and the file name, {label} once, ** once at most for any "
            "number of folders, and something between two fields of one part."
        )
    many = parts.index("**") if "**" in parts else len(parts)
    compiled = [_compiled(part) for part in tokens]

    def read(path: Sequence[str]) -> Fields | None:
        stems = [*path[:-1], PurePosixPath(path[-1]).stem]
        behind = len(parts) - many - 1
        if len(stems) < len(parts) - 1 or ("**" not in parts and len(stems) != len(parts)):
            return None
        pairs = [*zip(compiled[:many], stems, strict=False)]
        pairs += (
            [*zip(compiled[len(parts) - behind :], stems[len(stems) - behind :], strict=True)] if behind > 0 else []
        )
        found = [each.fullmatch(stem) for each, stem in pairs]
        if not all(found):
            return None
        values = {name: text for each in found if each for name, text in each.groupdict().items()}
        return Fields(clean_label(values["label"]), values.get("group"), values.get("split"))

    return read


def cut_labels(pattern: str, labels: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the labels that `pattern` seems to merge, each with the labels that ``{label...}`` would read.

    `labels` are those that it read, by file name. Only words that it cuts off count: numbers, dates and places after a
    label are not part of it.

    >>> cut_labels("{label}_*", {"american_bulldog_1.jpg": "american", "american_pit_bull_7.jpg": "american"})
    {'american': ['american_bulldog', 'american_pit_bull']}
    """
    if "{label}" not in pattern or "/" in pattern:
        return {}
    try:
        read = label_pattern(pattern.replace("{label}", "{label...}"))
    except UsageError:  # another field reaches far
        return {}
    longer: dict[str, set[str]] = {}
    for name, label in labels.items():
        if (fields := read(name)) and not re.search(r"\d", fields.label.removeprefix(label)):
            longer.setdefault(label, set()).add(fields.label)
    return {label: natural_order(found) for label, found in longer.items() if len(found) > 1}


def _compiled(tokens: Sequence[str]) -> re.Pattern[str]:
    regex = ""
    for i, token in enumerate(tokens):
        following = tokens[i + 1] if i + 1 < len(tokens) else ""
        if token[0] in "{*":
            anything = f"(?P<{_name(token)}>.+?)" if token[0] == "{" else ".*?"
            last = not any(later[0] in "{*" for later in tokens[i + 1 :])
            # An atomic group never backtracks from the first place where the text after it occurs: hostile names stay
            # cheap, and no match is missed, because the last wildcard can still extend.
            regex += anything + _literal(following) if last else f"(?>{anything}{_literal(following)})"
        elif not regex:
            regex = _literal(token)  # later literals were appended with the wildcard before them
    return re.compile(regex, re.DOTALL)


def _fields(found: Mapping[str, str]) -> Fields:
    return Fields(clean_label(found["label"]), found.get("group"))


def _is_field(token: str) -> bool:
    return len(token) > 1 and token[0] == "{"


def _is_far(token: str) -> bool:
    return token.endswith("...}")


def _name(token: str) -> str:
    return token[1:-1].removesuffix("...")


def _reversed(token: str) -> str:
    return token if token[0] in "{*" else token[::-1]


def _literal(text: str) -> str:
    return "".join("." if character == "?" else re.escape(character) for character in text)
