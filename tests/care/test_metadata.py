"""Each kind is planted in a file by Pillow or by hand, and found there and in no other."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from keensight import open_dataset
from keensight.care.containers import parts_of
from keensight.care.metadata import KINDS, beside, metadata
from keensight.pages.findings import sentence


def saved(photo, kind="jpeg", **how):
    file = io.BytesIO()
    Image.fromarray(photo).save(file, kind, **how)
    return file.getvalue()


def archive():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        zipped.writestr("run.sh", "echo")
    return file.getvalue()


def exif(entries, **folders):
    made = Image.Exif()
    made.update(entries)
    for tag, values in folders.items():
        made.get_ifd(int(tag[1:], 16)).update(values)
    return made.tobytes()


def png_text(photo, key, text, zipped=False):
    info = PngImagePlugin.PngInfo()
    info.add_text(key, text, zip=zipped)
    return saved(photo, "png", pnginfo=info)


def with_thumbnail(photo, small):
    """A JPEG whose EXIF's second folder holds the JPEG `small`, laid out by hand: Pillow writes none."""
    head = b"II*\0" + (8).to_bytes(4, "little") + (0).to_bytes(2, "little") + (14).to_bytes(4, "little")
    begin = len(head) + 2 + 2 * 12 + 4
    entries = [(0x0201, begin), (0x0202, len(small))]
    second = b"".join(
        tag.to_bytes(2, "little") + b"\4\0" + (1).to_bytes(4, "little") + value.to_bytes(4, "little")
        for tag, value in entries
    )
    return saved(photo, exif=b"Exif\0\0" + head + b"\2\0" + second + b"\0" * 4 + small)


GPS = {1: "N", 2: (48.0, 8.0, 30.0), 3: "W", 4: (11.0, 34.0, 12.0)}
PLANTED = {
    "an archive after a JPEG": ("payload", lambda photo: saved(photo) + archive()),
    "an archive after a PNG": ("payload", lambda photo: saved(photo, "png") + archive()),
    "an archive after a GIF": ("payload", lambda photo: saved(photo, "gif") + archive()),
    "an archive after a WebP": ("payload", lambda photo: saved(photo, "webp") + archive()),
    "a program after a BMP": ("payload", lambda photo: saved(photo, "bmp") + b"MZ\x90\0" * 9),
    "code in a comment": ("payload", lambda photo: saved(photo, comment=b"<?php system($_GET['c']); ?>")),
    "code in a compressed text": ("payload", lambda photo: png_text(photo, "note", "<script>alert(1)</script>", True)),
    "bytes after a JPEG": ("after", lambda photo: saved(photo) + bytes(range(1, 200))),
    "a comment": ("text", lambda photo: saved(photo, comment=b"call this one a husky")),
    "a comment in a GIF": ("text", lambda photo: saved(photo, "gif", comment=b"call this one a husky")),
    "a text in a PNG": ("text", lambda photo: png_text(photo, "parameters", "a dog, oil painting")),
    "a place in a JPEG": ("place", lambda photo: saved(photo, exif=exif({}, x8825=GPS))),
    "a place in a WebP": ("place", lambda photo: saved(photo, "webp", exif=exif({}, x8825=GPS))),
    "a place in a PNG": ("place", lambda photo: saved(photo, "png", exif=exif({}, x8825=GPS))),
    "a place in XMP": ("place", lambda photo: saved(photo, xmp=b'<x exif:GPSLatitude="48,8.5N"/>')),
    "an artist": ("person", lambda photo: saved(photo, exif=exif({0x013B: "Ada Lovelace"}))),
    "an owner": ("person", lambda photo: saved(photo, exif=exif({}, x8769={0xA430: "Ada Lovelace"}))),
    "a serial number": ("serial", lambda photo: saved(photo, exif=exif({}, x8769={0xA431: "0402011"}))),
    "another small picture": ("thumbnail", lambda photo: with_thumbnail(photo, saved(photo[:40, 30:70]))),
}


@pytest.mark.parametrize("what", PLANTED)
def test_what_is_planted_is_found_and_nothing_else(photos, what):
    kind, plant = PLANTED[what]
    assert [each for each, _ in beside(plant(photos[30]))] == [kind]


def test_every_kind_is_planted_here():
    assert {kind for kind, _ in PLANTED.values()} == set(KINDS)


@pytest.mark.parametrize("kind", ["jpeg", "png", "gif", "webp", "bmp", "tiff", "avif"])
def test_plain_files_are_not_accused(photos, kind):
    assert list(beside(saved(photos[30], kind))) == []


@pytest.mark.parametrize(
    "comment", [b"AppleMark", b"CREATOR: gd-jpeg v1.0 (using IJG JPEG v62), quality = 90", b"\0\0"]
)
def test_what_programs_say_of_themselves_is_not_said(photos, comment):
    assert list(beside(saved(photos[30], comment=comment))) == []


def test_padding_and_cameras_are_not_said(photos):
    camera = exif({0x010F: "Canon", 0x0110: "EOS", 0x0131: "GIMP"}, x8769={0xA431: "0000000"})
    assert list(beside(saved(photos[30], exif=camera) + b"\0" * 512)) == []


@pytest.mark.parametrize("change", ["none", "turned", "bars"])
def test_a_small_picture_of_the_same_is_not_accused(photos, change):
    image = Image.fromarray(photos[30])
    small = image.resize((40, 40))
    if change == "turned":
        small = small.transpose(Image.Transpose.ROTATE_90)
    if change == "bars":
        small = ImageOps.pad(small, (40, 60), color=(0, 0, 0))
    assert list(beside(with_thumbnail(photos[30], saved(np.asarray(small))))) == []


def test_the_place_is_told_in_degrees(photos):
    ((_, place),) = beside(saved(photos[30], exif=exif({}, x8825=GPS)))
    assert place == "48.1417, -11.5700"


@pytest.mark.parametrize("kind", ["jpeg", "png", "gif", "webp", "bmp", "tiff"])
def test_damaged_files_are_survived(photos, kind):
    draw = np.random.default_rng(0)
    how = {} if kind in ("bmp", "gif") else {"exif": exif({0x013B: "Ada"}, x8825=GPS)}
    whole = saved(photos[30][:24, :24], kind, **how)
    for _ in range(100):
        broken = bytearray(whole[: draw.integers(4, len(whole))])
        for at in draw.integers(0, len(broken), 3):
            broken[at] = draw.integers(256)
        list(beside(bytes(broken)))
        parts_of(bytes(broken))


def test_the_finding_names_files_and_says_what(photos, tmp_path):
    for i, photo in enumerate(photos[20:32]):
        home = tmp_path / "ab"[i % 2]
        home.mkdir(exist_ok=True)
        (home / f"{i}.jpg").write_bytes(saved(photo, exif=exif({}, x8825=GPS)) if i == 3 else saved(photo))
    (found,) = metadata(open_dataset(tmp_path))
    assert (found.kind, found.samples, found.score) == ("metadata", ("b/3.jpg",), 1.0)
    assert sentence(found).startswith("1 file says where the picture was taken: b/3.jpg (48.1417, -11.5700).")


def test_arrays_have_no_files():
    assert list(metadata(open_dataset("digits"))) == []
