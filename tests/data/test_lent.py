import ctypes

import numpy as np
import pytest
from PIL import Image

from keensight.data.lent import lent


def noise(width, height):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def read(pixels, image):
    size = 4 * image.width * image.height
    held = ctypes.string_at(pixels, size) if isinstance(pixels, int) else pixels
    return np.frombuffer(held, np.uint8).reshape(image.height, image.width, 4)[..., :3]


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (224, 224), (501, 333)])
def test_pillows_own_memory_is_lent(size):
    image = noise(*size)
    with lent(image) as pixels:
        assert isinstance(pixels, int)
        assert np.array_equal(read(pixels, image), np.asarray(image))


def test_a_picture_in_several_places_is_copied():
    image = noise(3000, 2000)  # 24 MB
    with lent(image) as pixels:
        assert isinstance(pixels, bytes)
        assert np.array_equal(read(pixels, image), np.asarray(image))
