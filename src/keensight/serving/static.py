"""The web page's files: a strict list, read once at the start."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parent / "page"
CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webp": "image/webp",
    ".ico": "image/x-icon",
    ".webmanifest": "application/manifest+json",
}
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*(\.[a-z0-9-]+)+")


def page_files(folder: Path = PAGE) -> dict[str, tuple[bytes, str]]:
    """Return the page's files by URL path: content and content type.

    Only plain files of a known kind at the folder's top count. A missing folder has none.
    """
    if not folder.is_dir():
        return {}
    found = {
        f"/{file.name}": (file.read_bytes(), CONTENT_TYPES[file.suffix])
        for file in sorted(folder.iterdir())
        if file.suffix in CONTENT_TYPES and _NAME.fullmatch(file.name) and file.is_file()
    }
    return found | ({"/": found["/index.html"]} if "/index.html" in found else {})
