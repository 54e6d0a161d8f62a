import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from keensight import kernels
from keensight.data.corruptions import CORRUPTIONS, corrupt
from keensight.training import augment as augmenting
from keensight.training.augment import augment
from keensight.training.draws import Draws
from keensight.values.recipe import AugmentSettings

PLAIN = AugmentSettings()
IMAGES = torch.rand(8, 3, 16, 20, generator=torch.Generator().manual_seed(0))
STRENGTHS = [
    {"flip": True},
    {"rotate": 30.0},
    {"shear": 0.2},
    {"zoom": 0.2},
    {"shift": 0.1},
    {"crop": 2},
    {"cutout": 5},
    {"brightness": 0.3},
    {"contrast": 0.3},
]


def changed(settings, images=IMAGES, seed=0):
    return augment(images, settings, Draws(seed, np.arange(len(images))))


@pytest.mark.parametrize("strength", STRENGTHS, ids=lambda s: next(iter(s)))
def test_every_change_keeps_the_contract(strength):
    settings = replace(PLAIN, **strength)
    assert settings.strengths and not PLAIN.strengths
    before = IMAGES.clone()
    after = changed(settings)
    assert after.shape == IMAGES.shape and after.min() >= 0 and after.max() <= 1
    assert not torch.equal(after, IMAGES) and torch.equal(IMAGES, before)
    assert torch.equal(after, changed(settings)) and not torch.equal(after, changed(settings, seed=1))


def test_nothing_asked_nothing_changed():
    assert changed(PLAIN) is IMAGES


@pytest.mark.parametrize("others", [{}, {"zoom": 1e-9}], ids=["alone", "in the affine grid"])
def test_a_flip_is_a_mirror_image_of_about_half(others):
    images = torch.rand(400, 1, 6, 6)
    after = changed(replace(PLAIN, flip=True, **others), images)
    mirrored = torch.isclose(after, images.flip(3), atol=1e-5).all(dim=(1, 2, 3))
    same = torch.isclose(after, images, atol=1e-5).all(dim=(1, 2, 3))
    assert (mirrored ^ same).all() and 150 < mirrored.sum() < 250


def test_a_rotation_keeps_distances_also_on_wide_pictures():
    """A dot right of the centre moves on a circle, in pixels."""
    images = torch.zeros(200, 1, 41, 61)
    images[:, :, 20, 45] = 1  # 15 pixels right of the centre
    after = changed(replace(PLAIN, rotate=90.0), images)
    y, x = np.unravel_index(after[:, 0].reshape(200, -1).argmax(dim=1).numpy(), (41, 61))
    distance = np.hypot(y - 20, x - 30)
    angle = np.degrees(np.arctan2(y - 20, x - 30))
    assert np.abs(distance - 15).max() < 1.5
    assert angle.min() < -75 and angle.max() > 75 and abs(angle.mean()) < 15


def test_a_shift_moves_by_whole_pixels_when_it_should():
    """Against slicing: a picture shifted by a known amount."""
    images = torch.rand(300, 1, 10, 10)
    after = changed(replace(PLAIN, crop=1, fill="constant"), images)
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1))
    windows = [padded[:, :, y : y + 10, x : x + 10] for y in range(3) for x in range(3)]
    hits = torch.stack([(after == window).all(dim=(1, 2, 3)) for window in windows])
    assert hits.any(dim=0).all() and (hits.sum(dim=1) > 10).all()


@pytest.mark.parametrize("change", [{"shift": 0.4}, {"crop": 3}])
def test_fill_decides_what_comes_in(change):
    white = torch.ones(50, 1, 8, 8)
    assert changed(replace(PLAIN, fill="nearest", **change), white).min() > 0.999
    assert changed(replace(PLAIN, fill="constant", **change), white).min() == 0


def test_zoom_stays_within_its_range():
    """A centred square of 20 pixels becomes one of 20/1.25 to 20/0.75."""
    images = torch.zeros(300, 1, 60, 60)
    images[:, :, 20:40, 20:40] = 1
    sides = changed(replace(PLAIN, zoom=0.25), images).sum(dim=(2, 3)).sqrt()
    assert 16 - 0.5 < sides.min() < 17.5 and 24 < sides.max() < 20 / 0.75 + 0.5


def test_shear_slants():
    images = torch.zeros(200, 1, 41, 41)
    images[:, :, :, 20] = 1
    after = changed(replace(PLAIN, shear=0.3), images)
    top = after[:, 0, 5].argmax(dim=1).float() - 20
    assert math.isclose(top.abs().max().item(), 15 * math.tan(0.3), abs_tol=1.1)


def test_cutout_hides_one_square():
    images = torch.rand(100, 1, 12, 12) + 1  # no pixel has the mean's value by chance
    after = changed(replace(PLAIN, cutout=4), images)
    hidden = (after != images).sum(dim=(1, 2, 3))
    assert hidden.max() == 16 and hidden.min() >= 4


@pytest.mark.skipif(kernels.library() is None, reason="keensight was installed without a C compiler")
@pytest.mark.parametrize("fill", ["nearest", "constant"])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 128, 96), (3, 9, 130), (4, 7, 5), (2, 1, 1)])
def test_compiled_it_is_what_torch_does(shape, fill, monkeypatch):
    """Far turned and shifted too: every source that is outside, on an edge or in a corner comes up."""
    images = torch.rand(6, *shape, generator=torch.Generator().manual_seed(0))
    settings = replace(PLAIN, flip=True, rotate=180.0, shear=0.7, zoom=0.9, shift=0.8, fill=fill)
    ours = changed(settings, images)
    assert ours.is_contiguous(memory_format=torch.channels_last)
    monkeypatch.setattr(augmenting, "library", lambda: None)
    torch.testing.assert_close(ours, changed(settings, images), rtol=0, atol=1e-4)


def test_a_share_of_the_pictures_is_corrupted_as_the_table_does():
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (64, 9, 9, 3), np.uint8))
    pictures = images.permute(0, 3, 1, 2).float() / 255
    rows = np.arange(64)
    found, again = (augment(pictures, AugmentSettings(corrupt=0.5), Draws(1, rows)) for _ in range(2))
    changed = (found != pictures).flatten(1).any(dim=1)
    assert 16 < changed.sum() < 48 and torch.equal(found, again)
    draws = Draws(1, rows)
    group = (draws.uniform() < 0.5).nonzero()[:, 0].chunk(4)[0]
    name, severity, seed = (int(draws.below(n)[group[0]]) for n in (15, 3, 2**31))
    expected = corrupt(images[group].numpy(), list(CORRUPTIONS)[name], severity + 1, seed)
    np.testing.assert_array_equal((found[group] * 255).round().permute(0, 2, 3, 1).numpy(), expected)


def test_a_picture_is_changed_alike_whatever_others_are_with_it():
    settings = replace(
        PLAIN, flip=True, rotate=20.0, shear=0.1, zoom=0.2, shift=0.1, crop=2, brightness=0.2, contrast=0.2
    )
    members = np.array([40, 3, 77, 12, 5, 9, 1, 0])
    whole = augment(IMAGES, settings, Draws(1, members))
    parts = [augment(IMAGES[i : i + 2], settings, Draws(1, members[i : i + 2])) for i in range(0, 8, 2)]
    assert torch.equal(whole, torch.cat(parts))
    assert not torch.equal(whole, augment(IMAGES, settings, Draws(2, members)))
