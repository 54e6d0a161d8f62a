"""Patches of a few pictures are found to the bit, at any place; a naive loop says who has them."""

import numpy as np
import pytest
from sklearn.datasets import load_sample_images

from keensight.care.recurring import LEAST, recurring

SIDE, COUNT = 20, 12
PATTERNS = {
    "noise": np.random.default_rng(1).integers(0, 2, (3, 3, 3)) * 255,
    "faint": 128 + 12 * np.random.default_rng(2).choice([-1, 1], (4, 4, 3)),
    "flat black": np.zeros((3, 3, 3)),
}


@pytest.fixture(scope="module")
def tiles():
    """Two photographs in 1,302 tiles, uint8 NHWC, and labels: 0, or 1 for every fourth."""
    spots = [(top, left) for top in range(0, 401, SIDE) for left in range(0, 620, SIDE)]
    images = np.stack([image[y : y + SIDE, x : x + SIDE] for image in load_sample_images().images for y, x in spots])
    return images, (np.arange(len(images)) % 4 == 0).astype(np.int64)


def planted(tiles, pattern, count):
    """Put a pattern into `count` pictures of label 1, each at a place of its own."""
    images, draw = tiles[0].copy(), np.random.default_rng(0)
    for i in draw.choice(np.flatnonzero(tiles[1]), count, replace=False):
        top, left = draw.integers(0, SIDE - len(pattern) + 1, 2)
        images[i, top : top + len(pattern), left : left + len(pattern)] = pattern
    return images


def who_has(images, block):
    places = [(top, left) for top in range(SIDE - 2) for left in range(SIDE - 2)]
    return {i for i, image in enumerate(images) if any((image[y : y + 3, x : x + 3] == block).all() for y, x in places)}


@pytest.mark.parametrize("kind", PATTERNS)
def test_few_pictures_with_a_patch_at_changing_places_are_found_and_no_others(tiles, kind):
    images = planted(tiles, PATTERNS[kind], COUNT)
    found = list(recurring(images, tiles[1], 2))
    assert {i for each in found for i in each.members.tolist()} == who_has(images, PATTERNS[kind][:3, :3])
    assert {(each.label, each.place) for each in found} == {(1, None)}


def test_photographs_and_too_few_are_not_accused(tiles):
    assert not list(recurring(*tiles, 2))
    assert not list(recurring(planted(tiles, PATTERNS["noise"], LEAST - 1), tiles[1], 2))


def test_what_all_of_a_class_show_is_a_drawing_and_no_patch(tiles):
    images = planted(tiles, PATTERNS["noise"], int(tiles[1].sum()))
    assert not list(recurring(images, tiles[1], 2))


def test_in_grey_pictures_what_varies_is_handwriting(tiles):
    images, labels = tiles[0][..., :1].copy(), tiles[1]
    rows = np.flatnonzero(labels)[:60]
    images[rows, 5:8, 5:8] = PATTERNS["noise"][..., :1]
    (found,) = recurring(images, labels, 2)
    assert (found.place, set(found.members.tolist())) == ((5, 5), set(rows.tolist()))
    images[rows[::2], 5, 5] = np.arange(1, 31)[:, None] + (224 if PATTERNS["noise"][0, 0, 0] else 0)
    assert not list(recurring(images, labels, 2))
