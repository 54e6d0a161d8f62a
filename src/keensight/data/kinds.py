"""What a file is, told by its first bytes: a picture that is read here, or what else, in words for a message."""

from __future__ import annotations

import re

START_BYTES = 512  # all that is looked at

PICTURES = re.compile(  # JPEG (MPO too), PNG, GIF, WebP, BMP, TIFF (little and big, BigTIFF), PPM, HEIC and AVIF
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP|BM.{8}..\0\0[\x0c-\x80]\0\0\0|II[*+]\0|MM\0[*+]|P[1-6][\s#]"
    rb"|....ftyp(hei[cxms]|hev[cxms]|mif1|msf1|avif|avis)",
    re.DOTALL,
)


def unread(name: str) -> str:
    """Say that a file is a picture in a format that is not read, and what to do."""
    return f"a picture in {name} format, which is not read; convert it to JPEG or PNG"


OTHERS: tuple[tuple[bytes, str], ...] = (  # what the bytes look like, and what that is; the first that fits counts
    (rb"....ftyp(hei[cxms]|hev[cxms]|mif1|msf1|avi[fs])", "a HEIC or AVIF picture that is damaged or of a rare kind"),
    (rb"....ftypcrx ", unread("CR3")),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", unread("JPEG XL")),
    (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", unread("JPEG 2000")),
    (rb"8BPS", unread("Photoshop")),
    (rb"\0\0\x01\0[^\0]\0", unread("icon (ICO)")),
    (rb"v/1\x01", unread("OpenEXR")),
    (rb".{128}DICM", unread("DICOM")),
    (rb"FUJIFILMCCD-RAW|IIU\0|IIRO", unread("camera raw")),
    (rb"\s*(<\?xml[^>]*>)?\s*(<!--.*?-->\s*)?(<!DOCTYPE svg[^>]*>\s*)?<svg", unread("SVG")),
    (rb"version https://git-lfs\.github\.com/spec", "a Git LFS pointer and not the picture; run `git lfs pull`"),
    (
        rb"(\xef\xbb\xbf)?\s*(<!--.*?-->\s*)?<(!doctype )?html",
        "an HTML page, as a failed download leaves, and not a picture",
    ),
    (rb"(\xef\xbb\xbf)?\s*<\?xml", "an XML file and not a picture"),
    (rb"%PDF", "a PDF document and not a picture"),
    (rb"....ftyp|....moov|\x1aE\xdf\xa3|\0\0\x01[\xba\xb3]|RIFF....AVI |FLV\x01", "a video and not a picture"),
    (rb"ID3|RIFF....WAVE|OggS|fLaC|\xff[\xf2\xf3\xfb]", "a sound and not a picture"),
    (rb"PK\x03\x04|PK\x05\x06", "a zip archive (or an Office document) and not a picture"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ\0|7z\xbc\xaf|Rar!|\x28\xb5\x2f\xfd|.{257}ustar", "an archive and not a picture"),
    (rb"\x93NUMPY|\x89HDF|SQLite format 3|\x80[\x02-\x05]", "a data file and not a picture"),
    (rb"\x7fELF|MZ", "a program and not a picture"),
    (rb"\0\x05\x16\x07", "what macOS keeps about another file (AppleDouble), and not a picture"),
    (rb"\0{16}\0*\Z", "all zero bytes, as a copy or download that broke off leaves, and not a picture"),
)

_NAMES = ((b"II", "TIFF"), (b"MM", "TIFF"), (b"\x89PNG", "PNG"), (b"\xff\xd8", "JPEG"), (b"GIF8", "GIF"),
          (b"RIFF", "WebP"), (b"BM", "BMP"), (b"P", "PPM"))  # fmt: skip


def rare_or_damaged(content: bytes) -> str | None:
    """Say what a file is that begins as pictures do, and that no decoder takes; None if it does not begin so.

    >>> rare_or_damaged(b"II*\\0" + bytes(8))
    'a TIFF picture that is damaged or of a rare kind'
    """
    name = next((name for start, name in _NAMES if content.startswith(start)), "")
    return f"a {name} picture that is damaged or of a rare kind" if name and is_picture_start(content) else None


def is_heif(content: bytes) -> bool:
    """Say whether a file is a HEIC picture, and not an AVIF one, which has the same kind of container.

    >>> is_heif(b"\\0\\0\\0\\x1cftypheic"), is_heif(b"\\0\\0\\0\\x1cftypmif1\\0\\0\\0\\0mif1avif")
    (True, False)
    """
    if content[4:8] != b"ftyp":
        return False
    brands = content[8 : min(int.from_bytes(content[:4]), START_BYTES)]
    return brands[:3] in (b"hei", b"hev") or (brands[:4] in (b"mif1", b"msf1") and b"avi" not in brands)


def is_picture_start(start: bytes) -> bool:
    """Say whether a file that begins so is a picture in a format that is read.

    >>> is_picture_start(b"GIF89a..."), is_picture_start(b"P is a letter")
    (True, False)
    """
    return PICTURES.match(start) is not None


def what_is(content: bytes) -> str | None:
    """Say what a file is that is not a readable picture, by its first bytes, or None if they do not show it.

    >>> what_is(b"%PDF-1.7")
    'a PDF document and not a picture'
    """
    start = content[:START_BYTES]
    if not start:
        return "an empty file (0 bytes)"
    for look, what in OTHERS:
        more = re.IGNORECASE if b"html" in look or b"svg" in look else re.NOFLAG
        if re.match(look, start, re.DOTALL | more):
            return what
    return "text and not a picture" if _is_text(start) else None


def _is_text(start: bytes) -> bool:
    if re.search(rb"[\0-\x08\x0e-\x1a\x1c-\x1f]", start):
        return start[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        start.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > len(start) - 4  # a character that is cut
    return True
