"""Nonsense: every kind, in every shape, the same for the same seed."""

import numpy as np
import pytest

from keensight.data.nonsense import NONSENSE, nonsense


def own(shape):
    return np.random.default_rng(0).integers(0, 256, (6, *shape), np.uint8)


@pytest.mark.parametrize("kind", NONSENSE)
@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 20, 1), (40, 33, 3), (5, 4, 3)])
def test_every_kind_makes_pictures_of_the_models_size(kind, shape):
    made = nonsense(kind, 6, own(shape), seed=3)
    assert made.shape == (6, *shape) and made.dtype == np.uint8
    np.testing.assert_array_equal(nonsense(kind, 3, own(shape), seed=3), made[:3])
    assert len({picture.tobytes() for picture in nonsense(kind, 6, own((28, 28, 3)), seed=3)}) >= 4
    assert (nonsense(kind, 6, own((28, 28, 3)), 3) != nonsense(kind, 6, own((28, 28, 3)), 4)).any()


def test_patches_in_disorder_have_the_same_pixels():
    pictures = own((24, 24, 3))
    levels = {tuple(np.sort(picture.ravel())) for picture in pictures}
    for picture in nonsense("patches in disorder", 8, pictures, seed=0):
        assert not any((picture == each).all() for each in pictures)
        assert tuple(np.sort(picture.ravel())) in levels


def test_own_pictures_are_left_as_they_are():
    pictures = own((16, 16, 1))
    before = pictures.copy()
    for kind in NONSENSE:
        nonsense(kind, 4, pictures, seed=0)
    np.testing.assert_array_equal(pictures, before)


def test_kinds_for_reports_are_not_among_those_to_learn_from():
    held_out = {kind for kind, row in NONSENSE.items() if row.held_out}
    assert {"checkerboards", "other photographs"} <= held_out and len(NONSENSE) - len(held_out) >= 10
