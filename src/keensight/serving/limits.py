"""Limits on what a request may cost. A request over a limit is refused before there is work."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address

from keensight.errors import suggestion

MB = 10**6


@dataclass(frozen=True, slots=True)
class Limits:
    """What is accepted. Times are in seconds."""

    max_bytes: int = field(default=10 * MB, metadata={"help": "The most bytes of a request."})
    max_pixels: int = field(default=25 * MB, metadata={"help": "The most pixels of a picture."})  # by its header
    max_pictures: int = field(default=32, metadata={"help": "The most pictures of a request."})
    request_s: float = field(default=30.0, metadata={"option": "timeout", "help": "The most seconds for a request."})
    body_s: float = 20.0
    header_s: float = 10.0
    keep_alive_s: float = field(
        default=75.0,
        metadata={
            "option": "keep-alive",
            "help": "How many seconds an idle connection stays open: more than a balancer in front keeps its own.",
        },
    )
    connections: int = field(default=512, metadata={"help": "The most open connections."})
    queue: int = field(
        default=256, metadata={"help": "The most pictures under way; further ones are refused with status 503."}
    )
    memory: int = 256 * MB  # of all bodies that are being received or answered
    rate: float = field(default=0.0, metadata={"help": "The most requests a second from one client; 0 is no limit."})


@dataclass(frozen=True, slots=True)
class Batching:
    """How requests are batched: see `Batcher`. Large images go in smaller batches than `size`."""

    size: int = field(
        default=32,
        metadata={
            "option": "batch-size",
            "help": "The most pictures that go through a model together; 1 turns batching off.",
        },
    )
    wait_us: int = field(
        default=500,
        metadata={
            "option": "batch-wait",
            "help": "How many microseconds a batch waits for pictures that are being decoded.",
        },
    )


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


def _network(client: str) -> str:
    """Return what counts as one client: an IPv4 address, or the /64 network that an IPv6 customer has."""
    try:
        address = ip_address(client)
    except ValueError:
        return client
    return str(int(address) >> 64) if isinstance(address, IPv6Address) else client
