"""Attack pictures are constructed: the pixels that a resizing reads are set so that it gives another picture."""

import io

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from keensight.data.in_time import HERE_WORK
from keensight.data.pixels import decode_and_compare, decode_picture
from keensight.data.scaling import BILINEAR, NEAREST, resized, two_faces
from keensight.values import Preprocessing

SIDE = 50


def deceptive(shown_HW, hidden_SS, how):
    """Change as few levels of `shown` as it takes for `how` to give `hidden`, by projections."""
    attack, side = shown_HW.astype(np.float64), len(hidden_SS)
    if how in NEAREST:
        rows, columns = (np.floor(NEAREST[how](length, side)).astype(int) for length in attack.shape)
        attack[np.ix_(rows, columns)] = hidden_SS
        return attack.astype(np.uint8)
    at = [BILINEAR[how](length, side) for length in attack.shape]
    lower = [np.floor(each).astype(int) for each in at]
    shares = [np.stack([1 - (a - np.floor(a)), a - np.floor(a)]) for a in at]
    norm = np.outer(np.square(shares[0]).sum(axis=0), np.square(shares[1]).sum(axis=0))
    for _ in range(10):
        places = [
            (np.ix_(*(np.clip(low + step, 0, n - 1) for low, step, n in zip(lower, steps, attack.shape, strict=True))),
             np.outer(shares[0][steps[0]], shares[1][steps[1]]))
            for steps in ((0, 0), (0, 1), (1, 0), (1, 1))
        ]  # fmt: skip
        lacks = hidden_SS - sum(attack[place] * weight for place, weight in places)
        for place, weight in places:
            attack[place] = np.clip(attack[place] + lacks * weight / norm, 0, 255)
    return np.round(attack).astype(np.uint8)


@pytest.fixture(scope="module")
def pictures():
    """A temple, 200 by 220 pixels, and a flower to hide in it."""
    temple, flower = (Image.fromarray(image).convert("L") for image in load_sample_images().images)
    return np.asarray(temple.resize((220, 200))), np.asarray(flower.resize((SIDE, SIDE)))


def encoded(grey_HW, kind="png"):
    file = io.BytesIO()
    Image.fromarray(grey_HW).convert("RGB").save(file, kind)
    return file.getvalue()


def test_resizing_agrees_with_that_of_others(pictures):
    import torch

    shown, _ = pictures
    ours = resized(shown, SIDE, SIDE)
    images = torch.from_numpy(shown.astype(np.float32))[None, None]
    theirs = torch.nn.functional.interpolate(images, (SIDE, SIDE), mode="bilinear")[0, 0].numpy()
    assert np.abs(ours["bilinear, from the middle"] - theirs).max() < 0.01
    theirs = torch.nn.functional.interpolate(images, (SIDE, SIDE), mode="bilinear", align_corners=True)[0, 0].numpy()
    assert np.abs(ours["bilinear, corners aligned"] - theirs).max() < 0.01
    theirs = torch.nn.functional.interpolate(images, (SIDE, SIDE), mode="nearest")[0, 0].numpy()
    assert np.mean(ours["nearest, from the edge"] == theirs) > 0.95  # it rounds positions to 32 bits
    theirs = np.asarray(Image.fromarray(shown).resize((SIDE, SIDE), Image.Resampling.NEAREST))
    assert np.mean(ours["nearest, from the middle"] == theirs) > 0.95


@pytest.mark.parametrize("how", [*NEAREST, *BILINEAR])
def test_an_attack_works_on_others_is_found_and_does_not_work_on_us(pictures, how):
    shown, hidden = pictures
    attack = deceptive(shown, hidden, how)
    assert np.corrcoef(resized(attack, SIDE, SIDE)[how].ravel(), hidden.ravel())[0, 1] > 0.98
    found = two_faces(attack, [SIDE])
    assert found is not None and found.side == SIDE
    size = Preprocessing(SIDE, SIDE, 1)
    ours, flagged = decode_and_compare(encoded(attack), size, HERE_WORK)
    plain = decode_picture(encoded(shown), size)
    assert flagged
    assert np.corrcoef(ours.ravel(), plain.ravel())[0, 1] > 0.9 > np.corrcoef(ours.ravel(), hidden.ravel())[0, 1] + 0.3


def test_honest_pictures_are_not_accused():
    draw = np.random.default_rng(0)
    honest = [np.asarray(Image.fromarray(image).convert("L")) for image in load_sample_images().images]
    honest += [draw.integers(0, 256, (300, 400), np.uint8)]  # noise is the hardest: no two of its pixels agree
    for grey in honest:
        assert two_faces(grey) is None
        assert two_faces(grey[:250, :250]) is None


def test_pictures_that_are_not_much_larger_are_read_whole(pictures):
    shown, _ = pictures
    assert two_faces(shown, [(150, 150)]) is None
    picture = encoded(shown)
    seen, flagged = decode_and_compare(picture, Preprocessing(64, 64, 3), HERE_WORK)
    assert not flagged and np.array_equal(seen, decode_picture(picture, Preprocessing(64, 64, 3)))


def test_hard_edges_are_no_attack():
    """A rectangle's edges fall between the pixels that are read: the small picture is moved by half a pixel."""
    rng = np.random.default_rng(0)
    for _ in range(60):
        top, left = rng.integers(0, 100, 2)
        height, width = rng.integers(20, 120, 2)
        picture = np.full((220, 240), rng.integers(180, 256), np.uint8)
        picture[top : top + height, left : left + width] = rng.integers(0, 120)
        assert two_faces(picture) is None
