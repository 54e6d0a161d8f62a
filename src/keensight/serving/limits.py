"""Limits on what a request may cost. A request over a limit is refused before there is work."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address

from starlette.requests import ClientDisconnect, Request

from keensight.errors import suggestion

MB = 10**6


@dataclass(frozen=True, slots=True)
class Limits:
    """What is accepted. Times are in seconds, `rate` in requests a second from one client (0: no limit)."""

    max_bytes: int = 10 * MB  # of a request's body
    max_pixels: int = 25 * MB  # of a picture, by its header
    max_pictures: int = 32  # in a request
    request_s: float = 30.0
    body_s: float = 20.0
    header_s: float = 10.0
    connections: int = 512
    queue: int = 256  # pictures decoding, waiting, or in the model
    memory: int = 256 * MB  # of all bodies that are being received or answered
    rate: float = 0.0


class RefusalError(Exception):
    """An answer that is an error: an HTTP status, a code for programs, a message for people."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.headers = dict(headers or {})


def too_busy(what: str, retry_after_s: int = 1) -> RefusalError:
    """Return a refusal with status 503 that says when to come back."""
    return RefusalError(503, "busy", f"{what} Try again in a moment.", {"Retry-After": str(retry_after_s)})


def check_label(label: str, labels: Collection[str], otherwise: str) -> None:
    """Raise RefusalError (400) for a label that a model does not have; `otherwise` says what else could be sent."""
    if label not in labels:
        asked = ascii(label)[1:-1][:100]
        advice = f"{suggestion(asked, labels)}{otherwise}"
        raise RefusalError(400, "unknown_label", f"The model has no label {asked}. {advice}")


@dataclass(slots=True)
class Places:
    """A quota: `limit` places, of which `taken` are in use; `what` is the message when none is left."""

    limit: int
    what: str
    taken: int = 0

    @contextmanager
    def take(self, num: int = 1) -> Iterator[None]:
        """Hold `num` places, or raise RefusalError (503) at once. The first to come may hold more than the limit."""
        self.check(num)
        self.taken += num
        try:
            yield
        finally:
            self.taken -= num

    def check(self, num: int = 1) -> None:
        """Raise RefusalError (503) if `num` places are not free."""
        if self.taken and self.taken + num > self.limit:
            raise too_busy(self.what)


@dataclass(slots=True)
class TokenBuckets:
    """A token bucket for each client: `rate` requests a second, and twice that at once after a pause."""

    rate: float
    most_clients: int = 10_000
    _buckets: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    def take(self, client: str, now: float | None = None) -> None:
        """Take one token, or raise RefusalError (429). The clients that were silent for longest are forgotten first."""
        if not self.rate:
            return
        now = time.monotonic() if now is None else now
        key, burst = _network(client), max(1.0, 2 * self.rate)
        tokens, then = self._buckets.pop(key, (burst, now))
        tokens = min(burst, tokens + (now - then) * self.rate)
        self._buckets[key] = (tokens - 1 if tokens >= 1 else tokens, now)
        if len(self._buckets) > self.most_clients:
            self._buckets.popitem(last=False)
        if tokens < 1:
            wait = str(math.ceil((1 - tokens) / self.rate))
            raise RefusalError(
                429,
                "rate_limited",
                f"More than {self.rate:g} requests a second came from this client. Wait, and send fewer.",
                {"Retry-After": wait},
            )


@contextmanager
def held(places: Places) -> Iterator[list[int]]:
    """Yield a list for the sizes that a growing body takes from `places`; at the end they are given back."""
    sizes: list[int] = []
    try:
        yield sizes
    finally:
        places.taken -= sum(sizes)


async def read_body(request: Request, limits: Limits, memory: Places, sizes: list[int]) -> bytes:
    """Return a request's body; `sizes` is from `held` and keeps its bytes counted.

    Raises RefusalError: 413 for more than `max_bytes`, by Content-Length or by count; 408 if it takes longer than
    `body_s`; 503 if all bodies together take too much memory; 415 for a compressed one; 400 if the client leaves.
    """
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise RefusalError(415, "unsupported_encoding", "Compressed bodies are not accepted. Send it uncompressed.")
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


def _network(client: str) -> str:
    """Return what counts as one client: an IPv4 address, or the /64 network that an IPv6 customer has."""
    try:
        address = ip_address(client)
    except ValueError:
        return client
    return str(int(address) >> 64) if isinstance(address, IPv6Address) else client
