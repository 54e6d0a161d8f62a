from dataclasses import replace

import numpy as np
import pytest

from keensight.data.polarity import Borders, are_drawings, match_polarity, measure_borders
from keensight.values import Split

RNG = np.random.default_rng(0)


def drawings(n=20):
    """White strokes on black, 12x12."""
    images = np.zeros((n, 12, 12, 1), np.uint8)
    images[:, 3:9, 5:7] = 255
    return images


def training(images):
    return Split(images, np.arange(len(images)), np.zeros(len(images), np.int64), ("",) * len(images))


def inverting(images):
    return replace(measure_borders(training(images)), inverts=True)


def test_borders_are_measured_on_all_training_pictures_and_no_others():
    images = drawings(700)
    images[650] = 255  # in the last of the chunks
    images[3] = 51
    images[0] = 128
    train = Split(images, np.arange(1, 700), np.zeros(699, np.int64), ("",) * 699)
    assert measure_borders(train) == Borders(0, 1)
    assert measure_borders(Split(images, np.array([0, 3]), np.zeros(2, np.int64), ("",) * 2)) == Borders(0.2, 0.502)


def test_dark_on_light_is_inverted_for_a_light_on_dark_model():
    images = drawings()
    borders = inverting(images)
    assert borders == Borders(0, 0, True)
    same, inverted = match_polarity(images, borders)
    assert same is images and not inverted.any()
    on_paper = (230 - 0.8 * images[:3]).astype(np.uint8)  # grey paper, a stroke that is not quite black
    mixed = np.concatenate([on_paper, images[:2]])
    matched, inverted = match_polarity(mixed, borders)
    assert inverted.tolist() == [True, True, True, False, False]
    assert (matched == images[:5]).all()
    assert (mixed[0] == on_paper[0]).all()  # the caller's pictures are left alone


def test_light_on_dark_is_inverted_for_a_dark_on_light_model():
    paper = 255 - drawings()
    matched, inverted = match_polarity(drawings(2), inverting(paper))
    assert inverted.all() and (matched == paper[:2]).all()


def test_photographs_are_never_inverted():
    photographs = RNG.integers(0, 256, (50, 1, 1, 3), np.uint8) * np.ones((1, 12, 12, 1), np.uint8)
    white = np.full((1, 12, 12, 3), 255, np.uint8)
    assert not match_polarity(white, inverting(photographs))[1].any()


@pytest.mark.parametrize(("low", "high"), [(0, 0.05), (0, 0.3), (0.2, 0.4), (0.95, 1), (0.7, 0.95)])
def test_pictures_are_inverted_alike_alone_and_beside_others(low, high):
    spread = RNG.integers(0, 256, (60, 7, 9, 1), np.uint8)
    mixed = np.concatenate([spread, spread // 4, 255 - spread // 4, np.broadcast_to(spread[:, :1, :1], spread.shape)])
    matched, inverted = match_polarity(mixed, Borders(low, high, True))
    assert inverted.any() and not inverted.all()
    for picture, expected in zip(mixed, matched, strict=True):
        assert (match_polarity(picture[None], Borders(low, high, True))[0][0] == expected).all()


def test_a_blank_sheet_stays_blank():
    blank = np.full((1, 12, 12, 1), 240, np.uint8)
    matched, inverted = match_polarity(blank, Borders(0, 0, True))
    assert inverted.all() and (matched == 15).all()


def test_nothing_is_inverted_unless_it_was_measured_to_help():
    images = drawings()
    paper = 255 - images
    same, inverted = match_polarity(paper, measure_borders(training(images)))
    assert same is paper and not inverted.any()


def test_a_picture_with_colour_is_never_inverted():
    """A model of three channels that learnt grey drawings inverts grey ones, and no photograph."""
    grey = np.repeat(drawings(3), 3, axis=3)
    paper = 255 - grey
    paper[1, 5, 5] = (250, 20, 20)
    assert match_polarity(paper, inverting(grey))[1].tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("images", "answer"),
    [
        (drawings(), True),
        (255 - drawings(), True),
        (np.repeat(drawings(), 3, axis=3), True),
        (np.repeat(drawings(), 3, axis=3) * np.array([1, 1, 0], np.uint8), False),  # yellow strokes
        (RNG.integers(0, 100, (20, 12, 12, 1), np.uint8), False),  # grey photographs: a ground of many levels
    ],
    ids=["white on black", "black on white", "grey in three channels", "colour", "photographs"],
)
def test_drawings_are_grey_on_a_plain_ground(images, answer):
    assert are_drawings(training(images)) is answer
