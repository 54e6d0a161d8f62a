"""What a page sends and gets: bounded bodies, answers as JSON, and errors as what a person can do about them."""

from __future__ import annotations

import errno
import json
import sys
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from keensight.errors import KeensightError
from keensight.serving.limits import RefusalError
from keensight.serving.studio.state import Studio

MOST_JSON = 2**22
Endpoint = Callable[[Studio, Request], Awaitable[Response]]


def told(endpoint: Endpoint, studio: Studio) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint of Starlette, which answers errors with what a person can do about them."""

    async def call(request: Request) -> Response:
        try:
            return await endpoint(studio, request)
        except RefusalError as error:
            return _error(error.status, error.code, str(error))
        except KeensightError as error:
            return _error(409, "failed", str(error))
        except ClientDisconnect:
            return _error(400, "gone", "The page was closed.")
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                return _error(400, "bad_request", "That name is too long for a file. Give a shorter one.")
            return _error(507, "disk", f"The disk refused: {error.strerror}. Free some space, and try again.")
        except Exception as error:
            sys.stderr.write("".join(traceback.format_exception(error)))
            return _error(500, "internal", "The studio failed. Its window says where; your pictures are safe.")

    return call


async def body_of(request: Request, most: int) -> bytes:
    """Return a request's body. Raises RefusalError (413) for one of more than `most` bytes."""
    chunks, total = [], 0
    async for chunk in request.stream():
        total += len(chunk)
        if total > most:
            raise RefusalError(413, "too_large", f"It has more than {most // 2**20} MiB, the most that is accepted.")
        chunks.append(chunk)
    return b"".join(chunks)


async def asked_in(request: Request) -> dict[str, Any]:
    """Return the JSON object that a request has. Raises RefusalError (400)."""
    try:
        asked = json.loads(await body_of(request, MOST_JSON) or b"{}")
    except (ValueError, RecursionError):
        asked = None
    if not isinstance(asked, dict):
        raise RefusalError(400, "bad_request", "The request has no JSON object.")
    return asked


def text_in(asked: dict[str, Any], name: str) -> str:
    """Return a text out of it. Raises RefusalError (400) where it is missing."""
    value = asked.get(name)
    if not isinstance(value, str):
        raise RefusalError(400, "bad_request", f"The request has no {name}.")
    return value.strip()


def done(studio: Studio) -> Response:
    """Give the state a new number, and answer with it."""
    studio.change()
    return as_json({"number": studio.number})


def as_json(value: object) -> Response:
    """Return an answer that no cache keeps."""
    return JSONResponse(value, headers={"Cache-Control": "no-store"})


def _error(status: int, code: str, message: str) -> Response:
    error = {"error": {"code": code, "message": message}}
    return JSONResponse(error, status, headers={"Cache-Control": "no-store"})


def download(content: bytes, name: str) -> Response:
    """Return a file that the browser saves."""
    return Response(
        content,
        media_type="application/octet-stream",
        headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
    )
