"""What files are by their first bytes: pictures as Pillow writes them, and other things as other tools do."""

import gzip
import io
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from keensight.data.kinds import is_picture_start, what_is
from keensight.data.pixels import decode_picture
from keensight.errors import PictureError
from keensight.values import Preprocessing


@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM"])
def test_every_format_that_is_read_is_known_by_its_start(kind, mode):
    file = io.BytesIO()
    Image.fromarray(np.zeros((5, 300, 3), np.uint8)).convert(mode).save(file, kind)
    assert is_picture_start(file.getvalue()[:512]) and what_is(file.getvalue()) is None


def archive():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("a", "b")
    return file.getvalue()


def tar():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as packed:
        packed.addfile(tarfile.TarInfo("a" * 90))
    return file.getvalue()


@pytest.mark.parametrize(
    "content,what",
    [
        (b"\xff\x0a\x80", "a picture in JPEG XL format"),
        (b"\xef\xbb\xbf\n <!DOCTYPE HTML><html>", "an HTML page"),
        (b"<?xml version='1.0'?>\n<svg xmlns='x'>", "a picture in SVG format"),
        (b"<?xml version='1.0'?><annotation>", "an XML file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "a Git LFS pointer"),
        (b"%PDF-1.4", "a PDF document"),
        (b"\0\0\0\x18ftypmp42", "a video"),
        (b"\x1aE\xdf\xa3\x01", "a video"),
        (archive(), "a zip archive"),
        (gzip.compress(b"x", mtime=0), "an archive"),
        (tar(), "an archive"),
        (b"", "an empty file"),
        (bytes(4096), "all zero bytes"),
        (b"\0\5\x16\7\0\2", "what macOS keeps"),
        ("Grüße\n".encode() * 99, "text"),
        (b"Not found", "text"),
    ],
)
def test_what_is_no_picture_is_called_by_its_name(content, what):
    assert not is_picture_start(content[:512])
    assert what_is(content).startswith(what)
    if content:
        with pytest.raises(
            PictureError, match=f"^it is {what}.*AVIF and HEIC pictures up to 80 megapixels are accepted"
        ):
            decode_picture(content, Preprocessing(4, 4, 3))


def test_bytes_that_tell_nothing():
    assert what_is(b"\x9c\0\1\2" * 50) is None
    assert not any(
        is_picture_start(start) for start in (b"BMW is a car, not a bitmap at all.", b"Piano", b"RIFFxxxxWAVE")
    )
