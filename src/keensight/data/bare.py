"""Reduces a picture's file to the pixels of its first frame, and tells how much work it is to decode these.

Comments, colour profiles, EXIF, previews and later frames never reach a decoder, so it does not matter how damaged or
large they are, or how a decoder treats them. A file that cannot be parsed is passed on as it is, so that Pillow says
what is wrong with it.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from keensight.data.bare_ppm import IN_PYTHON, PPM, bare_ppm
from keensight.data.bare_tiff import TIFF, bare_tiff
from keensight.data.orientation import of_exif, of_xmp
from keensight.data.plain_png import PNG
from keensight.errors import TooMuchWorkError

MANY = 4_000  # segments, chunks or blocks that any file may have, and one more for so many bytes:
EACH = {"segments": 4096, "chunks": 1024, "blocks": 64}
MOST_HEADER = 1_000_000  # bytes of a JPEG's tables, which Pillow reads in Python
MOST_RUNS = 20_000_000  # bytes of a run-length-coded BMP, which Pillow reads in Python, whatever its pixels are
INTERLACED = 3  # passes over all pixels that Adam7's seven cost
HEAVY = 6  # passes of JPEG that HEVC and AV1 cost
_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd8-\xfe])")  # without those that occur within a scan
_PNG_KEPT = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"))
_EXIF_IN_TEXT = b"Raw profile type exif\0"
_XMP_IN_TEXT = b"XML:com.adobe.xmp\0"
_XMP_IN_JPEG = b"http://ns.adobe.com/xap/1.0/\0"


@dataclass(frozen=True, slots=True)
class Bare:
    """The part of a file that a decoder needs, its orientation (0 to 8), and the number of passes over all pixels.

    `is_bounded`: decoding takes no more than these passes. HEVC and AV1 may hide frames, and TIFF has many codecs.
    """

    content: bytes
    orientation: int = 0
    passes: int = 1
    is_bounded: bool = True


def bare(picture: bytes) -> Bare:
    """Return a picture's file with its first frame's pixels only. Raises TooMuchWorkError."""
    if picture[4:8] == b"ftyp":
        return Bare(picture, 0, HEAVY, is_bounded=False)
    for start, strip in STRIP.items():
        if picture.startswith(start):
            try:
                return strip(picture)
            except (struct.error, IndexError):  # it is cut short
                return Bare(picture)
    return Bare(picture)


def _jpeg(picture: bytes) -> Bare:
    kept: list[bytes] = []
    begin, at, left_out, scans, segments, orientation = 0, 2, 0, 0, 0, 0
    while found := _MARKER.search(picture, at):
        kind, start = found[1][0], found.start()
        if kind == 0xD8:
            at = found.end()
            continue
        if kind == 0xD9:
            break
        if not scans and start > at:  # what lies between segments, which Pillow reads byte by byte
            kept.append(picture[begin:at])
            begin, left_out = start, left_out + start - at
        at = found.end() + int.from_bytes(picture[found.end() : found.end() + 2])
        segments += 1
        _check_count(segments, at, "segments")
        if kind == 0xDA:
            scans += 1
            if scans == 1 and picture.find(b"\xff\xda", at) < 0:
                break  # the only one: its end is not needed
        elif not scans and (0xE1 <= kind <= 0xEF or kind == 0xFE) and kind != 0xEE:  # JFIF and Adobe say which colours
            body = picture[found.end() + 2 : at]
            if kind == 0xE1 and not orientation:
                orientation = _jpeg_orientation(body)
            kept.append(picture[begin:start])
            begin, left_out = at, left_out + at - start
        if not scans and at - left_out > MOST_HEADER:
            raise TooMuchWorkError(f"its tables have more than {MOST_HEADER:,} bytes; save it again")
    rest = picture[begin:] if scans else picture[begin:at]
    content = b"".join([*kept, rest]) if kept or not scans else picture
    return Bare(content, orientation, max(1, scans))


def _jpeg_orientation(body: bytes) -> int:
    if body.startswith(b"Exif\0\0"):
        return of_exif(body)
    return of_xmp(body) if body.startswith(_XMP_IN_JPEG) else 0


def _png(picture: bytes) -> Bare:
    kept, orientation, by_xmp = [PNG], 0, 0
    at, count, begin, has_more = len(PNG), 0, len(PNG), False
    while at + 12 <= len(picture):
        length, kind = struct.unpack_from(">I4s", picture, at)
        end = at + 12 + length
        count += 1
        _check_count(count, at, "chunks")
        if kind not in _PNG_KEPT:
            kept.append(picture[begin:at])
            begin, has_more = end, True
            body = picture[at + 8 : min(end - 4, at + 8 + 1_000_000)]
            if kind == b"eXIf":
                orientation = orientation or of_exif(body)
            elif kind in (b"zTXt", b"tEXt") and body.startswith(_EXIF_IN_TEXT):
                orientation = orientation or of_exif(_raw_profile(body[len(_EXIF_IN_TEXT) :], kind == b"zTXt"))
            elif kind == b"iTXt" and body.startswith(_XMP_IN_TEXT):
                by_xmp = of_xmp(body)
        at = end
        if kind == b"IEND":
            break
    content = b"".join([*kept, picture[begin:]]) if has_more else picture
    return Bare(content, orientation or by_xmp, INTERLACED if picture[28] else 1)


def _raw_profile(text: bytes, is_deflated: bool) -> bytes:
    """Return the EXIF block that ImageMagick wrote in hexadecimal digits, with three lines before them."""
    try:
        if is_deflated:
            text = zlib.decompressobj().decompress(text[1:], 200_000)
        return bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii"))
    except (zlib.error, ValueError):
        return b""


def _gif(picture: bytes) -> Bare:
    at = head = 13 + (3 * 2 ** ((picture[10] & 7) + 1) if picture[10] & 0x80 else 0)
    control, blocks = b"", 0
    while True:
        start, kind = at, picture[at]
        if kind == 0x2C:
            at += 10
            at += 1 + (3 * 2 ** ((picture[at - 1] & 7) + 1) if picture[at - 1] & 0x80 else 0)
        elif kind == 0x21:
            at += 2
        elif kind == 0x3B:
            return Bare(picture)
        else:
            at += 1  # as Pillow, which passes over bytes between blocks
            blocks += 1
            _check_count(blocks, at, "blocks")
            continue
        while size := picture[at]:
            at += 1 + size
            blocks += 1
            _check_count(blocks, at, "blocks")
        at += 1
        if kind == 0x2C:
            return Bare(picture[:head] + control + picture[start:at] + b";")
        if picture[start + 1] == 0xF9:
            control = picture[start:at]


def _webp(picture: bytes) -> Bare:
    if picture[8:12] != b"WEBP":
        return Bare(picture)
    kept, orientation, by_xmp, at, count, has_picture = [], 0, 0, 12, 0, False
    last = min(len(picture), 8 + int.from_bytes(picture[4:8], "little"))
    while at + 8 <= last:
        kind, length = struct.unpack_from("<4sI", picture, at)
        end = at + 8 + length + length % 2
        count += 1
        _check_count(count, at, "chunks")
        if kind == b"EXIF":
            orientation = orientation or of_exif(picture[at + 8 : at + 8 + length])
        elif kind == b"XMP ":
            by_xmp = of_xmp(picture[at + 8 : at + 8 + length])
        elif kind == b"VP8X":
            flags = picture[at + 8] & ~0b0010_1100  # no colour profile, EXIF or XMP
            kept.append(picture[at : at + 8] + bytes([flags]) + picture[at + 9 : end])
        elif kind in (b"ANIM", b"ALPH") or (kind in (b"VP8 ", b"VP8L", b"ANMF") and not has_picture):
            has_picture |= kind not in (b"ANIM", b"ALPH")
            kept.append(picture[at:end])
        at = end
    body = b"WEBP" + b"".join(kept)
    return Bare(b"RIFF" + struct.pack("<I", len(body)) + body, orientation or by_xmp)


def _bmp(picture: bytes) -> Bare:
    size, compression = struct.unpack_from("<I12xI", picture, 14)
    if size < 40 or compression not in (1, 2):
        return Bare(picture)
    if len(picture) > MOST_RUNS:
        raise TooMuchWorkError(f"it has more than {MOST_RUNS:,} bytes of run lengths; save it again")
    return Bare(picture, 0, IN_PYTHON)


def _ppm(picture: bytes) -> Bare:
    content, passes = bare_ppm(picture)
    return Bare(content, 0, passes)


def _check_count(count: int, at: int, what: str) -> None:
    if count > MANY + at // EACH[what]:
        raise TooMuchWorkError(f"it consists of more than {count - 1:,} {what}; save it again")


def _tiff(picture: bytes) -> Bare:
    return Bare(*bare_tiff(picture))


STRIP: dict[bytes, Callable[[bytes], Bare]] = {
    b"\xff\xd8\xff": _jpeg,
    PNG: _png,
    b"GIF8": _gif,
    b"RIFF": _webp,
    b"BM": _bmp,
    **dict.fromkeys(PPM, _ppm),
    **dict.fromkeys(TIFF, _tiff),
}
