"""Runs the server: uvicorn with the limits that it lacks, signals, and a watched folder."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from keensight.errors import KeensightError
from keensight.serving.app import create_app
from keensight.serving.connection import protocol
from keensight.serving.registry import Model, Registry, Source, Stamp, sources_in, stamp_of
from keensight.serving.service import Service

POLL_S = 1.0


class Reloader:
    """Loads new versions while the old ones answer.

    `load` reads, verifies, loads and warms up; `refresh` reads the other files that may change.
    """

    def __init__(
        self,
        registry: Registry,
        given: list[Source],
        folder: Path | None,
        load: Callable[[Source], Model],
        refresh: Callable[[], None] = lambda: None,
    ) -> None:
        self._registry = registry
        self._given = given
        self._folder = folder
        self._load = load
        self._refresh = refresh
        self._stamps: dict[Source, Stamp] = {}
        self._tried: dict[Source, Stamp] = {}
        self._lock = asyncio.Lock()

    def start(self) -> None:
        """Load everything for the first time. Raises KeensightError for a bundle that was given by name."""
        for source in self._given:
            self._registry.put(source, self._load(source))
        for source in self._watched():
            self._tried[source] = self._stamps[source] = stamp_of(source)
            try:
                self._registry.put(source, self._load(source))
            except KeensightError as error:
                self._registry.refused(source, error)

    async def reload(self) -> None:
        """Read everything again, as SIGHUP asks for, and drop what is gone."""
        async with self._lock:
            self._refresh()
            try:
                watched = await asyncio.to_thread(self._watched)
            except KeensightError as error:
                self._registry.refused(Source(self._folder or Path()), error)
                watched = []
            for source in [*self._given, *watched]:
                await self._swap(source)
            self._registry.drop_all_but([*self._given, *watched])

    async def watch(self) -> None:
        """Poll the folder until cancelled; load what is new or changed, once it has stopped changing."""
        while self._folder is not None:
            await asyncio.sleep(POLL_S)
            async with self._lock:
                with contextlib.suppress(KeensightError):  # the folder may be missing for a moment
                    await self._look()

    async def _look(self) -> None:
        for source in await asyncio.to_thread(self._watched):
            stamp = await asyncio.to_thread(stamp_of, source)
            settled = stamp == self._stamps.get(source)
            self._stamps[source] = stamp
            if settled and stamp != self._tried.get(source):
                self._tried[source] = stamp
                await self._swap(source)

    async def _swap(self, source: Source) -> None:
        try:
            self._registry.put(source, await asyncio.to_thread(self._load, source))
        except Exception as error:  # whatever a new bundle does, the old one keeps answering
            self._registry.refused(source, error)

    def _watched(self) -> list[Source]:
        return [] if self._folder is None else sources_in(self._folder)


def run(
    service: Service, bound: socket.socket, reloader: Reloader, grace_s: float, ready: Callable[[], None]
) -> signal.Signals:
    """Answer until a signal ends it, and return that signal: SIGTERM or SIGINT. SIGHUP reads the bundles again.

    At the end requests under way are finished, for at most `grace_s` seconds, and new ones are refused.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_run(service, bound, reloader, grace_s, ready))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's event loop, which takes half the time of asyncio's, or None where there is none (Windows)."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _run(
    service: Service, bound: socket.socket, reloader: Reloader, grace_s: float, ready: Callable[[], None]
) -> signal.Signals:
    _log_of_libraries(service)
    config = uvicorn.Config(
        create_app(service),
        http=protocol(service),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=service.limits.keep_alive_s,  # type: ignore[arg-type]  # it takes parts of a second, too
    )
    server = _Server(config, ready)
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[signal.Signals] = loop.create_future()

    def end(number: signal.Signals) -> None:
        if ended.done():
            server.should_exit = server.force_exit = True  # a second signal: stop at once
        else:
            ended.set_result(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        _on_signal(loop, number, partial(end, number))
    tasks: set[asyncio.Task[Any]] = {loop.create_task(reloader.watch())}
    if hasattr(signal, "SIGHUP"):  # Windows has none, and only --watch reloads there
        _on_signal(loop, signal.SIGHUP, lambda: tasks.add(loop.create_task(reloader.reload())))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # the command line has blocked it until here
    serving = loop.create_task(server.serve([bound]))
    either: list[asyncio.Future[Any]] = [ended, serving]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if not ended.done():
        await serving
        raise KeensightError("The server ended by itself. Its log says why.")
    await _drain(service, config, grace_s)
    server.should_exit = True
    await serving
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    service.apart.close()
    for pool in (service.decoders, service.explainer):
        pool.shutdown(wait=False, cancel_futures=True)
    service.log("stopped", signal=ended.result().name)
    return ended.result()


def _on_signal(loop: asyncio.AbstractEventLoop, number: signal.Signals, do: Callable[[], object]) -> None:
    try:
        loop.add_signal_handler(number, do)
    except NotImplementedError:  # on Windows
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(do))


async def _drain(service: Service, config: uvicorn.Config, grace_s: float) -> None:
    """Refuse new requests, and wait for those under way."""
    deadline = time.monotonic() + grace_s
    service.is_draining = True
    service.stop_at = deadline
    service.log("draining", in_flight=service.in_flight, grace_s=grace_s)
    while service.in_flight and time.monotonic() < deadline - 0.5:
        await asyncio.sleep(0.02)
    config.timeout_graceful_shutdown = max(1, round(deadline - time.monotonic()))


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: uvicorn would end the process with them, and its status would not be 0."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()


def _log_of_libraries(service: Service) -> None:
    """Send libraries' warnings to our log, as JSON, except those about damaged forms and requests."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            trace = {"traceback": "".join(traceback.format_exception(*record.exc_info))} if record.exc_info else {}
            level = record.levelname.lower()
            service.log("library", level=level, name=record.name, message=record.getMessage(), **trace)

    logging.getLogger().handlers = [Handler(logging.WARNING)]
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
    logging.getLogger("uvicorn.error").addFilter(lambda record: record.msg != "Invalid HTTP request received.")
