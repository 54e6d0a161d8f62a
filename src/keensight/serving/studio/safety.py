"""Who may talk to the studio: a browser on this machine that knows the token, for a page of the studio itself."""

from __future__ import annotations

import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from keensight.serving.guard import SECURITY_HEADERS

CSP = SECURITY_HEADERS["Content-Security-Policy"].replace(
    "frame-ancestors 'none'", "frame-src 'self'; frame-ancestors 'self'"
)
CSP = CSP.replace("img-src 'self' blob: data:", "img-src 'self' blob: data:; media-src 'self' blob:")

WHOLE_ADDRESS = (
    "Open the studio by the whole address that it printed: it ends in a token, which is new at each start. "
    "If the studio is not running any more, start it again; your pictures and models are still in its folder."
)
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>Studio · keensight</title>
<h1>The studio is not open here</h1><p>{message}</p></html>
"""


class Safety:
    """ASGI middleware. The address with the token sets a cookie and leads to the page without it.

    Another name for this machine in Host (DNS rebinding), another page's Origin, and a wrong token get 403.
    """

    def __init__(self, app: ASGIApp, token: str, hosts: frozenset[str]) -> None:
        self._app, self._token, self._hosts = app, token, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in (SECURITY_HEADERS | {"Content-Security-Policy": CSP}).items():
                    headers.setdefault(name, value)
            await send(message)

        refused = self._refused(scope["method"], Headers(scope=scope))
        response = self._let_in(scope) if refused is None else _refusal(refused, scope)
        await (response or self._app)(scope, receive, answer)

    def _refused(self, method: str, headers: Headers) -> str | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        site = headers.get("sec-fetch-site", "same-origin")
        if host not in self._hosts:
            return "The studio answers only under the address that it printed."
        is_ours = origin is None or origin in {f"http://{each}" for each in self._hosts}
        if not is_ours or (method != "GET" and site not in ("same-origin", "none")):
            return "A page of another site asked the studio. That is refused."
        return None

    def _let_in(self, scope: Scope) -> Response | None:
        """Return what to answer in place of the page: nothing for one that has the cookie."""
        headers, name = Headers(scope=scope), f"keensight-studio-{scope['server'][1]}"
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if given and _same(given, self._token):
            response = RedirectResponse("/", 303)
            response.set_cookie(name, self._token, httponly=True, samesite="strict")
            return response
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(name)
        except CookieError:
            cookie = None
        if cookie is None or not _same(cookie.value, self._token):
            return _refusal(WHOLE_ADDRESS, scope)
        return None


def _same(given: str, token: str) -> bool:
    return secrets.compare_digest(given.encode(), token.encode())


def _refusal(message: str, scope: Scope) -> Response:
    if "text/html" in Headers(scope=scope).get("accept", ""):
        return HTMLResponse(PAGE.format(message=message), 403)
    return JSONResponse({"error": {"code": "forbidden", "message": message}}, 403)
