"""Starting, stopping and reloading, in real processes."""

import hashlib
import io
import json
import os
import select
import shutil
import signal
import socket
import threading
from pathlib import Path

import httpx2 as httpx
import pytest
from PIL import Image

from keensight.serving.addresses import bind

pytestmark = pytest.mark.thorough


def connect(server):
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    return connection


def read_all(connection):
    """All that comes until the other side closes."""
    found = b""
    try:
        while chunk := connection.recv(65536):
            found += chunk
    except ConnectionResetError:
        pass
    return found


def post(digit, *headers):
    lines = [b"POST /v1/predict HTTP/1.1", b"Host: x", b"Content-Length: %d" % len(digit), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def test_it_answers_and_ends_with_status_0_on_sigterm(start, frozen, public_key, digit):
    server = start(frozen, "--key", public_key)
    assert server.get("/readyz").status_code == 200
    answer = server.post("/v1/predict", content=digit)
    assert answer.json()["predictions"][0]["label"] == "0"
    assert "server" not in answer.headers
    server.send(signal.SIGTERM)
    assert server.wait() == 0
    assert [line["signal"] for line in server.log("stopped")] == ["SIGTERM"]
    assert "warning" not in server.err.read_text()
    (line,) = [line for line in server.log("request") if line["path"] == "/v1/predict"]
    assert {"time", "level", "event", "id", "method", "path", "status", "ms", "bytes", "client"} == set(line)


def test_ctrl_c_is_130(start, frozen):
    server = start(frozen)
    assert server.url
    server.send(signal.SIGINT)
    assert server.wait() == 130


def test_an_unsigned_bundle_is_served_with_a_warning_and_refused_with_a_key(start, make_bundle, public_key, tmp_path):
    unsigned = make_bundle(tmp_path / "unsigned", "x")
    server = start(unsigned)
    assert server.get("/v1/models").json()["models"][0]["signed"] is False
    assert "keensight: warning: served without a signature: unsigned." in server.err.read_text()
    assert server.log("unverified")[0]["level"] == "warning"
    server = start(unsigned, "--key", public_key)
    assert server.wait() == 3
    assert "is not signed" in server.err.read_text()


def test_a_request_under_way_is_finished_and_a_new_one_refused(start, frozen, digit):
    server = start(frozen)
    slow, idle = connect(server), httpx.Client(base_url=server.url, timeout=60)
    slow.sendall(post(digit) + digit[:50])
    for _ in range(2):  # it has been round to all connections by then, so the half request has arrived
        assert idle.get("/readyz").status_code == 200
    server.send(signal.SIGTERM)
    server.until(lambda: server.log("draining"))
    assert server.log("draining")[0]["in_flight"] == 1
    assert idle.get("/readyz").status_code == 503
    refused = connect(server)
    refused.sendall(post(digit) + digit)
    assert b'"draining"' in read_all(refused)
    slow.sendall(digit[50:])
    answer = read_all(slow)
    assert answer.startswith(b"HTTP/1.1 200")
    assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["predictions"][0]["label"] == "0"
    assert server.wait() == 0
    for connection in (slow, idle, refused):
        connection.close()


def test_a_request_that_never_ends_does_not_keep_it_alive(start, frozen, digit):
    server = start(frozen, "--grace", "1")
    connection = connect(server)
    connection.sendall(post(digit))
    assert server.get("/readyz").status_code == 200  # it has been round to all connections
    server.send(signal.SIGTERM)
    assert server.wait() == 0
    connection.close()


def test_a_picture_that_takes_long_does_not_keep_it_alive(start, frozen):
    file = io.BytesIO()
    Image.new("L", (5000, 5000), 128).save(file, "JPEG", progressive=True)
    plain = file.getvalue()
    slow = plain[:-2] + 18 * plain[plain.rindex(b"\xff\xda") : -2] + b"\xff\xd9"  # just not refused: some seconds
    server = start(frozen, "--grace", 1)
    with socket.create_connection(("127.0.0.1", server.port)) as line:
        head = f"POST /v1/predict HTTP/1.1\r\nHost: a\r\nContent-Length: {len(slow)}\r\n\r\n"
        line.sendall(head.encode() + slow)
        child = server.until(lambda: children(server.process.pid))
        process = os.pidfd_open(child[0])
        server.send(signal.SIGTERM)
        assert server.wait() == 0
    assert select.select([process], [], [], 60)[0]  # no decoder outlives its server
    os.close(process)


def children(pid):
    """The processes that a process has started."""
    return [int(n) for task in Path(f"/proc/{pid}/task").iterdir() for n in (task / "children").read_text().split()]


def test_sighup_swaps_without_dropping_a_request(start, make_bundle, digit, tmp_path):
    bundle = make_bundle(tmp_path / "digits", "first")
    server = start(bundle)
    before = server.get("/v1/models").json()["models"][0]["version"]
    statuses, versions, stop = set(), set(), threading.Event()

    def ask():
        with httpx.Client(base_url=server.url, timeout=60) as client:
            while not stop.is_set():
                answer = client.post("/v1/predict", content=digit)
                statuses.add(answer.status_code)
                versions.add(answer.json()["version"])

    asking = threading.Thread(target=ask)
    asking.start()
    server.until(lambda: before in versions)
    (bundle / "report.html").write_text("<!doctype html><title>second</title>")
    server.send(signal.SIGHUP)
    server.until(lambda: len(server.log("loaded")) == 2)
    after = server.log("loaded")[1]["version"]
    assert server.log("loaded")[1]["replaces"] == before
    server.until(lambda: after in versions)
    stop.set()
    asking.join()
    assert statuses == {200}
    assert versions == {before, after}
    (bundle / "model.onnx").write_bytes(b"broken")
    server.send(signal.SIGHUP)
    server.until(lambda: server.log("refused"))
    assert server.log("refused")[0]["serving"] == after
    assert "\n" not in server.log("refused")[0]["reason"]
    assert server.post("/v1/predict", content=digit).json()["version"] == after


def test_a_watched_folder(start, make_bundle, frozen, public_key, digit, tmp_path):
    home = tmp_path / "models"
    home.mkdir()
    server = start("--watch", home, "--key", public_key)
    assert server.get("/readyz").status_code == 503
    shutil.copytree(frozen, home / "digits" / "1", copy_function=shutil.copyfile)
    server.until(lambda: server.log("loaded"))
    assert server.get("/readyz").status_code == 200
    (model,) = server.get("/v1/models").json()["models"]
    assert (model["name"], model["verified"]) == ("digits", True)
    make_bundle(home / "digits" / "2", "not signed")
    server.until(lambda: server.log("refused"))
    assert "is not signed" in server.log("refused")[0]["reason"]
    assert server.post("/v1/predict", content=digit).json()["version"] == model["version"]
    shutil.copytree(frozen, home / "later" / "1", copy_function=shutil.copyfile)
    server.until(lambda: server.log("loaded")[-1]["model"] == "later")  # that takes two looks at the folder
    assert len(server.log("refused")) == 1  # it is not tried again until it changes


def test_slow_headers_and_slow_bodies_are_cut_off(make_service, logged, digit):
    """In this process, with limits that the command line does not offer."""
    import asyncio

    import uvicorn

    from keensight.serving.app import create_app
    from keensight.serving.connection import protocol

    service = make_service(limits={"header_s": 0.2, "body_s": 0.2, "connections": 3, "max_bytes": 1000})

    async def answer(sent, then=b""):
        reader, writer = await asyncio.open_connection(*address)
        writer.write(sent)
        await writer.drain()
        found = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        return found

    async def main():
        nonlocal address
        config = uvicorn.Config(create_app(service), http=protocol(service), ws="none", lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        bound = bind("127.0.0.1", 0)
        address = bound.getsockname()
        serving = asyncio.create_task(server._serve([bound]))
        while not server.started:
            await asyncio.sleep(0.01)
        assert await answer(b"") == b""
        assert await answer(b"GET /healthz HTTP/1.1\r\nHost:") == b""
        assert b'"too_slow"' in await answer(post(digit) + digit[:10])
        large = await answer(b"GET /" + b"x" * 70_000)
        assert large.startswith(b"HTTP/1.1 431 ")
        assert b'"headers_too_large"' in large
        assert b'"bad_http"' in await answer(b"GET\r\n\r\n")
        assert [line["status"] for line in logged(service) if line["event"] == "request"][-2:] == [431, 400]
        reader, writer = await asyncio.open_connection(*address)  # after a good request it is no other
        writer.write(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b'"max_pictures":32}')
        writer.write(b"GET /" + b"x" * 70_000)
        assert b'"headers_too_large"' in await asyncio.wait_for(reader.read(), 30)
        writer.close()
        assert b'"too_large"' in await answer(post(bytes(5000), b"Connection: close"))
        held = [await asyncio.open_connection(*address) for _ in range(3)]
        assert b"Too many connections" in await answer(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        for _, writer in held:
            writer.close()
        server.should_exit = True
        await serving

    address = None
    asyncio.run(main())


def test_trash_is_not_a_crash(start, frozen, digit):
    server = start(frozen)
    for trash in (b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"POST /v1/predict HTTP/1.1\r\nContent-Length: -1\r\n\r\n"):
        connection = connect(server)
        connection.sendall(trash)
        connection.shutdown(socket.SHUT_WR)
        read_all(connection)
        connection.close()
    assert server.post("/v1/predict", content=digit).status_code == 200
    said = server.err.read_text().splitlines()
    assert all(json.loads(line) for line in said if not line.startswith("keensight: warning: "))


@pytest.mark.parametrize("side", [8, 300], ids=["fast path", "regular path"])
def test_a_half_closed_client_is_answered(start, frozen, make_png, side):
    server = start(frozen)
    picture = make_png(size=(side, side))
    connection = connect(server)
    connection.sendall(post(picture) + picture)
    connection.shutdown(socket.SHUT_WR)
    assert read_all(connection).startswith(b"HTTP/1.1 200 ")
    connection.close()


def test_sighup_reads_api_keys_again_and_a_bad_file_changes_nothing(start, frozen, tmp_path):
    file = tmp_path / "keys"
    file.write_text(hashlib.sha256(b"old").hexdigest())
    server = start(frozen, "--api-keys", file)

    def status(key):
        return server.get("/v1/models", headers={"X-API-Key": key}).status_code

    assert (status("old"), status("new")) == (200, 401)
    file.write_text(hashlib.sha256(b"new").hexdigest())
    server.send(signal.SIGHUP)
    server.until(lambda: status("new") == 200)
    assert status("old") == 401
    file.write_text("nonsense")
    server.send(signal.SIGHUP)
    server.until(lambda: server.log("refused"))
    assert status("new") == 200


def test_a_sighup_before_it_is_ready_waits(start, frozen, tmp_path):
    """The keys come through a pipe, so that the test knows when the server reads them: at the start, and on SIGHUP."""
    pipe = tmp_path / "keys"
    os.mkfifo(pipe)
    server = start(frozen, "--api-keys", pipe)

    def reader():
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return None

    for key, done in ((b"old", lambda: server.log("loaded")), (b"new", lambda: "http" in server.out.read_text())):
        opened = server.until(reader)
        if key == b"old":
            server.send(signal.SIGHUP)
        os.write(opened, hashlib.sha256(key).hexdigest().encode())
        os.close(opened)
        server.until(done)
    assert server.get("/v1/models", headers={"X-API-Key": "new"}).status_code == 200
