"""What a picture's file holds beside its pixels: texts, EXIF, XMP, unknown chunks, and bytes after its end.

JPEG, PNG, GIF, WebP and BMP are walked by hand: a library for pixels passes over just what is looked for here.
A file that is damaged gives what was read up to there.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

MOST_TEXT = 100_000  # bytes of one text that are kept; a text may be compressed a thousandfold
MOST_PARTS = 4_000  # of one file that are looked at
PNG = b"\x89PNG\r\n\x1a\n"
_JPEG_MARKER = re.compile(rb"\xff([\xc0-\xcf\xd8-\xfe])")  # not those that stand within a scan
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_PNG_KNOWN = frozenset(
    b"IHDR PLTE IDAT IEND tRNS cHRM gAMA iCCP sBIT sRGB cICP mDCV cLLI bKGD hIST pHYs sPLT tIME acTL fcTL fdAT oFFs "
    b"pCAL sCAL sTER vpAg caNv orNT caBX iDOT CgBI".split()
)
_WEBP_KNOWN = frozenset((b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP"))
_GIF_KNOWN = (b"NETSCAPE2.0", b"ANIMEXTS1.0", b"ICCRGBG1012")


@dataclass(slots=True)
class Parts:
    """What was found: `texts` are (where, text), `extra` are chunks of no known meaning, `after` follows the end."""

    texts: list[tuple[str, str]] = field(default_factory=list)
    extra: list[tuple[str, bytes]] = field(default_factory=list)
    exif: bytes = b""
    xmp: bytes = b""
    after: bytes = b""


def parts_of(picture: bytes) -> Parts:
    """Return what a picture's file holds beside its pixels; nothing for other kinds of file."""
    parts = Parts()
    for start, walk in WALKS.items():
        if picture.startswith(start):
            try:
                end = walk(picture, parts)
            except (struct.error, IndexError, ValueError, zlib.error):  # it is cut short or damaged
                break
            parts.after = picture[end:]
    return parts


def _jpeg(picture: bytes, parts: Parts) -> int:
    at = 2
    for _ in range(MOST_PARTS):
        found = _JPEG_MARKER.search(picture, at)
        if found is None:
            break
        kind, at = found[1][0], found.end()
        if kind == 0xD8:
            continue
        if kind == 0xD9:
            return at
        body = picture[at + 2 : at + int.from_bytes(picture[at : at + 2])]
        at += int.from_bytes(picture[at : at + 2])
        if kind == 0xFE:
            parts.texts.append(("comment", _text(body)))
        elif kind == 0xE1 and body.startswith(b"Exif\0\0"):
            parts.exif = parts.exif or body
        elif kind == 0xE1 and body.startswith(_XMP):
            parts.xmp = parts.xmp or body[len(_XMP) :]
    return len(picture)


def _png(picture: bytes, parts: Parts) -> int:
    at = len(PNG)
    for _ in range(MOST_PARTS):
        length, kind = int.from_bytes(picture[at : at + 4]), picture[at + 4 : at + 8]
        if len(kind) < 4:
            break
        body, at = picture[at + 8 : at + 8 + length], at + 12 + length
        if kind == b"IEND":
            return at
        if kind in (b"tEXt", b"zTXt", b"iTXt"):
            _png_text(kind, body, parts)
        elif kind == b"eXIf":
            parts.exif = parts.exif or body
        elif kind not in _PNG_KNOWN:
            parts.extra.append((kind.decode("latin-1"), body))
    return len(picture)


def _png_text(kind: bytes, body: bytes, parts: Parts) -> None:
    key, _, rest = body.partition(b"\0")
    name = key.decode("latin-1")
    if kind == b"zTXt":
        rest = _inflated(rest[1:])
    elif kind == b"iTXt":
        *_, content = rest[2:].split(b"\0", 2)
        rest = _inflated(content) if rest[:1] == b"\1" else content
    if name == "XML:com.adobe.xmp":
        parts.xmp = parts.xmp or rest[:MOST_TEXT]
    elif name.startswith("Raw profile type exif"):
        parts.exif = parts.exif or bytes.fromhex(b"".join(rest.split(b"\n")[3:]).decode("ascii"))
    elif not name.startswith("Raw profile type"):
        parts.texts.append((name, _text(rest)))


def _inflated(content: bytes) -> bytes:
    return zlib.decompressobj().decompress(content, MOST_TEXT)


def _gif(picture: bytes, parts: Parts) -> int:
    at = 13 + (3 * 2 ** ((picture[10] & 7) + 1) if picture[10] & 0x80 else 0)
    while (kind := picture[at]) != 0x3B:
        if kind == 0x2C:
            at += 10
            at += 1 + (3 * 2 ** ((picture[at - 1] & 7) + 1) if picture[at - 1] & 0x80 else 0)
            what = b""
        elif kind == 0x21:
            what, at = picture[at + 1 : at + 2], at + 2
        else:
            raise ValueError("no block begins here")
        blocks, begin = [], at
        while size := picture[at]:
            if what:
                blocks.append(picture[at + 1 : at + 1 + size])
            at += 1 + size
        at += 1
        if what == b"\xfe":
            parts.texts.append(("comment", _text(b"".join(blocks))))
        elif what == b"\xff" and blocks and blocks[0] == b"XMP DataXMP":
            parts.xmp = parts.xmp or picture[begin + 12 : at][:MOST_TEXT]  # it is no chain of blocks, but ends like one
        elif what in (b"\xff", b"\x01") and blocks and not blocks[0].startswith(_GIF_KNOWN):
            parts.extra.append((blocks[0][:11].decode("latin-1"), b"".join(blocks[1:])))
    return at + 1


def _webp(picture: bytes, parts: Parts) -> int:
    if picture[8:12] != b"WEBP":
        raise ValueError("another kind of RIFF")
    end = 8 + struct.unpack_from("<I", picture, 4)[0]
    at = 12
    while at + 8 <= min(end, len(picture)):
        kind, length = struct.unpack_from("<4sI", picture, at)
        body, at = picture[at + 8 : at + 8 + length], at + 8 + length + length % 2
        if kind == b"EXIF":
            parts.exif = parts.exif or body
        elif kind == b"XMP ":
            parts.xmp = parts.xmp or body[:MOST_TEXT]
        elif kind not in _WEBP_KNOWN:
            parts.extra.append((kind.decode("latin-1"), body))
    return int(end)


def _bmp(picture: bytes, _: Parts) -> int:
    size = int(struct.unpack_from("<I", picture, 2)[0])
    return size if size > 26 else len(picture)  # some writers leave it out


def _text(content: bytes) -> str:
    content = content[:MOST_TEXT].strip(b"\0 \r\n\t")
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")


WALKS: dict[bytes, Callable[[bytes, Parts], int]] = {
    b"\xff\xd8": _jpeg,
    PNG: _png,
    b"GIF8": _gif,
    b"RIFF": _webp,
    b"BM": _bmp,
}
