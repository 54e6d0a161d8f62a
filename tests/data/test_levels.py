"""Deep greys against the formula of their format, and transparent levels against Pillow's own pictures."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from keensight.data.pixels import decode_picture, read_header
from keensight.errors import PictureError
from keensight.values import Preprocessing

SIDE = 16
GREY = Preprocessing(SIDE, SIDE, 1)
COLOUR = Preprocessing(SIDE, SIDE, 3)


def encode(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def level(picture):
    return int(decode_picture(picture, GREY)[8, 8, 0])


def pgm(value, most):
    return b"P5\n%d %d\n%d\n" % (SIDE, SIDE, most) + np.full((SIDE, SIDE), value, ">u2").tobytes()


def png(value):
    return encode(Image.fromarray(np.full((SIDE, SIDE), value, np.uint16)))


def tiff(value, kind, photometric=1):
    levels = np.full((SIDE, SIDE), value, kind)
    bits, form = 8 * levels.itemsize, {"u": 1, "i": 2, "f": 3}[levels.dtype.kind]
    return raw_tiff(levels.astype(levels.dtype.newbyteorder("<")).tobytes(), bits, form, photometric)


def raw_tiff(data, bits, form=1, photometric=1):
    rows = [(256, SIDE), (257, SIDE), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1), (278, SIDE)]
    rows += [(279, len(data)), (339, form)]
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in rows)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(rows)) + table + bytes(4)


def twelve_bits(value):
    pair = bytes([value >> 4, (value & 15) << 4 | value >> 8, value & 255])
    return raw_tiff(pair * (SIDE * SIDE // 2), 12)


DEEP = {
    "16-bit PNG": (png, 65535),
    "16-bit PGM": (lambda value: pgm(value, 65535), 65535),
    "12-bit PGM": (lambda value: pgm(value, 4095), 4095),
    "10-bit PGM": (lambda value: pgm(value, 1000), 1000),
    "16-bit TIFF": (lambda value: tiff(value, np.uint16), 65535),
    "16-bit TIFF, white is 0": (lambda value: tiff(65535 - value, np.uint16, 0), 65535),
    "signed 16-bit TIFF": (lambda value: tiff(value, np.int16), 32767),
    "12-bit TIFF": (twelve_bits, 4095),
}


@pytest.mark.parametrize(("make", "white"), DEEP.values(), ids=DEEP)
def test_a_declared_range_decides(make, white):
    for part in (0, 0.001, 0.0038, 0.0041, 0.25, 0.5, 0.9, 1):  # a picture of less than 256 is no picture of 8 bits
        value = round(part * white)
        assert abs(level(make(value)) - value / white * 255) <= 0.51


@pytest.mark.parametrize("kind", [np.float32, np.int32, np.uint32])
def test_lighter_stays_lighter(kind):
    values = [0, 0.1, 0.5, 1, 1.01, 2, 100, 255, 256, 1000, 65535, 66000, 1e6, 2e9]
    found = [level(tiff(value, kind)) for value in values]
    assert found == sorted(found) and found[0] == 0 and found[-1] == 255
    assert level(tiff(-1, np.float32)) == level(tiff(-1, np.int32)) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(PictureError, match="not numbers"):
        level(tiff(value, np.float32))


def key_of(bits, colour, value):
    """A grey or RGB PNG of any depth, black and then half white, and its transparent level."""
    row = {1: b"\x00\xff", 2: b"\0\0\xff\xff", 4: bytes(4) + 4 * b"\xff", 8: bytes(8) + 8 * b"\xff"}
    line = row[bits] if bits < 16 else bytes(16) + 16 * b"\xff"
    pixels = b"".join(
        b"\0" + (line if not colour else line[: len(line) // 2] * 3 + line[len(line) // 2 :] * 3) for _ in "h" * SIDE
    )
    head = struct.pack(">IIBBBBB", SIDE, SIDE, bits, colour, 0, 0, 0)
    trns = struct.pack(">H", value) * (3 if colour else 1)
    parts = [(b"IHDR", head), (b"tRNS", trns), (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )


@pytest.mark.parametrize("size", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize(("bits", "colour"), [(1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (8, 2), (16, 2)])
def test_a_transparent_level_is_white_at_every_depth(bits, colour, size):
    for value, corners in ((0, [255, 255]), (2**bits - 1, [0, 255])):
        pixels = decode_picture(key_of(bits, colour, value), size)
        assert [pixels[0, 0].max(), pixels[0, -1].max()] == [pixels[0, 0].min(), pixels[0, -1].min()] == corners
    if bits > 1 and (bits, colour) != (16, 2):  # of whose colours Pillow keeps the upper bytes
        assert decode_picture(key_of(bits, colour, 1), size)[0, [0, -1], 0].tolist() == [0, 255]  # another level


def half_clear(kind, mode):
    """Transparent black, and opaque black beside it."""
    image = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (8, 0, 16, 16))
    if mode in ("P", "L", "RGB"):
        other = {"P": 1, "L": 1, "RGB": (1, 1, 1)}[mode]
        image = Image.new(mode, (SIDE, SIDE), 0)
        image.paste(other, (8, 0, 16, 16))
        if mode == "P":
            image.putpalette([0, 0, 0, 0, 0, 0])
        return encode(image, kind, transparency=(0, 0, 0) if mode == "RGB" else 0)
    if mode == "La":  # which differs from LA in one number, where it is black
        return encode(image.convert("LA"), kind).replace(b"\x52\1\3\0\1\0\0\0\2", b"\x52\1\3\0\1\0\0\0\1")
    image = image.convert(mode)
    return encode(image, kind, **({"lossless": True} if kind == "WEBP" else {}))


KINDS = {
    "PNG": ("RGBA", "LA", "P", "L", "RGB"),
    "GIF": ("P",),
    "WEBP": ("RGBA",),
    "TIFF": ("RGBA", "LA", "PA", "La"),
}


@pytest.mark.parametrize("size", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize(("kind", "mode"), [(kind, mode) for kind, modes in KINDS.items() for mode in modes])
def test_transparency_is_laid_on_white_whatever_the_mode(kind, mode, size):
    picture = half_clear(kind, mode)
    with Image.open(io.BytesIO(picture)) as image:
        assert image.mode == mode
    pixels = decode_picture(picture, size)
    assert (pixels[0, 0] == 255).all() and (pixels[0, -1] <= 1).all()


@pytest.mark.parametrize(("kind", "is_grey"), [(0, True), (4, True), (2, False), (6, False)])
def test_deep_png_are_grey_if_their_header_says_so(kind, is_grey):
    """Pillow takes levels with transparency, of 16 bits, for colour."""
    bands = {0: 1, 4: 2, 2: 3, 6: 4}[kind]

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    rows = SIDE * (b"\0" + np.full(SIDE * bands, 30_000, ">u2").tobytes())
    parts = chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 16, kind, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows))
    assert read_header(b"\x89PNG\r\n\x1a\n" + parts + chunk(b"IEND", b"")).grey is is_grey


def test_what_no_decoder_takes_is_named_as_what_it_is():
    with pytest.raises(PictureError, match="it is a TIFF picture that is damaged or of a rare kind"):
        decode_picture(tiff(0.5, np.float64), GREY)
