import numpy as np
import pytest
from PIL import Image

from keensight.data.pixels import decode_picture
from keensight.data.unlabelled import given_picture
from keensight.errors import PictureError
from keensight.values import Preprocessing

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_is_seen_as_its_file_would_be(mode, channels, tmp_path):
    """Also where it is turned, or lets the ground through."""
    shades = Image.fromarray(RNG.integers(0, 256, (9, 7, 4), np.uint8), "RGBA")
    image = shades.convert("RGB").convert(mode) if mode in ("1", "P", "CMYK") else shades.convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6
    file = tmp_path / ("x.jpg" if mode == "CMYK" else "x.png")
    image.save(file, exif=exif)
    size = Preprocessing(7, 9, channels)
    by_file = decode_picture(file.read_bytes(), size)
    assert np.array_equal(decode_picture(given_picture(Image.open(file)).read(), size), by_file)


def test_arrays_are_taken_as_they_are():
    grey_HW = RNG.integers(0, 256, (5, 6), np.uint8)
    assert np.array_equal(given_picture(grey_HW).read(), grey_HW[..., None])
    colour_HWC = RNG.integers(0, 256, (5, 6, 3), np.uint8)
    assert given_picture(colour_HWC).read() is not None
    on_white = decode_picture(given_picture(np.zeros((5, 6, 4), np.uint8)).read(), Preprocessing(5, 6, 3))
    assert (on_white == 255).all()  # nothing of it covers the ground


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (Image.new("RGB", (0, 5)), "an image of 0x5 pixels, which shows nothing"),
        (np.zeros((5, 6), np.float32), "may be 1 or 255"),
        (np.zeros((3, 5, 6), np.uint8), "channels come first"),
        (np.zeros((5, 6, 2), np.uint8), "1, 3 or 4 channels"),
        (np.zeros((0, 6), np.uint8), "shape"),
        (np.zeros((5, 6), np.int64), "int64"),
        (7, "a value"),
        (None, "NoneType"),
        (Image.new("I;16", (4, 4)), "what is white"),
    ],
)
def test_what_may_mean_several_things_is_refused(given, said):
    with pytest.raises(PictureError, match=said):
        given_picture(given).read()
