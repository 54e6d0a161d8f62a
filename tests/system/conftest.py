"""Servers, nginx in front of them, and load: real processes, on loopback only."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

collect_ignore = ["backbones.py"]  # a program for another environment
FROZEN = Path(__file__).parents[1] / "bundle" / "frozen"
TIMEOUT_S = 60.0  # far more than anything takes: it only keeps a hang from being endless
NGINX = """
user root; daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/errors;
events {{ worker_connections 2048; }}
http {{
    log_format upstream '$status|$upstream_addr|$upstream_status';
    access_log {folder}/access upstream;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    upstream model {{
        {servers}
        keepalive 16; keepalive_timeout 3s;  # less than the servers': they close after 5
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://model; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_next_upstream {retry};
        }}
    }}
}}
"""


def pytest_collection_modifyitems(items):
    """Everything here is a test of the system."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.system)


def until(happens: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not happens():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


class Server:
    """`keensight serve` on a port that is free, ready."""

    def __init__(self, folder: Path, bundle: Path) -> None:
        out = folder / "out"
        with open(out, "w") as stdout, open(folder / "err", "w") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "keensight", "serve", str(bundle), "--port", "0"],
                stdout=stdout, stderr=stderr, stdin=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"},
            )  # fmt: skip
        until(lambda: self.process.poll() is not None or "http://" in out.read_text(), "the server does not start")
        assert self.process.poll() is None, (folder / "err").read_text()
        self.port = int(re.search(r"http://127.0.0.1:(\d+)", out.read_text())[1])

    def end(self) -> int:
        """SIGTERM, and the status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(TIMEOUT_S)


class Nginx:
    """nginx in front of servers; `retry` is its proxy_next_upstream."""

    def __init__(self, folder: Path, servers: Sequence[Server], retry: str) -> None:
        self._folder, self._retry, self.port = folder, retry, free_port()
        self._write(servers)
        words = ["nginx", "-p", str(folder), "-c", str(folder / "conf"), "-e", str(folder / "errors")]
        self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL)
        until(lambda: self.process.poll() is not None or self._workers(), "nginx does not start")
        assert self.process.poll() is None, (folder / "errors").read_text()

    def _write(self, servers: Sequence[Server]) -> None:
        lines = " ".join(f"server 127.0.0.1:{server.port} fail_timeout=1s;" for server in servers)
        text = NGINX.format(folder=self._folder, servers=lines, port=self.port, retry=self._retry)
        (self._folder / "conf").write_text(text)

    def _workers(self) -> set[str]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return set(children.read_text().split())

    def route_to(self, *servers: Server) -> None:
        """Send new requests to these servers only; return when none can go elsewhere any more."""
        before = self._workers()
        self._write(servers)
        self.process.send_signal(signal.SIGHUP)
        until(lambda: self._workers() and not self._workers() & before, "nginx' old worker does not end")

    def retried(self) -> int:
        """How many requests went to a second server."""
        lines = (self._folder / "access").read_text().splitlines()
        return sum("," in line.split("|")[1] for line in lines)


class Load:
    """Open-loop load; `stop` returns what became of it."""

    def __init__(self, port: int, rate: float) -> None:
        words = [
            sys.executable,
            str(Path(__file__).with_name("load.py")),
            str(port),
            str(FROZEN / "pictures" / "0.png"),
        ]
        self.rate = rate
        self.process = subprocess.Popen([*words, str(rate)], stdout=subprocess.PIPE, text=True)

    def stop(self) -> dict:
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=TIMEOUT_S)
        return json.loads(out)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[type, object], object]]:
    """Start a Server, an Nginx or a Load; what still runs at the end is killed."""
    if shutil.which("nginx") is None or os.geteuid() != 0:
        pytest.skip("nginx is missing, or this is not root: apt-get install nginx-light")
    started = []

    def begin(kind: type, *words: object, **options: object) -> object:
        folder = [] if kind is Load else [tmp_path / f"{kind.__name__}{len(started)}"]
        for path in folder:
            path.mkdir()
        started.append(kind(*folder, *words, **options))
        return started[-1]

    yield begin
    for each in reversed(started):
        if each.process.poll() is None:
            each.process.send_signal(signal.SIGCONT)
            each.process.terminate()
            each.process.wait(TIMEOUT_S)


@pytest.fixture
def bundles(tmp_path: Path) -> tuple[Path, Path]:
    """A bundle, and a new version of it."""
    paths = tmp_path / "old" / "digits", tmp_path / "new" / "digits"
    for path in paths:
        shutil.copytree(FROZEN / "bundle", path, copy_function=shutil.copyfile)
    (paths[1] / "signature.json").unlink()
    (paths[1] / "sbom.cdx.json").unlink()
    (paths[1] / "report.html").write_text("<!doctype html><title>retrained</title>")
    return paths


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Print a measured number, whatever pytest captures."""

    def say(text: str) -> None:
        with capsys.disabled():
            print(f"\n{text}")

    return say


# what tests need by name, where nothing can be imported from here
@pytest.fixture
def kinds() -> tuple[type, type, type]:
    return Server, Nginx, Load
