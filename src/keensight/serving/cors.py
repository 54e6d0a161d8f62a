"""Pages of other sites that may ask: cross-origin resource sharing (https://fetch.spec.whatwg.org/#http-cors-protocol)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from keensight.errors import UsageError

EXPOSED = "X-Request-Id, Retry-After"
PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, X-API-Key, X-Request-Id",
    "Access-Control-Max-Age": "600",
}


def origins(texts: Sequence[str]) -> frozenset[str]:
    """Return origins as browsers write them, such as https://example.org. Raises UsageError for other texts.

    >>> sorted(origins(["https://Example.org/", "http://localhost:3000"]))
    ['http://localhost:3000', 'https://example.org']
    """
    return frozenset(map(_origin, texts))


def _origin(text: str) -> str:
    try:
        found = urlsplit(text.strip())
        is_one = found.scheme in ("http", "https") and found.hostname and not found.username
        port = found.port
    except ValueError:
        is_one, port = False, None
    if not is_one or found.path not in ("", "/") or found.query or found.fragment:
        hint = " To let every page ask is not offered: name each." if text.strip() == "*" else ""
        raise UsageError(f"'{text}' is not an origin. Give scheme and host alone, such as https://example.org.{hint}")
    is_usual = port in (None, {"http": 80, "https": 443}[found.scheme])
    host = f"[{found.hostname}]" if ":" in (found.hostname or "") else found.hostname
    return f"{found.scheme}://{host}" + ("" if is_usual else f":{port}")


def is_allowed(headers: Mapping[str, str], allowed: frozenset[str]) -> bool:
    """Say whether a request comes from a page that may ask."""
    return headers.get("origin") in allowed


def is_preflight(method: str, headers: Mapping[str, str]) -> bool:
    """Say whether a browser asks first whether its page may ask."""
    return method == "OPTIONS" and "access-control-request-method" in headers


def cors_headers(headers: Mapping[str, str], allowed: frozenset[str]) -> dict[str, str]:
    """Return what an answer says to the browser: nothing unless its page may ask."""
    if not allowed:
        return {}
    if not is_allowed(headers, allowed):
        return {"Vary": "Origin"}
    return {
        "Vary": "Origin",
        "Access-Control-Allow-Origin": headers["origin"],
        "Access-Control-Expose-Headers": EXPOSED,
        "Cross-Origin-Resource-Policy": "cross-origin",
    }
