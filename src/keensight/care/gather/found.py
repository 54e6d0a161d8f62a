"""What a search finds: a picture's address and whose it is, as text that is safe to write down."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

from keensight.care.gather.client import Request
from keensight.care.gather.licences import code_of, url_of
from keensight.names import UNPRINTABLE

MOST_TEXT = 300


@dataclass(frozen=True, slots=True)
class Found:
    """A picture that was found: `url` is the file, `report` an address that must be called when it is fetched."""

    url: str
    source: str
    query: str
    landing_page: str = ""
    title: str = ""
    creator: str = ""
    creator_url: str = ""
    licence: str = "unknown"
    licence_url: str = ""
    report: str = ""

    @property
    def name(self) -> str:
        """The picture's file name without its suffix: the same picture of the same source always gets the same."""
        return f"{self.source}-{sha256(self.url.encode(errors='replace')).hexdigest()[:16]}"


Ask = Callable[[Request], Any]  # returns the JSON that a service answers


class Search(NamedTuple):
    """What a source is asked: the words, the licences that are wanted, and whether there is a key to ask with."""

    ask: Ask
    query: str
    licences: frozenset[str]
    has_key: bool


Find = Callable[[Search], Iterator[Found]]


def found(source: str, query: str, url: object, **told: Any) -> Iterator[Found]:
    """Yield a picture, if it has an address, from what a service says of it, each value whatever it is.

    `licence` is the service's own name or address of it.
    """
    if not (address := link(url)):
        return
    licence, licence_url = told.pop("licence", None), link(told.pop("licence_url", None))
    code = code_of(plain(licence) or licence_url)
    texts = {name: (link if name.endswith(("url", "page", "report")) else plain)(value) for name, value in told.items()}
    yield Found(address, source, query, licence=code, licence_url=licence_url or url_of(code), **texts)


def plain(value: object) -> str:
    """Return one line of plain text: no tags, no control characters, at most `MOST_TEXT` of it.

    >>> plain('<a href="x">Jane  &amp; Joe</a>'), plain(None)
    ('Jane & Joe', '')
    """
    if not isinstance(value, str | int) or isinstance(value, bool):
        return ""
    text = html.unescape(re.sub(r"<[^<>]{0,2000}>", " ", str(value)[: 20 * MOST_TEXT]))
    text = " ".join(UNPRINTABLE.sub(" ", text).split())
    return text if len(text) <= MOST_TEXT else f"{text[: MOST_TEXT - 1]}…"


def link(value: object) -> str:
    """Return an address of the web, or an empty text for anything else.

    >>> link("//upload.example.org/a.jpg"), link("javascript:alert(1)")
    ('https://upload.example.org/a.jpg', '')
    """
    text = value.strip() if isinstance(value, str) else ""
    text = f"https:{text}" if text.startswith("//") else text
    is_link = re.match(r"https?://[^\s<>\"]+\Z", text, re.IGNORECASE) and len(text) <= 4000
    return text if is_link and not UNPRINTABLE.search(text) else ""


def at(value: Any, path: str) -> Any:
    """Return what is at a path of names and numbers in JSON, or None.

    >>> at({"items": [{"image": {"url": "x"}}]}, "items.0.image.url")
    'x'
    """
    for part in path.split(".") if path else ():
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def items(value: Any, path: str) -> list[Mapping[str, Any]]:
    """Return the objects in the list at a path, or none.

    >>> items({"results": [{"id": 1}, "?"]}, "results")
    [{'id': 1}]
    """
    some = at(value, path)
    return [each for each in some if isinstance(each, Mapping)] if isinstance(some, list) else []


def count(value: object) -> int:
    """Return a number that JSON has, 0 for anything else."""
    return value if isinstance(value, int) and value > 0 else 0
