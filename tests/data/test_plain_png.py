import io
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from keensight.data.pixels import decode_if_small, decode_picture
from keensight.data.plain_png import open_plain_png
from keensight.errors import PictureError
from keensight.values import Preprocessing


def png(mode="L", size=(28, 28), seed=0, **options):
    """Noise and a gradient, so that rows have filters of all kinds."""
    rng = np.random.default_rng(seed)
    channels = len(Image.new(mode, (1, 1)).getbands())
    ramp = np.add.outer(np.arange(size[1]) * 3, np.arange(size[0]) * 2)[..., None] + np.arange(channels) * 7
    pixels = (ramp + rng.integers(0, 9, ramp.shape)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if channels == 1 else pixels, mode).save(file, "PNG", **options)
    return file.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def made(width=4, height=4, depth=8, colour=0, interlace=0, pixels=None, extra=b"", after=b""):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    pixels = zlib.compress(bytes(5 * 4)) if pixels is None else pixels
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + extra + chunk(b"IDAT", pixels) + chunk(b"IEND", b"") + after


@pytest.mark.filterwarnings("ignore:.*mode.*parameter.*:DeprecationWarning")
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("size", [(1, 1), (28, 28), (64, 64), (3, 50), (50, 3)])
@pytest.mark.parametrize("options", [{}, {"compress_level": 0}, {"optimize": True}])
def test_pixels_are_those_that_pillow_finds(mode, size, options):
    picture = png(mode, size, **options)
    found = open_plain_png(picture, 4096)
    assert found is not None
    expected = Image.open(io.BytesIO(picture))
    assert (found.mode, found.size) == (expected.mode, expected.size)
    assert np.array_equal(np.asarray(found), np.asarray(expected))


@pytest.mark.parametrize(
    "picture",
    [
        made(extra=chunk(b"tRNS", b"\x00\x00")),
        made(extra=chunk(b"eXIf", b"MM\x00*\x00\x00\x00\x08\x00\x00")),
        made(extra=chunk(b"IDAT", b"")),
        made(interlace=1),
        made(depth=16),
        made(colour=3, extra=chunk(b"PLTE", bytes(768))),
        made(colour=6),
        made(width=0),
        made(width=65, height=64),
        made(width=2**31, height=2**31),
        made(pixels=zlib.compress(bytes(20))[:-6]),
        made(pixels=b"not deflated"),
        made(pixels=b""),
        made(after=b"more"),
        made()[:-1],
        made()[:50],
        b"",
        b"GIF89a",
    ],
)
def test_what_is_not_plain_is_left_to_pillow(picture):
    assert open_plain_png(picture, 4096) is None


def test_every_damage_is_left_to_pillow_or_does_not_matter():
    """Whatever byte changes: either Pillow shall see the file, or it is the same picture to it."""
    picture, size, rng = png(), Preprocessing(28, 28, 1), random.Random(0)
    for place in range(len(picture)):
        damaged = bytearray(picture)
        damaged[place] ^= rng.randrange(1, 256)
        if open_plain_png(bytes(damaged), 4096) is not None:
            expected = Image.open(io.BytesIO(bytes(damaged))).tobytes()
            assert decode_if_small(bytes(damaged), size, 4096).tobytes() == expected


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_small_picture_is_decoded_as_any_other(kind, channels):
    file = io.BytesIO()
    Image.open(io.BytesIO(png(size=(40, 30)))).save(file, kind)
    for size in (Preprocessing(28, 28, channels, "letterbox"), Preprocessing(30, 40, channels)):
        found = decode_if_small(file.getvalue(), size, 4096)
        assert np.array_equal(found, decode_picture(file.getvalue(), size))
    assert decode_if_small(file.getvalue(), size, 1199) is None


def test_damaged_small_pictures_are_refused_as_others_are():
    with pytest.raises(PictureError, match="not a picture"):
        decode_if_small(b"nothing", Preprocessing(8, 8, 1), 4096)
    file = io.BytesIO()
    Image.effect_noise((40, 40), 80).save(file, "JPEG")
    jpeg = file.getvalue()
    with pytest.raises(PictureError, match="damaged or cut short"):
        decode_if_small(jpeg[: len(jpeg) // 2], Preprocessing(8, 8, 1), 4096)


def test_compressed_remarks_are_not_read_in_passing():
    remarks = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1_000_000)))
    assert decode_if_small(made(extra=remarks), Preprocessing(8, 8, 1), 4096) is None
