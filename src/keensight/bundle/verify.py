"""Verify a bundle's signature: that the files are those which the owner of a key signed, and none else.

The signature is what OpenSSF model-signing 1.1 writes in key mode (https://github.com/sigstore/model-transparency): a
Sigstore bundle with a DSSE envelope around an in-toto statement that lists the SHA-256 of every file. `model_signing
verify key` takes the same files. This reader stands alone so that predicting needs no signing library, and it is
stricter: every byte of signature.json counts.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec

from keensight.bundle.folder import SIGNATURE
from keensight.bundle.keys import HASHES, PublicKey, fingerprint
from keensight.bundle.strict_json import strict_json
from keensight.errors import GateError

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
# What the stock client leaves out unless it is told otherwise. None of them but the first can lie in a bundle at all.
MAY_BE_IGNORED = {SIGNATURE, ".git", ".gitattributes", ".github", ".gitignore"}


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
        signed = _signed(files[SIGNATURE], key)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        detail = str(error) if isinstance(error, ValueError) else "a part of it is missing"
        raise GateError(
            f"{folder / SIGNATURE} is not a signature by model_signing 1.1 with a key ({detail}). Do not use the "
            "bundle; get it again from whoever signed it."
        ) from error
    present = {name: hashlib.sha256(content).hexdigest() for name, content in files.items() if name != SIGNATURE}
    changes = [f"{name} was changed" for name in present if name in signed and present[name] != signed[name]]
    changes += [f"{name} was added" for name in present if name not in signed]
    changes += [f"{ascii(name)[1:-1]} is missing" for name in signed if name not in present]
    if changes:
        raise GateError(
            f"{folder} is not the bundle that was signed: {'; '.join(changes)}. Do not use it; get it again from "
            "whoever signed it, or sign it again if the change is yours."
        )


def _signed(content: bytes, key: PublicKey) -> dict[str, str]:
    """Return the SHA-256 of every signed file by name. Raises GateError for another key, ValueError for other content.

    The statement's bytes are what the key signed, so no look at them comes before the signature was checked.
    """
    found = strict_json(content)
    hint = found["verificationMaterial"]["publicKey"]["hint"]
    envelope = found["dsseEnvelope"]
    payload, signature = envelope["payload"], envelope["signatures"][0]["sig"]
    if _written(hint, payload, signature) != content:
        raise ValueError("it says more, or says it otherwise, than that library writes")
    statement = base64.b64decode(payload, validate=True)
    if base64.b64encode(statement).decode() != payload:
        raise ValueError("its payload is not in canonical base64")
    packed = base64.b64decode(signature, validate=True)
    if base64.b64encode(packed).decode() != signature:
        raise ValueError("its signature is not in canonical base64")
    if hint != fingerprint(key):
        raise GateError(
            f"The bundle was signed with another key (its public key's SHA-256 begins with {ascii(hint)[1:17]}; this "
            f"one's with {fingerprint(key)[:16]}). Give the public key of whoever should have signed it."
        )
    preamble = f"DSSEv1 {len(PAYLOAD_TYPE)} {PAYLOAD_TYPE} {len(statement)} ".encode()
    try:
        key.verify(packed, preamble + statement, ec.ECDSA(HASHES[key.curve.name]))
    except InvalidSignature:
        raise GateError(
            f"{SIGNATURE} was changed: the signature in it does not belong to what it lists. Do not use the bundle; "
            "get it again from whoever signed it."
        ) from None
    return _manifest(strict_json(statement))


def _written(hint: str, payload: str, signature: str) -> bytes:
    """Return the file that model_signing writes around these three."""
    return json.dumps(
        {
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": {"publicKey": {"hint": hint}, "tlogEntries": []},
            "dsseEnvelope": {
                "payload": payload,
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"sig": signature, "keyid": ""}],
            },
        },
        separators=(",", ":"),
    ).encode()


def _manifest(statement: Any) -> dict[str, str]:
    """Return what a statement lists, which must be whole files by SHA-256, in order, with nothing left out."""
    _only(statement, "_type", "subject", "predicateType", "predicate")
    (subject,) = statement["subject"]
    _only(subject, "name", "digest")
    _only(subject["digest"], "sha256")
    _only(statement["predicate"], "resources", "serialization")
    how, resources = statement["predicate"]["serialization"], statement["predicate"]["resources"]
    if (statement["_type"], statement["predicateType"]) != (STATEMENT_TYPE, PREDICATE_TYPE):
        raise ValueError("its statement is of another type")
    _only(how, "method", "hash_type", "allow_symlinks", "ignore_paths")
    if (how["method"], how["hash_type"], how["allow_symlinks"]) != ("files", "sha256", False):
        raise ValueError("its files were listed in another way than whole, by SHA-256, without links")
    if SIGNATURE not in how["ignore_paths"] or not set(how["ignore_paths"]) <= MAY_BE_IGNORED:
        raise ValueError(f"it leaves out other files than {SIGNATURE}")
    for resource in resources:
        _only(resource, "name", "algorithm", "digest")
        if resource["algorithm"] != "sha256":
            raise ValueError("it lists a file by another hash than SHA-256")
    digests = b"".join(bytes.fromhex(resource["digest"]) for resource in resources)
    if any(a["name"] >= b["name"] for a, b in pairwise(resources)):
        raise ValueError("it does not list its files in order")
    if hashlib.sha256(digests).hexdigest() != subject["digest"]["sha256"]:
        raise ValueError("the digest of its list is not that of the files in it")
    return {resource["name"]: resource["digest"] for resource in resources}


def _only(found: Any, *keys: str) -> None:
    if not isinstance(found, dict) or set(found) != set(keys):
        raise ValueError(f"a part of it has not the keys {', '.join(keys)}")
