"""Tiles of two photographs as pictures that are all different."""

import numpy as np
import pytest
from sklearn.datasets import load_sample_images

SIDE = 80


@pytest.fixture(scope="session")
def photos():
    """48 pictures, uint8 NHWC of 80x80x3, no two of which show the same."""
    tiles = [
        image[top : top + SIDE, left : left + SIDE]
        for image in load_sample_images().images
        for top in range(0, 4 * SIDE, SIDE)
        for left in range(0, 6 * SIDE, SIDE)
    ]
    return np.stack(tiles)
