"""ONNX Runtime for browsers: downloaded once from the npm registry, checked, and kept in the cache.

It is no part of keensight's own package, as it has 14 MB of WebAssembly for one command. Version and hash are pinned:
every page runs what was tested, whichever mirror it came from.
"""

from __future__ import annotations

import base64
import hashlib
import os
import tarfile
import time
from pathlib import Path
from typing import NamedTuple

from keensight.cached import cached
from keensight.data.receiving import DEADLINE_S, receive
from keensight.errors import KeensightError, UsageError
from keensight.files import explained, make_folder, replacing

VERSION = "1.30.0"
FILE = f"onnxruntime-web-{VERSION}.tgz"
SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="  # npm's integrity
SIZE_BYTES = 33_106_585
REGISTRY = "https://registry.npmjs.org"
SCRIPT, WASM = "package/dist/ort.wasm.bundle.min.mjs", "package/dist/ort-wasm-simd-threaded.wasm"


class WebRuntime(NamedTuple):
    """The runtime's script, an ES module, and its WebAssembly."""

    script: bytes
    wasm: bytes


def web_runtime(package: Path | None = None) -> WebRuntime:
    """Return the runtime out of its npm package: the file that is given, or the one in the cache, downloaded if needed.

    The registry is npm's own, or the one in `NPM_CONFIG_REGISTRY`, which npm reads too.

    Raises:
        UsageError: the file that is given is not that package.
        KeensightError: it cannot be downloaded.
    """
    if package is not None:
        with explained(package):
            if not _is_right(package):
                raise UsageError(f"{package} is not {FILE}, as its content differs. {_by_hand()}")
        return _unpacked(package)
    kept = cached("runtimes", FILE)
    if not (kept.is_file() and _is_right(kept)):
        _download(kept)
    return _unpacked(kept)


def _download(kept: Path) -> None:
    url = f"{os.environ.get('NPM_CONFIG_REGISTRY', REGISTRY).rstrip('/')}/onnxruntime-web/-/{FILE}"
    make_folder(kept.parent)
    with replacing(kept) as temporary:
        with explained(kept), temporary.open("xb") as file:
            problem = receive(url, file.write, SIZE_BYTES, time.monotonic() + DEADLINE_S)
        if problem is None and not _is_right(temporary):
            problem = "it sends another content than the one that was tested"
        if problem is not None:
            raise KeensightError(
                f"A page that answers in a browser needs ONNX Runtime for browsers ({SIZE_BYTES / 1e6:.0f} MB, once), "
                f"and {url} could not be downloaded ({problem}). Connect to the network and try again. {_by_hand()}"
            )


def _by_hand() -> str:
    return f"Or run `npm pack onnxruntime-web@{VERSION}` elsewhere, and give the file {FILE} with --runtime."


def _is_right(file: Path) -> bool:
    if file.stat().st_size != SIZE_BYTES:
        return False
    with file.open("rb") as content:
        return base64.b64encode(hashlib.file_digest(content, "sha512").digest()).decode() == SHA512


def _unpacked(package: Path) -> WebRuntime:
    found: dict[str, bytes] = {}
    with tarfile.open(package) as archive:
        for member in archive:
            if member.name in (SCRIPT, WASM) and (content := archive.extractfile(member)) is not None:
                found[member.name] = content.read()
    return WebRuntime(found[SCRIPT], found[WASM])
