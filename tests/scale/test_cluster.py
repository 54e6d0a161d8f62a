"""What a cluster's address, its versions and its answers are worth; no cluster is needed."""

import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from keensight.errors import RunError, UsageError
from keensight.machine import versions
from keensight.scale.cluster import LostError, answer_of, check_address, check_versions, connected


def test_an_address_where_nobody_answers():
    with pytest.raises(RunError, match=r"Nobody answers at 127.0.0.1:9 .*ray start --head"):
        check_address("127.0.0.1:9")
    for wrong in ("auto", "head:port", ":"):
        with pytest.raises(UsageError, match=r"--cluster is '.*'. Give the head's address, such as 10.0.0.1:6379"):
            check_address(wrong)
    with pytest.raises(RunError, match="Nobody answers"):
        check_address("127.0.0.1:99999")


@pytest.mark.parametrize(
    ("says", "is_ray"), [(b"\0\0\x12\4\0", True), (b"HTTP/1.0 400", False), (b"", False), (b"\0", False)]
)
def test_what_answers_must_be_ray(says, is_ray):
    def answer():
        connection, _ = server.accept()
        with connection:
            connection.recv(33, socket.MSG_WAITALL)
            connection.sendall(says)

    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as threads:
        threads.submit(answer)
        address = f"127.0.0.1:{server.getsockname()[1]}"
        if is_ray:
            check_address(address)
            return
        with pytest.raises(RunError, match=rf"What answers at {address} is no Ray cluster. .*usually 6379"):
            check_address(address)


@pytest.mark.parametrize("asked", ["--workers", "--cluster"])
def test_without_ray_the_extra_is_named(monkeypatch, asked):
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(UsageError, match=rf"{asked} needs Ray, .*keensight\[scale\]\"; without {asked}"),
        connected(None, 2, asked),
    ):
        pass


def test_machines_with_other_versions_are_refused():
    own = versions()
    check_versions([{"host": "a", "versions": own}], own)
    b = {"host": "b", "versions": own | {"torch": "1.0"}}
    with pytest.raises(RunError, match=r"The machine b has torch 1.0, and here it is .* Install the same"):
        check_versions([{"host": "a", "versions": own}, b], ["python", "torch"])
    check_versions([b], ["python"])
    del b["versions"]["torch"]
    with pytest.raises(RunError, match="The machine b has torch not at all"):
        check_versions([b], ["torch"])


def test_a_machine_without_keensight_is_told_from_one_that_is_gone():
    class RayError(Exception):
        pass

    def get(text):
        raise RayError(text)

    errors = SimpleNamespace(RayError=RayError, RayTaskError=type("RayTaskError", (Exception,), {}))
    ray = SimpleNamespace(exceptions=errors, get=get)
    said = "The actor died.\nTraceback:\n  import x\nModuleNotFoundError: No module named 'keensight'\n"
    with pytest.raises(RunError, match="cannot load its program: .*No module named 'keensight'. Install the same"):
        answer_of(ray, said)
    with pytest.raises(LostError, match="^The actor died.$"):
        answer_of(ray, "The actor died.\nIts node is gone.")
