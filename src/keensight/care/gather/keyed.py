"""Sources that answer to a key: Flickr, Pexels and Unsplash."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlencode

from keensight.care.gather.client import Request
from keensight.care.gather.found import Found, Search, at, count, found, items, plain
from keensight.care.gather.licences import code_of

FLICKR = "https://api.flickr.com/services/rest/?"
FLICKR_SIZES = ("url_l", "url_c", "url_z", "url_o", "url_m")  # 1,024 pixels at the longer side, 800, 640, all, 500
MOST_OF_FLICKR = 4000  # pictures of one search; what comes after repeats the last ones


def flickr(search: Search) -> Iterator[Found]:
    """Search Flickr: https://www.flickr.com/services/api/flickr.photos.search.html.

    Flickr names licences by numbers, and says itself what they mean: it added some in 2025.
    """
    plainly = {"format": "json", "nojsoncallback": 1}
    which = urlencode({"method": "flickr.photos.licenses.getInfo", **plainly})
    told = {
        str(each.get("id")): (str(each.get("url") or ""), str(each.get("name") or ""))
        for each in items(search.ask(Request(f"{FLICKR}{which}&api_key={{key}}")), "licenses.license")
    }
    wanted = [number for number, (url, name) in told.items() if code_of(_named(url, name)) in search.licences]
    asked = {
        "method": "flickr.photos.search", "text": search.query, "license": ",".join(wanted), "sort": "relevance",
        "media": "photos", "content_types": 0, "safe_search": 1, "per_page": 100,
        "extras": ",".join(("license", "owner_name", *FLICKR_SIZES)), **plainly,
    }  # fmt: skip
    page, pages = 1, 1
    while wanted and page <= min(pages, MOST_OF_FLICKR // 100):
        answer = search.ask(Request(f"{FLICKR}{urlencode({**asked, 'page': page})}&api_key={{key}}"))
        some = items(answer, "photos.photo")
        for each in some:
            url, name = told.get(str(each.get("license")), ("", ""))
            owner = plain(each.get("owner"))
            yield from found(
                "flickr",
                search.query,
                next((each[size] for size in FLICKR_SIZES if each.get(size)), None),
                landing_page=f"https://www.flickr.com/photos/{owner}/{plain(each.get('id'))}/",
                title=each.get("title"),
                creator=each.get("ownername"),
                creator_url=f"https://www.flickr.com/people/{owner}/",
                licence=_named(url, name),
                licence_url=url,
            )
        pages, page = count(at(answer, "photos.pages")) if some else 0, page + 1


def pexels(search: Search) -> Iterator[Found]:
    """Search Pexels: https://www.pexels.com/api/documentation/."""
    page, pages = 1, 1
    while page <= pages:
        asked = urlencode({"query": search.query, "per_page": 80, "page": page})
        answer = search.ask(Request(f"https://api.pexels.com/v1/search?{asked}"))
        some = items(answer, "photos")
        for each in some:
            yield from found(
                "pexels",
                search.query,
                at(each, "src.large2x") or at(each, "src.original"),
                landing_page=each.get("url"),
                title=each.get("alt"),
                creator=each.get("photographer"),
                creator_url=each.get("photographer_url"),
                licence="pexels",
            )
        pages, page = -(-count(at(answer, "total_results")) // 80) if some and at(answer, "next_page") else 0, page + 1


def unsplash(search: Search) -> Iterator[Found]:
    """Search Unsplash: https://unsplash.com/documentation. Its guidelines want every download to be reported."""
    page, pages = 1, 1
    while page <= pages:
        asked = urlencode({"query": search.query, "per_page": 30, "page": page})
        answer = search.ask(Request(f"https://api.unsplash.com/search/photos?{asked}"))
        some = items(answer, "results")
        for each in some:
            yield from found(
                "unsplash",
                search.query,
                at(each, "urls.regular"),
                landing_page=at(each, "links.html"),
                title=each.get("description") or each.get("alt_description"),
                creator=at(each, "user.name"),
                creator_url=at(each, "user.links.html"),
                licence="unsplash",
                report=at(each, "links.download_location"),
            )
        pages, page = count(at(answer, "total_pages")) if some else 0, page + 1


def _named(url: str, name: str) -> str:
    return url if "creativecommons" in url else name
