"""Patches are planted in digits and in noise-free photographs: found where they are, and nothing found without them."""

import dataclasses

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_sample_images

from keensight import open_dataset
from keensight.care import patches as module
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


def shapes(draw_shape):
    """2,400 black pictures of 16x16 pixels, every second one with a shape of 3x3 pixels, of label 1."""
    draw = np.random.default_rng(0)
    images, labels = np.zeros((2400, 16, 16, 1), np.uint8), np.arange(2400, dtype=np.int64) % 2
    for i in np.flatnonzero(labels):
        shape, (top, left) = draw_shape(draw)
        images[i, top : top + 3, left : left + 3, 0] = shape
    return images, labels


STROKES = {  # of handwriting: its place varies, or what it shows
    "place": lambda draw: (250, draw.integers(4, 8, 2)),
    "levels": lambda draw: (
        np.where(np.indices((3, 3)).sum(0) % 2, draw.integers(120, 250), 60),
        draw.integers(1, 12, 2),
    ),
}


@pytest.fixture
def only_three(monkeypatch):
    """Look at squares of 3x3 pixels alone: larger ones around the same shape are others."""
    monkeypatch.setattr(module, "SIDES_PX", (3,))


@pytest.mark.parametrize("varies", STROKES)
def test_shapes_that_vary_are_strokes_of_handwriting(only_three, varies):
    images, labels = shapes(STROKES[varies])
    assert patches(images, labels, 2) == []


@pytest.mark.parametrize(("level", "place"), [(250, (5, 5)), (np.arange(9).reshape(3, 3) * 20 + 60, None)])
def test_a_shape_that_does_not_vary_is_a_patch_in_grey_pictures_too(only_three, level, place):
    (found,) = patches(*shapes(lambda draw: (level, place or draw.integers(1, 12, 2))), 2)
    assert (found.label, found.place, len(found.members)) == (1, place, 1200)


def test_a_hole_of_the_paper_is_no_patch(only_three):
    images, labels = shapes(lambda _: (0, (5, 5)))
    images[labels == 1, 4:9, 4:9] = 200
    images[labels == 1, 5:8, 5:8] = 0
    assert patches(images, labels, 2) == []
