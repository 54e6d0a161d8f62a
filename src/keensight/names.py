"""Names from people and file systems: their order, their spelling, and those that are not safe to print."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable

# Characters that garble a terminal or cannot be written as UTF-8: controls, line separators, lone surrogates.
_ODD = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
WESTERN = "cp1252"  # Latin-1 as Windows extends it: what names that are not UTF-8 most often are in
# What a terminal is not sent: those, and invisible marks that turn the order of letters, so that names look alike.
UNPRINTABLE = re.compile(_ODD.pattern[:-1] + "\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")


_SUFFIX = re.compile(rb"\.[\x00-\x7f]*\Z")


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


def eastern(raws: Iterable[bytes]) -> str | None:
    """Return the encoding that names of old are in if they are Japanese, Chinese or Russian; None if they seem Western.

    Western names have some accented letters among plain ones. Where more than half of all letters are beyond ASCII, the
    first of `_EASTERN` that strictly decodes all names to what is usual in it counts.

    >>> [eastern([name.encode(code)]) for name, code in (("ねこ", "cp932"), ("狗", "gbk"), ("кот", "cp866"))]
    ['cp932', 'gbk', 'cp866']
    >>> eastern(["Äpfel".encode("cp437"), "grün".encode("cp437")])
    """
    stems = {_SUFFIX.sub(b"", part) for raw in raws for part in raw.split(b"/") if not part.isascii()}
    if all(map(_is_utf8, stems)):  # one may happen to be: "猫" in GBK is "è" in UTF-8
        return None
    letters = bytes(byte for stem in stems for byte in stem if byte > 127 or chr(byte).isalpha())
    if sum(byte > 127 for byte in letters) * 2 <= len(letters):
        return None
    for code, strict, usual in _EASTERN:
        try:
            found = [each for stem in stems for each in stem.decode(strict) if not each.isascii()]
        except UnicodeDecodeError:
            continue
        if sum(usual(each, each.encode(strict)) for each in found) * 2 > len(found):
            return code
    return None


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


# An encoding, one that is stricter or the same, and whether a character, with its bytes, is usual there: kana and the
# first level of kanji; the first level of hanzi, which are those in use; Cyrillic, not the lines of boxes.
_EASTERN: tuple[tuple[str, str, Callable[[str, bytes], bool]], ...] = (
    ("cp932", "cp932", lambda _, raw: len(raw) == 2 and 0x81 <= raw[0] <= 0x97),
    ("gbk", "gb2312", lambda _, raw: 0xB0 <= raw[0] <= 0xD7),
    ("cp866", "cp866", lambda each, _: "\u0400" <= each <= "\u04ff"),
    ("gbk", "gbk", lambda _, raw: 0xB0 <= raw[0] <= 0xD7 and raw[1] >= 0xA1),
    ("big5", "big5", lambda _, raw: 0xA4 <= raw[0] <= 0xC6),
)


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
