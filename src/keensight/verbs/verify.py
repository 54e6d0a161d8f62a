"""`keensight verify`: check that a bundle is exactly what the owner of a key signed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from keensight.bundle.folder import SIGNATURE
from keensight.bundle.read import read_bundle


@dataclass(frozen=True, slots=True)
class Verified:
    """A verified bundle: its folder, the SHA-256 of the public key, and that of every signed file, by name."""

    bundle: Path
    key: str
    files: Mapping[str, str]


def verify(bundle: str | Path, *, key: str | Path) -> Verified:
    """Check that a bundle's files are exactly those that the owner of a public key signed.

    No network is used, and nothing in the bundle is run.

    Args:
        bundle: The bundle's folder, or the run folder around it.
        key: The signer's public key: EC, in a PEM file.

    Raises:
        GateError: it is not signed, or signed with another key, or a file was changed, added, removed or linked.
        SigningKeyError: the key cannot be used.
        BundleError: there is no bundle, or the signed files are not a readable bundle.
    """
    verified = read_bundle(bundle, key)
    assert verified.verified_by is not None
    signed = {name: content for name, content in verified.files.items() if name != SIGNATURE}
    files = {name: hashlib.sha256(content).hexdigest() for name, content in signed.items()}
    return Verified(verified.path, verified.verified_by, files)
