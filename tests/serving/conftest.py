"""Services around the frozen bundle (logistic regression on 8x8 digits, signed), in this process and in real ones."""

import asyncio
import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import httpx2 as httpx
import numpy as np
import pytest
import uvicorn
from PIL import Image
from starlette.testclient import TestClient

from keensight.serving.addresses import bind
from keensight.serving.app import create_app
from keensight.serving.connection import protocol
from keensight.serving.limits import Batching, Limits
from keensight.serving.registry import Registry, Source, load_model
from keensight.serving.service import Service

FROZEN = Path(__file__).parents[1] / "bundle" / "frozen"
T = TypeVar("T")
TIMEOUT_S = 60.0  # far more than anything takes: it only keeps a hang from being endless


def png(image: np.ndarray | None = None, size: tuple[int, int] = (8, 8), kind: str = "PNG") -> bytes:
    """An encoded picture: of an array, or black."""
    file = io.BytesIO()
    (Image.new("L", size) if image is None else Image.fromarray(image)).save(file, kind)
    return file.getvalue()


def copy_bundle(to: Path, change: str | None = None) -> Path:
    """A copy of the frozen bundle; with `change`, another report and no signature, hence another version."""
    shutil.copytree(FROZEN / "bundle", to, copy_function=shutil.copyfile)
    if change is not None:
        (to / "signature.json").unlink()
        (to / "report.html").write_text(f"<!doctype html><title>{change}</title>")
        (to / "sbom.cdx.json").unlink()
    return to


@pytest.fixture(scope="session")
def frozen() -> Path:
    return FROZEN / "bundle"


@pytest.fixture(scope="session")
def public_key() -> Path:
    return FROZEN / "release.pem.pub"


@pytest.fixture(scope="session")
def digit() -> bytes:
    """A picture of a zero."""
    return (FROZEN / "pictures" / "0.png").read_bytes()


@pytest.fixture
def make_service(frozen: Path) -> Callable[..., Service]:
    """Make a service of bundles; what it logs is in `service.logged`."""

    def make(*bundles: Path, batching: Batching | None = None, key: Path | None = None, **options) -> Service:
        logged = []

        def log(event: str, **fields) -> None:
            logged.append({"event": event, **fields})

        registry = Registry(log)
        if "limits" in options:
            options["limits"] = Limits(**options["limits"])
        service = Service(registry, log=log, **options)
        for bundle in bundles or (frozen,):
            source = Source(bundle)
            observe = lambda name, n: service.metrics.batches.labels(name).observe(n)  # noqa: E731
            registry.put(source, load_model(source, key, batching or Batching(), observe))
        return service

    return make


@pytest.fixture
def logged() -> Callable[[Service], list[dict]]:
    """What a service has logged."""
    return lambda service: service.log.__closure__[0].cell_contents


@pytest.fixture
def make_client(make_service) -> Iterator[Callable[..., TestClient]]:
    """Make a client of an application in this process."""
    clients = []

    def make(*bundles: Path, service: Service | None = None, **options) -> TestClient:
        client = TestClient(create_app(service or make_service(*bundles, **options)), raise_server_exceptions=False)
        clients.append(client.__enter__())
        return clients[-1]

    yield make
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(make_client) -> TestClient:
    return make_client()


@contextlib.asynccontextmanager
async def listening_here(service: Service, **options: object) -> AsyncIterator[tuple[str, int]]:
    """Listen in this loop; yield host and port. uvicorn's own loop would look only every tenth of a second for the end.

    What still goes on at the end is waited for, as uvicorn does.
    """
    quiet = {"ws": "none", "lifespan": "off", "log_config": None, "server_header": False, "proxy_headers": False}
    config = uvicorn.Config(create_app(service), http=protocol(service), **(quiet | options))
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    bound = bind("127.0.0.1", 0)
    address = bound.getsockname()
    await server.startup(sockets=[bound])
    await server.on_tick(0)  # it writes the Date header
    try:
        yield address
    finally:
        for each in server.servers:
            each.close()
        bound.close()
        for connection in list(server.server_state.connections):
            connection.shutdown()
        while server.server_state.connections or server.server_state.tasks:
            await asyncio.sleep(0.001)


@pytest.fixture(scope="session")
def listening() -> Callable[..., contextlib.AbstractAsyncContextManager[tuple[str, int]]]:
    """Listen in the loop of the test."""
    return listening_here


class Running:
    """`keensight serve` in a process of its own."""

    def __init__(self, folder: Path, *words: object) -> None:
        self.err = folder / "err"
        self.out = folder / "out"
        port = [] if "--port" in words else ["--port", "0"]
        with open(self.out, "w") as out, open(self.err, "w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "keensight", "serve", *port, *map(str, words)],
                stdout=out, stderr=err, stdin=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"},
            )  # fmt: skip

    @property
    def url(self) -> str:
        self.until(lambda: "http://" in self.out.read_text())
        return re.search(r"http://\S+", self.out.read_text())[0]

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def log(self, event: str) -> list[dict]:
        lines = [json.loads(line) for line in self.err.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    def until(self, happens: Callable[[], T]) -> T:
        deadline = time.monotonic() + TIMEOUT_S
        while not (found := happens()):
            assert self.process.poll() is None, f"it ended too soon: {self.err.read_text()}"
            assert time.monotonic() < deadline, self.err.read_text()
            time.sleep(0.01)
        return found

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        return self.process.wait(TIMEOUT_S)

    def get(self, path: str, **options) -> httpx.Response:
        return httpx.get(self.url + path, timeout=TIMEOUT_S, **options)

    def post(self, path: str, **options) -> httpx.Response:
        return httpx.post(self.url + path, timeout=TIMEOUT_S, **options)


@pytest.fixture
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Running]]:
    """Start `keensight serve` on a port that is free; what still runs at the end is killed."""
    started = []

    def begin(*words: object) -> Running:
        started.append(Running(tmp_path_factory.mktemp("served"), *words))
        return started[-1]

    yield begin
    for running in started:
        if running.process.poll() is None:
            running.process.kill()
        running.process.wait()


@pytest.fixture(scope="session")
def make_png() -> Callable[..., bytes]:
    return png


@pytest.fixture(scope="session")
def make_bundle() -> Callable[..., Path]:
    return copy_bundle
