"""Verifies a bundle's signature: the files are exactly those that the owner of a key signed.

`model_signing verify key` accepts the same files. This code is separate so that predicting needs no signing library,
and it is stricter: every byte of signature.json counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec

from keensight.bundle.folder import SIGNATURE
from keensight.bundle.keys import HASHES, PublicKey, fingerprint
from keensight.bundle.statement import PAYLOAD_TYPE, changes_since, open_signature, signed_files
from keensight.errors import GateError


def verify_files(folder: Path, files: Mapping[str, bytes], key: PublicKey) -> None:
    """Check that `files`, read from `folder`, are exactly those that `key` signed.

    Raises GateError, naming what was changed, added or removed.
    """
    if SIGNATURE not in files:
        raise GateError(
            f"{folder} is not signed: it has no {SIGNATURE}. With a key, only bundles that it signed are used. Sign it "
            f"with `keensight sign {folder} --key PRIVATE-KEY`, or get the signed one."
        )
    try:
        signed = _signed(folder, files[SIGNATURE], key)
    except ValueError as error:
        raise GateError(
            f"{folder / SIGNATURE} is not a signature by model_signing 1.1 with a key ({error}). Do not use the "
            "bundle; get it again from whoever signed it."
        ) from error
    if changes := changes_since(signed, files):
        raise GateError(
            f"{folder} is not the bundle that was signed: {'; '.join(changes)}. Do not use it; get it again from "
            "whoever signed it, or sign it again if the change is yours."
        )


def _signed(folder: Path, content: bytes, key: PublicKey) -> dict[str, str]:
    """Return the SHA-256 of every signed file by name. Raises GateError for another key, ValueError for other content.

    The key signed the statement's bytes, so they are not read before the signature is checked.
    """
    found = open_signature(content)
    if found.key != fingerprint(key):
        raise GateError(
            f"{folder} was signed with another key: its signature names the key {found.key[:16]}, and "
            f"{fingerprint(key)[:16]} was given (the beginnings of their SHA-256). Do not use it; get the bundle "
            "that your signer signed."
        )
    preamble = f"DSSEv1 {len(PAYLOAD_TYPE)} {PAYLOAD_TYPE} {len(found.statement)} ".encode()
    try:
        key.verify(found.signature, preamble + found.statement, ec.ECDSA(HASHES[key.curve.name]))
    except InvalidSignature:
        raise GateError(
            f"{folder / SIGNATURE} was changed: the signature in it does not belong to what it lists. Do not use the "
            "bundle; get it again from whoever signed it."
        ) from None
    return signed_files(found.statement)
