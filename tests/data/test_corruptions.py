"""Corruptions against SciPy, closed forms and statistics; benchmarks/LOG.md has MNIST-C's own code beside them."""

import io
import math

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from keensight.data.corruptions import CORRUPTIONS, SEVERITIES, clouds_of, corrupt

SIZES = [(28, 28, 1), (20, 33, 3), (7, 5, 1)]


def pictures(size=(28, 28, 1), n=40, low=0, high=256):
    rng = np.random.default_rng(1)
    smooth = ndimage.gaussian_filter(rng.random((n, *size)), (0, 2, 2, 0))
    smooth = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return (low + smooth * (high - 1 - low)).astype(np.uint8)


def amount(name, severity):
    return CORRUPTIONS[name].amounts[severity - 1]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_corruption_keeps_its_contract(name, size):
    images = pictures(size, n=6)
    before = images.copy()
    for severity in SEVERITIES:
        found = corrupt(images, name, severity, seed=3)
        assert found.shape == images.shape and found.dtype == np.uint8
        np.testing.assert_array_equal(found, corrupt(images, name, severity, seed=3))
    np.testing.assert_array_equal(images, before)
    assert CORRUPTIONS[name].about and CORRUPTIONS[name].kind in {"noise", "blur", "weather", "digital", "geometric"}


# of fog and drops there is not more at higher severities, but another kind
@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if name not in ("fog", "spatter")])
def test_higher_severities_change_more(name):
    images = pictures(low=30, high=226)
    changes = [np.abs(corrupt(images, name, severity).astype(int) - images).mean() for severity in (1, 3, 5)]
    assert 0 < changes[0] < changes[1] < changes[2]


def test_there_are_fifteen():
    assert len(CORRUPTIONS) == 15 and all(len(each.amounts) == 5 for each in CORRUPTIONS.values())


def test_noise_has_the_spread_that_it_says():
    flat = np.full((20, 28, 28, 1), 128, np.uint8)
    for severity in (1, 3):
        spread = (corrupt(flat, "gaussian-noise", severity) / 255).std()
        assert spread == pytest.approx(amount("gaussian-noise", severity), rel=0.03)
        shot = (corrupt(flat, "shot-noise", severity) / 255).std()
        assert shot == pytest.approx(math.sqrt(128 / 255 / amount("shot-noise", severity)), rel=0.05)
        hit = np.isin(corrupt(flat, "impulse-noise", severity), (0, 255)).mean()
        assert hit == pytest.approx(amount("impulse-noise", severity), rel=0.08)


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("shape", [(28, 28, 1), (56, 84, 3), (8, 8, 1), (9, 2, 1)])
def test_blur_is_scipys(shape, severity):
    images, sigma = pictures(shape, n=4), amount("blur", severity) * min(shape[:2]) / 28
    smooth = ndimage.gaussian_filter(images.astype(np.float32) / 255, (0, sigma, sigma, 0), mode="nearest")
    far = np.abs(corrupt(images, "blur", severity) - np.rint(255 * smooth))
    assert far.max() <= 1 and far.mean() < 1e-4  # where rounding decides


def test_a_moving_camera_smears_along_a_line_and_keeps_the_light():
    dot = np.zeros((1, 29, 29, 1), np.uint8)
    dot[0, 14, 14] = 255
    found = corrupt(dot, "motion-blur", 5, seed=2)[0, :, :, 0].astype(float)
    assert found.sum() == pytest.approx(255, rel=0.05)
    rows, columns = np.nonzero(found > 3)
    along = np.linalg.svd(np.stack([rows, columns]) - [[rows.mean()], [columns.mean()]])[1]
    assert along[0] > 4 * along[1]


def test_brightness_raises_the_value_and_keeps_the_colour():
    import colorsys

    images = pictures((8, 8, 3), n=3)
    found = corrupt(images, "brightness", 2)
    for old, new in zip(images.reshape(-1, 3) / 255, found.reshape(-1, 3) / 255, strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*old)
        assert new == pytest.approx(colorsys.hsv_to_rgb(hue, saturation, min(1, value + 0.2)), abs=0.003)
    grey = pictures()
    np.testing.assert_allclose(corrupt(grey, "brightness", 1), np.minimum(255, grey + 25.5), atol=0.51)


def test_contrast_keeps_the_mean():
    images = pictures((10, 10, 3), low=60, high=200)
    found = corrupt(images, "contrast", 2).astype(float)
    np.testing.assert_allclose(found.mean(axis=(1, 2)), images.mean(axis=(1, 2)), atol=0.6)
    np.testing.assert_allclose(found.std(axis=(1, 2)), 0.3 * images.std(axis=(1, 2)), atol=0.6)


def test_jpeg_and_pixels_are_pillows():
    images = pictures((28, 28, 3), n=3)
    for image, jpeg, coarse in zip(images, corrupt(images, "jpeg", 2), corrupt(images, "pixelate", 3), strict=True):
        content = io.BytesIO()
        Image.fromarray(image).save(content, "JPEG", quality=18)
        np.testing.assert_array_equal(jpeg, np.asarray(Image.open(content)))
        small = Image.fromarray(image).resize((11, 11), Image.Resampling.BOX).resize((28, 28), Image.Resampling.BOX)
        np.testing.assert_array_equal(coarse, np.asarray(small))


@pytest.mark.parametrize("name", ["translate", "rotate", "shear", "scale"])
@pytest.mark.parametrize("size", [(28, 28), (21, 34)])
def test_moved_pictures_are_scipys(name, size):
    images = pictures((*size, 1), n=12)
    found = corrupt(images, name, 2, seed=5)
    length = max(1, round(2 * min(size) / 28))
    middle = (np.array(size) - 1) / 2
    for image, new in zip(images[..., 0] / 255, found[..., 0] / 255, strict=True):
        fits = []
        for first in (-1, 1):
            for second in (-1, 1):
                angle = 0.4 * first
                matrix, offset = {
                    "translate": (np.eye(2), np.array([first, second]) * length),
                    "rotate": (np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]), 0),
                    "shear": (np.array([[1, 0], [-np.tan(angle), 1]]), 0),
                    "scale": (np.eye(2) / 0.8, 0),
                }[name]
                shifted = middle - matrix @ middle + offset
                fits.append(ndimage.affine_transform(image, matrix, shifted, order=1, mode="nearest"))
        assert min(np.abs(new - each).max() for each in fits) < 0.004


def test_directions_are_drawn():
    found = corrupt(np.repeat(pictures(n=1), 40, axis=0), "translate", 3)
    assert len({each.tobytes() for each in found}) == 4


def test_clouds_are_rough_at_all_scales_and_fill_the_range():
    clouds = clouds_of((5, 60, 45), 2.0, np.random.default_rng(0))
    assert (
        clouds.shape == (5, 60, 45)
        and clouds.min() >= 0
        and clouds.max() <= 1
        and (clouds.std(axis=(1, 2)) > 0.1).all()
    )
    rough, smooth = (
        np.abs(np.diff(clouds_of((20, 64, 64), decay, np.random.default_rng(0)), axis=1)).mean() for decay in (1.4, 3.0)
    )
    assert rough > 1.5 * smooth


def test_fog_is_no_brighter_than_the_picture():
    images = pictures(low=20, high=140)
    found = corrupt(images, "fog", 3)
    assert (found.max(axis=(1, 2, 3)) <= images.max(axis=(1, 2, 3)) + 1).all()
    alike = [np.corrcoef(old.ravel(), new.ravel())[0, 1] for old, new in zip(images, found, strict=True)]
    assert np.mean(alike) < 0.8


def test_mud_covers_a_part_and_leaves_the_rest():
    images = np.full((30, 28, 28, 1), 200, np.uint8)
    found = corrupt(images, "spatter", 2)
    untouched, mud = (found == 200).mean(), (found < 80).mean()
    assert 0.5 < untouched < 0.99 and 0.005 < mud < 0.3
