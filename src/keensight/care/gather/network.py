"""Which addresses a gathering may connect to: public ones alone, also after a redirect and for a name that changes.

A name is looked up once. All its addresses are checked, and the connection is made to one of the addresses that were
checked, never to the name: a second look-up could lead elsewhere (DNS rebinding).
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

CONNECT_S = 10.0
MAX_URL = 4000
PORTS = {"http": 80, "https": 443}  # and no others: what listens elsewhere seldom serves pictures
GLOBAL_UNICAST, NAT64 = IPv6Network("2000::/3"), IPv6Network("64:ff9b::/96")
ASSIGNED = IPv4Network("192.0.0.0/24")  # to protocols; before 3.11.9, Python takes some of them for global
LOOPBACK = "127.0.0.1"

Address = tuple[Any, ...]  # a family's own form, as `socket.connect` takes it
Look = Callable[[str, int], Sequence[tuple[int, Address]]]


class RefusedError(Exception):
    """It is not fetched, and would not be next time. The text says why."""


class UnreachableError(Exception):
    """It could not be reached now. The text says why."""


def look_up(host: str, port: int) -> list[tuple[int, Address]]:
    """Return the addresses of a host with their families. Raises UnreachableError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreachableError(f"{host} has no address ({reason.lower()})") from error
    return [(int(family), address) for family, _, _, _, address in found]


@dataclass(frozen=True, slots=True)
class Network:
    """How hosts are reached.

    `stand_ins` is for tests: a host's name, and the port on 127.0.0.1 where a test's server answers in its place, in
    plain HTTP. It names single hosts, and leads nowhere but to this machine. No option of the command line sets it.
    """

    look_up: Look = look_up
    stand_ins: Mapping[str, int] = field(default_factory=dict)

    def connect(self, host: str, port: int) -> socket.socket:
        """Return a connected socket. Raises RefusedError for an address that is not public, or UnreachableError."""
        if host in self.stand_ins:
            places: Sequence[tuple[int, Address]] = [(socket.AF_INET, (LOOPBACK, self.stand_ins[host]))]
        else:
            places = self.look_up(host, port)
            for _, address in places:
                if not is_public(str(address[0])):
                    raise RefusedError(f"{host} has the address {address[0]}, which is not a public one")
        problem = "no address"
        for family, address in places:
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.settimeout(CONNECT_S)
                sock.connect(address)
                with suppress(OSError):
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return sock
            except OSError as error:
                sock.close()
                problem = str(error.strerror or error).lower()
        raise UnreachableError(f"{host} cannot be reached ({problem})")

    def is_plain(self, url: SplitResult) -> bool:
        """Say whether a URL is fetched without TLS."""
        return url.scheme == "http" or url.hostname in self.stand_ins


def is_public(address: str) -> bool:
    """Say whether an address is one of the public internet, and no other address is hidden in it.

    >>> [is_public(each) for each in ("93.184.216.34", "10.0.0.1", "169.254.169.254", "::ffff:127.0.0.1", "::1")]
    [True, False, False, False, False]
    """
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        if ip.ipv4_mapped:
            return is_public(str(ip.ipv4_mapped))
        if ip in NAT64:
            return is_public(str(IPv4Address(int(ip) & 0xFFFFFFFF)))
        if ip not in GLOBAL_UNICAST or (ip.sixtofour and not is_public(str(ip.sixtofour))):
            return False
    return ip.is_global and not ip.is_multicast and ip not in ASSIGNED


def checked_url(url: str, network: Network) -> SplitResult:
    """Return the parts of a URL that may be fetched, with nothing but ASCII in them. Raises RefusedError.

    >>> checked_url("https://example.org/Äpfel?q=1#top", Network()).geturl()
    'https://example.org/%C3%84pfel?q=1'
    """
    shown = ascii(url[:200])[1:-1]
    try:
        parts = urlsplit(url.strip())
        host, port = (parts.hostname or "").rstrip("."), parts.port
        host = host.encode("idna").decode() if not host.isascii() else host
    except ValueError:  # UnicodeError is one
        raise RefusedError(f"'{shown}' is not a URL") from None
    if parts.scheme not in PORTS:
        raise RefusedError(f"'{shown}' does not begin with http:// or https://")
    if not host or len(url) > MAX_URL or any(each <= " " or each == "\x7f" for each in url.strip()):
        raise RefusedError(f"'{shown}' is not a URL")
    if "@" in parts.netloc:
        raise RefusedError(f"the URL of {host} has a user name in it")
    if port not in (None, PORTS[parts.scheme]) and host not in network.stand_ins:
        raise RefusedError(f"the URL of {host} has the port {port}; only {PORTS[parts.scheme]} is used")
    netloc = f"[{host}]" if ":" in host else host
    path, query = (quote(part, safe="/%:=&?~+!$,;'@()*[]|") for part in (parts.path or "/", parts.query))
    return SplitResult(parts.scheme, netloc, path, query, "")
