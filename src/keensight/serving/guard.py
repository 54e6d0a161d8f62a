"""Around every request: its id, its client, refusals, security headers, its line in the log, and metrics."""

from __future__ import annotations

import asyncio
import itertools
import re
import secrets
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from keensight.errors import suggestion
from keensight.serving.access import check_api_key, client_of, forwarded_for
from keensight.serving.cors import PREFLIGHT, cors_headers, is_allowed, is_preflight
from keensight.serving.limits import RefusalError
from keensight.serving.service import DRAINING, Service
from keensight.serving.uploads import twice

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
HEALTH = ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready")
API = ("/v1/", "/v2/", "/v2", "/metrics")  # paths that need an API key, if there are any keys
PARAMETERS = {"/v1/predict": ("model",), "/v1/explain": ("model", "label", "format")}  # other paths take none
MAX_LOGGED = 200  # characters of a path
SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PROCESS, _count = secrets.token_hex(4), itertools.count()  # a new random id for each request took 2 % of its time


class Guard:
    """ASGI middleware: everything that is the same for all routes. `routes` names the endpoints for the metrics."""

    def __init__(self, app: ASGIApp, service: Service, routes: Mapping[Any, str]) -> None:
        self._app = app
        self._service = service
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        service, headers = self._service, Headers(scope=scope)
        started, status, sent_bytes = time.perf_counter(), 0, 0
        request_id = request_id_of(headers.get("x-request-id", ""))
        peer = scope["client"][0] if scope.get("client") else ""
        client = client_of(
            peer, forwarded_for(headers.items()) if service.trusted_proxies else "", service.trusted_proxies
        )
        scope["state"] = {"request_id": request_id}

        async def answer(message: Message) -> None:
            nonlocal status, sent_bytes
            if message["type"] == "http.response.start":
                status = message["status"]
                out = MutableHeaders(scope=message)
                out["X-Request-Id"] = request_id
                for name, value in (SECURITY_HEADERS | cors_headers(headers, service.origins)).items():
                    out.setdefault(name, value)
                if service.is_draining:
                    out["Connection"] = "close"
            else:
                sent_bytes += len(message.get("body", b""))
            await send(message)

        service.in_flight += 1
        refusal = None
        app = self._app
        try:
            if is_preflight(scope["method"], headers) and is_allowed(headers, service.origins):
                app = Response(status_code=204, headers=PREFLIGHT)
            else:
                check(service, scope["method"], scope["path"], headers, client)
                if scope["path"].startswith(API):
                    _check_query(scope["query_string"], PARAMETERS.get(scope["path"], ()))
            async with asyncio.timeout(service.limits.request_s):
                await app(scope, receive, answer)
        except RefusalError as error:
            refusal = error
        except TimeoutError:
            refusal = RefusalError(
                504, "timeout", f"There was no answer within {service.limits.request_s:g} seconds. Try again later."
            )
        except Exception as error:
            service.log("failed", level="error", id=request_id, traceback="".join(traceback.format_exception(error)))
            refusal = RefusalError(500, "internal", "The server failed. Its log has the reason, under this request_id.")
        try:
            if refusal is not None and not status:
                await error_response(refusal, request_id, scope["path"])(scope, receive, answer)
        finally:
            service.in_flight -= 1
            about = Asked(scope["method"], scope["path"], client, request_id)
            route = self._routes.get(scope.get("endpoint"), "other")
            record(service, about, route, status, time.perf_counter() - started, sent_bytes)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the log says of a request, whatever its outcome."""

    method: str
    path: str
    client: str
    request_id: str


def check(service: Service, method: str, path: str, headers: Mapping[str, str], client: str) -> None:
    """Raise RefusalError for a request that must not reach a route."""
    if path in HEALTH:
        return
    if service.is_draining and path != "/metrics":
        raise RefusalError(503, "draining", DRAINING, {"Retry-After": "1"})
    if path.startswith(API):
        is_counted = path != "/metrics"  # a Prometheus that asks often is no load
        if is_counted:
            service.buckets.take(client)
        try:
            check_api_key(headers, service.api_keys)
        except RefusalError:
            if not is_counted:
                service.buckets.take(client)  # guesses are slowed everywhere
            raise
    if method == "POST" and _is_of_another_site(headers) and not is_allowed(headers, service.origins):
        raise RefusalError(403, "cross_site", "A page of another site sent this request in a browser. That is refused.")


def _check_query(query: bytes, known: Sequence[str]) -> None:
    names = [name for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True)]
    check_parameters(names, known)
    for name in known:
        if names.count(name) > 1:
            raise twice(name)


def check_parameters(names: Iterable[str], known: Sequence[str]) -> None:
    """Raise RefusalError (400) for a parameter that is not known: it may be a misspelt one, or go elsewhere."""
    for name in names:
        if name not in known:
            asked = ascii(name)[1:-1][:100]
            takes = f"It takes {', '.join(known)}." if known else "It takes none in its address."
            message = f"There is no parameter {asked} here. {suggestion(asked, known)}{takes}"
            raise RefusalError(400, "unknown_parameter", message)


def _is_of_another_site(headers: Mapping[str, str]) -> bool:
    """Say whether a browser sends this for a page of another site.

    Over plain HTTP only the Origin header says so, and a proxy may have put a Host of its own beside it. Our own page
    sends X-Requested-With: a page of another site cannot, as its browser would first ask by OPTIONS, which is refused.
    """
    if "sec-fetch-site" in headers:
        return headers["sec-fetch-site"] == "cross-site"
    if "origin" not in headers or "x-requested-with" in headers:
        return False
    forwarded = headers.get("x-forwarded-host", "").partition(",")[0].strip()  # the first proxy's, of several
    origin = headers["origin"].partition("://")[2]  # "null" has none
    return not origin or origin not in (headers.get("host"), forwarded)


def record(service: Service, asked: Asked, route: str, status: int, seconds: float, sent_bytes: int) -> None:
    """Count a finished request, and write its line in the log."""
    method = asked.method if asked.method in ("GET", "HEAD", "POST") else "other"
    service.metrics.requested(method, route, status, seconds)
    if status == 200 and asked.path in (*HEALTH, "/metrics"):
        return
    service.log(
        "request",
        id=asked.request_id,
        method=asked.method,
        path=asked.path[:MAX_LOGGED],
        status=status,
        ms=round(seconds * 1e3, 3),
        bytes=sent_bytes,
        client=asked.client,
    )


def error_response(refusal: RefusalError, request_id: str, path: str) -> JSONResponse:
    """Return an error as JSON: its code, its message, and the request's id; below /v2, in that protocol's form."""
    error = str(refusal) if path.startswith("/v2") else {"code": refusal.code, "message": str(refusal)}
    body = {"error": error, "request_id": request_id}
    return JSONResponse(body, refusal.status, {"Cache-Control": "no-store", **refusal.headers})


def request_id_of(given: str) -> str:
    """Return a request's id: the one that it came with if that is well-formed, else a new one."""
    return given if SANE_ID.fullmatch(given) else f"{_PROCESS}{next(_count) % 2**32:08x}"
