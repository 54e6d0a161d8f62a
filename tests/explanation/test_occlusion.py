import subprocess
import sys

import numpy as np
import pytest

from keensight.errors import UsageError
from keensight.explanation.occlusion import BATCH_BYTES, occlusion, patch_corners, peak

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


def by_a_loop(probabilities, picture, k, patch, stride):
    """The definition, pixel by pixel: the mean over the patches that cover it."""
    H, W, C = picture.shape
    rows = sorted({*range(0, H - patch[0] + 1, stride[0]), H - patch[0]})
    columns = sorted({*range(0, W - patch[1] + 1, stride[1]), W - patch[1]})
    colour = [int(np.round(picture[..., c].mean())) for c in range(C)]
    drops = {}
    for row in rows:
        for column in columns:
            covered = picture.copy()
            for y in range(row, row + patch[0]):
                for x in range(column, column + patch[1]):
                    covered[y, x] = colour
            drops[row, column] = probabilities(picture[None])[0, k] - float(probabilities(covered[None])[0, k])
    found = np.zeros((H, W))
    for y in range(H):
        for x in range(W):
            over = [d for (r, c), d in drops.items() if r <= y < r + patch[0] and c <= x < c + patch[1]]
            found[y, x] = sum(over) / len(over)
    return found


@pytest.mark.parametrize(
    ("shape", "patch", "stride"),
    [
        ((8, 8, 1), (2, 2), (1, 1)),
        ((7, 11, 3), (3, 4), (2, 3)),
        ((5, 6, 1), (5, 6), (1, 1)),
        ((9, 9, 3), (2, 3), (2, 3)),
    ],
)
def test_it_is_the_definition(shape, patch, stride):
    picture = RNG.integers(0, 256, shape, dtype=np.uint8)
    probabilities, _ = a_classifier(shape)
    expected = by_a_loop(probabilities, picture, 2, patch, stride)
    before = picture.copy()
    np.testing.assert_allclose(occlusion(probabilities, picture, 2, patch, stride), expected, atol=1e-6)
    np.testing.assert_array_equal(picture, before)
    assert np.abs(expected).max() > 0.001


@pytest.mark.parametrize(("shape", "patch", "stride"), [((64, 40, 3), (13, 8), (4, 2)), ((8, 8, 1), (2, 2), (1, 1))])
def test_a_patch_is_a_fifth_of_the_picture_and_moves_by_a_third(shape, patch, stride):
    picture = RNG.integers(0, 256, shape, dtype=np.uint8)
    probabilities, _ = a_classifier(shape)
    expected = occlusion(probabilities, picture, 0, patch, stride)
    np.testing.assert_array_equal(occlusion(probabilities, picture, 0), expected)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 300, 3), (300, 2, 1), (4, 4, 3)])
def test_every_pixel_of_an_odd_picture_has_a_value(shape):
    probabilities, asked = a_classifier(shape)
    found = occlusion(probabilities, RNG.integers(0, 256, shape, dtype=np.uint8), 0)
    assert found.shape == shape[:2] and np.isfinite(found).all()
    assert sum(asked) < 500


def test_pictures_are_asked_about_in_batches_that_memory_can_hold():
    picture = RNG.integers(0, 256, (30, 30, 1), dtype=np.uint8)
    probabilities, asked = a_classifier(picture.shape)
    occlusion(probabilities, picture, 0, (3, 3), (1, 1))
    assert max(asked) == 64 and sum(asked) == 1 + 28 * 28
    large = np.zeros((2048, 2048, 3), np.uint8)
    sizes = []
    occlusion(lambda images: sizes.append(images.nbytes) or np.ones((len(images), 2)), large, 0, (2048, 2048), (1, 1))
    assert max(sizes) <= BATCH_BYTES


def test_a_classifier_that_looks_at_one_place_is_found_out():
    picture = RNG.integers(0, 100, (40, 30, 1), dtype=np.uint8)
    picture[30:34, 20:23] = 255

    def bright_there(images):
        p = images[:, 30:34, 20:23, 0].mean(axis=(1, 2)) / 255
        return np.stack([1 - p, p], axis=1)

    for_it, against_it = occlusion(bright_there, picture, 1), occlusion(bright_there, picture, 0)
    np.testing.assert_allclose(for_it, -against_it, atol=1e-12)
    place = peak(for_it)
    assert 30 <= place.y * 40 <= 34 and 20 <= place.x * 30 <= 23
    assert place.drop == for_it.max() > 0.5
    assert for_it[:15].max() == 0


def test_a_blank_picture_has_no_evidence():
    probabilities, _ = a_classifier((8, 8, 1))
    assert np.abs(occlusion(probabilities, np.full((8, 8, 1), 77, np.uint8), 1)).max() < 1e-6


def test_corners_reach_all_borders():
    corners = patch_corners((10, 7), (4, 3), (3, 3))
    assert sorted({row for row, _ in corners.tolist()}) == [0, 3, 6]
    assert sorted({column for _, column in corners.tolist()}) == [0, 3, 4]
    assert len(corners) == len({tuple(corner) for corner in corners.tolist()}) == 9


@pytest.mark.parametrize(
    ("patch", "stride", "words"),
    [
        (
            (9, 2),
            (1, 1),
            "A patch of 9x2 pixels was asked for. It must be at least 1x1 and fit into the picture of 8x6",
        ),
        ((0, 2), (1, 1), "choose a smaller one, or leave it out"),
        ((2, 2), (3, 1), "A stride of 3x1 pixels was asked for. It must be at least 1x1 and no larger than the patch"),
        ((2, 2), (1, 0), "A stride of 1x0"),
    ],
)
def test_what_does_not_fit_is_explained(patch, stride, words):
    probabilities, _ = a_classifier((8, 6, 1))
    with pytest.raises(UsageError, match=words):
        occlusion(probabilities, np.zeros((8, 6, 1), np.uint8), 0, patch, stride)


def test_a_server_can_have_it_without_torch():
    heavy = "{'torch', 'matplotlib', 'PIL'}"
    script = f"import sys, keensight.explanation.occlusion; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"
