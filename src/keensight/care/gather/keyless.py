"""Sources that answer without a key: Openverse, Wikimedia Commons and iNaturalist."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlencode

from keensight.care.gather.client import Request
from keensight.care.gather.found import Found, Search, at, count, found, items, plain
from keensight.care.gather.licences import asked_for

OPENVERSE_TOKEN = "https://api.openverse.org/v1/auth_tokens/token/"  # noqa: S105  # an address
COMMONS_WIDTH = 960  # one of the widths that Wikimedia keeps ready; others are refused


def openverse(search: Search) -> Iterator[Found]:
    """Search Openverse: https://api.openverse.org/v1/. Without a key, a page has at most 20 pictures."""
    asked = {"q": search.query, "page_size": 50 if search.has_key else 20}
    if codes := asked_for(search.licences):
        asked["license"] = ",".join(codes)
    page, pages = 1, 1
    while page <= pages:
        answer = search.ask(Request(f"https://api.openverse.org/v1/images/?{urlencode({**asked, 'page': page})}"))
        some = items(answer, "results")
        for each in some:
            yield from found(
                "openverse",
                search.query,
                each.get("url"),
                landing_page=each.get("foreign_landing_url"),
                title=each.get("title"),
                creator=each.get("creator"),
                creator_url=each.get("creator_url"),
                licence=each.get("license"),
                licence_url=each.get("license_url"),
            )
        pages, page = count(at(answer, "page_count")) if some else 0, page + 1


def commons(search: Search) -> Iterator[Found]:
    """Search Wikimedia Commons: https://www.mediawiki.org/wiki/API:Imageinfo, with licences from its extmetadata."""
    asked = {
        "action": "query", "format": "json", "formatversion": 2, "maxlag": 5,
        "generator": "search", "gsrsearch": f"{search.query} filetype:bitmap", "gsrnamespace": 6, "gsrlimit": 50,
        "prop": "imageinfo", "iiprop": "url|extmetadata", "iiurlwidth": COMMONS_WIDTH,
        "iiextmetadatafilter": "License|LicenseShortName|LicenseUrl|Artist|ObjectName",
    }  # fmt: skip
    more: dict[str, object] = {}
    while True:
        answer = search.ask(Request(f"https://commons.wikimedia.org/w/api.php?{urlencode({**asked, **more})}"))
        for page in sorted(items(answer, "query.pages"), key=lambda page: count(page.get("index"))):
            info = at(page, "imageinfo.0")
            told = {
                name: at(info, f"extmetadata.{name}.value")
                for name in ("License", "LicenseShortName", "LicenseUrl", "Artist", "ObjectName")
            }
            yield from found(
                "commons",
                search.query,
                at(info, "thumburl") or at(info, "url"),
                landing_page=at(info, "descriptionurl"),
                title=told["ObjectName"] or plain(page.get("title")).removeprefix("File:"),
                creator=told["Artist"],
                licence=told["License"] or told["LicenseShortName"],
                licence_url=told["LicenseUrl"],
            )
        go_on = at(answer, "continue")
        if not isinstance(go_on, dict) or more == go_on:
            return
        more = {str(name): value for name, value in go_on.items()}


def inaturalist(search: Search) -> Iterator[Found]:
    """Search iNaturalist for a species: https://api.inaturalist.org/v1/docs/. Of an observation, the first photo.

    Only observations of research grade are asked for: at least two people agree what they show. The other photos of an
    observation show the same animal a second later, and would count as one picture more than they are.
    """
    asked = {
        "taxon_name": search.query, "quality_grade": "research", "photos": "true", "per_page": 100,
        "order_by": "id", "order": "desc",
    }  # fmt: skip
    if codes := asked_for(search.licences):
        asked["photo_license"] = ",".join(code if code == "cc0" else f"cc-{code}" for code in codes if code != "pdm")
    below: dict[str, int] = {}
    while True:
        answer = search.ask(Request(f"https://api.inaturalist.org/v1/observations?{urlencode({**asked, **below})}"))
        some = items(answer, "results")
        for each in some:
            for photo in items(each, "photos")[:1]:
                licence = photo.get("license_code") or "all rights reserved"
                yield from found(
                    "inaturalist",
                    search.query,
                    str(photo.get("url", "")).replace("/square.", "/large."),
                    landing_page=each.get("uri"),
                    title=at(each, "taxon.name"),
                    creator=at(each, "user.name") or at(each, "user.login"),
                    creator_url=f"https://www.inaturalist.org/people/{plain(at(each, 'user.login'))}",
                    licence=licence,
                )
        last = min((count(each.get("id")) for each in some), default=0)
        if not last or last >= below.get("id_below", last + 1):
            return
        below = {"id_below": last}
