"""Only public addresses are connected to, whatever leads to others."""

import ipaddress
import socket

import pytest

from keensight.care.gather.network import Network, RefusedError, UnreachableError, checked_url, is_public

PRIVATE = [
    "0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.8.8.8", "169.254.169.254", "172.16.0.1", "172.31.255.255",
    "192.0.0.8", "192.0.2.1", "192.168.0.1", "198.18.0.1", "198.51.100.1", "203.0.113.9", "224.0.0.1", "240.0.0.1",
    "255.255.255.255", "::", "::1", "::7f00:1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a00:1",
    "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "fc00::1", "fd12::1",
    "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1",
]  # fmt: skip
PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "198.35.26.96", "2606:4700:4700::1111", "2620:0:861:ed1a::1",
          "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_no_address_inside_a_network_is_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_of_the_internet_are_public(address):
    assert is_public(address)


def test_none_that_python_calls_private_is_public():
    for first in range(256):
        for second in (0, 31, 64, 168, 254):
            address = f"{first}.{second}.0.1"
            if is_public(address):
                assert ipaddress.ip_address(address).is_global


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "[::1]", "[::ffff:127.0.0.1]"]
)
def test_this_machine_is_refused_however_it_is_written(host):
    parts = checked_url(f"http://{host}/admin", Network())
    with pytest.raises(RefusedError, match="not a public one"):
        Network().connect(parts.hostname or "", 80).close()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("file:///etc/passwd", "does not begin with http"),
        ("ftp://example.org/a.jpg", "does not begin with http"),
        ("gopher://example.org/", "does not begin with http"),
        ("data:image/png;base64,AAAA", "does not begin with http"),
        ("javascript:alert(1)", "does not begin with http"),
        ("//example.org/a.jpg", "does not begin with http"),
        ("https:///a.jpg", "not a URL"),
        ("https://example.org:22/a.jpg", "has the port 22"),
        ("http://example.org:443/a.jpg", "has the port 443"),
        ("https://example.org:99999/", "not a URL"),
        ("https://user:word@example.org/a.jpg", "user name"),
        ("https://example.org/a\r\nHost: evil", "not a URL"),
        ("https://example.org/a b.jpg", "not a URL"),
        ("https://[::1/a.jpg", "not a URL"),
        ("https://example.org/" + "a" * 5000, "not a URL"),
    ],
)
def test_other_addresses_are_refused(url, why):
    with pytest.raises(RefusedError, match=why):
        checked_url(url, Network())


@pytest.mark.parametrize(
    ("url", "checked"),
    [
        ("https://example.org", "https://example.org/"),
        ("https://EXAMPLE.org:443/a%20b.jpg#x", "https://example.org/a%20b.jpg"),
        ("http://bücher.example/ü?q=ä", "http://xn--bcher-kva.example/%C3%BC?q=%C3%A4"),
        ("https://[2606:4700::1]/a", "https://[2606:4700::1]/a"),
    ],
)
def test_fine_addresses_are_written_in_ascii(url, checked):
    assert checked_url(url, Network()).geturl() == checked


@pytest.fixture
def connected(monkeypatch):
    """What sockets are told to connect to; nothing is."""
    to = []

    def connect(self, address):
        to.append(address)
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket.socket, "connect", connect)
    return to


def test_the_connection_is_made_to_the_address_that_was_checked(connected):
    """A name that has a public address when it is checked and a private one a moment later (DNS rebinding)."""
    answers = iter(["93.184.216.34", "127.0.0.1", "10.0.0.1"])
    looked = []

    def look_up(host, port):
        looked.append(host)
        return [(socket.AF_INET, (next(answers), port))]

    with pytest.raises(UnreachableError, match=r"rebind\.example cannot be reached \(connection refused\)"):
        Network(look_up).connect("rebind.example", 80)
    assert looked == ["rebind.example"]
    assert connected == [("93.184.216.34", 80)]


def test_a_name_with_one_private_address_among_others_is_refused(connected):
    places = [(socket.AF_INET, ("93.184.216.34", 80)), (socket.AF_INET6, ("::ffff:192.168.1.1", 80, 0, 0))]
    with pytest.raises(RefusedError, match=r"mixed\.example has the address ::ffff:192\.168\.1\.1"):
        Network(lambda host, port: places).connect("mixed.example", 80)
    assert connected == []


def test_a_stand_in_leads_to_this_machine_alone_and_for_that_host_alone(connected):
    network = Network(lambda host, port: [(socket.AF_INET, ("127.0.0.1", port))], {"api.example": 5000})
    with pytest.raises(UnreachableError):
        network.connect("api.example", 443)
    assert connected == [("127.0.0.1", 5000)]
    with pytest.raises(RefusedError):
        network.connect("evil.api.example", 443)
