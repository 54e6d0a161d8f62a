"""A search service that is described in a file: a URL template, and where in its JSON things stand.

Services come and go, and so do their addresses; Bing's picture search ended in 2025. Such a file is all that another
service takes.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from urllib.parse import quote

from keensight.care.gather.client import Request
from keensight.care.gather.found import Found, Search, at, found, items
from keensight.errors import PAGES, UsageError, suggestion

MOST_PAGES = 1000
ACCEPTED = (
    f"It is a TOML file with name, url, results and picture, and more if need be; {PAGES}gather.md has an example."
)
PLACES = (
    "url",
    "results",
    "next",
    "picture",
    "landing_page",
    "title",
    "creator",
    "creator_url",
    "licence",
    "licence_url",
)
KINDS: dict[str, type | tuple[type, ...]] = {"headers": dict, "first": int, "interval": (int, float)}  # others are text
NEEDED = ("name", "url", "results", "picture")


@dataclass(frozen=True, slots=True)
class Template:
    """A service: its address with ``{query}``, ``{page}`` (from `first` on), ``{offset}`` or ``{key}`` in it.

    The others are paths in the JSON answer, or, from `picture` on, in each of the `results`. `next` leads to the next
    page's address, for services that give one; `headers` may hold ``{key}``, and `key` names its environment variable.
    """

    name: str
    url: str
    results: str
    picture: str
    next: str = ""
    landing_page: str = ""
    title: str = ""
    creator: str = ""
    creator_url: str = ""
    licence: str = ""
    licence_url: str = ""
    key: str = ""
    first: int = 1
    interval: float = 1.0
    headers: Mapping[str, str] = field(default_factory=dict)


def read_template(path: Path) -> Template:
    """Read a description of a service. Raises UsageError, with what is wrong in it."""
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise UsageError(f"The description of a service, {path}, cannot be read: {reason}. {ACCEPTED}") from error
    known = {each.name: each for each in fields(Template)}
    for name, value in told.items():
        if name not in known:
            raise UsageError(f"{path} has the key '{name[:40]}'. {suggestion(name, known)}{ACCEPTED}")
        if not isinstance(value, KINDS.get(name, str)) or isinstance(value, bool):
            raise UsageError(f"In {path}, {name} is {value!r:.60}. {ACCEPTED}")
    if missing := [name for name in NEEDED if not told.get(name)]:
        raise UsageError(f"{path} has no {' and no '.join(missing)}. {ACCEPTED}")
    template = Template(**told)
    if not re.fullmatch(r"[a-z0-9][a-z0-9_]{0,30}", template.name):
        raise UsageError(f"In {path}, name is '{template.name[:40]}'. Small letters and digits are accepted.")
    if "{query}" not in template.url or not template.url.startswith(("https://", "http://")):
        raise UsageError(f"In {path}, url is '{template.url[:100]}'. It begins with https:// and has {{query}} in it.")
    if "{key}" in str(told) and not template.key:
        raise UsageError(f"{path} uses {{key}}, and does not name the environment variable that holds it, as key.")
    if template.key and not template.url.startswith("https://"):
        raise UsageError(f"In {path}, url begins with http://, and a key would be sent for all to read. Use https://.")
    if not all(isinstance(value, str) for value in template.headers.values()) or template.interval < 0:
        raise UsageError(f"In {path}, headers must be text, and interval a number of seconds. {ACCEPTED}")
    return template


def find_by(template: Template, search: Search) -> Iterator[Found]:
    """Search a service by its description."""
    page, offset, url, last = template.first, 0, "", None
    for _ in range(MOST_PAGES):
        filled = {"{query}": quote(search.query, safe=""), "{page}": str(page), "{offset}": str(offset)}
        asked = url or template.url
        for place, value in filled.items():  # no value holds a brace: they are quoted
            asked = asked.replace(place, value)
        answer = search.ask(Request(asked))
        some = items(answer, template.results)
        if not template.next and some == last:  # it takes no notice of the page that it is asked for
            return
        last = some
        for each in some:
            yield from found(
                template.name,
                search.query,
                at(each, template.picture),
                **{name: at(each, path) for name in PLACES[4:] if (path := getattr(template, name))},
            )
        page, offset = page + 1, offset + len(some)
        before, url = asked, str(at(answer, template.next) or "") if template.next else ""
        is_last = not some or (template.next and not url) or url == before
        if is_last or not (template.next or "{page}" in template.url or "{offset}" in template.url):
            return
