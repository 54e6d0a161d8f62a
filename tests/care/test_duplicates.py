import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance
from sklearn.datasets import load_digits

import keensight
from keensight.care.duplicates import near_duplicates


def saved(image):
    file = io.BytesIO()
    image.save(file, "jpeg", quality=50)
    return Image.open(file)


CHANGES = {
    "mirrored": (lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "mirrored"),
    "upside down": (lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM), "upside down"),
    "turned": (lambda image: image.rotate(180), "turned by 180 degrees"),
    "smaller": (lambda image: image.resize((40, 40)), ""),
    "saved with loss": (saved, ""),
    "cut in a corner": (lambda image: image.crop((8, 0, 80, 72)), ""),
    "cut and mirrored": (
        lambda image: image.crop((4, 4, 76, 76)).transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        "mirrored",
    ),
    "darker": (lambda image: ImageEnhance.Brightness(image).enhance(0.7), ""),
}


def looks_of(images, side=64):
    return np.stack([np.asarray(image.resize((side, side), Image.Resampling.BILINEAR)) for image in images])


@pytest.fixture(scope="module")
def planted(photos):
    """Different pictures, then one changed copy of each of the first few."""
    images = [Image.fromarray(photo) for photo in photos]
    images = images[::-1]  # the other way about, the first would be tiles of a sky, without anything to tell them by
    return looks_of([*images, *(change(images[i]) for i, (change, _) in enumerate(CHANGES.values()))])


def test_planted_copies_are_found_and_no_other_picture_is_accused(planted, photos):
    found = near_duplicates(planted, np.arange(len(planted)))
    assert {(min(p.whole, p.copy), max(p.whole, p.copy)) for p in found} == {
        (i, len(photos) + i) for i in range(len(CHANGES))
    }
    turns = {min(pair.whole, pair.copy): pair.turn for pair in found}
    assert [turns[i] for i in range(len(CHANGES))] == [turn for _, turn in CHANGES.values()]


def test_what_was_cut_off_is_measured(planted, photos):
    number = list(CHANGES).index("cut in a corner")
    (pair,) = (p for p in near_duplicates(planted, np.arange(len(planted))) if p.whole == number)
    top, bottom, left, right = pair.cut
    assert (top, right) == pytest.approx((0, 0), abs=0.03)
    assert (bottom, left) == pytest.approx((0.1, 0.1), abs=0.03)


def test_different_pictures_are_not_accused(photos):
    looks = looks_of([Image.fromarray(photo) for photo in photos])
    assert near_duplicates(looks, np.arange(len(looks))) == []


def test_rows_name_the_pictures_that_are_compared(planted, photos):
    rows = np.array([len(photos), 30, 0])  # a mirrored copy, another picture, and the original
    (pair,) = near_duplicates(planted, rows)
    assert {pair.whole, pair.copy} == {0, 2}


def test_handwritten_digits_are_alike_but_no_copies():
    images = np.round(load_digits().images[:, :, :, None] * 15.9).astype(np.uint8)
    bright = np.concatenate([images[:200], np.clip(images[:5] * 0.8, 0, 255).astype(np.uint8)])
    found = near_duplicates(bright, np.arange(len(bright)))
    planted = {(i, 200 + i) for i in range(5)}
    pairs = {(pair.whole, pair.copy) for pair in found}
    assert planted <= pairs
    assert all(pair.cut == (0, 0, 0, 0) for pair in found)
    assert len(pairs - planted) <= 1


@pytest.mark.parametrize("n", [0, 1])
def test_one_picture_has_no_copy(planted, n):
    assert near_duplicates(planted, np.arange(n)) == []


def test_pictures_of_which_no_two_are_alike_give_no_pairs(tmp_path):
    random = np.random.default_rng(5)
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for i in range(10):
            pixels = random.normal(random.uniform(60, 200, 3), 50, (80, 90, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).resize((90, 80)).save(tmp_path / label / f"{i}.png")
    kinds = {finding.kind for finding in keensight.audit(tmp_path, out=tmp_path.parent / "audited").findings}
    assert not kinds & {"near-duplicate", "leak", "identical"}


def drawings(n=24, seed=0):
    """Circles and squares of any colour, size and place on plain grounds, as a person draws them to try something."""
    rng, found = np.random.default_rng(seed), []
    for i in range(n):
        image = Image.new("RGB", (100, 80), tuple(int(level) for level in rng.integers(180, 256, 3)))
        size = int(rng.integers(8, 25))
        x, y = (int(rng.integers(size, length - size)) for length in (100, 80))
        draw = ImageDraw.Draw(image)
        shape = draw.ellipse if i % 2 else draw.rectangle
        shape((x - size, y - size, x + size, y + size), fill=tuple(int(level) for level in rng.integers(0, 160, 3)))
        found.append(image)
    return found


def test_plain_drawings_are_no_copies_of_each_other():
    images = np.stack([np.asarray(image) for image in drawings()])
    assert near_duplicates(images, np.arange(len(images))) == []


def test_a_drawing_that_was_saved_again_or_mirrored_is_a_copy():
    drawn = drawings()
    copies = [saved(drawn[3]), drawn[4].transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    images = np.stack([np.asarray(image.convert("RGB")) for image in [*drawn, *copies]])
    assert {(pair.whole, pair.copy) for pair in near_duplicates(images, np.arange(len(images)))} == {(3, 24), (4, 25)}
