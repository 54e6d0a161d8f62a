"""An exploration's page: what it says, and its map in a real Chromium."""

import base64
import io
import re
import shutil
from functools import partial

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

import keensight
from keensight.pages.explore import SHEET, colours, in_words, neighbours_first, sheets
from keensight.values import Dataset, Pixels, Preprocessing, Sample


@pytest.fixture(scope="module")
def explored(tmp_path_factory):
    """Forty tiles of two photographs, one of them twice and one blank; names that would be markup."""
    root = tmp_path_factory.mktemp("explored") / "my pets"
    for k, (label, image) in enumerate(zip(("cat", "the <b>dog"), load_sample_images().images, strict=True)):
        home = root / label
        home.mkdir(parents=True)
        for i in range(20):
            top, left = i // 5 * 80, i % 5 * 80
            Image.fromarray(image[top : top + 80, left : left + 60]).save(home / f"{i}.{'png' if k else 'jpg'}")
    shutil.copy(root / "cat/0.jpg", root / "cat/copy.jpg")
    Image.fromarray(np.full((80, 60, 3), 90, np.uint8)).save(root / "the <b>dog/<img src=x>.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KEENSIGHT_CACHE", str(tmp_path_factory.mktemp("cache")))
        return root, keensight.explore(root, root.parent / "seen")


def test_what_is_told_of_each_class(explored):
    root, seen = explored
    cat, dog = seen.classes
    assert (seen.num_pictures, cat["pictures"], dog["pictures"]) == (42, 21, 21)
    assert (cat["width_px"], cat["height_px"], cat["formats"], dog["formats"]) == (60, 80, {"jpg": 21}, {"png": 21})
    assert sum(cat["bins"]) == 21
    means = [np.asarray(Image.open(file)).mean() for file in (root / "the <b>dog").iterdir()]
    assert dog["brightness"] == pytest.approx(np.mean(means) / 255, abs=0.03)  # of their middles
    assert {"identical", "blank"} <= {each.kind for each in seen.findings}
    assert in_words(cat).startswith("21 pictures, about 60×80 px, jpg 21, brightness 0.")


def test_names_are_escaped_and_nothing_is_loaded(explored):
    page = explored[1].page.read_text()
    assert "the <b>dog" not in page and "the &lt;b&gt;dog" in page
    assert "<img src=x>" not in page.replace("\\u003cimg src=x\\u003e", "")
    assert not re.findall(r'(?:src|href)="(?!data:)', page)


def test_sheets_hold_the_pictures_in_their_order(tmp_path):
    images = np.zeros((SHEET * SHEET + 3, 8, 8, 3), np.uint8)
    images[:] = np.random.default_rng(0).integers(0, 255, (len(images), 1, 1, 3))
    dataset = Dataset("x", tmp_path, "folder", ("a", "b"), tuple(Sample(str(i), 0, "") for i in range(len(images))))
    pixels = Pixels(dataset, Preprocessing(8, 8, 3), images, np.arange(len(images)))
    order = np.arange(len(images))[::-1]
    found = [
        np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))
        for uri in sheets(pixels, order, (8, 8))
    ]
    assert [each.shape for each in found] == [(8 * SHEET, 8 * SHEET, 3), (8, 8 * SHEET, 3)]
    tiles = np.concatenate([each.reshape(-1, 8, SHEET, 8, 3).swapaxes(1, 2).reshape(-1, 8, 8, 3) for each in found])
    assert np.abs(tiles[: len(images), 4, 4].astype(int) - images[order, 4, 4]).mean() < 25


def test_neighbours_share_sheets():
    places = np.random.default_rng(0).random((4000, 2))
    order = neighbours_first(places, 250)
    assert sorted(order) == list(range(4000))
    spreads = [np.ptp(places[order[i : i + 250]], axis=0).max() for i in range(0, 4000, 250)]
    assert max(spreads) < 0.4


def test_every_class_has_a_colour_of_its_own():
    assert len(set(colours(60))) == 60
    assert all(re.fullmatch("#[0-9a-f]{6}", each) for each in colours(60))


@pytest.mark.parametrize("form", ["npz", "grey folder"])
def test_other_forms_of_data(tmp_path, form):
    images = np.random.default_rng(0).integers(0, 255, (24, 12, 12), np.uint8)
    if form == "npz":
        data = tmp_path / "pets.npz"
        np.savez(data, images=images, labels=np.arange(24) % 2)
    else:
        data = tmp_path / "pets"
        for i, image in enumerate(images):
            file = data / "ab"[i % 2] / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(file)
    seen = keensight.explore(data, tmp_path / "seen")
    assert "Alike means in their pixels: small pictures" in seen.page.read_text()
    assert seen.classes[0]["formats"] == ({"pixels": 12} if form == "npz" else {"png": 12})


@pytest.fixture
def visit(visit_file, explored):
    return partial(visit_file, explored[1].page, "#field")


def test_the_map_shows_a_picture_where_one_points_and_by_keys(visit):
    page = visit()
    at = page.evaluate(
        """() => { const f = JSON.parse(document.getElementById("facts").textContent);
          const p = new Uint16Array(Uint8Array.from(atob(f.places), (c) => c.charCodeAt(0)).buffer);
          const field = document.getElementById("field"), w = field.clientWidth, h = field.clientHeight;
          const span = Math.min(w, h * 1.6) - 48, i = f.paths.indexOf("cat/copy.jpg");
          return [(p[2 * i] / 65535 - 0.5) * span + w / 2, (p[2 * i + 1] / 65535 - 0.5) * (h - 48) + h / 2]; }"""
    )
    page.locator("#field").hover(position={"x": at[0], "y": at[1]})
    tip = page.locator("#tip")
    assert "identical" in tip.text_content() and "cat" in tip.text_content()  # the copy, or its twin below it
    page.wait_for_function(
        """() => { const c = document.querySelector("#tip canvas");
          return c.getContext("2d").getImageData(0, 0, c.width, c.height).data.some((v, i) => i % 4 < 3 && v > 0); }"""
    )
    page.locator("#field").focus()
    said = []
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "ArrowDown"):
        page.keyboard.press(key)
        said.append(page.locator("#picked").text_content())
    assert len(set(said)) > 1 and all(".jpg" in each or ".png" in each for each in said)
    page.get_by_label("only what was found").check()
    page.get_by_label("the <b>dog").uncheck()
    page.get_by_role("button", name="Closer").click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390])
def test_axe_finds_nothing_and_nothing_sticks_out(visit, violations, scheme, width):
    page = visit(color_scheme=scheme, viewport={"width": width, "height": 800}, bypass_csp=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert violations(page) == []
