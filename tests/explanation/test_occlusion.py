import subprocess
import sys

import numpy as np
import pytest

from keensight.errors import UsageError
from keensight.explanation.occlusion import BATCH_VALUES, log_odds, occlusion, patch_corners, peak

RNG = np.random.default_rng(0)


def a_classifier(shape, num_classes=3, seed=1):
    """A softmax of random weights, and what it was asked."""
    weights = np.random.default_rng(seed).normal(size=(num_classes, int(np.prod(shape)))) / 30
    asked = []

    def probabilities(images):
        assert images.dtype == np.uint8 and images.shape[1:] == shape
        asked.append(len(images))
        logits = images.reshape(len(images), -1) / 16 @ weights.T
        e = np.exp(logits - logits.max(axis=1, keepdims=True))
        return (e / e.sum(axis=1, keepdims=True)).astype(np.float32)

    return probabilities, asked


def by_a_loop(probabilities, picture, k, sizes):
    """The definition, pixel by pixel: the mean over the patches that cover it, and over the sizes."""
    H, W, C = picture.shape
    colour = [int(np.round(picture[..., c].mean())) for c in range(C)]

    def score(image):
        others = [float(p) for i, p in enumerate(probabilities(image[None])[0]) if i != k]
        return float(np.log(float(probabilities(image[None])[0, k]) / sum(others)))

    maps = []
    for share, across in sizes:
        h, w = max(1, round(share * H)), max(1, round(share * W))
        rows = sorted({round(i * (H - h) / (across - 1)) for i in range(across)})
        columns = sorted({round(i * (W - w) / (across - 1)) for i in range(across)})
        drops = {}
        for row in rows:
            for column in columns:
                covered = picture.copy()
                for y in range(row, row + h):
                    for x in range(column, column + w):
                        covered[y, x] = colour
                drops[row, column] = score(picture) - score(covered)
        found = np.zeros((H, W))
        for y in range(H):
            for x in range(W):
                over = [d for (r, c), d in drops.items() if r <= y < r + h and c <= x < c + w]
                found[y, x] = sum(over) / len(over)
        maps.append(found)
    return sum(maps) / len(maps)


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        ((8, 8, 1), ((0.25, 7),)),
        ((7, 11, 3), ((0.4, 4), (0.3, 5))),
        ((9, 9, 3), ((0.3, 4),)),
        ((20, 15, 1), ((0.4, 4), (0.25, 6))),
    ],
)
def test_it_is_the_definition(shape, sizes):
    picture = RNG.integers(0, 256, shape, dtype=np.uint8)
    probabilities, _ = a_classifier(shape)
    expected = by_a_loop(probabilities, picture, 2, sizes)
    before = picture.copy()
    np.testing.assert_allclose(occlusion(probabilities, picture, 2, sizes), expected, atol=1e-5)
    np.testing.assert_array_equal(picture, before)
    assert np.abs(expected).max() > 0.001


def test_a_large_and_a_small_patch_look_at_a_picture_in_less_than_64_answers():
    picture = RNG.integers(0, 256, (64, 40, 3), dtype=np.uint8)
    probabilities, asked = a_classifier(picture.shape)
    found = occlusion(probabilities, picture, 0)
    assert sum(asked) == 1 + 16 + 36
    expected = by_a_loop(probabilities, picture, 0, ((0.4, 4), (0.25, 6)))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_log_odds_tell_apart_what_float32_calls_sure():
    logits = np.array([[30.0, 0.0, -1.0], [60.0, 0.0, -1.0], [0.0, 3.0, 1.0]])
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = (p / p.sum(axis=1, keepdims=True)).astype(np.float32)
    assert p[0, 0] == p[1, 0] == 1
    expected = logits[:, 0] - np.log(np.exp(logits[:, 1:]).sum(axis=1))
    np.testing.assert_allclose(log_odds(p, 0), expected, atol=1e-5)
    assert np.isfinite(log_odds(np.array([[1.0, 0.0], [0.0, 1.0]], np.float32), 0)).all()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 300, 3), (300, 2, 1), (4, 4, 3)])
def test_every_pixel_of_an_odd_picture_has_a_value(shape):
    probabilities, asked = a_classifier(shape)
    found = occlusion(probabilities, RNG.integers(0, 256, shape, dtype=np.uint8), 0)
    assert found.shape == shape[:2] and np.isfinite(found).all()
    assert sum(asked) < 500


def test_pictures_are_asked_about_in_batches_that_memory_can_hold():
    picture = RNG.integers(0, 256, (30, 30, 1), dtype=np.uint8)
    probabilities, asked = a_classifier(picture.shape)
    occlusion(probabilities, picture, 0, ((0.1, 28),))
    assert max(asked) == 64 and sum(asked) == 1 + 28 * 28
    for side, most in ((224, 7), (448, 1), (1100, 1)):
        seen = []
        large = np.zeros((side, side, 3), np.uint8)
        occlusion(lambda images, seen=seen: seen.append(images) or np.ones((len(images), 2)), large, 0, ((0.6, 3),))
        assert max(map(len, seen)) == most and max(images.size for images in seen) <= max(BATCH_VALUES, large.size)


def test_a_classifier_that_looks_at_one_place_is_found_out():
    picture = RNG.integers(0, 100, (40, 30, 1), dtype=np.uint8)
    picture[30:34, 20:23] = 255

    def bright_there(images):  # and sure, as good models are: 0.9999999 or more of it
        z = 20 * images[:, 30:34, 20:23, 0].mean(axis=(1, 2)) / 255
        p = np.stack([np.exp(-z), np.ones_like(z)], axis=1)
        return (p / p.sum(axis=1, keepdims=True)).astype(np.float32)

    for_it, against_it = occlusion(bright_there, picture, 1), occlusion(bright_there, picture, 0)
    np.testing.assert_allclose(for_it, -against_it, atol=1e-5)
    place = peak(for_it)
    assert 28 <= place.y * 40 <= 36 and 18 <= place.x * 30 <= 25
    assert place.drop == for_it.max() > 5 and place.is_one_spot
    assert np.abs(for_it[:15]).max() < 1e-6


def test_a_blank_picture_has_no_evidence():
    probabilities, _ = a_classifier((8, 8, 1))
    assert np.abs(occlusion(probabilities, np.full((8, 8, 1), 77, np.uint8), 1)).max() < 1e-6


def test_corners_reach_all_borders():
    corners = patch_corners((10, 7), (4, 3), 3)
    assert sorted({row for row, _ in corners.tolist()}) == [0, 3, 6]
    assert sorted({column for _, column in corners.tolist()}) == [0, 2, 4]
    assert len(corners) == len({tuple(corner) for corner in corners.tolist()}) == 9


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        (((1.5, 3),), "A patch of 1.5 of the picture's sides was asked for. Its share is above 0 and at most 1"),
        (((0.0, 3),), "choose another, or leave it out"),
        (((0.5, 0),), "0 places across were asked for. There must be at least 1"),
    ],
)
def test_what_does_not_fit_is_explained(sizes, words):
    probabilities, _ = a_classifier((8, 6, 1))
    with pytest.raises(UsageError, match=words):
        occlusion(probabilities, np.zeros((8, 6, 1), np.uint8), 0, sizes)


def test_a_server_can_have_it_without_torch():
    heavy = "{'torch', 'matplotlib', 'PIL'}"
    script = f"import sys, keensight.explanation.occlusion; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"
