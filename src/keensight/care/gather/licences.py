"""Licences by a short code, whatever a service calls them."""

from __future__ import annotations

import re
from collections.abc import Collection

from keensight.errors import UsageError, suggestion

CC = "https://creativecommons.org/"
LICENCES: dict[str, tuple[str, str]] = {  # code: what it is called, and its address ({} is the version)
    "cc0": ("CC0", f"{CC}publicdomain/zero/1.0/"),
    "pdm": ("Public domain", f"{CC}publicdomain/mark/1.0/"),
    "by": ("CC BY", f"{CC}licenses/by/{{}}/"),
    "by-sa": ("CC BY-SA", f"{CC}licenses/by-sa/{{}}/"),
    "by-nd": ("CC BY-ND", f"{CC}licenses/by-nd/{{}}/"),
    "by-nc": ("CC BY-NC", f"{CC}licenses/by-nc/{{}}/"),
    "by-nc-sa": ("CC BY-NC-SA", f"{CC}licenses/by-nc-sa/{{}}/"),
    "by-nc-nd": ("CC BY-NC-ND", f"{CC}licenses/by-nc-nd/{{}}/"),
    "pexels": ("Pexels licence", "https://www.pexels.com/license/"),
    "unsplash": ("Unsplash licence", "https://unsplash.com/license"),
    "other": ("another licence", ""),
    "unknown": ("no licence known", ""),
    "none": ("all rights reserved", ""),
}
OPEN = ("cc0", "pdm", "by", "by-sa", "by-nd", "by-nc", "by-nc-sa", "by-nc-nd")
WANTED = frozenset(LICENCES) - {"none"}  # unless something else is asked for


def code_of(said: str | None) -> str:
    """Return the code of a licence that a service names, by its address or by its name; "unknown" for an empty one.

    >>> [code_of(each) for each in ("CC BY-SA 4.0", "cc-by-nc", "https://creativecommons.org/publicdomain/zero/1.0/")]
    ['by-sa', 'by-nc', 'cc0']
    >>> [code_of(each) for each in ("pd", "GFDL 1.2", "All Rights Reserved", "")]
    ['pdm', 'other', 'none', 'unknown']
    """
    text = (said or "").strip().lower()
    if not text:
        return "unknown"
    if found := re.search(r"creativecommons\.org/(?:licenses/([a-z-]+)|publicdomain/(zero|mark))", text):
        text = found[1] or {"zero": "cc0", "mark": "pdm"}[found[2]]
    if text in LICENCES:
        return text
    words = re.sub(r"[\s_]+", "-", text)
    if re.match(r"cc-?(0|zero)\b", words):
        return "cc0"
    if re.match(r"(pd|pdm|public-domain|no-known-copyright|cc-pdm|united-states-government)\b", words):
        return "pdm"
    if found := re.match(r"(?:cc-)?(by(?:-nc)?(?:-sa|-nd)?)(?=$|-\d)", words):
        return found[1]
    return "none" if "all-rights-reserved" in words else "other"


def url_of(code: str, version: str = "4.0") -> str:
    """Return a licence's address, or an empty text where there is none.

    >>> url_of("by-sa", "2.0")
    'https://creativecommons.org/licenses/by-sa/2.0/'
    """
    return LICENCES[code][1].format(version)


def name_of(code: str, url: str = "") -> str:
    """Return what a licence is called, with the version that its address has.

    >>> name_of("by", "https://creativecommons.org/licenses/by/3.0/de/"), name_of("cc0"), name_of("none")
    ('CC BY 3.0', 'CC0', 'all rights reserved')
    """
    version = re.search(r"/licenses/[a-z-]+/(\d\.\d)", url)
    return f"{LICENCES[code][0]} {version[1]}" if version and code.startswith("by") else LICENCES[code][0]


def wanted(text: str | None) -> frozenset[str]:
    """Return the codes in a list such as ``cc0,by``; all but "none" for None. Raises UsageError for an unknown one."""
    if text is None:
        return WANTED
    codes = [code.strip().lower().removeprefix("cc-") for code in text.split(",")]
    for code in codes:
        if code not in LICENCES:
            raise UsageError(
                f"There is no licence '{code[:40]}'. {suggestion(code, LICENCES)}These are known: "
                f"{', '.join(LICENCES)}; give one, or several with commas between them."
            )
    return frozenset(codes)


def asked_for(codes: Collection[str]) -> list[str]:
    """Return which Creative Commons licences to ask a service for, in its table's order; none to ask for any of them.

    >>> asked_for({"by", "cc0", "pexels"}), asked_for(WANTED)
    (['cc0', 'by'], [])
    """
    some = [code for code in OPEN if code in codes]
    return [] if len(some) == len(OPEN) else some
