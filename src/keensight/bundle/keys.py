"""Keys that sign and verify bundles: elliptic curves in PEM files, as model_signing uses them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from keensight.errors import SigningKeyError, UsageError
from keensight.files import explained, make_folder, open_flags, write_atomically

PublicKey: TypeAlias = ec.EllipticCurvePublicKey
PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey
HASHES = {"secp256r1": hashes.SHA256(), "secp384r1": hashes.SHA384(), "secp521r1": hashes.SHA512()}  # Sigstore's pairs
MAX_BYTES = 64 * 1024
PASSWORD = "KEENSIGHT_KEY_PASSWORD"  # noqa: S105
NEW = "`keensight sign --new-key FILE` makes FILE, which is private, and FILE.pub"


def new_key(path: str | Path) -> tuple[Path, Path]:
    """Make a key pair on the curve P-256 and return its files: `path`, which only its owner can read, and `path`.pub.

    The private key is encrypted if the environment variable KEENSIGHT_KEY_PASSWORD holds a password.
    Raises UsageError if one of the two files exists: a key is never overwritten.
    """
    private = Path(path)
    public = private.with_name(f"{private.name}.pub")
    for file in (private, public):
        if os.path.lexists(file):
            raise UsageError(f"{file} exists, and a key is never overwritten. Give another name.")
    key = ec.generate_private_key(ec.SECP256R1())
    password = os.environ.get(PASSWORD)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption(),
    )
    make_folder(private.parent)
    with explained(private):
        descriptor = os.open(private, open_flags("O_WRONLY", "O_CREAT", "O_EXCL", "O_NOFOLLOW"), 0o600)
        with open(descriptor, "wb") as out:
            out.write(pem)
            out.flush()
            os.fsync(descriptor)
    write_atomically(public, public_pem(key.public_key()))
    return private, public


def public_pem(key: PublicKey) -> bytes:
    """Return a public key as PEM."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def fingerprint(key: PublicKey) -> str:
    """Return the SHA-256 of a public key's PEM in hexadecimal, by which model_signing's signatures name a key."""
    return hashlib.sha256(public_pem(key)).hexdigest()


def load_public(path: str | Path) -> PublicKey:
    """Read the public key that verifies bundles. Raises SigningKeyError if the file holds none."""
    pem = _pem(path)
    if b"PRIVATE KEY-----" in pem:
        raise SigningKeyError(
            f"{path} is a private key. Verifying takes the public one, the file beside it that ends in .pub; keep the "
            "private one where only signing needs it."
        )
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise SigningKeyError(
            f"{path} is not a public key in PEM form (-----BEGIN PUBLIC KEY-----). {NEW}: give the latter."
        ) from None
    if not isinstance(key, PublicKey) or key.curve.name not in HASHES:
        raise _other_kind(path, key)
    return key


def load_private(path: str | Path, ask: Callable[[], str] | None = None) -> tuple[PrivateKey, bytes | None]:
    """Read the private key that signs bundles, and return it with the password that it needed.

    The password comes from the environment variable KEENSIGHT_KEY_PASSWORD, else from `ask`, which is only called for
    an encrypted key. Raises SigningKeyError if the file holds no key, or the password is missing or wrong.
    """
    pem = _pem(path)
    if b"PUBLIC KEY-----" in pem:
        raise SigningKeyError(f"{path} is a public key, which verifies bundles. Signing takes the private one.")
    password = None
    if b"ENCRYPTED" in pem:
        asked = os.environ.get(PASSWORD) or (ask() if ask else "")
        if not asked:
            raise SigningKeyError(
                f"{path} is encrypted. Set {PASSWORD} to its password, or sign in a terminal, which asks for it."
            )
        password = asked.encode()
    try:
        key = serialization.load_pem_private_key(pem, password)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        wrong = "cannot be opened with this password" if password else "is not a private key in PEM form"
        raise SigningKeyError(f"{path} {wrong}. {NEW}: give the former, and its password if it has one.") from None
    if not isinstance(key, PrivateKey) or key.curve.name not in HASHES:
        raise _other_kind(path, key)
    return key, password


def _pem(path: str | Path) -> bytes:
    try:
        with open(path, "rb") as file:
            pem = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise SigningKeyError(f"The key {path} cannot be read ({reason}). {NEW}.") from None
    if len(pem) > MAX_BYTES:
        raise SigningKeyError(f"{path} is larger than any key. {NEW}.")
    return pem


def _other_kind(path: str | Path, key: object) -> SigningKeyError:
    curve = getattr(getattr(key, "curve", None), "name", None)
    kind = f"is on the curve {curve}" if curve else f"is of another kind ({type(key).__name__.strip('_')})"
    return SigningKeyError(
        f"The key in {path} {kind}. Keys on the elliptic curves P-256, P-384 and P-521 are accepted, as model_signing "
        f"does. {NEW}."
    )
