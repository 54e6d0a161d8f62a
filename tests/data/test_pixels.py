import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from keensight.data.pixels import decode_picture, read_header
from keensight.errors import PictureError
from keensight.values import Preprocessing

RNG = np.random.default_rng(0)


def encode(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def halves(left, right, mode="RGB", size=(40, 20)):
    """A picture whose left half has one colour and whose right half has another."""
    image = Image.new(mode, size, left)
    image.paste(right, (size[0] // 2, 0, *size))
    return image


RED, BLUE = (255, 0, 0), (0, 0, 255)
TWO = Preprocessing(1, 4, 3)
GREY = Preprocessing(1, 4, 1)


def ends(picture, preprocessing):
    """The leftmost and the rightmost pixel: the filter mixes only those in the middle."""
    return decode_picture(picture, preprocessing)[0, [0, -1]].astype(int)


@pytest.mark.parametrize(
    ("picture", "tolerance"),
    [
        (encode(halves(RED, BLUE)), 0),
        (encode(halves(RED, BLUE), "BMP"), 0),
        (encode(halves(RED, BLUE), "TIFF"), 0),
        (encode(halves(RED, BLUE), "PPM"), 0),
        (encode(halves(RED, BLUE), "WEBP", lossless=True), 0),
        (encode(halves(RED, BLUE), "JPEG", quality=95), 3),
        (encode(halves(RED, BLUE).convert("CMYK"), "JPEG", quality=95), 3),
        (encode(halves(RED, BLUE).quantize(4)), 0),
        (encode(halves(RED, BLUE).quantize(4), "GIF"), 0),
        (encode(halves((*RED, 255), (*BLUE, 255), "RGBA")), 0),
    ],
    ids=["png", "bmp", "tiff", "ppm", "webp", "jpeg", "cmyk", "palette", "gif", "rgba"],
)
def test_every_colour_mode_gives_the_same_picture(picture, tolerance):
    assert np.abs(ends(picture, TWO) - np.array([RED, BLUE])).max() <= tolerance


def test_large_transparent_pictures_are_laid_on_white_in_strips():
    image = Image.fromarray(RNG.integers(0, 256, (1100, 700, 4), np.uint8))
    whole = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    np.testing.assert_array_equal(decode_picture(encode(image), Preprocessing(1100, 700, 3)), np.asarray(whole))


def test_transparency_is_laid_on_white():
    clear = halves((0, 0, 0, 0), (0, 0, 0, 255), "RGBA")
    assert ends(encode(clear), GREY).ravel().tolist() == [255, 0]
    assert ends(encode(clear.convert("LA")), GREY).ravel().tolist() == [255, 0]
    palette = halves(0, 1, "P")
    palette.putpalette([0, 0, 0, 0, 0, 0])
    assert ends(encode(palette, transparency=0), GREY).ravel().tolist() == [255, 0]


@pytest.mark.parametrize("extra", [1, 200])
def test_transparency_of_colours_that_a_palette_lacks_is_forgotten(extra):
    """libpng does so; Pillow refuses to convert such a picture."""
    picture = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) % 4, "P")
    picture.putpalette([0, 0, 0, 250, 0, 0, 0, 250, 0, 0, 0, 250])
    file = io.BytesIO()
    picture.save(file, "png", transparency=bytes([0, 255, 255, 255]), bits=8)
    sound = file.getvalue()
    at = sound.index(b"tRNS") - 4
    longer = bytes([0, 255, 255, 255]) + bytes(extra)
    chunk = b"tRNS" + longer
    hostile = (
        sound[:at] + struct.pack(">I", len(longer)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + sound[at + 16 :]
    )
    size = Preprocessing(8, 8, 3)
    np.testing.assert_array_equal(decode_picture(hostile, size), decode_picture(sound, size))


def test_sixteen_bit_greys_keep_their_upper_byte():
    levels = np.array([[0, 257 * 200]], np.uint16).repeat(20, 1)
    assert ends(encode(Image.fromarray(levels)), GREY).ravel().tolist() == [0, 200]


def test_floats_in_a_tiff_are_fractions():
    levels = np.array([[0.0, 0.5]], np.float32).repeat(20, 1)
    assert ends(encode(Image.fromarray(levels), "TIFF"), GREY).ravel().tolist() == [0, 128]
    levels[0, 0] = np.nan
    with pytest.raises(PictureError, match="not numbers"):
        decode_picture(encode(Image.fromarray(levels), "TIFF"), GREY)


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_an_animation_is_its_first_frame(kind):
    frames = [Image.new("RGB", (8, 8), RED), Image.new("RGB", (8, 8), BLUE)]
    options = {"lossless": True} if kind == "WEBP" else {}
    moving = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert decode_picture(moving, Preprocessing(1, 1, 3)).ravel().tolist() == list(RED)


def test_exif_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by 180 degrees
    picture = encode(halves(RED, BLUE), "JPEG", quality=95, exif=exif)
    assert np.abs(ends(picture, TWO) - np.array([BLUE, RED])).max() <= 3


def test_resizing_averages():
    """Against a naive mean over the pixels that fall together."""
    pixels = RNG.integers(0, 256, (40, 60, 3), np.uint8)
    small = decode_picture(encode(Image.fromarray(pixels)), Preprocessing(4, 6, 3)).astype(float)
    naive = pixels.reshape(4, 10, 6, 10, 3).mean(axis=(1, 3))
    # a triangle filter looks a little beyond its square, a box does not
    assert np.abs(small - naive).mean() < 8
    assert abs(small.mean() - pixels.mean()) < 1


def test_a_reduced_jpeg_is_close_to_a_whole_one():
    x, y = np.meshgrid(np.linspace(0, 9, 640), np.linspace(0, 7, 480))
    smooth = (127 + 90 * np.sin(x) * np.cos(y)).astype(np.uint8)
    image = Image.fromarray(smooth)
    size = Preprocessing(32, 32, 1)
    reduced = decode_picture(encode(image, "JPEG", quality=95), size).astype(int)
    whole = decode_picture(encode(image, "PNG"), size).astype(int)
    assert np.abs(reduced - whole).max() <= 4


def test_the_three_ways_to_fit():
    picture = encode(halves(RED, BLUE, size=(40, 20)))
    crop = decode_picture(picture, Preprocessing(20, 20, 3, "crop"))
    assert (crop[:, 0] == RED).all() and (crop[:, -1] == BLUE).all()
    squash = decode_picture(picture, Preprocessing(20, 20, 3, "squash"))
    assert (squash[:, :9] == RED).all() and (squash[:, 11:] == BLUE).all()
    white_on_black = Image.new("L", (40, 20), 0)
    white_on_black.paste(255, (10, 5, 30, 15))
    letterbox = decode_picture(encode(white_on_black), Preprocessing(40, 40, 1, "letterbox"))
    assert not letterbox[:10].any() and not letterbox[-10:].any()  # the bars have the border's own colour
    assert letterbox[20, 20] == 255


def test_arrays_pass_through_or_are_resized():
    array = RNG.integers(0, 256, (8, 8, 1), np.uint8)
    assert decode_picture(array, Preprocessing(8, 8, 1)) is array
    assert decode_picture(array, Preprocessing(4, 4, 3)).shape == (4, 4, 3)


def png_header(width, height):
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    data = b"IDAT" + zlib.compress(b"\0")
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))


WHOLE = encode(Image.fromarray(RNG.integers(0, 256, (64, 64, 3), np.uint8)), "JPEG")


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (b"", "empty"),
        (b"this is a text file", "not a picture"),
        (WHOLE[: len(WHOLE) // 2], "damaged or cut short"),
        (WHOLE[:20], "not a picture|damaged"),
        (png_header(60_000, 60_000), "megapixels"),
        (png_header(9_000, 9_000), "81 megapixels"),
        (b"%PDF-1.4", "not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "^it is a picture in SVG format, which is not read; convert it"),
    ],
    ids=["empty", "text", "truncated", "header only", "huge", "just too large", "pdf", "svg"],
)
def test_what_cannot_be_read_says_why(picture, reason):
    with pytest.raises(PictureError, match=reason):
        decode_picture(picture, TWO)


def test_a_header_is_read_without_decoding():
    header = read_header(encode(Image.new("L", (30, 20))))
    assert (header.height, header.width, header.grey) == (20, 30, True)
    with pytest.raises(PictureError, match="megapixels"):
        read_header(png_header(60_000, 60_000))
