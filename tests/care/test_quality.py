import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from keensight import decode, open_dataset
from keensight.care.quality import quality
from keensight.pages.findings import sentence
from keensight.values import Preprocessing

PLANTED = {
    "dark": lambda image: ImageEnhance.Brightness(image).enhance(0.1),
    "light": lambda image: Image.eval(image, lambda level: 243 + level // 21),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(8)),
    "tiny": lambda image: image.resize((12, 12)),
    "long": lambda image: image.crop((0, 0, 80, 25)),
    "grey": lambda image: image.convert("L"),
}


@pytest.fixture
def folder(photos, tmp_path):
    """Pictures of flowers and roofs in two classes, without those of bare sky."""
    for i, photo in enumerate(photos[12:]):
        home = tmp_path / "ab"[i % 2]
        home.mkdir(exist_ok=True)
        Image.fromarray(photo).save(home / f"{i}.png")
    return tmp_path


def findings(folder):
    return list(quality(decode(open_dataset(folder), Preprocessing(64, 64, 3))))


def test_pictures_that_belong_are_not_accused(folder):
    assert findings(folder) == []


@pytest.mark.parametrize("what", PLANTED)
def test_a_planted_picture_is_found_and_no_other(folder, what):
    PLANTED[what](Image.open(folder / "a/2.png")).save(folder / "a/planted.png")
    (found,) = (each for each in findings(folder) if each.evidence["what"] == what)
    assert found.samples == ("a/planted.png",)
    assert sentence(found).startswith("1 picture is ") and "a/planted.png" in sentence(found)


def test_black_squares_are_blank(folder):
    for size in (6, 14, 31):
        Image.fromarray(np.zeros((size, size, 3), np.uint8)).save(folder / f"b/black{size}.jpg")
    blank, *_ = findings(folder)
    assert blank.kind == "blank"
    assert set(blank.samples) == {"b/black6.jpg", "b/black14.jpg", "b/black31.jpg"}


def test_what_many_pictures_are_is_how_the_data_are(folder):
    for file in sorted(folder.rglob("*.png"))[::3]:
        Image.open(file).convert("L").save(file)
    assert not [each for each in findings(folder) if each.evidence["what"] == "grey"]
