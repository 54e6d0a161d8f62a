"""HEIC and AVIF: the same pixels, turns and limits as JPEG, in training, predicting and serving alike."""

import sys
from pathlib import Path

import numpy as np
import pytest

from keensight.data import pixels
from keensight.data.kinds import is_heif, is_picture_start
from keensight.data.pixels import decode_picture, read_header
from keensight.data.sources import open_dataset
from keensight.errors import PictureError, TooManyPixelsError, TooMuchWorkError
from keensight.values import Preprocessing

PHONES = Path(__file__).parent / "phones"
RED, GREEN, BLUE, YELLOW = (200, 30, 30), (30, 180, 40), (40, 60, 200), (230, 220, 40)


def corners(name, **size):
    picture = (PHONES / name).read_bytes()
    header = read_header(picture)
    image = decode_picture(picture, Preprocessing(header.height, header.width, 3))
    return [tuple(map(int, image[y, x])) for y in (2, -3) for x in (2, -3)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plain.heic", (RED, GREEN, BLUE, YELLOW)),
        ("alpha.heic", (RED, GREEN, BLUE, YELLOW)),
        ("plain.avif", (RED, GREEN, BLUE, YELLOW)),
        ("turned.heic", (BLUE, RED, YELLOW, GREEN)),  # a quarter turn clockwise, as drawn by hand
        ("turned.avif", (BLUE, RED, YELLOW, GREEN)),
    ],
)
def test_pixels_are_upright_and_of_their_colour(name, expected):
    np.testing.assert_allclose(corners(name), expected, atol=6)
    turned = name.startswith("turned")
    header = read_header((PHONES / name).read_bytes())
    assert (header.width, header.height) == ((24, 40) if turned else (40, 24)) and not header.grey


def test_grey_is_grey():
    assert read_header((PHONES / "grey.heic").read_bytes()).grey


def test_they_are_told_by_their_first_bytes():
    starts = {file.name: file.read_bytes()[:512] for file in PHONES.iterdir()}
    assert all(map(is_picture_start, starts.values()))
    assert {name for name, start in starts.items() if is_heif(start)} == {n for n in starts if n.endswith(".heic")}


@pytest.mark.parametrize("name", ["plain.heic", "plain.avif"])
def test_damage_is_a_picture_error(name):
    content = (PHONES / name).read_bytes()
    for cut in (12, 40, 200, len(content) - 20):
        with pytest.raises(PictureError):
            decode_picture(content[:cut], Preprocessing(8, 8, 3))


@pytest.mark.parametrize("name", ["plain.heic", "plain.avif"])
def test_limits_are_those_of_jpeg(name, monkeypatch):
    content = (PHONES / name).read_bytes()
    monkeypatch.setattr(pixels, "MAX_PIXELS", 40 * 24 - 1)
    with pytest.raises(TooManyPixelsError):
        read_header(content)
    monkeypatch.setattr(pixels, "MAX_PIXELS", 40 * 24)
    monkeypatch.setattr(pixels, "MOST_WORK", 40 * 24)
    with pytest.raises(TooMuchWorkError, match="passes"):
        read_header(content)


def test_without_the_package_the_error_names_the_extra(monkeypatch):
    pixels._heif_formats.cache_clear()
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    try:
        with pytest.raises(PictureError, match=r'HEIC picture.*pip install "keensight\[heif\]"'):
            read_header((PHONES / "plain.heic").read_bytes())
        assert corners("plain.avif")
    finally:
        pixels._heif_formats.cache_clear()


def test_a_folder_of_them_is_data(tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for i, name in enumerate(("plain.heic", "plain.avif")):
            # what follows the boxes is not read, and makes another file of it
            (tmp_path / label / f"IMG_{i}{name[-5:].upper()}").write_bytes(
                (PHONES / name).read_bytes() + label.encode()
            )
    assert len(open_dataset(tmp_path).samples) == 4 and not open_dataset(tmp_path).skipped
