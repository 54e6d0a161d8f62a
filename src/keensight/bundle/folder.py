"""Reads a bundle's folder once: every file whole, and no files but those of a bundle.

All later checks (signature, JSON, tensors, operators) read these bytes, and these bytes are loaded. No file is opened a
second time, so none can be exchanged in between.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from keensight.data.listing import is_hidden
from keensight.errors import BundleError
from keensight.files import open_flags
from keensight.names import odd_name

MiB = 2**20
SIGNATURE = "signature.json"
FILES = {  # each file that a bundle may have, and its largest size in bytes
    "bundle.json": 32 * MiB,
    "model.onnx": 512 * MiB,
    "model.safetensors": 512 * MiB,
    "MODEL_CARD.md": 1 * MiB,
    "report.html": 64 * MiB,
    "sbom.cdx.json": 1 * MiB,
    SIGNATURE: 1 * MiB,
}
TEXTS = ("MODEL_CARD.md", "report.html")
PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt", ".joblib", ".npy", ".npz")
BEGINNINGS = {
    b"PK\x03\x04": "a zip archive, as torch.save writes them, with a pickle inside",
    b"\x7fELF": "a program",
    b"MZ": "a program",
    b"\x89HDF": "an HDF5 file, as Keras writes them",
    b"(dp": "a pickle",
    b"ccopy_reg": "a pickle",
}


def read_folder(folder: Path) -> dict[str, bytes]:
    """Return every file of a bundle's folder by its name.

    Raises BundleError for a file that no bundle has, a link of either kind, a folder, a pipe, a device, a file above
    its limit in `FILES`, and text that is not UTF-8. The folder itself may be reached through links.
    """
    try:
        with _opened(folder) as home:
            names = sorted(os.listdir(folder if home is None else home))  # noqa: PTH208
            for name in names:
                found = os.stat(folder / name if home is None else name, dir_fd=home, follow_symlinks=False)
                if problem := _problem(name, found):
                    raise BundleError(f"{folder / (odd_name(name) or name)} {problem}")
            return {name: _read(home, folder, name) for name in names}
    except OSError as error:
        raise BundleError(
            f"{folder} cannot be read ({os.strerror(error.errno or 0).lower()}). Check its permissions, or copy the "
            "bundle again."
        ) from error


def version_of(files: Mapping[str, bytes]) -> str:
    """Return the first 12 hexadecimal digits of one SHA-256 over a bundle's files, by name.

    >>> version_of({"bundle.json": b"{}"})
    'b768b7898c73'
    """
    digests = "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))
    return hashlib.sha256(digests.encode()).hexdigest()[:12]


def disguise(content: bytes) -> str:
    """Return half a sentence on what a file begins like if that does not belong in a bundle, else an empty text.

    >>> disguise(bytes([128, 4, 149]))
    '; it begins like a pickle, which could run code when it is opened'
    """
    if len(content) > 2 and content[0] == 0x80 and 2 <= content[1] <= 5 and content[2] != 0:
        return "; it begins like a pickle, which could run code when it is opened"
    return next((f"; it begins like {what}" for start, what in BEGINNINGS.items() if content.startswith(start)), "")


def _problem(name: str, found: os.stat_result) -> str | None:
    """Say why a file is not read, judging by its directory entry, or None."""
    if name not in FILES:
        if stat.S_ISDIR(found.st_mode):
            why = "is a folder"
        elif is_hidden(name):
            why = "is a hidden file, as operating systems and editors leave them behind"
        elif name.lower().endswith(PICKLES):
            why = "may be a pickle, which could run code when it is opened"
        else:
            why = "is not a file of a bundle"
        return f"{why}. A bundle has the files {', '.join(FILES)} and nothing else; delete it, or move it elsewhere."
    if stat.S_ISLNK(found.st_mode):
        return "is a symbolic link. Links are not followed; put the file itself there."
    if not stat.S_ISREG(found.st_mode):
        return "is not a file but a folder, a pipe or a device. Copy the bundle again from where it was made."
    if found.st_nlink > 1:
        return (
            "is a hard link: the same file has another name elsewhere, through which it could be changed. Copy the "
            "bundle's files, with `cp -r` for instance, and use the copy."
        )
    if found.st_size > FILES[name]:
        return f"has {found.st_size:,} bytes; at most {FILES[name]:,} are read. keensight writes no such file."
    return None


@contextmanager
def _opened(folder: Path) -> Iterator[int | None]:
    """Yield a descriptor of the folder, which stays the same folder whatever is renamed; None on Windows."""
    if os.open not in os.supports_dir_fd:
        yield None
        return
    home = os.open(folder, open_flags("O_RDONLY", "O_DIRECTORY", "O_CLOEXEC"))
    try:
        yield home
    finally:
        os.close(home)


def _read(home: int | None, folder: Path, name: str) -> bytes:
    flags = open_flags("O_RDONLY", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC")
    descriptor = os.open(folder / name if home is None else name, flags, dir_fd=home)
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        problem = _problem(name, found)  # again, for the open file, as the name may have changed its target meanwhile
        content = b"" if problem else file.read(found.st_size + 1)
    if not problem and len(content) != found.st_size:
        problem = "changed while it was read. Wait until whatever writes it has finished."
    if not problem and name in TEXTS and not _is_text(content):
        problem = f"is not text{disguise(content)}. Copy the bundle again from where it was made."
    if problem:
        raise BundleError(f"{folder / name} {problem}")
    return content


def _is_text(content: bytes) -> bool:
    try:
        return "\0" not in content.decode()
    except UnicodeDecodeError:
        return False
