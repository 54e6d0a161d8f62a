from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

import keensight
from keensight.data.polarity import Borders, measure_borders
from keensight.pipeline.polarity import _eroded, are_shaded, decide_borders, on_opposite_ground
from keensight.values import Preprocessing, Split, Splits

SIDE = 12


def strokes(n, level, ground):
    """Upright strokes (class 0) and lying ones (class 1) of a level, on a ground."""
    images = np.full((n, SIDE, SIDE, 1), ground, np.uint8)
    images[::2, 3:9, 5:7] = level
    images[1::2, 5:7, 3:9] = level
    return images


def divided(images):
    labels = np.arange(len(images)) % 2
    part = Split(images, np.arange(len(images)), labels, ("",) * len(images))
    return Splits(("upright", "lying"), Preprocessing(SIDE, SIDE, images.shape[3]), part, part, None)


class Stub:
    """Tells upright from lying by where the pictures are light, as a model of light strokes on black does."""

    def probabilities_as_seen(self, images_NHWC):
        light = images_NHWC[..., 0].astype(float)
        upright = light[:, 3:5, 5:7].mean(axis=(1, 2)) > light[:, 5:7, 3:5].mean(axis=(1, 2))
        return np.stack([upright, ~upright], axis=1).astype(float)


class EitherWay(Stub):
    """Tells them by their contrast with the ground: it needs no inverting."""

    def probabilities_as_seen(self, images_NHWC):
        grounds = images_NHWC[:, :1, :1].astype(float)
        return super().probabilities_as_seen(np.abs(images_NHWC - grounds))


def test_a_model_of_light_strokes_on_black_inverts_as_that_helps():
    found = decide_borders(Stub(), divided(strokes(20, 250, 0)))
    assert found == Borders(0, 0, True)


def test_a_model_that_answers_as_well_without_does_not():
    assert not decide_borders(EitherWay(), divided(strokes(20, 250, 0))).inverts


def test_a_model_that_knows_grey_objects_on_any_ground_does_not():
    """A studio photograph is no drawing: the object keeps its brightness on another ground."""

    class ByLevel(Stub):
        def probabilities_as_seen(self, images_NHWC):
            dark = (np.abs(images_NHWC.astype(int) - 100) < 20) * np.uint8(255)
            return super().probabilities_as_seen(dark)

    assert not decide_borders(ByLevel(), divided(strokes(20, 100, 244))).inverts


@pytest.mark.parametrize("what", ["colour", "both sides"])
def test_what_is_no_drawing_or_has_no_side_is_not_even_measured(what):
    images = np.repeat(strokes(20, 250, 0), 3, axis=3)
    if what == "colour":
        images[..., 2] //= 2
    else:
        images[3] = 255 - images[3]
    splits = divided(images)
    assert decide_borders(None, splits) == measure_borders(splits.train)


def test_the_opposite_ground_leaves_the_object_as_it_is():
    images = strokes(2, 100, 244)
    found = on_opposite_ground(images)
    assert (found[images == 100] == 100).all() and (found[images == 244] == 11).all()


def shaded(n, side=48):
    """Round bodies as an X-ray shows them, upright (class 0) and lying, whose edges fade into a black ground."""
    y, x = np.mgrid[:side, :side] / side - 0.5
    rng, images = np.random.default_rng(0), np.zeros((n, side, side, 1), np.uint8)
    for i in range(n):
        long, wide = (x, y) if i % 2 else (y, x)
        body = np.clip(1 - (long / 0.4) ** 2 - (wide / rng.uniform(0.1, 0.2)) ** 2, 0, 1) ** 0.5
        images[i, ..., 0] = rng.uniform(120, 250) * body
    return images


def test_what_is_shaded_is_not_even_measured():
    """An X-ray laid on a white ground would be made a negative, and be another thing: 40 of 40 were."""
    splits = divided(shaded(40))
    assert are_shaded(splits.train)
    assert decide_borders(None, splits) == measure_borders(splits.train)


@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_handwriting_is_not_shaded(name, shared):
    dataset = keensight.open_dataset("digits" if name == "digits" else shared / "mnist")
    some = replace(dataset, samples=dataset.samples[:200])
    pixels = keensight.decode(some, Preprocessing(*((8, 8, 1) if name == "digits" else (28, 28, 1))))
    assert not are_shaded(Split(pixels.images, np.arange(200), np.zeros(200, np.int64), ("",) * 200))


def test_pixels_within_a_mask_are_those_of_scipy():
    mask = np.random.default_rng(0).random((3, 20, 17)) < 0.8
    for radius in (1, 2):
        square = np.ones((1, 2 * radius + 1, 2 * radius + 1))
        assert (_eroded(mask, radius) == ndimage.binary_erosion(mask, square)).all()
