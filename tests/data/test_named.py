import gzip
import hashlib
import re
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from keensight.data import named, receiving
from keensight.data.sources import open_dataset
from keensight.errors import DataError, KeensightError

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 4, 4), np.uint8)
LABELS = np.arange(20, dtype=np.uint8) % 10
RAW = {
    role: struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()
    for split in ("train", "test")
    for role, array in ((f"{split}-images", IMAGES), (f"{split}-labels", LABELS))
}
SHA256 = {role: hashlib.sha256(raw).hexdigest() for role, raw in RAW.items()}
FILES = {role: (named.FILES[role][0], len(raw)) for role, raw in RAW.items()}
GOOD = {f"/{FILES[role][0]}": gzip.compress(raw) for role, raw in RAW.items()}


@pytest.fixture
def serve():
    """Start servers on this machine; each gives the files of a table, or what a function in it does."""
    servers = []

    def start(content):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                body = content.get(self.path)
                if body is None:
                    self.send_error(404)
                elif callable(body):
                    body(self)
                else:
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def mirrors(monkeypatch, tmp_path):
    """Make a small dataset of the name mnist, with these mirrors, that is nowhere on this machine."""

    def use(*urls):
        source = named.Source(urls, SHA256, "on Debian, apt install dataset-fashion-mnist; or ")
        monkeypatch.setitem(named.SOURCES, "mnist", source)
        monkeypatch.setattr(named, "FILES", FILES)
        monkeypatch.setattr(named, "SYSTEM_FOLDER", tmp_path / "system")
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.delenv(name, raising=False)

    return use


def put(folder, content=GOOD):
    folder.mkdir(parents=True, exist_ok=True)
    for name, body in content.items():
        (folder / name[1:]).write_bytes(body)
    return folder


def refusal(name="mnist"):
    with pytest.raises(DataError) as caught:
        open_dataset(name)
    return str(caught.value)


def test_download(serve, mirrors, own_cache, capsys):
    mirrors(serve(GOOD))
    dataset = open_dataset("mnist")
    assert (dataset.name, dataset.root, len(dataset.samples)) == ("mnist", own_cache / "datasets/mnist", 40)
    assert {p.name: p.read_bytes() for p in dataset.root.iterdir()} == {name[1:]: body for name, body in GOOD.items()}
    assert capsys.readouterr() == ("", "")  # not a terminal
    mirrors("http://127.0.0.1:9/")  # nothing answers there
    assert open_dataset("mnist") == dataset


def test_a_progress_bar_on_a_terminal(serve, mirrors, monkeypatch, capsys):
    mirrors(serve(GOOD))
    monkeypatch.setattr(named.sys.stderr, "isatty", lambda: True)
    open_dataset("mnist")
    out, err = capsys.readouterr()
    assert out == ""
    assert "train-images-idx3-ubyte.gz" in err


def wrong_hash(name):
    body = bytearray(gzip.decompress(GOOD[name]))
    body[-1] ^= 1
    return gzip.compress(bytes(body))


def truncated(request):
    body = GOOD["/train-images-idx3-ubyte.gz"]
    request.send_response(200)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body[:-9])


def endless(request):
    request.send_response(200)
    request.end_headers()
    try:
        while True:
            request.wfile.write(bytes(2**16))
    except OSError:
        pass


def says_huge(request):
    request.send_response(200)
    request.send_header("Content-Length", str(10**12))
    request.end_headers()


def to_a_file(request):
    request.send_response(302)
    request.send_header("Location", "file:///etc/passwd")
    request.end_headers()


FIRST = "/train-images-idx3-ubyte.gz"


@pytest.mark.parametrize(
    "body,why",
    [
        (wrong_hash(FIRST), r"wrong content: SHA-256 "),
        (truncated, "cut short: "),
        (endless, "it sends more than the "),
        (says_huge, "it sends 1,000,000,000,000 bytes, and at most "),
        (to_a_file, "HTTP status 302|unknown url type|redirection"),
        (gzip.compress(bytes(10**6)), "unpacks to more than 336 bytes"),
        (b"<html>Log in to this network</html>", "not a whole gzip file"),
        (None, "HTTP status 404"),
    ],
)
def test_a_bad_mirror_is_passed_over_and_said(serve, mirrors, capsys, body, why):
    bad = serve(GOOD | {FIRST: body})
    mirrors(bad, serve(GOOD))
    dataset = open_dataset("mnist")
    assert len(dataset.samples) == 40
    out, err = capsys.readouterr()
    assert out == ""
    assert f"{bad}train-images-idx3-ubyte.gz did not work (" in err
    assert "trying the next mirror" in err
    assert re.search(why, err)
    assert len(list(dataset.root.iterdir())) == 4  # no temporary files


def test_no_mirror_works(serve, mirrors, own_cache, tmp_path):
    bad = serve({FIRST: wrong_hash(FIRST)})
    mirrors(bad, "http://127.0.0.1:9/")
    text = refusal()
    assert text.startswith("mnist is not on this machine and could not be downloaded. Looked in ")
    for part in (
        f"{tmp_path / 'system/mnist'} (no such folder)",
        f"{own_cache / 'datasets/mnist'} (no such folder)",
        f"{bad}train-images-idx3-ubyte.gz (wrong content",
        "http://127.0.0.1:9/train-images-idx3-ubyte.gz (connection refused)",
        "apt install dataset-fashion-mnist",
        "set KEENSIGHT_DATA to it",
        "t10k-labels-idx1-ubyte.gz",
    ):
        assert part in text
    assert list((own_cache / "datasets/mnist").iterdir()) == []


def test_what_came_before_the_failure_is_kept(serve, mirrors, own_cache):
    content = dict(GOOD)
    last = content.pop("/t10k-labels-idx1-ubyte.gz")
    asked = []
    mirrors(serve(content))
    refusal()
    assert len(list((own_cache / "datasets/mnist").iterdir())) == 3

    def count(request):
        asked.append(request.path)
        request.send_response(200)
        request.end_headers()
        request.wfile.write(last)

    mirrors(serve({"/t10k-labels-idx1-ubyte.gz": count}))
    assert len(open_dataset("mnist").samples) == 40
    assert asked == ["/t10k-labels-idx1-ubyte.gz"]


def test_a_mirror_that_drips_meets_the_deadline(serve, mirrors, monkeypatch):
    """A minute passes with each look at the clock, and the next byte comes only then."""
    looks = []
    looked = threading.Semaphore(0)

    def clock():
        looks.append(60.0 * len(looks))
        looked.release()
        return looks[-1]

    def drip(request):
        request.send_response(200)
        request.end_headers()
        while looked.acquire(timeout=60):
            try:
                request.wfile.write(b"x")
            except OSError:
                return

    for module in (named, receiving):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock))
    mirrors(serve({FIRST: drip}))
    assert "it took longer than 10 minutes" in refusal()
    assert looks[-1] == named.DEADLINE_S + 60


def test_a_mirror_that_says_nothing_times_out(serve, mirrors, monkeypatch):
    stop = threading.Event()
    monkeypatch.setattr(receiving, "TIMEOUT_S", 0.2)
    mirrors(serve({FIRST: lambda _: stop.wait(60)}))
    assert "timed out" in refusal()
    stop.set()


def test_a_full_disk_is_said_and_leaves_nothing(serve, mirrors, own_cache, monkeypatch):
    mirrors(serve(GOOD))

    def full(_url, write, *_):
        write(b"x")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(named, "receive", full)
    with pytest.raises(KeensightError, match="The disk is full"):
        open_dataset("mnist")
    assert list((own_cache / "datasets/mnist").iterdir()) == []


def test_places_in_their_order(mirrors, own_cache, tmp_path, monkeypatch):
    mirrors("http://127.0.0.1:9/")
    monkeypatch.setenv("KEENSIGHT_DATA", str(tmp_path / "mine"))
    for folder in (own_cache / "datasets/mnist", tmp_path / "system/mnist", tmp_path / "mine", tmp_path / "mine/mnist"):
        put(folder)
        assert open_dataset("mnist").root == folder
    put(tmp_path / "mine/mnist", {FIRST: wrong_hash(FIRST)})
    assert open_dataset("mnist").root == tmp_path / "mine"


def test_other_content_in_a_place_is_named(mirrors, tmp_path, monkeypatch):
    mirrors("http://127.0.0.1:9/")
    monkeypatch.setenv("KEENSIGHT_DATA", str(tmp_path))
    put(tmp_path, {FIRST: wrong_hash(FIRST)})
    assert "but not test-images, test-labels, train-labels" in refusal()
    put(tmp_path, GOOD | {FIRST: wrong_hash(FIRST)})
    assert "does not have the content that mnist should have (SHA-256 " in refusal()
    (tmp_path / "mnist").mkdir()
    assert f"{tmp_path / 'mnist'} (no IDX files there)" in refusal()


def test_raw_files_are_as_good_as_gzipped_ones(mirrors, tmp_path, monkeypatch):
    mirrors("http://127.0.0.1:9/")
    monkeypatch.setenv("KEENSIGHT_DATA", str(tmp_path))
    put(tmp_path, {name.removesuffix(".gz"): gzip.decompress(body) for name, body in GOOD.items()})
    assert len(open_dataset("mnist").samples) == 40


def test_fashion_mnist_as_debian_packs_it():
    if not Path("/usr/share/datasets/fashion-mnist").is_dir():
        pytest.skip("Fashion-MNIST is missing: apt install dataset-fashion-mnist")
    dataset = open_dataset("fashion-mnist")
    assert (dataset.name, len(dataset.samples)) == ("fashion-mnist", 70_000)
    assert dataset.class_names[9] == "Ankle boot"


def test_mnist_from_a_folder_of_ones_own(shared, monkeypatch):
    if not (shared / "mnist").is_dir():
        pytest.skip(f"{shared / 'mnist'} is missing")
    monkeypatch.setenv("KEENSIGHT_DATA", str(shared))
    assert open_dataset("mnist").root == shared / "mnist"
