"""The table of sources: where pictures are looked for, at which pace, and which keys that takes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from keensight.care.gather.found import Find
from keensight.care.gather.generic import find_by, read_template
from keensight.care.gather.keyed import flickr, pexels, unsplash
from keensight.care.gather.keyless import OPENVERSE_TOKEN, commons, inaturalist, openverse
from keensight.care.gather.licences import LICENCES, OPEN
from keensight.errors import PAGES, UsageError, suggestion

ANY = frozenset(LICENCES)
FREE = frozenset(OPEN)


@dataclass(frozen=True, slots=True)
class Source:
    """A source: how it is searched, its host, and the seconds to leave between two requests to that.

    `keys` are the environment variables that must hold a key, `may` those that may. With `token`, an address, the two
    of them are a client's id and secret, and the key is a token that is asked for there (OAuth, client credentials).
    """

    title: str
    find: Find
    host: str
    interval_s: float
    licences: frozenset[str]  # that it has
    terms: str  # where it says what may be done with it
    keys: tuple[str, ...] = ()
    may: tuple[str, ...] = ()
    token: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)  # with {key} for the key; such ones only if there is one
    get_key: str = ""  # where to get a key


SOURCES: dict[str, Source] = {
    "openverse": Source(
        "Openverse", openverse, "api.openverse.org", 3.0, FREE | {"other"},  # 20 requests a minute
        "https://docs.openverse.org/terms_of_service.html",
        may=("OPENVERSE_CLIENT_ID", "OPENVERSE_CLIENT_SECRET"), token=OPENVERSE_TOKEN,
        headers={"Authorization": "Bearer {key}"},
    ),
    "commons": Source(
        "Wikimedia Commons", commons, "commons.wikimedia.org", 1.0, FREE | {"other", "unknown"},
        "https://foundation.wikimedia.org/wiki/Policy:Wikimedia_Foundation_API_Usage_Guidelines",
    ),
    "inaturalist": Source(
        "iNaturalist", inaturalist, "api.inaturalist.org", 1.0, (FREE - {"pdm"}) | {"none"},
        "https://www.inaturalist.org/pages/api+recommended+practices",
    ),
    "flickr": Source(
        "Flickr", flickr, "api.flickr.com", 1.0, FREE | {"none", "other"},  # 3,600 requests an hour
        "https://www.flickr.com/help/terms/api", keys=("FLICKR_API_KEY",),
        get_key="https://www.flickr.com/services/apps/create/",
    ),
    "pexels": Source(
        "Pexels", pexels, "api.pexels.com", 1.0, frozenset({"pexels"}),
        "https://www.pexels.com/terms-of-service/", keys=("PEXELS_API_KEY",),
        headers={"Authorization": "{key}"}, get_key="https://www.pexels.com/api/",
    ),
    "unsplash": Source(
        "Unsplash", unsplash, "api.unsplash.com", 1.0, frozenset({"unsplash"}),
        "https://unsplash.com/api-terms", keys=("UNSPLASH_ACCESS_KEY",),
        headers={"Authorization": "Client-ID {key}", "Accept-Version": "v1"}, get_key="https://unsplash.com/developers",
    ),
}  # fmt: skip


def source_called(name: str) -> tuple[str, Source]:
    """Return a source and its name, by that name or by a file that describes a service. Raises UsageError."""
    if name in SOURCES:
        return name, SOURCES[name]
    if name.endswith(".toml"):
        template = read_template(Path(name))
        if template.name in (*SOURCES, "urls"):
            raise UsageError(f"In {name}, name is '{template.name}', a source that there is. Choose another name.")
        host = urlsplit(template.url).netloc.lower()
        keys = (template.key,) if template.key else ()
        source = Source(
            template.name, partial(find_by, template), host, template.interval, ANY, "", keys, headers=template.headers
        )
        return template.name, source
    raise UsageError(
        f"There is no source '{name[:60]}'. {suggestion(name, SOURCES)}These are known: {', '.join(SOURCES)}; a file "
        f"that ends in .toml describes another one ({PAGES}gather.md)."
    )


def key_of(source: Source, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return the keys of a source from the environment, none if it takes none. Raises UsageError for a missing one."""
    for name in source.keys:
        if not environment.get(name, "").strip():
            where = f" Get one at {source.get_key}, and" if source.get_key else ""
            raise UsageError(
                f"{source.title} takes a key, and the environment variable {name} is not set.{where or ' So'} give it "
                f"as {name}=... in front of the command, or choose another source: --source openverse takes none."
            )
    names = source.keys or source.may
    keys = tuple(environment.get(name, "").strip() for name in names)
    for name, key in zip(names, keys, strict=True):
        if not key.isascii() or not all("!" <= each <= "~" for each in key):
            raise UsageError(f"{name} holds something that is no key: ASCII letters, digits and signs are accepted.")
    return keys if all(keys) else ()
