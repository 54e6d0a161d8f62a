import subprocess
import sysconfig

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from keensight.data import resizing
from keensight.data.pixels import decode_picture
from keensight.data.resizing import resized
from keensight.values import Preprocessing

SOURCE = resizing.__file__.replace("resizing.py", "resizing.c")


@pytest.fixture(scope="module", autouse=True)
def compiled(tmp_path_factory):
    """The function as it is compiled here, be it installed or not."""
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    library = tmp_path_factory.mktemp("compiled") / f"compiled{resizing.EXTENSION_SUFFIXES[0]}"
    how = ["-O3", "-shared", "-fPIC", "-ffp-contract=off", "-Wno-psabi"]
    try:
        subprocess.run([compiler, *how, SOURCE, "-o", library], check=True)
    except OSError:
        pytest.skip(f"there is no C compiler: {compiler}")
    patch = pytest.MonkeyPatch()
    patch.setattr(resizing, "__file__", str(library.with_name("resizing.py")))
    resizing._resize.cache_clear()
    yield
    patch.undo()
    resizing._resize.cache_clear()


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
        assert height > width or height * new_width > width * new_height or width >= 4 * new_width
    else:
        assert np.array_equal(pixels, by_pillow(image, new_width, new_height))


@pytest.mark.parametrize(
    "size", [(224, 224, 128, 128), (500, 375, 128, 128), (511, 300, 128, 128), (1, 1, 64, 64), (3000, 2000, 1024, 768)]
)
def test_usual_sizes(size):
    pixels = resized(noise(*size[:2], seed=1), *size[2:])
    assert pixels is not None and np.array_equal(pixels, by_pillow(noise(*size[:2], seed=1), *size[2:]))


def test_what_is_left_to_pillow():
    assert resized(noise(64, 64), 16, 16) is None  # in two steps, by way of a quarter
    assert resized(noise(64, 65), 32, 32) is None
    assert resized(noise(64, 64).convert("L"), 32, 32) is None
    assert resized(noise(64, 64).convert("RGBA"), 32, 32) is None


@pytest.mark.parametrize("what", ["missing", "damaged", "another"])
def test_pillow_does_it_where_there_is_nothing_to_call(what, tmp_path, monkeypatch, picture_bytes):
    with_it = decode_picture(picture_bytes, Preprocessing(32, 48, 3))
    library = tmp_path / f"compiled{resizing.EXTENSION_SUFFIXES[0]}"
    if what == "damaged":
        library.write_bytes(b"no library")
    if what == "another":
        monkeypatch.setattr(resizing, "_agrees", lambda *_: False)
    else:
        monkeypatch.setattr(resizing, "__file__", str(tmp_path / "resizing.py"))
    resizing._resize.cache_clear()
    try:
        assert resized(noise(64, 64), 32, 32) is None
        assert np.array_equal(decode_picture(picture_bytes, Preprocessing(32, 48, 3)), with_it)
    finally:
        resizing._resize.cache_clear()


@pytest.fixture
def picture_bytes(tmp_path):
    noise(90, 60, seed=1).save(tmp_path / "noise.png")
    return (tmp_path / "noise.png").read_bytes()
