"""What the files of pictures say or hide beside their pixels: hidden files, texts, places, people, old thumbnails.

Everything here is a plain fact of a file; what it means is the reader's to judge.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from keensight.care.containers import Parts, parts_of
from keensight.care.exif import Private, exif_of, other_thumbnail, private
from keensight.data.sources import reader
from keensight.errors import PictureError
from keensight.values import Dataset, Finding

KINDS = ("payload", "after", "text", "place", "person", "serial", "thumbnail")  # those that matter most first
MOST_SAID = 120  # letters of a text
BEGINNINGS = {  # of files that are found after a picture's end, or in a chunk
    b"PK\x03\x04": "a ZIP archive",
    b"Rar!": "a RAR archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"\x1f\x8b": "a gzip archive",
    b"MZ": "a Windows program",
    b"\x7fELF": "a Linux program",
    b"%PDF": "a PDF",
    b"\xff\xd8\xff": "another JPEG",
    b"\x89PNG": "another PNG",
}
_CODE = re.compile(
    r"<\?(?:php|=)|<script|#!/bin|#!/usr|eval\s*\(|javascript:|powershell|\bimport os\b|(?:[A-Za-z0-9+/]{4}){60}", re.I
)
_USUAL = re.compile(  # what programs write about themselves
    r"AppleMark|CREATOR: gd-jpeg|Created with|LEAD Tech|Adobe|Photoshop|GIMP|ImageMagick|Matplotlib|File written by|"
    r"Intel\(R\) JPEG|Optimized by|Compressed by|Lavc\d|JPEG Encoder|OLYMPUS DIGITAL CAMERA|SONY DSC|DSC\b|Screenshot|"
    r"Handmade Software|Processed By|Software:|ACD Systems|SAMSUNG|KONICA MINOLTA|NIKON|Canon|www\.|https?://", re.I,
)  # fmt: skip
_USUAL_KEYS = frozenset((
    "software", "date:create", "date:modify", "date:timestamp", "creation time", "creationtime", "create-date",
    "modify-date", "source", "make", "model",
))  # fmt: skip


def metadata(dataset: Dataset) -> Iterator[Finding]:
    """Yield a finding for each kind of thing that files hold beside their pixels; `says` has what, per picture."""
    found: dict[str, list[tuple[str, str]]] = {kind: [] for kind in KINDS}
    if dataset.kind != "arrays":
        with reader(dataset) as read:
            for sample in dataset.samples:
                try:
                    picture = read(sample)
                except PictureError:
                    continue
                if isinstance(picture, bytes):
                    for kind, says in beside(picture):
                        found[kind].append((sample.path, says))
    for kind, each in found.items():
        if each:
            paths, said = zip(*each, strict=True)
            yield Finding("metadata", paths, 1.0, {"what": kind, "says": list(said)})


def beside(picture: bytes) -> Iterator[tuple[str, str]]:
    """Yield what one file holds beside its pixels: its kind, at most once each, and what it is."""
    parts = parts_of(picture)
    told = private(exif_of(picture, parts.exif), parts.xmp)
    payload, text = _payload(parts), _worth_saying(parts, told)
    if payload:
        yield "payload", payload
    elif parts.after.strip(b"\0\r\n \xff"):
        yield "after", f"{len(parts.after):,} bytes follow the end"
    if text and not payload:
        yield "text", text
    for kind, said in (("place", told.place), ("person", told.person), ("serial", told.serial)):
        if said:
            yield kind, _shortened(said)
    if told.thumbnail and (differs := other_thumbnail(told.thumbnail, picture)):
        yield "thumbnail", differs


def _payload(parts: Parts) -> str:
    """Return which file or code is hidden in this one, or ""."""
    if what := _file_in(parts.after.lstrip(b"\0\r\n ")):
        return f"{what} of {len(parts.after):,} bytes follows the end"
    if _CODE.search(parts.after[:20_000].decode("latin-1")):
        return f"code follows the end: {_shortened(parts.after.decode('latin-1'))}"
    for name, body in parts.extra:
        if what := _file_in(body):
            return f"chunk '{name}' holds {what} of {len(body):,} bytes"
        if _CODE.search(body[:20_000].decode("latin-1")):
            return f"chunk '{name}' holds code: {_shortened(body.decode('latin-1'))}"
    for name, text in parts.texts:
        if _CODE.search(text[:20_000]):
            return f"{name}: {_shortened(text)}"
    return ""


def _file_in(content: bytes) -> str:
    if content[4:8] == b"ftyp":
        return "a video" if content[8:12] not in (b"heic", b"avif", b"mif1") else "another picture"
    return next((what for begin, what in BEGINNINGS.items() if content.startswith(begin)), "")


def _worth_saying(parts: Parts, told: Private) -> str:
    """Return the first text that no program writes about itself, or a chunk of unknown meaning."""
    for name, text in (*parts.texts, *told.texts):
        if len(text) > 3 and name.lower() not in _USUAL_KEYS and not (len(text) < 200 and _USUAL.search(text)):
            return f"{name}: {_shortened(text)}"
    for name, body in parts.extra:
        if len(body) > 64:
            return f"{len(body):,} bytes in an unknown chunk, '{_shortened(name)}'"
    return ""


def _shortened(text: str) -> str:
    text = "".join(letter if letter.isprintable() else " " for letter in " ".join(text.split()))
    return text if len(text) <= MOST_SAID else f"{text[:MOST_SAID]}…"
