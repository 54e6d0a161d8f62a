import numpy as np
import pytest
from scipy.spatial.distance import cdist

from keensight import decode, open_dataset
from keensight.care import outliers as under_test
from keensight.care.labels import features_of
from keensight.care.outliers import how_far, outliers
from keensight.pages.findings import sentence
from keensight.values import Pixels, Preprocessing


@pytest.fixture(scope="module")
def digits():
    return decode(open_dataset("digits"), Preprocessing(8, 8, 1))


def found_in(pixels, units=None, known=()):
    units = np.arange(len(pixels.rows)) if units is None else units
    return outliers(pixels, features_of(pixels), units, known)


def with_noise(pixels, rows):
    images = np.array(pixels.images)
    images[list(rows)] = np.random.default_rng(0).integers(0, 2, (len(rows), 8, 8, 1), np.uint8) * 255
    return Pixels(pixels.dataset, pixels.preprocessing, images, pixels.rows)


def test_distances_agree_with_those_of_scipy():
    features, units = np.random.default_rng(0).normal(size=(80, 5)).astype(np.float32), np.arange(80) // 2
    far = cdist(features, features)
    far[units[:, None] == units] = np.inf
    mean = np.sort(far, axis=1)[:, : under_test.NEIGHBOURS].mean(axis=1)
    spread = 1.4826 * np.median(np.abs(mean - np.median(mean)))
    assert np.allclose(how_far(features, units), (mean - np.median(mean)) / spread, atol=1e-3)


def test_digits_are_not_accused_and_noise_among_them_is(digits):
    assert found_in(digits) is None
    found = found_in(with_noise(digits, (3, 500)))
    assert set(found.samples) == {digits.dataset.samples[3].path, digits.dataset.samples[500].path}
    assert sentence(found).startswith("2 pictures are unlike all others")


def test_copies_are_no_neighbours(digits):
    images = np.array(with_noise(digits, range(12)).images)
    images[:12] = images[0]
    pixels = Pixels(digits.dataset, digits.preprocessing, images, digits.rows)
    units = np.arange(len(images))
    assert found_in(pixels, units) is None
    units[:12] = 0
    assert len(found_in(pixels, units).samples) == 12


def test_what_is_known_already_is_not_said_again(digits):
    noisy = with_noise(digits, (3, 500))
    assert found_in(noisy, known={digits.dataset.samples[3].path}).samples == (digits.dataset.samples[500].path,)


def test_where_many_are_odd_the_data_are_varied(digits):
    assert found_in(with_noise(digits, range(0, 1797, 20))) is None
