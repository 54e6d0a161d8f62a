"""For mkdocs: links out of docs/ lead to the repository, where the site has no page for them."""

import re
from typing import Any

REPOSITORY = "https://github.com/keensight/keensight/blob/main/"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let `](../README.md)` of a page in docs/ lead to the file of the repository."""
    if "/" in page.file.src_uri:
        return markdown
    return re.sub(r"\]\(\.\./([^)]+)\)", rf"]({REPOSITORY}\1)", markdown)
