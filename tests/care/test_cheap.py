"""What training looks for by itself: planted faults are found in files, and honest pictures are left alone."""

import numpy as np
import pytest
from PIL import Image

import keensight
from keensight.care.cheap import cheap_findings
from keensight.data.cache import choose_preprocessing, decode
from keensight.pages.findings import sentence
from keensight.values import Recipe


def folder(root, save, n=24):
    """Two classes of noise, dark at the top or at the bottom, saved as `save` says."""
    rng = np.random.default_rng(0)
    for k, label in enumerate(("above", "below")):
        (root / label).mkdir(parents=True)
        for i in range(n):
            pixels = rng.integers(60, 256, (40, 40, 3), np.uint8)
            pixels[slice(0, 20) if k == 0 else slice(20, 40)] //= 2
            save(Image.fromarray(pixels), root / label / str(i), k, i)
    return root


def found(root):
    dataset = keensight.open_dataset(root)
    return cheap_findings(decode(dataset, choose_preprocessing(dataset, Recipe())))


def as_png(image, path, k, i):
    image.save(f"{path}.png")


def test_honest_pictures_are_left_alone(tmp_path):
    assert found(folder(tmp_path / "pictures", as_png)) == ()


@pytest.mark.parametrize(
    "save",
    [
        lambda image, path, k, i: image.save(f"{path}.jpg", quality=95 if k else 60),
        lambda image, path, k, i: image.save(f"{path}.{'bmp' if k else 'png'}"),
        lambda image, path, k, i: image.resize((40 + 8 * k,) * 2).save(f"{path}.png"),
    ],
    ids=["quality", "format", "size"],
)
def test_what_tells_the_classes_without_looking_is_said(tmp_path, save):
    (shortcut,) = found(folder(tmp_path / "pictures", save))
    assert shortcut.kind == "shortcut" and shortcut.evidence["accuracy"] == 1 and "looked_at" not in shortcut.evidence
    assert "can be told" in sentence(shortcut)


def test_a_few_small_grey_or_talking_pictures_are_said(tmp_path):
    def save(image, path, k, i):
        exif = Image.Exif()
        if (k, i) == (0, 3):
            exif[0x8825] = {1: "N", 2: (48.0, 51.0, 29.0), 3: "E", 4: (2.0, 17.0, 40.0)}  # GPS
        (image.resize((8, 8)) if (k, i) == (1, 2) else image).save(f"{path}.jpg", quality=90, exif=exif)

    kinds = {each.kind: each for each in found(folder(tmp_path / "pictures", save))}
    assert set(kinds) == {"metadata", "quality"}
    assert kinds["metadata"].samples == ("above/3.jpg",) and kinds["quality"].samples == ("below/2.jpg",)


def test_of_many_some_are_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr("keensight.care.cheap.MOST", 30)
    root = folder(tmp_path / "pictures", lambda image, path, k, i: image.save(f"{path}.{'bmp' if k else 'png'}"))
    (shortcut,) = found(root)
    assert shortcut.evidence["looked_at"] == 30
    assert sentence(shortcut).startswith("Of 30 pictures, taken evenly from all: ")
