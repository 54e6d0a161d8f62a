"""A shortcut is planted in one of two classes of photographs, and named with the accuracy that it gives alone."""

import numpy as np
import pytest
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_images

from keensight import decode, open_dataset
from keensight.care.shortcuts import GROUPS, shortcuts
from keensight.pages.findings import sentence
from keensight.values import Preprocessing

CAMERA = Image.Exif()
CAMERA[0x010F] = "Canon"


def with_logo(image):
    image.paste((250, 30, 60), (62, 3, 77, 18))
    image.paste((30, 250, 60), (66, 7, 73, 14))
    return image


PLANTED = {  # what is done to pictures of the first class, and how they are then saved
    "size": (lambda image: image.resize((90, 80)), "jpg", {}),
    "format": (lambda image: image, "png", {}),
    "jpeg": (lambda image: image, "jpg", {"quality": 60}),
    "camera": (lambda image: image, "jpg", {"exif": CAMERA}),
    "bytes": (lambda image: image, "jpg", {"comment": b"x" * 30_000}),
    "border": (lambda image: ImageOps.expand(image.crop((4, 4, 76, 76)), 4, (255, 255, 255)), "jpg", {}),
    "corners": (with_logo, "jpg", {}),
    "colour": (lambda image: Image.blend(image, Image.new("RGB", image.size, "orange"), 0.8), "jpg", {}),
}


@pytest.fixture(scope="module")
def tiles():
    """120 tiles of two photographs, in an order that mixes them."""
    tiles = [
        image[top : top + 80, left : left + 80]
        for image in load_sample_images().images
        for top in range(0, 320, 53)
        for left in range(0, 560, 56)
    ]
    return [tiles[i] for i in np.random.default_rng(0).permutation(len(tiles))]


def audited(tiles, folder, what=None):
    plain = (lambda image: image, "jpg", {})
    for i, tile in enumerate(tiles):
        change, kind, how = PLANTED[what] if what and i % 2 == 0 else plain
        home = folder / "ab"[i % 2]
        home.mkdir(exist_ok=True)
        change(Image.fromarray(tile)).save(home / f"{i}.{kind}", **{"quality": 90, **how} if kind == "jpg" else how)
    return list(shortcuts(decode(open_dataset(folder), Preprocessing(64, 64, 3))))


def test_honest_photographs_are_not_accused(tiles, tmp_path):
    assert audited(tiles, tmp_path) == []


@pytest.mark.parametrize("what", PLANTED)
def test_a_planted_shortcut_is_named_with_the_accuracy_it_gives_alone(tiles, tmp_path, what):
    found = {each.evidence["what"]: each for each in audited(tiles, tmp_path, what)}
    assert what in found
    told = found[what].evidence
    assert told["accuracy"] >= 0.9 and told["floor"] == 0.5
    assert told["accuracy_low"] <= told["accuracy"] <= told["accuracy_high"]
    assert f"{100 * told['accuracy']:.0f} % of the pictures" in sentence(found[what])
    if what in ("size", "jpeg", "camera", "corners"):  # others change what a file or picture is in more than one way
        assert set(found) <= {what, "bytes"}


def test_every_group_is_planted_here():
    assert set(PLANTED) == set(GROUPS)


@pytest.mark.parametrize("name", ["digits"])
def test_what_pictures_show_is_no_shortcut(name):
    assert list(shortcuts(decode(open_dataset(name), Preprocessing(8, 8, 1)))) == []


def test_copies_are_not_on_both_sides_of_a_fold(tiles, tmp_path):
    """Each picture is there 15 times and has a size of its own, which says nothing of others."""
    for i, tile in enumerate(tiles[:8]):
        home = tmp_path / "ab"[i % 2]
        home.mkdir(exist_ok=True)
        for copy in range(15):
            Image.fromarray(tile).resize((60 + i, 80)).save(home / f"{i:02}_{copy}.png")
    pixels = decode(open_dataset(tmp_path), Preprocessing(64, 64, 3))
    units = np.array([int(sample.path[2:4]) for sample in pixels.dataset.samples])
    assert "size" in {each.evidence["what"] for each in shortcuts(pixels)}
    assert "size" not in {each.evidence["what"] for each in shortcuts(pixels, units)}
