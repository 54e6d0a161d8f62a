"""Signs a bundle with OpenSSF model-signing, offline; both `model_signing verify key` and keensight accept it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from keensight.bundle.folder import SIGNATURE, read_folder
from keensight.bundle.keys import fingerprint, load_private
from keensight.bundle.read import Bundle
from keensight.bundle.sbom import SBOM, refreshed
from keensight.bundle.verify import verify_files
from keensight.errors import KeensightError
from keensight.files import write_atomically


def sign_bundle(bundle: Bundle, key: str | Path, ask: Callable[[], str] | None = None) -> Bundle:
    """Write signature.json into a loaded bundle, over an older one, and return the signed bundle.

    The private key's password, if it has one, comes from KEENSIGHT_KEY_PASSWORD or from `ask`. If texts in the bill
    of materials, such as the model card, were edited since training, their hashes are renewed first.

    Raises SigningKeyError for a key that cannot be used, KeensightError if the bundle changes meanwhile.
    """
    private, password = load_private(key, ask)
    files = {name: content for name, content in bundle.files.items() if name != SIGNATURE}
    if SBOM in files and (renewed := refreshed(files)) != files[SBOM]:
        write_atomically(bundle.path / SBOM, renewed)
        files[SBOM] = renewed
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / SIGNATURE
        _sign(bundle.path.resolve(), file, key, password)
        files[SIGNATURE] = file.read_bytes()
    public = private.public_key()
    verify_files(bundle.path, files, public)  # the library reads the folder again: it must see the same bytes
    write_atomically(bundle.path / SIGNATURE, files[SIGNATURE])
    if read_folder(bundle.path) != files:
        raise KeensightError(f"{bundle.path} changed while it was signed. Wait until nothing writes to it; sign again.")
    signer = fingerprint(public)
    return replace(bundle, files=files, verified_by=signer, signed_by=signer, changes=())


def _sign(bundle: Path, to: Path, key: str | Path, password: bytes | None) -> None:
    from model_signing import hashing, signing

    opened: Any = password  # declared as text, but the callee takes bytes
    (
        signing.Config()
        .use_elliptic_key_signer(private_key=key, password=opened)
        .set_hashing_config(hashing.Config().set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False))
        .sign(bundle, to)
    )
