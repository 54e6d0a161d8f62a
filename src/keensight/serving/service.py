"""The state that all requests share."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from keensight.machine import cores
from keensight.serving.access import Network
from keensight.serving.decoding import Decoders
from keensight.serving.limits import Limits, Places, TokenBuckets
from keensight.serving.metrics import Metrics
from keensight.serving.registry import Registry

if TYPE_CHECKING:
    from keensight.serving.keep import Keeper

_LINE = json.JSONEncoder(default=str)  # json.dumps makes a new encoder each time
DRAINING = "The server is about to stop. Ask another one, or try again in a moment."


def log(event: str, *, level: str = "info", **fields: Any) -> None:
    """Write one line of JSON to stderr."""
    line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "level": level, "event": event, **fields}
    with contextlib.suppress(OSError):  # no reader, or a full disk: answers matter more than the log
        sys.stderr.write(f"{_LINE.encode(line)}\n")  # in one piece: threads log, too
        sys.stderr.flush()


def _low_priority_thread() -> ThreadPoolExecutor:
    """Return a pool of one thread with the lowest priority."""

    def yield_to_others() -> None:
        if hasattr(os, "setpriority"):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)

    return ThreadPoolExecutor(1, thread_name_prefix="explain", initializer=yield_to_others)


@dataclass(slots=True, eq=False)
class Service:
    """The models, the limits, and what counts and holds them."""

    registry: Registry
    limits: Limits = field(default_factory=Limits)
    api_keys: tuple[str, ...] = ()
    trusted_proxies: tuple[Network, ...] = ()
    origins: frozenset[str] = frozenset()
    keeper: Keeper | None = None
    explains: bool = True
    log: Callable[..., None] = log
    metrics: Metrics = field(default_factory=Metrics)
    is_draining: bool = False
    in_flight: int = 0
    stop_at: float = math.inf  # when everything must be over, by `time.monotonic`
    started: float = field(default_factory=time.monotonic)
    places: Places = field(init=False)
    memory: Places = field(init=False)
    explaining: Places = field(init=False)
    buckets: TokenBuckets = field(init=False)
    decoders: ThreadPoolExecutor = field(init=False)
    apart: Decoders = field(init=False)  # for pictures that take a while
    explainer: ThreadPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        self.places = Places(self.limits.queue, "Too many pictures are waiting.")
        self.memory = Places(self.limits.memory, "Too many large requests are under way.")
        self.explaining = Places(1, "Another picture is being explained.")
        self.buckets = TokenBuckets(self.limits.rate)
        self.decoders = ThreadPoolExecutor(cores(), thread_name_prefix="decode")
        self.apart = Decoders()
        self.explainer = _low_priority_thread()
        self.metrics.watch_queue(lambda: self.places.taken)
        self.registry.on_change = lambda: self.metrics.set_models(self.registry)
        self.registry.on_change()

    @property
    def is_ready(self) -> bool:
        """Whether the server is ready for predictions."""
        return len(self.registry) > 0 and not self.is_draining
