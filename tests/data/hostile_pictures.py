"""Pictures that try a decoder: scans, interlace, tiles, frames, metadata and what else, by a seeded generator."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

from PIL import Image

SIZES = ((1, 1), (9, 7), (64, 48), (300, 1), (1, 300))
KINDS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM")
SERVED = ("JPEG", "PNG", "GIF", "WEBP")
MODES = {"JPEG": ("L", "RGB", "CMYK"), "GIF": ("P", "L"), "WEBP": ("RGB", "RGBA"), "BMP": ("1", "L", "P", "RGB"),
         "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"), "PPM": ("1", "L", "RGB", "F"),
         "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F")}  # fmt: skip


@cache
def encoded(kind: str, mode: str, size: tuple[int, int], options: tuple[tuple[str, object], ...] = ()) -> bytes:
    """Return a picture in a format."""
    width, height = size
    image = Image.frombytes("L", size, random.Random(width).randbytes(width * height))
    if mode in ("LA", "RGBA", "CMYK", "YCbCr"):
        image = image.convert("RGB") if mode in ("CMYK", "YCbCr") else image
    file = io.BytesIO()
    (image.convert("I").convert("I;16") if mode == "I;16" else image.convert(mode)).save(file, kind, **dict(options))
    return file.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@cache
def interlaced(width: int, height: int) -> bytes:
    """Return a black PNG in Adam7's seven passes."""
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    rows = [(len(range(y, height, dy)), len(range(x, width, dx))) for x, y, dx, dy in passes]
    data = b"".join(high * (b"\0" + bytes(3 * wide)) for high, wide in rows if wide)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


class Pictures:
    """Makes pictures; the same seed makes the same ones. `largest` is the side of the largest, of which few are."""

    def __init__(self, seed: int, kinds: tuple[str, ...] = KINDS, largest: int = 1500) -> None:
        self.rng = random.Random(seed)
        self.kinds, self.largest = kinds, largest
        self.makers: dict[str, Callable[[], bytes]] = {
            "scans": self.scans, "interlace": self.interlace, "chunks": self.chunks, "frames": self.frames,
            "metadata": self.metadata, "damage": self.damage, "damaged metadata": lambda: self.damaged(self.metadata()),
            "junk": self.junk, "blocks of nothing": self.blocks_of_nothing, "phones": self.phones,
        }  # fmt: skip
        if "TIFF" in kinds:
            self.makers |= {"tiles": self.tiles, "tags": self.tags, "run lengths": self.run_lengths,
                            "shared strips": self.shared_strips, "digits": self.digits}  # fmt: skip

    def picture(self) -> tuple[str, bytes]:
        """Return one, and what it tries."""
        name = self.rng.choice(list(self.makers))
        return name, self.makers[name]()

    def sound(self, *kinds: str, **options: object) -> bytes:
        kind = self.rng.choice(kinds or self.kinds)
        mode = self.rng.choice([mode for mode in MODES[kind] if mode != "F" or kind != "PPM"])
        return encoded(kind, mode, self.rng.choice(SIZES), tuple(options.items()))

    def large(self, most: int = 64) -> tuple[int, int]:
        """A size, rarely large."""
        most = self.largest if self.rng.random() < 0.01 else most
        return self.rng.randrange(1, most + 1), self.rng.randrange(1, most + 1)

    def scans(self) -> bytes:
        plain = encoded("JPEG", "L", self.rng.choice(((64, 64), (8, 8), (self.largest, self.largest))),
                        (("progressive", True),))  # fmt: skip
        starts = [i for i in range(len(plain)) if plain.startswith(b"\xff\xda", i)]
        one = plain[self.rng.choice(starts) : -2]
        count = min(self.rng.choice((0, 1, 5, 90, 3000)), 1_000_000 // len(one))
        return plain[:-2] + count * one + b"\xff\xd9"

    def interlace(self) -> bytes:
        return self.damaged(interlaced(*self.large())) if self.rng.random() < 0.5 else interlaced(*self.large(9))

    def chunks(self) -> bytes:
        """Many small parts where a file of its size has few."""
        count = self.rng.choice((1, 100, 3000, 30_000))
        kind = self.rng.choice(self.kinds)
        plain = self.sound(kind)
        if kind == "PNG":
            return (
                plain[:33]
                + count * chunk(self.rng.choice((b"IDAT", b"tEXt", b"tRNS", b"PLTE", b"fcTL")), b"")
                + plain[33:]
            )
        if kind == "JPEG":
            marker = self.rng.choice((0xFE, 0xE1, 0xDB, 0xC4, 0xDD))
            return plain[:2] + count * (bytes([255, marker]) + b"\0\2") + plain[2:]
        if kind == "GIF":
            head = 13 + (3 * 2 ** ((plain[10] & 7) + 1) if plain[10] & 128 else 0)
            return (
                plain[:head]
                + self.rng.choice((count * b"!\xfe\1a\0", b"!\xfe" + count * b"\1a" + b"\0"))
                + plain[head:]
            )
        if kind == "WEBP":
            return plain[:12] + count * b"XMP \0\0\0\0" + plain[12:]
        return plain + count * b"\0"

    def junk(self) -> bytes:
        """A JPEG with something between its segments."""
        plain = self.sound("JPEG")
        at = plain.index(self.rng.choice((b"\xff\xdb", b"\xff\xc0", b"\xff\xc4", b"\xff\xda")))
        count = self.rng.choice((1, 1000, 300_000))
        return plain[:at] + count * self.rng.choice((b"\xff", b"\0", b"\xff\0", b"\xff\xd0", b"\xff\xd8")) + plain[at:]

    def blocks_of_nothing(self) -> bytes:
        """A PNG whose deflated data has blocks that hold nothing, before, between or after its rows."""
        width, height = self.large()
        rows = height * (b"\0" + bytes(3 * width))
        blocks = self.rng.choice((1, 1000, 200_000)) * b"\0\0\0\xff\xff"
        packed = zlib.compress(rows)
        data = self.rng.choice((packed[:2] + blocks + packed[2:], packed[:-4] + blocks, packed + blocks))
        parts = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        return b"\x89PNG\r\n\x1a\n" + parts + chunk(b"IDAT", data) + chunk(b"IEND", b"")

    def phones(self) -> bytes:
        """HEIC and AVIF, damaged in their boxes or in their pixels."""
        plain = bytearray(self.rng.choice(phones()))
        change = self.rng.randrange(4)
        if change == 1:
            return self.damaged(bytes(plain))
        if change == 2:  # a number in the boxes: a size, an offset, a count
            at = self.rng.randrange(len(plain) // 2)
            plain[at : at + 4] = self.rng.choice((b"\xff" * 4, bytes(4), b"\0\0\xff\xff", b"\0\1\0\0"))
        elif change == 3:
            half = len(plain) // 2
            for _ in range(self.rng.choice((1, 20))):
                plain[self.rng.randrange(half, len(plain))] = self.rng.randrange(256)
        return bytes(plain)

    def shared_strips(self) -> bytes:
        """A deflated TIFF of many strips that are all the same bytes, or far too many, or too large."""
        count, data = self.rng.choice((3, 500, 20_000)), zlib.compress(bytes(64)) + self.rng.randbytes(3000)
        claimed = self.rng.choice((64, len(data), 2**31 - 1))
        places = struct.pack(f"<{2 * count}I", *count * [8], *count * [claimed])
        rows = {256: 64, 257: count, 258: 8, 259: self.rng.choice((1, 5, 8)), 262: 1, 277: 1,
                278: self.rng.choice((1, 2, 2**31)), 273: 8 + len(data), 279: 8 + len(data) + 4 * count}  # fmt: skip
        table = b"".join(
            struct.pack("<HHII", tag, 4, count if tag in (273, 279) else 1, rows[tag]) for tag in sorted(rows)
        )
        body = data + places
        return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + struct.pack("<H", len(rows)) + table + bytes(4)

    def digits(self) -> bytes:
        """PPM in digits, with remarks and blanks, or of an odd range."""
        rng, (width, height) = self.rng, self.large()
        some = rng.choice((b" ", b"\n", b"#\n", b" # a\n")) * rng.choice((1, 100, 20_000))
        head = b"P%d%s\n%d %d\n" % (rng.choice((1, 2, 3, 5, 6)), some, width, height)
        body = rng.choice((b"1 ", b"0", b"1#\n", b"-1 ", b"99999 ", b"\xff")) * (3 * width * height)
        return self.damaged(head + b"%d\n" % rng.choice((0, 1, 7, 255, 1000, 65_535, 65_536)) + body)

    def frames(self) -> bytes:
        kind = self.rng.choice([kind for kind in ("GIF", "WEBP", "PNG", "TIFF") if kind in self.kinds])
        return self.damaged(moving(kind, self.rng.choice((2, 30)))) if self.rng.random() < 0.5 else moving(kind, 3)

    def metadata(self) -> bytes:
        rng = self.rng
        entries = [
            struct.pack(">HHII", rng.choice((0x112, 0x11A, 0x8769, 0x100, 0x8825, 0x14A)), rng.randrange(16),
                        rng.choice((0, 1, 2, 65_535, 2**31)), rng.choice((0, 8, 3 << 16, 2**32 - 1)))
            for _ in range(rng.choice((0, 1, 5, 2000)))
        ]  # fmt: skip
        exif = b"MM\0*" + struct.pack(">IH", 8, min(65_535, len(entries))) + b"".join(entries) + bytes(4)
        other = zlib.compress(bytes(rng.choice((10, 10**6)))) if rng.random() < 0.5 else rng.randbytes(50)
        kind = rng.choice(SERVED)
        plain = self.sound(kind)
        if kind == "PNG":
            name = rng.choice(
                (b"eXIf", b"zTXt", b"iCCP", b"iTXt", b"cHRM", b"gAMA", b"pHYs", b"acTL", b"sBIT", b"tRNS")
            )
            return plain[:33] + chunk(name, exif if name == b"eXIf" else b"a\0\0" + other) + plain[33:]
        if kind == "JPEG":
            body = rng.choice(
                (b"Exif\0\0" + exif, b"ICC_PROFILE\0" + other, b"MPF\0" + exif, b"Photoshop 3.0\0" + other)
            )
            marker = rng.choice((0xE0, 0xE1, 0xE2, 0xED, 0xEE))
            return plain[:2] + bytes([255, marker]) + struct.pack(">H", len(body) + 2) + body + plain[2:]
        if kind == "WEBP":
            body = plain[12:] + rng.choice((b"EXIF", b"ICCP", b"XMP ")) + struct.pack("<I", len(exif)) + exif
            return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body
        return plain[:-1] + b"!\xff\x0bXMP DataXMP" + other[:255] + b"\0;"

    def tiles(self) -> bytes:
        """TIFF with odd strips, tiles, depths and compressions."""
        rng, data = self.rng, self.sound("JPEG") if self.rng.random() < 0.3 else self.rng.randbytes(2000)
        odd = (0, 1, 7, 16, 64, 1000, 65_535, 2**31)
        rows = {256: rng.choice(odd[1:6]), 257: rng.choice(odd[1:6]), 258: rng.choice((1, 8, 12, 16, 32, 64)),
                259: rng.choice((1, 1, 2, 3, 4, 5, 6, 7, 8, 32773, 34712, 50000, 50001, 34925)), 262: rng.randrange(9),
                277: rng.choice((1, 1, 3, 4, 200)), 284: rng.choice((1, 2)), 317: rng.choice((1, 2, 3)),
                339: rng.choice((1, 2, 3))}  # fmt: skip
        places = (322, 323, 324, 325) if rng.random() < 0.5 else (278, 0, 273, 279)
        rows |= {
            places[0]: rng.choice(odd),
            places[1]: rng.choice(odd),
            places[2]: 8,
            places[3]: rng.choice((len(data), 9)),
        }
        table = b"".join(struct.pack("<HHII", tag, 4, 1, rows[tag]) for tag in sorted(rows) if tag)
        count = len(rows) - (0 in rows)
        return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", count) + table + bytes(4)

    def tags(self) -> bytes:
        """A TIFF whose directory promises, points anywhere, or is its own next."""
        plain = bytearray(self.sound("TIFF"))
        at = struct.unpack_from("<I", plain, 4)[0]
        for _ in range(self.rng.choice((1, 3))):
            place = self.rng.randrange(min(at, len(plain) - 4), len(plain) - 3)
            plain[place : place + 4] = self.rng.choice((b"\xff" * 4, bytes(4), b"\0\0\0\x7f", self.rng.randbytes(4)))
        return bytes(plain)

    def run_lengths(self) -> bytes:
        width, height = self.large(200)
        head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, 4, 0, 0, 256, 0)
        data = self.rng.randbytes(300) + self.rng.choice((b"\0\0" * 50, b"\0\2\xff\xff" * 50, b"\xff\1" * 50, b"\0\1"))
        return b"BM" + struct.pack("<IHHI", 1082, 0, 0, 1078) + head + bytes(1024) + data

    def damage(self) -> bytes:
        return self.damaged(self.sound())

    def damaged(self, content: bytes) -> bytes:
        """Bytes with something wrong in them, mostly near the start."""
        rng, some = self.rng, bytearray(content)
        for _ in range(rng.choice((1, 1, 3, 10))):
            at = rng.randrange(min(len(some), rng.choice((20, 100, 10**6))) + 1)
            change = rng.randrange(5)
            if change == 0 and rng.random() < 0.2:
                del some[at:]
            elif change == 1:
                some[at : at + 1] = bytes([rng.randrange(256)])
            elif change == 2:
                some[at : at + 4] = rng.choice((b"\xff" * 4, bytes(4), b"\x7f\xff\xff\xff", b"\0\0\0\x7f"))
            elif change == 3:
                del some[at : at + rng.randrange(1, 9)]
            else:
                some[at:at] = some[at // 2 : at][:50_000]
        return bytes(some)


@cache
def phones() -> list[bytes]:
    """Return pictures in the formats of phones."""
    files = sorted(Path(__file__).with_name("phones").iterdir())
    return [*(file.read_bytes() for file in files), encoded("AVIF", "RGB", (64, 48))]


@cache
def moving(kind: str, count: int) -> bytes:
    """Return an animation, or a TIFF of several pages."""
    frames = [Image.frombytes("RGB", (9, 7), random.Random(i).randbytes(189)) for i in range(count)]
    file = io.BytesIO()
    frames[0].save(file, kind, save_all=True, append_images=frames[1:])
    return file.getvalue()
