"""Where the server listens, and under which addresses it is reached."""

from __future__ import annotations

import contextlib
import errno
import socket
from ipaddress import ip_address

from keensight.errors import KeensightError, UsageError

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}  # noqa: S104  # all networks, and this machine in them
# Addresses of documentation: nothing is sent there, but the system says from which of its own addresses it would be.
ELSEWHERE = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that is bound, but not listening yet. ``::`` is all networks, IPv4 too; without IPv6, IPv4 alone.

    Raises UsageError for an invalid port, KeensightError if the address cannot be used.
    """
    if not 0 <= port <= 65535:
        raise UsageError(f"{port} is not a port. Ports from 0 (any that is free) to 65535 are accepted.")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host  # as an address with a port has it
    if host == "::" and not _has_ipv6():
        host = "0.0.0.0"  # noqa: S104  # all networks were asked for
    try:
        ((family, kind, number, _, address), *_) = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        bound = socket.socket(family, kind, number)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if host == "::":
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # whatever the system's default is
        try:
            bound.bind(address)
        except OSError:
            bound.close()
            raise
    except (socket.gaierror, UnicodeError) as error:
        raise KeensightError(
            f"There is no host {host!a}. Give an address of this machine to --host: 127.0.0.1 for this machine "
            "alone, 0.0.0.0 for all of its networks, :: for IPv6 as well."
        ) from error
    except OSError as error:
        advice = {
            errno.EADDRINUSE: "Another program listens there. Stop it, or choose another port with --port.",
            errno.EACCES: "Ports below 1024 are for the system. Choose a higher one with --port.",
            errno.EADDRNOTAVAIL: "This machine has no such address. Give 127.0.0.1, 0.0.0.0 or :: to --host.",
        }.get(error.errno or 0, "Choose another host or port.")
        reason = str(error.strerror).lower()
        raise KeensightError(f"Cannot listen on {host}, port {port}: {reason}. {advice}") from error
    return bound


def urls_of(bound: socket.socket) -> list[str]:
    """Return the addresses for a browser: the one for this machine, then, where it listens to all, those for others."""
    host, port = bound.getsockname()[:2]
    hosts = [EVERYWHERE[host], *_own_addresses(bound.family)] if host in EVERYWHERE else [host]
    return [f"http://[{each}]:{port}" if ":" in each else f"http://{each}:{port}" for each in hosts]


def is_loopback(bound: socket.socket) -> bool:
    """Say whether only programs on this machine can reach it."""
    return ip_address(bound.getsockname()[0].partition("%")[0]).is_loopback


def _own_addresses(family: int) -> list[str]:
    """Return the addresses that this machine has in its networks, by IPv4 and, for an IPv6 socket, by IPv6."""
    found = []
    for kind, elsewhere in ELSEWHERE:
        if kind == socket.AF_INET6 and family != socket.AF_INET6:
            continue
        with contextlib.suppress(OSError), socket.socket(kind, socket.SOCK_DGRAM) as asking:
            asking.connect((elsewhere, 9))
            found.append(asking.getsockname()[0])
    return [host for host in found if not ip_address(host).is_loopback]


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as tried:
            tried.bind(("::", 0))
    except OSError:
        return False
    return True
