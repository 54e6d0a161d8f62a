"""Whatever else is in a picture's file, its pixels are those of the picture alone; and a bomb is refused unopened."""

import contextlib
import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from keensight.data.bare import MANY, bare
from keensight.data.pixels import decode_picture, read_header
from keensight.data.plain_png import PNG
from keensight.errors import PictureError, TooMuchWorkError
from keensight.values import Preprocessing

RNG = np.random.default_rng(0)
NOISE = Image.fromarray(RNG.integers(0, 256, (6, 8, 3), np.uint8)).resize((48, 36))
COLOUR = Preprocessing(36, 48, 3)
OTHER = Image.new("RGB", NOISE.size, "red")
LOSSLESS = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}, "MPO": {"quality": 95}}
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "PPM")


def encode(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **LOSSLESS.get(kind, {}), **options)
    return file.getvalue()


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def segment(marker, body):
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def exif(*entries, orientation=1):
    """An EXIF block with an orientation and other entries: (tag, kind, four bytes of value, what these point to)."""
    rows = [(0x112, 3, struct.pack(">HH", orientation, 0)), *(entry[:3] for entry in entries)]
    table = b"".join(struct.pack(">HHI", tag, kind, 1) + value for tag, kind, value in rows)
    return b"MM\0*" + struct.pack(">IH", 8, len(rows)) + table + bytes(4) + b"".join(e[3] for e in entries)


ODD_EXIF = {
    "a resolution of -1/0": exif((0x11A, 10, struct.pack(">I", 38), struct.pack(">ii", -1, 0))),
    "a negative width": exif((0x100, 9, struct.pack(">i", -5), b"")),
    "a resolution that is no number": exif((0x11A, 11, struct.pack(">f", float("nan")), b"")),
    "an offset beyond its end": exif((0x8769, 4, struct.pack(">I", 2**31), b"")),
    "a directory that is its own sub-directory": exif((0x8769, 4, struct.pack(">I", 8), b"")),
    "a count beyond its end": b"MM\0*" + struct.pack(">IH", 8, 65535),
    "half a header": b"MM\0*",
    "nothing": b"",
    "noise": RNG.bytes(500),
}


def with_exif(kind, block):
    plain = encode(NOISE, kind)
    if kind == "JPEG":
        return plain[:2] + segment(0xE1, b"Exif\0\0" + block) + plain[2:]
    if kind == "PNG":
        return plain[:33] + chunk(b"eXIf", block) + plain[33:]
    body = plain[12:] + b"EXIF" + struct.pack("<I", len(block)) + block + b"\0" * (len(block) % 2)
    size = struct.pack("<I", NOISE.width - 1)[:3] + struct.pack("<I", NOISE.height - 1)[:3]
    body = b"WEBPVP8X" + struct.pack("<II", 10, 8) + size + body
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("block", ODD_EXIF.values(), ids=ODD_EXIF)
def test_odd_exif_is_no_damage(kind, block):
    pixels = decode_picture(with_exif(kind, block), COLOUR)
    np.testing.assert_array_equal(pixels, decode_picture(encode(NOISE, kind), COLOUR))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_an_odd_number_leaves_the_orientation_beside_it(kind):
    odd = exif((0x11A, 10, struct.pack(">I", 38), struct.pack(">ii", -1, 0)), orientation=3)
    expected = decode_picture(encode(NOISE, kind), COLOUR)[::-1, ::-1]
    np.testing.assert_array_equal(decode_picture(with_exif(kind, odd), COLOUR), expected)


def oriented(kind, number):
    """The picture in a format with its orientation, and where EXIF is elsewhere than usual."""
    block = Image.Exif()
    block[0x112] = number
    xmp = f'<x:xmpmeta tiff:Orientation="{number}"/>'.encode()
    plain = encode(NOISE, kind if kind in FORMATS else kind.split()[0])
    if kind == "MPO":
        return encode(NOISE, kind, exif=block, save_all=True, append_images=[OTHER])
    if kind == "JPEG by XMP":
        return plain[:2] + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp) + plain[2:]
    if kind == "PNG by XMP":
        return plain[:33] + chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp) + plain[33:]
    if kind == "PNG after the pixels":
        return plain[:-12] + chunk(b"eXIf", exif(orientation=number)) + plain[-12:]
    if kind == "PNG by ImageMagick":
        text = b"\nexif\n      32\n" + (b"Exif\0\0" + exif(orientation=number)).hex().encode()
        return plain[:33] + chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text)) + plain[33:]
    return encode(NOISE, kind, exif=block)


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize(
    "kind",
    ["JPEG", "MPO", "PNG", "WEBP", "TIFF", "JPEG by XMP", "PNG by XMP", "PNG after the pixels", "PNG by ImageMagick"],
)
def test_pictures_are_upright_in_every_format_that_says_how(kind, number):
    block = Image.Exif()
    block[0x112] = number
    with Image.open(io.BytesIO(encode(NOISE, {"M": "JPEG"}.get(kind[0], kind.split()[0])))) as plain:
        plain.load()
        plain.getexif()[0x112] = number
        expected = np.asarray(ImageOps.exif_transpose(plain).convert("RGB"))
    picture = oriented(kind, number)
    height, width = expected.shape[:2]
    header = read_header(picture)
    assert (header.height, header.width) == (height, width)
    np.testing.assert_array_equal(decode_picture(picture, Preprocessing(height, width, 3)), expected)


def text(compressed):
    info = PngImagePlugin.PngInfo()
    info.add_text("note", "a" * 2_000_000, zip=compressed)
    return info


def remarks():
    """Sound pictures with what is no pixel: (format, file)."""
    jpeg, png, gif, webp = (encode(NOISE, kind) for kind in ("JPEG", "PNG", "GIF", "WEBP"))
    icc = b"ICC_PROFILE\0" + bytes([1, 1]) + RNG.bytes(60_000)
    first = gif.index(b",", 13 + 3 * 2 ** ((gif[10] & 7) + 1))
    comment = b"!\xfe" + 8_000 * (b"\xff" + bytes(255)) + b"\0"
    yield "a compressed remark of 2 MB", "PNG", encode(NOISE, "PNG", pnginfo=text(True))
    yield "a remark of 2 MB", "PNG", encode(NOISE, "PNG", pnginfo=text(False))
    yield "a remark of 200 MB", "PNG", png[:33] + chunk(b"zTXt", b"a\0\0" + bomb()) + png[33:]
    yield "a profile of 200 MB", "PNG", png[:33] + chunk(b"iCCP", b"a\0\0" + bomb()) + png[33:]
    yield "a remark that is not deflated", "PNG", png[:33] + chunk(b"zTXt", b"a\0\0noise") + png[33:]
    yield "a remark with another checksum", "PNG", png[:33] + chunk(b"tEXt", b"a\0b")[:-1] + b"!" + png[33:]
    yield "a damaged physical size", "PNG", png[:33] + chunk(b"pHYs", b"1") + png[33:]
    yield "damaged chromaticities", "PNG", png[:33] + chunk(b"cHRM", b"1") + chunk(b"gAMA", b"") + png[33:]
    yield "more after the end", "PNG", png + RNG.bytes(1000)
    yield "no end", "PNG", png[:-12]
    yield "half an end", "PNG", png[:-5]
    yield (
        "an animation that lacks its frames",
        "PNG",
        png[:33] + chunk(b"acTL", bytes([0, 0, 0, 9, 0, 0, 0, 0])) + png[33:],
    )
    yield "a damaged profile", "JPEG", jpeg[:2] + segment(0xE2, icc) + jpeg[2:]
    yield "a damaged index of several pictures", "JPEG", jpeg[:2] + segment(0xE2, b"MPF\0MM\0*noise") + jpeg[2:]
    yield (
        "a damaged Photoshop block",
        "JPEG",
        jpeg[:2] + segment(0xED, b"Photoshop 3.0\x008BIM\4\4\0\0\xff\xff") + jpeg[2:],
    )
    yield "a preview before the picture", "JPEG", jpeg[:2] + segment(0xE1, encode(OTHER, "JPEG")) + jpeg[2:]
    yield "more after the end", "JPEG", jpeg + RNG.bytes(1000)
    yield "another picture after the end", "JPEG", jpeg + encode(OTHER, "JPEG")
    yield "a remark of 2 MB", "GIF", gif[:first] + comment + gif[first:]
    yield "more after the end", "GIF", gif + RNG.bytes(1000)
    yield "no end", "GIF", gif[:-1]
    yield "a later frame that is cut short", "GIF", gif[:-1] + b"," + bytes(9)
    yield "more after the end", "WEBP", webp + RNG.bytes(1000)
    yield (
        "a tag of the wrong kind",
        "TIFF",
        encode(NOISE, "TIFF", tiffinfo={270: "remark"}).replace(b"\x0e\x01\x02\0", b"\x0e\x01\x05\0"),
    )


def bomb():
    """200 MB of zeros, deflated: one piece 200 times, as it is the same each time where nothing is looked back to."""
    packer = zlib.compressobj(1, wbits=-15)
    piece = packer.compress(bytes(10**6)) + packer.flush(zlib.Z_FULL_FLUSH)
    adler = struct.pack(">HH", 200 * 10**6 % 65521, 1)
    return b"\x78\x01" + 200 * piece + b"\3\0" + adler


REMARKS = list(remarks())


@pytest.mark.parametrize(("kind", "picture"), [r[1:] for r in REMARKS], ids=[f"{r[1]}: {r[0]}" for r in REMARKS])
def test_what_is_no_pixel_is_no_damage(kind, picture):
    with warnings.catch_warnings(action="error"):
        pixels = decode_picture(picture, COLOUR)
    np.testing.assert_array_equal(pixels, decode_picture(encode(NOISE, kind), COLOUR))


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_of_nothing_but_pixels_is_passed_on_as_it_is(kind):
    picture = encode(NOISE, kind, **({"tiffinfo": {}} if kind == "TIFF" else {}))
    with Image.open(io.BytesIO(bare(picture).content)) as image:
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), decode_picture(picture, COLOUR))


@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_cut_short_anywhere_is_refused_or_whole(kind):
    picture = encode(NOISE, kind)
    whole = decode_picture(picture, COLOUR)
    for length in {*range(0, 80), *range(80, len(picture), 97)}:
        try:
            pixels = decode_picture(picture[:length], COLOUR)
        except PictureError:
            continue
        assert length > len(picture) / 2 and (pixels == whole).mean() > 0.5


@pytest.mark.parametrize("kind", FORMATS)
def test_noise_anywhere_is_refused_or_a_picture(kind):
    picture = np.frombuffer(encode(NOISE, kind), np.uint8)
    rng = np.random.default_rng(1)
    for _ in range(60):
        damaged = picture.copy()
        damaged[rng.integers(0, min(len(picture), rng.choice([30, 300, 10**6])), 3)] = rng.integers(0, 256, 3)
        with contextlib.suppress(PictureError):
            assert decode_picture(damaged.tobytes(), COLOUR).shape == (36, 48, 3)


def scans(image, count):
    """A progressive JPEG with scans that refine nothing."""
    plain = encode(image, "JPEG", progressive=True)
    return plain[:-2] + count * plain[plain.rindex(b"\xff\xda") : -2] + b"\xff\xd9"


def thousand_scans():
    return scans(Image.new("L", (2000, 2000), 128), 3000)


BOMBS = {  # small files that would keep a decoder busy, each made when it is tried
    "3,000 scans of 4 megapixels": thousand_scans,
    "30 scans of 25 megapixels": lambda: scans(Image.new("L", (5000, 5000)), 30),
    "3,000 scans in a TIFF": lambda: jpeg_in_tiff(thousand_scans(), (2000, 2000)),
    "segments of nothing": lambda: with_parts("JPEG", 2, (MANY + 5000) * segment(0xFE, b"")),
    "chunks of nothing": lambda: with_parts("PNG", 33, (MANY + 5000) * chunk(b"IDAT", b"")),
    "blocks of one byte": lambda: gif_blocks(encode(NOISE, "GIF")),
    "tags that share their data": lambda: shared_tags(encode(NOISE, "TIFF")),
    "run lengths over 60 megapixels": lambda: rle_bmp(60_000, 1_000),
    "digits for 60 megapixels": lambda: b"P2 60000 1000 255\n" + b"1 " * 100,
    "a strip for each pixel": lambda: strips(1, 30_000),
    "a strip for each 100 pixels": lambda: strips(100, 20_000),
    "tiles far beyond the edge": lambda: tiles((16, 100_000), (16_384, 16)),
    "strips that are the same bytes": lambda: one_strip_for_all(2_000),
    "tables of nothing": lambda: with_parts("JPEG", 2, 20 * segment(0xDB, 1000 * (b"\0" + bytes(range(1, 65))))),
    "remarks between digits": lambda: b"P2 9 9 255\n" + 20_000 * b"#\n" + 81 * b"1 ",
    "remarks before a size": lambda: b"P5 " + 10_000 * b"#\n" + b"9 9 255\n" + bytes(81),
    "blanks before a size": lambda: b"P6" + 20_000 * b" " + b"9 9 255\n" + bytes(243),
    "21 MB of run lengths for 100 pixels": lambda: rle_bmp(10, 10) + 10_500_000 * b"\0\0",
}


def tiles(size, tile):
    # the offsets and numbers of bytes of all tiles lie beyond the end: they do not matter any more
    rows = [(256, 4, size[0]), (257, 4, size[1]), (258, 3, 8), (259, 3, 8), (262, 3, 1), (277, 3, 1)]
    return tiff_of([*rows, (322, 4, tile[0]), (323, 4, tile[1]), (324, 4, 8), (325, 4, 9)], bytes(10))


def one_strip_for_all(count):
    plain = bytearray(encode(Image.new("L", (64, count)), "TIFF", compression="tiff_adobe_deflate", tiffinfo={278: 1}))
    (start,) = struct.unpack_from("<I", plain, 4)
    for i in range(struct.unpack_from("<H", plain, start)[0]):
        tag, kind, number, at = struct.unpack_from("<HHII", plain, start + 2 + 12 * i)
        if tag == 279:
            plain[at : at + 4 * number] = number * struct.pack("<I", len(plain)) if kind == 4 else number * b"\xff\xff"
    return bytes(plain)


def with_parts(kind, at, parts):
    plain = encode(NOISE, kind)
    return plain[:at] + parts + plain[at:]


def gif_blocks(gif):
    head = 13 + 3 * 2 ** ((gif[10] & 7) + 1)
    return gif[:head] + b"!\xfe" + 2 * MANY * b"\1a" + b"\0" + gif[head:]


def jpeg_in_tiff(picture, size):
    rows = [(256, 4, size[0]), (257, 4, size[1]), (258, 3, 8), (259, 3, 7), (262, 3, 1), (273, 4, 8), (277, 3, 1)]
    return tiff_of([*rows, (278, 4, size[1]), (279, 4, len(picture))], picture)


def tiff_of(rows, data):
    data += b"\0" * (len(data) % 2)
    table = b"".join(
        struct.pack("<HHI", tag, kind, 1) + struct.pack("<HH" if kind == 3 else "<I", *((v, 0) if kind == 3 else (v,)))
        for tag, kind, v in rows
    )
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(rows)) + table + bytes(4)


def shared_tags(tiff):
    data = bytes(1_000_000)
    row = struct.pack("<HHII", 320, 3, 500_000, 8)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", 5_000) + 5_000 * row + bytes(4)


def rle_bmp(width, height):
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, 4, 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 1082, 0, 0, 1078) + head + bytes(1024) + b"\0\0\0\1"


def strips(width, height):
    image = Image.new("L", (width, height))
    file = io.BytesIO()
    image.save(file, "TIFF", tiffinfo={278: 1})
    return file.getvalue()


@pytest.mark.parametrize("make", BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused_before_it_is_decoded(make, monkeypatch):
    picture = make()
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(TooMuchWorkError, match="save it again"):
        decode_picture(picture, COLOUR)


def test_ordinary_pictures_of_many_parts_are_no_bombs():
    photograph = Image.fromarray(RNG.integers(0, 256, (300, 400, 3), np.uint8))
    plain = encode(photograph, "PNG")
    at = plain.index(b"IDAT") - 4
    (length,) = struct.unpack_from(">I", plain, at)
    data = plain[at + 8 : at + 8 + length]
    pieces = b"".join(chunk(b"IDAT", data[i : i + 64]) for i in range(0, length, 64))
    whole = decode_picture(plain, Preprocessing(300, 400, 3))
    split = decode_picture(plain[:at] + pieces + plain[at + 12 + length :], Preprocessing(300, 400, 3))
    np.testing.assert_array_equal(split, whole)
    for picture in (scans(NOISE, 90), encode(photograph.convert("CMYK"), "JPEG", progressive=True), strips(64, 3000)):
        assert decode_picture(picture, COLOUR).shape == (36, 48, 3)


JUNK = {"fill bytes": 5_000 * b"\xff", "zeros": bytes(5_000), "stuffed bytes": 5_000 * b"\xff\0"}


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK)
@pytest.mark.parametrize("marker", [b"\xff\xdb", b"\xff\xc0", b"\xff\xda"])
def test_what_lies_between_segments_of_a_jpeg_reaches_no_decoder(junk, marker):
    """Pillow reads it byte by byte: 100 MB took it minutes."""
    plain = encode(NOISE, "JPEG")
    at = plain.index(marker)
    picture = plain[:at] + junk + plain[at:]
    assert len(bare(picture).content) <= len(plain) + 1  # one fill byte is a part of a marker
    np.testing.assert_array_equal(decode_picture(picture, COLOUR), decode_picture(plain, COLOUR))
    assert len(bare(plain[:at] + junk).content) <= at  # where nothing follows


@pytest.mark.parametrize("white", [1, 2, 100, 254, 256, 1000, 4095, 65534, 65535])
@pytest.mark.parametrize("kind", [5, 6])
def test_levels_of_any_range_are_those_of_pillow(kind, white):
    bands = 3 if kind == 6 else 1
    levels = np.random.default_rng(white).integers(0, white + 1, (7, 9, bands))
    picture = b"P%d # a remark\n9 7\n%d\n" % (kind, white) + levels.astype("u1" if white < 256 else ">u2").tobytes()
    with Image.open(io.BytesIO(picture)) as theirs, Image.open(io.BytesIO(bare(picture).content)) as ours:
        assert theirs.mode == ours.mode
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
    for cut in (10, 20, len(picture) - 1):
        with pytest.raises(PictureError):
            decode_picture(picture[:cut], Preprocessing(7, 9, bands))


def test_what_may_hide_work_is_not_taken_for_bounded():
    plain = {kind: read_header(encode(NOISE, kind)).is_bounded for kind in FORMATS}
    assert plain == dict.fromkeys(FORMATS, True)
    assert not read_header(encode(NOISE, "TIFF", compression="tiff_lzw")).is_bounded
    assert not read_header(encode(NOISE, "AVIF")).is_bounded


def test_bytes_that_give_no_pixels_are_work():
    data = b"\x78\1" + 200_000 * b"\0\0\0\xff\xff" + zlib.compress(bytes(10 * 31), 1)[2:]  # blocks of nothing
    head = struct.pack(">IIBBBBB", 10, 10, 8, 2, 0, 0, 0)
    header = read_header(PNG + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b""))
    assert header.work > 200_000


def test_a_header_says_how_much_work_a_picture_is():
    assert read_header(encode(NOISE, "JPEG")).work == 48 * 36
    assert read_header(encode(NOISE, "JPEG", progressive=True)).work == 10 * 48 * 36  # libjpeg's own ten scans
    assert read_header(encode(OTHER, "PNG")).work == 48 * 36


def test_the_first_frame_needs_no_other():
    frames = [Image.fromarray(RNG.integers(0, 256, (36, 48, 3), np.uint8)) for _ in range(3)]
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        moving = encode(frames[0], kind, save_all=True, append_images=frames[1:])
        still = encode(frames[0], kind)
        content = bare(moving).content
        if kind != "TIFF":  # of which Pillow reads one directory, whatever follows
            assert len(content) < 1.2 * len(still)
        np.testing.assert_array_equal(decode_picture(moving, COLOUR), decode_picture(still, COLOUR))
