"""Datasets with a name: found on this machine or else downloaded, and checked either way."""

from __future__ import annotations

import gzip
import hashlib
import os
import sys
import time
import zlib
from pathlib import Path
from typing import NamedTuple

from keensight import files
from keensight.cached import cached
from keensight.data.arrays import list_digits
from keensight.data.idx import find_idx, list_idx
from keensight.data.listing import Listing
from keensight.data.receiving import DEADLINE_S, receive
from keensight.errors import DataError

SYSTEM_FOLDER = Path("/usr/share/datasets")  # where Debian's packages install them
FILES: dict[str, tuple[str, int]] = {  # by role: the file's name, and the size of its raw content in bytes
    "train-images": ("train-images-idx3-ubyte.gz", 47_040_016),
    "train-labels": ("train-labels-idx1-ubyte.gz", 60_008),
    "test-images": ("t10k-images-idx3-ubyte.gz", 7_840_016),
    "test-labels": ("t10k-labels-idx1-ubyte.gz", 10_008),
}


class Source(NamedTuple):
    """Where a dataset comes from, and the SHA-256 of each file's raw content (compression differs between mirrors)."""

    mirrors: tuple[str, ...]
    sha256: dict[str, str]
    advice: str


SOURCES: dict[str, Source] = {
    "mnist": Source(
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
        {
            "train-images": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "test-images": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "test-labels": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
        "",
    ),
    "fashion-mnist": Source(
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        {
            "train-images": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train-labels": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "test-images": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "test-labels": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
        "on Debian, apt install dataset-fashion-mnist; or ",
    ),
}
NAMES = ("digits", *SOURCES)


def list_named(name: str) -> Listing:
    """List and hash the dataset called `name`, one of NAMES.

    mnist and fashion-mnist are looked for in ``$KEENSIGHT_DATA/<name>``, ``$KEENSIGHT_DATA``,
    ``/usr/share/datasets/<name>`` and the user's cache, and else downloaded into that cache. Raises DataError, naming
    every place, if none has the right files.
    """
    if name == "digits":
        return list_digits()
    source = SOURCES[name]
    failures = []
    for folder in places(name):
        try:
            return list_idx(folder, name=name, expected=source.sha256)
        except DataError as error:
            failures.append(f"{folder} ({_place_problem(folder, error)})")
    cache = cached("datasets", name)
    failed = download(name, files.make_folder(cache))
    if not failed:
        return list_idx(cache, name=name, expected=source.sha256)
    names = ", ".join(file for file, _ in FILES.values())
    raise DataError(
        f"{name} is not on this machine and could not be downloaded. Looked in {'; '.join(failures)}. Tried "
        f"{'; '.join(failed)}. Connect to the network and try again; or {source.advice}put {names} into a folder and "
        "set KEENSIGHT_DATA to it."
    )


def places(name: str) -> list[Path]:
    """Return the folders in which a dataset is looked for, in this order."""
    own = os.environ.get("KEENSIGHT_DATA")
    return [
        *([Path(own) / name, Path(own)] if own else []),
        SYSTEM_FOLDER / name,
        cached("datasets", name),
    ]


def _place_problem(folder: Path, error: DataError) -> str:
    if not folder.is_dir():
        return "no such folder"
    return "no IDX files there" if not find_idx(folder) else str(error).split(". ")[0]


def download(name: str, folder: Path) -> list[str]:
    """Download what is missing of a dataset into `folder`, each file from the first mirror that has the right content.

    Returns nothing if all is there, else why each mirror failed. Every file is written whole or not at all.
    """
    source, deadline = SOURCES[name], time.monotonic() + DEADLINE_S
    for role, (file_name, size) in FILES.items():
        target, failures = folder / file_name, []
        if target.exists() and _content_problem(target, size, source.sha256[role]) is None:
            continue
        for mirror in source.mirrors:
            url = mirror + file_name
            problem = _fetch(url, target, size, source.sha256[role], deadline)
            if problem is None:
                break
            failures.append(f"{url} ({problem})")
            if mirror != source.mirrors[-1]:
                sys.stderr.write(f"{url} did not work ({problem}); trying the next mirror.\n")
        else:
            return failures
    return []


class _BadMirrorError(Exception):
    """What came from a mirror is not what was asked for."""


def _fetch(url: str, target: Path, raw_size: int, sha256: str, deadline: float) -> str | None:
    """Download `url` to `target` if its raw content has this size and hash; return what went wrong, or None."""
    most = raw_size + 2**16  # gzip makes incompressible bytes hardly larger
    try:
        with files.replacing(target) as temporary:
            with files.explained(target), open(temporary, "xb") as file:
                problem = receive(url, file.write, most, deadline)
            if problem := problem or _content_problem(temporary, raw_size, sha256):
                raise _BadMirrorError(problem)
    except _BadMirrorError as error:
        return str(error)
    return None


def _content_problem(path: Path, raw_size: int, sha256: str) -> str | None:
    """Say what is wrong with a gzipped file that should unpack to this size and hash, or None."""
    digest, size = hashlib.sha256(), 0
    try:
        with gzip.open(path) as stream:
            while block := stream.read(2**20):
                size += len(block)
                if size > raw_size:
                    return f"unpacks to more than {raw_size:,} bytes"
                digest.update(block)
    except (OSError, EOFError, zlib.error):
        return "not a whole gzip file"
    if digest.hexdigest() != sha256:
        return f"wrong content: SHA-256 {digest.hexdigest()[:12]}..., expected {sha256[:12]}..."
    return None
