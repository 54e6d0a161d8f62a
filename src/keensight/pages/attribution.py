"""The page that says whose the gathered pictures are, and under which licence, in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from keensight.care.gather.licences import name_of
from keensight.care.gather.manifest import Row
from keensight.errors import counted
from keensight.names import natural_order

INTRO = """# Attribution

{count} from elsewhere, gathered by `keensight gather`, and whose they are. Most licences ask that these names and
addresses stay with the pictures, and some forbid uses: sale (NC), changes (ND), or passing them on under other terms
(SA). The licences are as the services tell them; nobody has checked that. `manifest.jsonl` has the same for programs.
"""


def render_attribution(rows: Sequence[Row]) -> str:
    """Return the page for gathered pictures: how many there are of each licence, then a list for each label."""
    parts = [INTRO.format(count=counted(len(rows), "picture"))]
    licences: dict[str, int] = {}
    for row in rows:
        licences[row.licence] = licences.get(row.licence, 0) + 1
    parts.append("| licence | pictures |\n|---|---|\n")
    parts += [f"| {name_of(code)} | {number:,} |\n" for code, number in sorted(licences.items())]
    for label in natural_order({row.label for row in rows}):
        parts.append(f"\n## {escaped(label)}\n\n")
        parts += _lines(row for row in rows if row.label == label)
    return "".join(parts)


def _lines(rows: Iterable[Row]) -> list[str]:
    return [f"- `{row.file.rpartition('/')[2]}`: {', '.join(_credits(row))}\n" for row in rows]


def _credits(row: Row) -> Iterable[str]:
    title = _linked(row.title or "untitled", row.landing_page or row.url)
    yield f"{title} by {_linked(row.creator or 'an unnamed creator', row.creator_url)}"
    yield _linked(name_of(row.licence, row.licence_url), row.licence_url)
    yield f"from {escaped(row.source)}"
    yield row.date[:10]


def _linked(text: str, url: str) -> str:
    """Return a link in Markdown, or the text alone without an address.

    >>> _linked("Husky [1]", "https://example.org/a(b)")
    '[Husky \\\\[1\\\\]](<https://example.org/a(b)>)'
    """
    return f"[{escaped(text)}](<{url}>)" if url else escaped(text)


def escaped(text: str) -> str:
    """Return text as Markdown shows it, whatever signs of Markdown or HTML are in it.

    >>> escaped("<b>*x*</b>")
    '\\\\<b\\\\>\\\\*x\\\\*\\\\</b\\\\>'
    """
    return re.sub(r"([\\`*_{}\[\]<>()#|~&!])", r"\\\1", text)
