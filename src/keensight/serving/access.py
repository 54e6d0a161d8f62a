"""Who is asking: API keys, and the client behind a trusted proxy."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import TypeAlias

from keensight.errors import KeensightError, UsageError
from keensight.serving.limits import RefusalError

Network: TypeAlias = IPv4Network | IPv6Network
FOR = re.compile(r"(?:^|;)\s*for\s*=\s*\"?([^\";]+)", re.IGNORECASE)
WITH_PORT = re.compile(r"\[([0-9a-fA-F:.]+)\](?::\d+)?|(\d+\.\d+\.\d+\.\d+):\d+")  # some proxies add it


def new_api_key() -> tuple[str, str]:
    """Return a new API key, and its line for a file of keys: its SHA-256."""
    key = secrets.token_urlsafe(32)
    return key, hashlib.sha256(key.encode()).hexdigest()


def read_api_keys(file: Path) -> tuple[str, ...]:
    """Return the SHA-256 hashes in a file, one per line in hexadecimal; text after ``#`` is a comment.

    Raises KeensightError if the file cannot be read, has no hash, or has a line that is not a hash.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        detail = str(error.strerror).lower() if isinstance(error, OSError) else "it is not text"
        raise KeensightError(
            f"{file} cannot be read ({detail}). Give a file of SHA-256 hashes to --api-keys."
        ) from error
    hashes = [line.partition("#")[0].strip().lower() for line in lines]
    for number, found in enumerate(hashes, 1):
        if found and (len(found) != 64 or set(found) - set("0123456789abcdef")):
            raise KeensightError(
                f"Line {number} of {file} is not a SHA-256 hash of 64 hexadecimal digits. Make a key and its line with "
                "`keensight serve --new-api-key`."
            )
    kept = tuple(found for found in hashes if found)
    if not kept:
        raise KeensightError(f"{file} has no key in it. Make one with `keensight serve --new-api-key`.")
    return kept


def check_api_key(headers: Mapping[str, str], hashes: Sequence[str]) -> None:
    """Raise RefusalError (401) unless ``Authorization: Bearer KEY`` or ``X-API-Key`` has a known key.

    Without `hashes` no key is asked for.
    """
    if not hashes:
        return
    scheme, _, given = headers.get("authorization", "").partition(" ")
    key = given.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
    found = hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()
    # every hash is compared, so that the response time reveals nothing
    if not sum(hmac.compare_digest(found, known) for known in hashes):
        raise RefusalError(
            401,
            "unauthorized",
            "An API key is needed. Send a known one as Authorization: Bearer KEY.",
            {"WWW-Authenticate": "Bearer"},
        )


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Return the networks that texts such as 10.0.0.0/8 mean. Raises UsageError for other texts."""
    try:
        return tuple(ip_network(text) for text in texts)
    except ValueError as error:
        raise UsageError(f"A trusted proxy is not a network: {error}. Give one such as 10.0.0.0/8.") from error


def forwarded_for(headers: Iterable[tuple[str, str]]) -> str:
    """Return the clients that proxies name, as X-Forwarded-For has them; by Forwarded only where that is missing.

    >>> forwarded_for([("forwarded", 'for="[2001:db8::7]:4711";proto=https, for=10.0.0.2')])
    '[2001:db8::7]:4711,10.0.0.2'
    """
    given = [*headers]
    if named := [value for name, value in given if name == "x-forwarded-for"]:
        return ",".join(named)
    # cut at every comma, a quoted one too: a quote that a client leaves open must not swallow what a proxy adds
    hops = ",".join(value for name, value in given if name == "forwarded").split(",")
    return ",".join(found[1] if (found := FOR.search(hop)) else "unknown" for hop in hops if hop)


def client_of(peer: str, forwarded_for: str, trusted: Sequence[Network]) -> str:
    """Return the client's address: the peer's, or behind trusted proxies the last address that is not a proxy's.

    >>> client_of("10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.2", networks(["10.0.0.0/8"]))
    '1.2.3.4'
    """
    return _without_proxy(peer, tuple(trusted)) if not forwarded_for else _hops(peer, forwarded_for, trusted)


@lru_cache(4096)
def _without_proxy(peer: str, trusted: tuple[Network, ...]) -> str:
    return _hops(peer, "", trusted)


def _hops(peer: str, forwarded_for: str, trusted: Sequence[Network]) -> str:
    client = peer
    for hop in reversed([*forwarded_for.split(","), peer]):
        try:
            found = WITH_PORT.fullmatch(hop.strip())
            address = ip_address((found[1] or found[2]) if found else hop.strip())
            if isinstance(address, IPv6Address) and address.ipv4_mapped:
                address = address.ipv4_mapped
        except ValueError:
            return client
        client = str(address)
        if not any(address in network for network in trusted):
            return client
    return client
