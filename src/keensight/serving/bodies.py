"""Receives a request's body within limits of size, time and memory, and counts it while it is held."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.requests import ClientDisconnect, Request

from keensight.serving.limits import Limits, Places, RefusalError


@contextmanager
def held(places: Places) -> Iterator[list[int]]:
    """Yield a list of the sizes that a body has taken from `places`; at the end they are given back."""
    sizes: list[int] = []
    try:
        yield sizes
    finally:
        places.taken -= sum(sizes)


async def read_body(request: Request, limits: Limits, memory: Places, sizes: list[int]) -> bytes:
    """Return a request's body; `sizes` is from `held` and keeps its bytes counted.

    Raises RefusalError: 413 for more than `max_bytes`, by Content-Length or by count; 408 if it takes longer than
    `body_s`; 503 if all bodies together take too much memory; 415 for a compressed one; 400 for a part of a file, or
    if the client leaves.
    """
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise RefusalError(415, "unsupported_encoding", "Compressed bodies are not accepted. Send it uncompressed.")
    if "content-range" in request.headers:
        raise RefusalError(400, "partial", "A part of a file cannot be used. Send all of it, without Content-Range.")
    told = request.headers.get("content-length", "")
    if told.isascii() and told.isdigit() and int(told) > limits.max_bytes:
        raise _too_large(limits)
    chunks, total = [], 0
    try:
        async with asyncio.timeout(limits.body_s):
            async for chunk in request.stream():
                total += len(chunk)
                if total > limits.max_bytes:
                    raise _too_large(limits)
                memory.check(len(chunk))
                memory.taken += len(chunk)
                sizes.append(len(chunk))
                chunks.append(chunk)
    except TimeoutError:
        raise RefusalError(
            408,
            "too_slow",
            f"The body did not arrive within {limits.body_s:g} seconds. Send it faster, or send less.",
            {"Connection": "close"},
        ) from None
    except ClientDisconnect:
        raise RefusalError(400, "disconnected", "The client went away before its request was complete.") from None
    return b"".join(chunks)


def _too_large(limits: Limits) -> RefusalError:
    return RefusalError(
        413,
        "too_large",
        f"The request has more than {limits.max_bytes:,} bytes, the most that is accepted. Send smaller or fewer "
        "pictures.",
    )
