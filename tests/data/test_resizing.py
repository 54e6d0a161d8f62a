import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from keensight.data import resizing
from keensight.data.pixels import decode_picture
from keensight.data.resizing import resized
from keensight.values import Preprocessing

pytestmark = pytest.mark.skipif(resizing.library() is None, reason="keensight was installed without a C compiler")


def noise(width, height, seed=0):
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(levels if seed % 2 else np.where(levels > 127, np.uint8(255), np.uint8(0)))


def by_pillow(image, width, height):
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0))


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 150), st.integers(1, 150), st.integers(0, 9))
def test_it_is_pillows_to_the_bit_or_left_to_pillow(width, height, new_width, new_height, seed):
    image = noise(width, height, seed)
    pixels = resized(image, new_width, new_height)
    if pixels is None:
        assert width < 4 or width >= 4 * new_width or height >= 4 * new_height
    else:
        assert np.array_equal(pixels, by_pillow(image, new_width, new_height))


@pytest.mark.parametrize(
    "size",
    [
        (224, 224, 128, 128),
        (500, 375, 128, 128),
        (511, 300, 128, 128),
        (4, 1, 64, 64),
        (3000, 2000, 1024, 768),
        (375, 499, 128, 128),
        (4, 90, 3, 32),
    ],
)
def test_usual_sizes(size):
    pixels = resized(noise(*size[:2], seed=1), *size[2:])
    assert pixels is not None and np.array_equal(pixels, by_pillow(noise(*size[:2], seed=1), *size[2:]))


def test_what_is_left_to_pillow():
    assert resized(noise(64, 64), 16, 16) is None  # in two steps, by way of a quarter
    assert resized(noise(65, 130), 32, 32) is None  # the same
    assert resized(noise(3, 64), 3, 32) is None
    assert resized(noise(64, 64).convert("L"), 32, 32) is None
    assert resized(noise(64, 64).convert("RGBA"), 32, 32) is None


@pytest.mark.parametrize("what", ["missing", "another"])
def test_pillow_does_it_where_there_is_nothing_to_call(what, monkeypatch, picture_bytes):
    with_it = decode_picture(picture_bytes, Preprocessing(32, 48, 3))
    if what == "missing":
        monkeypatch.setattr(resizing, "library", lambda: None)
    else:
        monkeypatch.setattr(resizing, "_agrees", lambda *_: False)
    resizing._order.cache_clear()
    try:
        assert resized(noise(64, 64), 32, 32) is None
        assert np.array_equal(decode_picture(picture_bytes, Preprocessing(32, 48, 3)), with_it)
    finally:
        resizing._order.cache_clear()


def test_tall_pictures_are_left_to_a_pillow_of_unknown_order(monkeypatch):
    monkeypatch.setattr(resizing, "_agrees", lambda order, *_: order is resizing.of_any)
    resizing._order.cache_clear()
    try:
        assert resized(noise(64, 65), 32, 32) is None
        assert np.array_equal(resized(noise(64, 64), 32, 32), by_pillow(noise(64, 64), 32, 32))
    finally:
        resizing._order.cache_clear()


def test_an_order_counts_only_if_all_of_its_pictures_are_pillows():
    """Of this Pillow, one of both orders is wrong."""
    agree = [
        all(resizing._agrees(order, *sizes) for sizes in resizing.TALL) for order in (resizing.of_13, resizing.of_12)
    ]
    assert agree.count(True) == 1 and resizing._order() in (resizing.of_13, resizing.of_12)


@pytest.fixture
def picture_bytes(tmp_path):
    noise(90, 60, seed=1).save(tmp_path / "noise.png")
    return (tmp_path / "noise.png").read_bytes()
