"""`keensight sign`: sign a bundle with a private key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from keensight.bundle.folder import SIGNATURE


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed bundle: its folder, the signature's file, the SHA-256 of the public key, and which files are signed."""

    bundle: Path
    signature: Path
    key: str
    files: tuple[str, ...]


def sign(bundle: str | Path, *, key: str | Path, ask: Callable[[], str] | None = None) -> Signed:
    """Sign a bundle with a private key, offline, with OpenSSF model-signing; an older signature is replaced.

    Args:
        bundle: The bundle's folder, or the run folder around it.
        key: The private key: EC, in a PEM file. KEENSIGHT_KEY_PASSWORD holds its password, if it has one.
        ask: Returns the password if that variable is not set.

    Raises:
        SigningKeyError: the key cannot be used.
        BundleError: the bundle would not load.

    Examples:
        >>> import keensight
        >>> private, public = keensight.new_key("release.pem")  # doctest: +SKIP
        >>> keensight.sign("runs/digits/bundle", key=private)  # doctest: +SKIP
        >>> keensight.load("runs/digits/bundle", key=public)  # doctest: +SKIP
    """
    from keensight.bundle.sign import sign_bundle
    from keensight.inference.predictor import load

    signed = sign_bundle(load(bundle, though_changed=True).bundle, key, ask)
    assert signed.verified_by is not None
    names = tuple(sorted(name for name in signed.files if name != SIGNATURE))
    return Signed(signed.path, signed.path / SIGNATURE, signed.verified_by, names)
