"""What EXIF and XMP say of people and places, and the small picture that EXIF holds."""

from __future__ import annotations

import io
import math
import re
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from PIL.ExifTags import IFD, Base

from keensight.data.formats import formats_of
from keensight.data.in_time import HERE_WORK
from keensight.data.kinds import is_heif
from keensight.data.pixels import decode_if_quick
from keensight.errors import PictureError
from keensight.values import FloatArray, Preprocessing

MOST_EXIF = 1_000_000  # bytes
PEOPLE = {Base.Artist: "artist", Base.Copyright: "copyright", 0xA430: "camera owner", 0x9C9D: "author"}
SERIALS = {0xA431: "camera", 0xA435: "lens", Base.CameraSerialNumber: "camera"}
TEXTS = {Base.ImageDescription: "description", Base.UserComment: "comment", 0x9C9C: "comment", 0x9C9B: "title"}
_XMP_PLACE = re.compile(rb"exif:GPSLatitude(?:=[\"']|>)([^\"'<]{1,40})")
_XMP_TOWN = re.compile(rb"(?:photoshop:City|Iptc4xmpCore:Location)(?:=[\"']|>)([^\"'<]{1,80})")
_XMP_PERSON = re.compile(rb"<dc:creator>.{0,80}?<rdf:li[^>]*>([^<]{1,80})|aux:OwnerName=[\"']([^\"']{1,80})", re.DOTALL)
_XMP_SERIAL = re.compile(rb"(?:aux|exifEX):(?:Serial|BodySerial)Number(?:=[\"']|>)([^\"'<]{1,40})")
SIDE = 32
SAME_THUMBNAIL = 0.9  # correlation of the greys
LEAST_CONTRAST = 4.0  # levels


@dataclass(slots=True)
class Private:
    """What EXIF and XMP tell, in words: empty where they are silent."""

    place: str = ""
    person: str = ""
    serial: str = ""
    texts: tuple[tuple[str, str], ...] = ()
    camera: str = ""
    thumbnail: bytes = b""


def exif_of(picture: bytes, found: bytes) -> bytes:
    """Return a file's EXIF block: what was `found` by walking it, or what Pillow finds in TIFF, AVIF and HEIC."""
    if found or picture[:4] in (b"II*\0", b"MM\0*"):
        return found or picture
    if picture[4:8] != b"ftyp" or is_heif(picture):  # a decoder for HEIC may be missing
        return b""
    try:
        with Image.open(io.BytesIO(picture), formats=formats_of(picture)) as image:
            return bytes(image.info.get("exif") or b"")
    except Exception:  # Pillow's parsers may raise anything for a hostile file
        return b""


def private(exif: bytes, xmp: bytes) -> Private:
    """Return what the two blocks tell of people and places; what is damaged is passed over."""
    told = Private()
    if exif and len(exif) <= MOST_EXIF:
        try:
            _of_exif(exif, told)
        except Exception:  # as above
            told.texts = ()
    if match := _XMP_PLACE.search(xmp):
        told.place = told.place or f"latitude {_word(match[1])}"
    elif match := _XMP_TOWN.search(xmp):
        told.place = told.place or _word(match[1])
    if match := _XMP_PERSON.search(xmp):
        told.person = told.person or _word(match[1] or match[2])
    if match := _XMP_SERIAL.search(xmp):
        told.serial = told.serial or _word(match[1])
    return told


def _of_exif(block: bytes, told: Private) -> None:
    exif = Image.Exif()
    exif.load(block)
    camera, place = dict(exif.get_ifd(IFD.Exif)), dict(exif.get_ifd(IFD.GPSInfo))
    entries = {**camera, **exif}
    told.camera = " ".join(_word(entries.get(tag)) for tag in (Base.Make, Base.Model, Base.Software)).strip()
    told.person = "; ".join(f"{what} {_word(entries[tag])}" for tag, what in PEOPLE.items() if _word(entries.get(tag)))
    told.serial = "; ".join(f"{what} {_word(entries[tag])}" for tag, what in SERIALS.items() if _word(entries.get(tag)))
    told.texts = tuple((what, _word(entries[tag])) for tag, what in TEXTS.items() if _word(entries.get(tag)))
    if 2 in place and 4 in place:
        north, east = _degrees(place[2]), _degrees(place[4])
        signs = (-1 if place.get(1) in ("S", b"S") else 1, -1 if place.get(3) in ("W", b"W") else 1)
        told.place = "" if math.isnan(north + east) else f"{signs[0] * north:.4f}, {signs[1] * east:.4f}"
    small = exif.get_ifd(IFD.IFD1)
    begin, length = small.get(0x0201), small.get(0x0202)
    if isinstance(begin, int) and isinstance(length, int) and 0 < length <= MOST_EXIF:
        told.thumbnail = block.removeprefix(b"Exif\0\0")[begin : begin + length]


def _degrees(parts: Any) -> float:
    degrees, minutes, seconds = (float(part) for part in parts)
    return degrees + minutes / 60 + seconds / 3600


def _word(value: Any) -> str:
    """Return an entry as text; "" for one that is empty, or says nothing: many cameras write blanks or zeros."""
    if isinstance(value, bytes):
        value = value[8:] if value[:8] in (b"ASCII\0\0\0", b"UNICODE\0", b"\0" * 8) else value
        value = value.decode("utf-16-le" if value[1:2] == b"\0" else "latin-1", "replace")
    text = " ".join(str("" if value is None else value).replace("\0", " ").split())
    return text if text.strip("0 -.") else ""


def other_thumbnail(thumbnail: bytes, picture: bytes) -> str:
    """Say how EXIF's small picture differs from the large one: "" if they show the same, or one cannot be read.

    Bars that a camera adds are cut off, and quarter turns are tried, as programs turn the large one alone.
    """
    try:
        small_HW = _without_bars(np.asarray(Image.open(io.BytesIO(thumbnail), formats=("JPEG",)).convert("L")))
        large_HWC = decode_if_quick(picture, Preprocessing(160, 160, 1), HERE_WORK)
    except (PictureError, OSError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError):
        return ""
    if large_HWC is None or min(small_HW.shape) < 8 or large_HWC.std() < LEAST_CONTRAST:
        return ""
    large_HW = large_HWC[:, :, 0].astype(np.float64)
    turned = [np.rot90(small_HW, quarter) for quarter in range(4)]
    likeness = max(_likeness(each, large_HW) for each in turned)
    if likeness < SAME_THUMBNAIL:
        return f"the small picture in it shows something else ({max(0.0, likeness):.2f} alike)"
    return ""


def _without_bars(grey_HW: Any) -> FloatArray:
    """Cut black rows and columns off both sides, as cameras pad to 4:3."""
    rows, columns = (np.flatnonzero(grey_HW.max(axis=axis) > 24) for axis in (1, 0))
    if not len(rows) or not len(columns):
        return np.asarray(grey_HW, np.float64)
    cut: FloatArray = np.asarray(grey_HW[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], np.float64)
    return cut


def _likeness(small_HW: FloatArray, large_HW: FloatArray) -> float:
    one, other = (
        np.asarray(Image.fromarray(each.astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.BOX), np.float64)
        for each in (small_HW, large_HW)
    )
    one, other = one - one.mean(), other - other.mean()
    return float((one * other).sum() / max(1e-6, np.linalg.norm(one) * np.linalg.norm(other)))
