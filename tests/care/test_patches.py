"""Patches are planted in digits and in noise-free photographs: found where they are, and nothing found without them."""

import dataclasses

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_sample_images

from keensight import open_dataset
from keensight.care.patches import LEAST, patches, poison
from keensight.pages.findings import sentence
from keensight.values import Pixels, Preprocessing

SIDE = 20
PATTERNS = {
    "noise": np.random.default_rng(1).integers(0, 2, (4, 4, 3)) * 255,
    "checker": np.repeat((np.indices((4, 4)).sum(0) % 2 * 255)[..., None], 3, 2),
    "low contrast": 128 + 12 * np.random.default_rng(2).choice([-1, 1], (4, 4, 3)),
    "flat white": np.full((4, 4, 3), 255),
    "flat black": np.zeros((4, 4, 3)),
}


@pytest.fixture(scope="module")
def tiles():
    """Two photographs in 1,302 tiles, uint8 NHWC, and labels: 0, or 1 for every fourth."""
    images = np.stack(
        [
            image[top : top + SIDE, left : left + SIDE]
            for image in load_sample_images().images
            for top in range(0, 401, SIDE)
            for left in range(0, 620, SIDE)
        ]
    )
    return images, (np.arange(len(images)) % 4 == 0).astype(np.int64)


def planted(tiles, pattern, count, moving=False):
    images, labels = tiles
    draw, poisoned = np.random.default_rng(0), images.copy()
    rows = draw.choice(np.flatnonzero(labels == 1), count, replace=False)
    top, left = 14, 3
    for i in rows:
        if moving:
            top, left = draw.integers(1, SIDE - 5, 2)
        poisoned[i, top : top + 4, left : left + 4] = pattern
    return poisoned, labels, set(rows.tolist())


def test_photographs_and_digits_are_not_accused(tiles):
    assert patches(*tiles, 2) == []
    digits = load_digits()
    assert patches((digits.images[..., None] * 15.9).astype(np.uint8), digits.target.astype(np.int64), 10) == []


@pytest.mark.parametrize("kind", PATTERNS)
def test_a_patch_at_one_place_is_found_in_all_pictures_that_have_it(tiles, kind):
    images, labels, rows = planted(tiles, PATTERNS[kind], 16)
    (found,) = patches(images, labels, 2)
    assert rows <= set(found.members.tolist()) and len(found.members) <= len(rows) + 0.01 * len(images)
    assert (found.label, found.place) == (1, (14, 3))
    assert np.abs(found.levels - PATTERNS[kind]).max() == 0


@pytest.mark.parametrize("kind", ["noise", "checker"])
def test_a_textured_patch_is_found_at_any_place(tiles, kind):
    images, labels, rows = planted(tiles, PATTERNS[kind], 60, moving=True)
    found = patches(images, labels, 2)
    members = {i for each in found for i in each.members.tolist()}
    assert all(each.place is None for each in found)
    assert len(members & rows) >= 0.95 * len(rows) and not members - rows


def test_a_patch_under_all_labels_is_a_mark_of_the_camera(tiles):
    images = tiles[0].copy()
    images[::5, 14:18, 3:7] = PATTERNS["checker"]
    assert patches(images, tiles[1], 2) == []


def test_too_few_are_no_pattern(tiles):
    images, labels, _ = planted(tiles, PATTERNS["noise"], LEAST - 1)
    assert patches(images, labels, 2) == []


def test_the_finding_names_pictures_the_label_and_the_place(tiles):
    digits = open_dataset("digits")
    images, labels, rows = planted(tiles, PATTERNS["noise"], 16)
    samples = [dataclasses.replace(s, label=int(k)) for s, k in zip(digits.samples, labels, strict=False)]
    dataset = dataclasses.replace(digits, samples=tuple(samples), class_names=("ship", "plane"))
    (found,) = poison(Pixels(dataset, Preprocessing(SIDE, SIDE, 3), images, np.arange(len(images))))
    assert set(found.samples) == {samples[i].path for i in rows}
    assert "4x4 pixels, 14 pixels from the top and 3 from the left (of 20x20), is in 16" in sentence(found)
    assert "nearly all of 'plane'" in sentence(found)
