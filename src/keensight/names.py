"""Names from people and file systems: their order, their spelling, and those that are not safe to print."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

# Characters that garble a terminal or cannot be written as UTF-8: controls, line separators, lone surrogates.
_ODD = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
WESTERN = "cp1252"  # Latin-1 as Windows extends it: what names that are not UTF-8 most often are in
# What a terminal is not sent: those, and invisible marks that turn the order of letters, so that names look alike.
UNPRINTABLE = re.compile(_ODD.pattern[:-1] + "\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")


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
    """Return a label as labels are compared: composed Unicode (a zip made on a Mac decomposes é), no outer blanks."""
    return unicodedata.normalize("NFC", name).strip()


def decoded(raw: bytes, otherwise: str) -> str:
    """Return a name's bytes as text: UTF-8, which hardly anything else happens to be, or else in the encoding given.

    Bytes that are neither stay as lone surrogates, as Python has them for a file that it lists.

    >>> decoded("Äpfel".encode(), "cp437"), decoded("Äpfel".encode("cp437"), "cp437")
    ('Äpfel', 'Äpfel')
    """
    for encoding in ("utf-8", otherwise):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return raw.decode("utf-8", "surrogateescape")


def readable(path: str) -> str:
    """Return a POSIX path with folder and file names that are not UTF-8 read as `WESTERN`, each by itself.

    >>> readable("pets/" + "Äpfel".encode("latin-1").decode("utf-8", "surrogateescape") + "/1.jpg")
    'pets/Äpfel/1.jpg'
    """
    if path.isascii():
        return path
    return "/".join(decoded(part.encode("utf-8", "surrogateescape"), WESTERN) for part in path.split("/"))


def odd_name(name: str) -> str | None:
    """Return a printable form of a name with control characters or undecodable bytes, or None if it has none.

    >>> odd_name("a.jpg") is None, odd_name(chr(27) + "[2J.jpg")
    (True, '\\\\x1b[2J.jpg')
    """
    return _ODD.sub(lambda odd: odd.group().encode("unicode_escape").decode(), name) if _ODD.search(name) else None


def printable(text: str) -> str:
    """Return text as a terminal can show it, on one line: what would command the terminal is written as an escape.

    >>> printable(chr(27) + "[2J.jpg"), printable("Äpfel 猫.jpg")
    ('\\\\x1b[2J.jpg', 'Äpfel 猫.jpg')
    """
    return UNPRINTABLE.sub(lambda odd: odd.group().encode("unicode_escape").decode(), text)
