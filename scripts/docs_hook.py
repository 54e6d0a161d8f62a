"""For mkdocs: links out of docs/ lead to the repository, where the site has no page for them; none asks another host.

The theme's search reads its index in a worker, which browsers do not start for a page that lies in a folder. What makes
up for that (docs/assets/iframe-worker.js) it would fetch from unpkg.com.
"""

import re
from typing import Any

from mkdocs.exceptions import PluginError

REPOSITORY = "https://github.com/keensight/keensight/blob/main/"
WORKER = "https://unpkg.com/iframe-worker/shim"
# What a page fetches by itself: scripts, pictures, frames, style sheets. Links that a reader follows are none of it.
FETCHED = re.compile(
    r"""<(?:script|img|iframe|source|link(?=[^>]*\brel="?stylesheet))\b[^>]*\b(?:src|href)="?(https?:[^\s">]+)"""
)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let `](../README.md)` of a page in docs/ lead to the file of the repository."""
    if "/" in page.file.src_uri:
        return markdown
    return re.sub(r"\]\(\.\./([^)]+)\)", rf"]({REPOSITORY}\1)", markdown)


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Take the worker from the site itself. Raises PluginError for a page that would fetch something from elsewhere."""
    output = output.replace(WORKER, "../" * page.file.dest_uri.count("/") + "assets/iframe-worker.js")
    if fetched := FETCHED.search(output):
        raise PluginError(f"{page.file.src_uri} would fetch {fetched[1]}; it must be readable without a network.")
    return output


def on_post_template(output_content: str, **_: Any) -> str:
    """Do the same for the page that a server shows where there is none."""
    return output_content.replace(WORKER, "/assets/iframe-worker.js")
