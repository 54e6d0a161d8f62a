import socket
import subprocess

import httpx2 as httpx
import pytest

from keensight.errors import KeensightError, UsageError
from keensight.serving import addresses
from keensight.serving.addresses import bind, is_loopback, urls_of

pytestmark = pytest.mark.thorough


def test_addresses_that_cannot_be_had(start, frozen):
    with bind("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(KeensightError, match="Another program listens there"):
            bind("127.0.0.1", port)
        server = start(frozen, "--port", port)
        assert server.wait() == 1
        (line,) = server.err.read_text().splitlines()
        assert line.startswith(f"keensight: Cannot listen on 127.0.0.1, port {port}: address already in use.")
    with pytest.raises(KeensightError, match="There is no host"):
        bind("no.such.host.invalid", 0)
    with pytest.raises(KeensightError, match="no such address"):
        bind("203.0.113.7", 0)
    for port in (-1, 65536):
        with pytest.raises(UsageError, match="is not a port"):
            bind("127.0.0.1", port)


def own_addresses():
    """What Debian's `hostname` says that this machine has, none of them of itself alone."""
    done = subprocess.run(["hostname", "-I"], check=False, capture_output=True, text=True)
    return done.stdout.split()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "[::]"])
def test_all_networks_have_an_address_for_this_machine_and_for_others(host):
    with bind(host, 0) as bound:
        bound.listen()
        port = bound.getsockname()[1]
        first, *others = urls_of(bound)
        assert first == f"http://127.0.0.1:{port}"
        assert not is_loopback(bound)
        for url in others:
            address = url.removeprefix("http://").rpartition(":")[0].strip("[]")
            assert address in own_addresses()
            socket.create_connection((address, port), 10).close()


@pytest.mark.parametrize(("host", "url"), [("127.0.0.1", "http://127.0.0.1:{}"), ("::1", "http://[::1]:{}")])
def test_this_machine_alone_has_one_address(host, url):
    with bind(host, 0) as bound:
        assert urls_of(bound) == [url.format(bound.getsockname()[1])]
        assert is_loopback(bound)


def test_both_kinds_of_addresses_answer(start, frozen):
    """With an earlier --host, as an image has it: the last one counts."""
    server = start(frozen, "--host", "127.0.0.2", "--host", "::")
    for host in ("127.0.0.1", "[::1]"):
        assert httpx.get(f"http://{host}:{server.port}/healthz", timeout=60).status_code == 200


def test_a_machine_without_ipv6_listens_by_ipv4(monkeypatch):
    real = socket.socket

    def without_ipv6(family=socket.AF_INET, *more, **options):
        if family == socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        return real(family, *more, **options)

    monkeypatch.setattr(addresses.socket, "socket", without_ipv6)
    with bind("::", 0) as bound:
        assert bound.getsockname()[0] == "0.0.0.0"
        assert urls_of(bound)[0] == f"http://127.0.0.1:{bound.getsockname()[1]}"


def test_keys_on_a_network_without_tls_have_a_warning(start, frozen, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("0" * 64)
    for words, warns in (
        (["--host", "0.0.0.0"], True),
        (["--host", "0.0.0.0", "--trusted-proxy", "10.0.0.0/8"], False),
        (["--host", "127.0.0.1"], False),
    ):
        server = start(frozen, "--api-keys", keys, *words)
        server.until(lambda: server.log("ready"))  # noqa: B023  # called at once
        assert server.get("/healthz").status_code == 200
        assert [line["level"] for line in server.log("unencrypted")] == ["warning"] * warns
