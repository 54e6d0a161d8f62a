"""A small internet on this machine: one server that answers for all hosts, and a clock that only waiting moves on."""

import io
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from PIL import Image

import keensight
from keensight.care.gather import loop
from keensight.care.gather.client import Client, Clock
from keensight.care.gather.network import Network
from keensight.data.pixels import decode_picture
from keensight.pipeline.watch import Watcher
from keensight.values import Preprocessing, Uint8Array
from keensight.verbs.gather import Gathered


@dataclass
class Asked:
    """A request as the server saw it."""

    host: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    method: str
    form: dict[str, str]


@dataclass
class Says:
    """What the server answers; with `raw`, exactly these bytes, piece by piece, with nothing around them."""

    body: bytes | dict[str, Any] | list[Any] | str = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: list[bytes] | None = None


Route = Callable[[Asked], Says]
SEARCH = "https://api.openverse.org/v1/images/"


def picture(seed: int, width: int = 160, height: int = 120, kind: str = "JPEG") -> bytes:
    """A picture unlike those of other seeds."""
    rng = np.random.default_rng(seed)
    blobs = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    noisy = np.asarray(blobs, np.int16) + rng.integers(-20, 21, (height, width, 3))
    file = io.BytesIO()
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(file, kind, quality=90)
    return file.getvalue()


class World:
    """Hosts and what they answer. `routes` are by host and the beginning of the path; the longest that fits answers."""

    says = Says
    picture = staticmethod(picture)

    def __init__(self) -> None:
        self.routes: dict[tuple[str, str], Route] = {}
        self.asked: list[Asked] = []
        self.now = 1_800_000_000.0
        self.waits: list[float] = []
        self.at_once: dict[str, int] = {}
        self.most_at_once: dict[str, int] = {}
        self.lock = threading.Lock()
        world = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                world._answer(self)

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:  # a client that went away
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def on(self, url: str, says: Says | Route | bytes | dict[str, Any]) -> None:
        """Have an address, and all that begin so, answered."""
        parts = urlsplit(url)
        answer = says if callable(says) else (lambda asked: says if isinstance(says, Says) else Says(says))
        self.routes[parts.netloc, parts.path or "/"] = answer

    @property
    def network(self) -> Network:
        return Network(stand_ins={host: self.port for host, _ in self.routes})

    def client(self, **settings: Any) -> Client:
        return Client(network=self.network, **settings)

    def results(self, *queries: str, per_page: int = 20, of: int = 60, licence: str = "by") -> None:
        """Have Openverse find pictures: number n of the first query is pictures.example/n.jpg, the next /100n.jpg."""

        def answer(asked: Asked) -> Says:
            page, base = int(asked.query["page"]), 1000 * queries.index(asked.query["q"])
            some = range(base + per_page * (page - 1), base + min(of, per_page * page))
            found = [
                {
                    "title": f"Picture {n}",
                    "creator": f"Creator {n}", "foreign_landing_url": f"https://example.org/{n}",
                    "url": f"https://pictures.example/{n}.jpg", "license": licence,
                    "license_url": f"https://creativecommons.org/licenses/{licence}/2.0/",
                }
                for n in some
            ]  # fmt: skip
            return self.says({"results": found, "page_count": -(-of // per_page), "page": page})

        self.on(SEARCH, answer)

    def gather(self, queries: list[str], out: Path, **told: Any) -> Gathered:
        """Gather with this world's hosts in the place of the internet."""
        return keensight.gather(queries, out=out, network=self.network, **told)

    def paths(self, host: str, *, robots: bool = False) -> list[str]:
        """The paths that a host was asked for."""
        return [each.path for each in self.asked if each.host == host and (robots or each.path != "/robots.txt")]

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        length = int(handler.headers.get("Content-Length") or 0)
        asked = Asked(
            handler.headers["Host"],
            parts.path,
            {name: values[0] for name, values in parse_qs(parts.query).items()},
            dict(handler.headers),
            handler.command,
            {name: values[0] for name, values in parse_qs(handler.rfile.read(length).decode()).items()},
        )
        is_robots = asked.path == "/robots.txt"  # which is not there unless a test says so
        fitting = [
            (len(path), route)
            for (host, path), route in self.routes.items()
            if host == asked.host and (path == asked.path if is_robots else asked.path.startswith(path))
        ]
        with self.lock:
            self.asked.append(asked)
            self.at_once[asked.host] = self.at_once.get(asked.host, 0) + 1
            self.most_at_once[asked.host] = max(self.most_at_once.get(asked.host, 0), self.at_once[asked.host])
        try:
            says = max(fitting, key=lambda each: each[0])[1](asked) if fitting else Says(status=404)
        finally:
            with self.lock:
                self.at_once[asked.host] -= 1
        if says.raw is not None:
            for piece in says.raw:
                handler.wfile.write(piece)
                handler.wfile.flush()
            handler.close_connection = True
            return
        body = says.body if isinstance(says.body, bytes) else (
            says.body.encode() if isinstance(says.body, str) else json.dumps(says.body).encode()
        )  # fmt: skip
        handler.send_response(says.status)
        for name, value in {"Content-Length": str(len(body)), **says.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Hosts that this machine stands in for; waiting takes no time, and moves the clock on."""
    made = World()

    def wait(self: Clock, seconds: float) -> None:
        with made.lock:
            made.waits.append(seconds)
            made.now += seconds

    monkeypatch.setattr(Clock, "now", lambda self: made.now)
    monkeypatch.setattr(Clock, "wait", wait)
    yield made
    made.close()


@pytest.fixture
def pictures(world: World) -> World:
    """A host whose every picture, /1.jpg and so on, is another one."""
    world.on(
        "https://pictures.example/", lambda asked: Says(picture(int("".join(filter(str.isdigit, asked.path)) or 0)))
    )
    return world


class Notes(Watcher):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def notes() -> Notes:
    """A watcher, and what it was told."""
    return Notes()


class Here:
    """Decodes in this process: another one takes a third of a second to start, for each gathering."""

    def decode(self, picture: bytes, preprocessing: Preprocessing, seconds: float) -> Uint8Array:
        return decode_picture(picture, preprocessing)

    def close(self) -> None:
        pass


@pytest.fixture
def decoded_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start no process to decode."""
    monkeypatch.setattr(loop, "Apart", Here)


@pytest.fixture
def pets(pictures: World) -> World:
    """Openverse, which finds 60 cats and 60 dogs at pictures.example."""
    pictures.results("cat", "dog")
    return pictures
