"""Parses a bundle's signature.json: which key signed which files. It does not verify the signature.

The signature is what OpenSSF model-signing 1.1 writes in key mode (https://github.com/sigstore/model-transparency): a
Sigstore bundle with a DSSE envelope around an in-toto statement that lists the SHA-256 of every file. Reading it
takes no key and no cryptography, so changed files are detected by everyone who opens the bundle.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from keensight.bundle.folder import SIGNATURE
from keensight.bundle.strict_json import strict_json

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
# Files that OpenSSF's client ignores by default. Only the first of them can be in a bundle at all.
MAY_BE_IGNORED = {SIGNATURE, ".git", ".gitattributes", ".github", ".gitignore"}


@dataclass(frozen=True, slots=True)
class Signature:
    """The parts of a signature.json: the SHA-256 of the public key, the statement, and its signature."""

    key: str
    statement: bytes
    signature: bytes


def open_signature(content: bytes) -> Signature:
    """Return the parts of a signature.json. Raises ValueError if a byte of it is not as model_signing writes it."""
    try:
        found = strict_json(content)
        key = found["verificationMaterial"]["publicKey"]["hint"]
        envelope = found["dsseEnvelope"]
        payload, signature = envelope["payload"], envelope["signatures"][0]["sig"]
        if written(key, payload, signature) != content:
            raise ValueError("its bytes are not as that library writes them")
        if not re.fullmatch("[0-9a-f]{64}", key):
            raise ValueError("it does not name a key by its SHA-256")
        return Signature(key, _decoded(payload, "payload"), _decoded(signature, "signature"))
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError("a part of it is missing") from error


def signed_files(statement: bytes) -> dict[str, str]:
    """Return the SHA-256 of every file that a statement lists, by name. Raises ValueError for another statement."""
    try:
        return _manifest(strict_json(statement))
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError("a part of it is missing") from error


def changes_since(signed: Mapping[str, str], files: Mapping[str, bytes]) -> list[str]:
    """Return the differences between a bundle's files, without its signature, and the signed ones."""
    present = {name: hashlib.sha256(content).hexdigest() for name, content in files.items() if name != SIGNATURE}
    changes = [f"{name} was changed" for name in present if name in signed and present[name] != signed[name]]
    changes += [f"{name} was added" for name in present if name not in signed]
    return changes + [f"{ascii(name)[1:-1]} is missing" for name in signed if name not in present]


def _decoded(text: str, what: str) -> bytes:
    content = base64.b64decode(text, validate=True)
    if base64.b64encode(content).decode() != text:
        raise ValueError(f"its {what} is not in canonical base64")
    return content


def written(hint: str, payload: str, signature: str) -> bytes:
    """Return the file that model_signing writes for these three parts."""
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
    """Return the files that a statement lists. They must be whole files by SHA-256, in order, with none left out."""
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
        raise ValueError("its files are not listed whole, by SHA-256, without links")
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
        raise ValueError("the digest of its list does not match the files in it")
    return {resource["name"]: resource["digest"] for resource in resources}


def _only(found: Any, *keys: str) -> None:
    if not isinstance(found, dict) or set(found) != set(keys):
        raise ValueError(f"a part of it does not have the keys {', '.join(keys)}")
