"""Scenes composed of known pictures at known places."""

import csv
import json

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin
from sklearn.datasets import load_digits

import keensight
from keensight.errors import PictureError, RunError, UsageError
from keensight.inference.predictor import load
from keensight.verbs.scan import wanted_labels

NUM = 12


@pytest.fixture(scope="module")
def scene(trained, tmp_path_factory):
    """Twelve digits that the model has not seen, far apart on black, and {(x, y): what the model says of each}."""
    lines = map(json.loads, (trained.folder / "splits.jsonl").read_text().splitlines())
    rows = [int(line["file"][len("images[") : -1]) for line in lines if line["split"] == "test"]
    predictor = load(trained.bundle)
    pixels, truth, placed = np.zeros((110, 150), np.uint8), {}, 0
    for row in rows:
        chip = np.round(load_digits().images[row] * 255 / 16).astype(np.uint8)
        answer = predictor.on_images(chip[None, ..., None])[0]
        if answer.probability > 0.95 and not answer.is_none_of_these and placed < NUM:
            x, y = 5 + 36 * (placed % 4), 7 + 36 * (placed // 4)
            pixels[y : y + 8, x : x + 8] = chip
            truth[x, y] = answer.label
            placed += 1
    file = tmp_path_factory.mktemp("scene") / "digits.png"
    Image.fromarray(pixels).save(file)
    return file, truth


def test_what_is_there_is_found_where_it_is(trained, scene, tmp_path):
    file, truth = scene
    found = keensight.scan(trained.bundle, file, out=tmp_path / "out", find=list("0123456789"), step=1)
    right = sum(
        any(truth[x, y] == each.label and max(abs(each.x - x), abs(each.y - y)) <= 1 for each in found.found)
        for x, y in truth
    )
    assert right >= 10, "of twelve"
    assert found.places == 103 * 143 and (found.height, found.width) == (110, 150)
    for each in found.found:
        assert min(max(abs(each.x - x), abs(each.y - y)) for x, y in truth) < 8, "nothing is found on black"
    told = json.loads((tmp_path / "out" / "found.geojson").read_text())
    assert told["scene"]["units"] == "pixels" and "crs" not in told
    assert [feature["geometry"]["coordinates"][0][0] for feature in told["features"]] == [
        [each.x, each.y] for each in found.found
    ]
    rows = list(csv.DictReader((tmp_path / "out" / "found.csv").read_text().splitlines()))
    assert [(row["label"], float(row["x"])) for row in rows] == [(each.label, each.x) for each in found.found]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "found.geojson", "found.csv", "boxes.jpg", "heat.jpg"
    }  # fmt: skip
    boxes, heat = (np.asarray(Image.open(tmp_path / "out" / name).convert("RGB")) for name in ("boxes.jpg", "heat.jpg"))
    assert boxes.shape == heat.shape == (440, 600, 3)
    yellow = (boxes[..., 0] > 180) & (boxes[..., 2] < 120)
    assert yellow.any()


def test_things_twice_as_large_are_found_at_scale_2(trained, scene, tmp_path):
    file, truth = scene
    larger = Image.open(file).resize((300, 220), Image.Resampling.NEAREST)
    larger.save(tmp_path / "larger.png")
    words = {"find": list("0123456789"), "scales": [2], "step": 1, "least": 0.5}
    found = keensight.scan(trained.bundle, tmp_path / "larger.png", out=tmp_path / "out", **words)
    right = sum(
        any(
            truth[x, y] == each.label and each.width == 16 and max(abs(each.x / 2 - x), abs(each.y / 2 - y)) <= 1
            for each in found.found
        )
        for x, y in truth
    )
    assert right >= 8, "of twelve"


def test_sharing_gives_what_looking_at_each_place_gives(tmp_path, draw):
    """The husky's network has no padding, so its shared answers are exact."""
    data = draw(tmp_path / "data", ["nothing", "thing"], 20, 0)
    words = ["model=husky", "epochs=2", "size=22", "test_fraction=0"]
    run = keensight.train(data, out=tmp_path / "run", set=words)
    pixels = np.random.default_rng(0).integers(0, 256, (90, 130, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "scene.bmp")
    shared, alone = (
        keensight.scan(run.bundle, tmp_path / "scene.bmp", out=tmp_path / name, least=0.5, step=2, alone=is_alone)
        for name, is_alone in (("shared", False), ("alone", True))
    )
    assert shared.sharing and not alone.sharing
    assert shared.places == alone.places == ((90 - 22) // 2 + 1) * ((130 - 22) // 2 + 1)
    assert [(each.x, each.y) for each in shared.found] == [(each.x, each.y) for each in alone.found]


def test_refusals(trained, scene, tmp_path):
    file, _ = scene
    with pytest.raises(UsageError, match=r"Did you mean|none of the bundle's labels"):
        keensight.scan(trained.bundle, file, find=["plane"])
    for words in ({"least": 1}, {"overlap": -1}, {"step": 0}, {"scales": [0]}):
        with pytest.raises(UsageError, match="such as|or more"):
            keensight.scan(trained.bundle, file, **words)
    with pytest.raises(UsageError, match="would never be looked at. Give 1 to"):
        keensight.scan(trained.bundle, file, step=100_000)
    with pytest.raises(PictureError, match="at scale 20"):
        keensight.scan(trained.bundle, file, scales=[20], out=tmp_path / "out")
    (tmp_path / "no.png").write_text("no")
    with pytest.raises(PictureError, match=r"no\.png cannot be scanned"):
        keensight.scan(trained.bundle, tmp_path / "no.png", out=tmp_path / "out")
    assert not (tmp_path / "out").exists(), "nothing is left behind"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    with pytest.raises(RunError, match="not empty"):
        keensight.scan(trained.bundle, file, out=tmp_path / "full")


def test_labels_that_mean_that_nothing_is_there():
    assert wanted_labels(["husky", "not-husky"], []) == ["husky"]
    assert wanted_labels(["fox", "hare", "background"], []) == ["fox", "hare"]
    assert wanted_labels(["none", "other"], []) == ["none", "other"]
    assert wanted_labels(list("0123"), []) == list("0123")


def test_a_geotiff_s_finds_lie_on_its_map(trained, scene, tmp_path):
    file, _ = scene
    info = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, kind, values in (
        (33550, 12, (2.0, 2.0, 0.0)), (33922, 12, (0.0, 0.0, 0.0, 1000.0, 9000.0, 0.0)),
        (34735, 3, (1, 1, 0, 1, 3072, 0, 1, 32610)),
    ):  # fmt: skip
        info.tagtype[tag], info[tag] = kind, values
    Image.open(file).save(tmp_path / "scene.tif", tiffinfo=info)
    found = keensight.scan(
        trained.bundle, tmp_path / "scene.tif", out=tmp_path / "out", find=list("0123456789"), step=1
    )
    told = json.loads((tmp_path / "out" / "found.geojson").read_text())
    assert told["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32610"
    assert told["scene"]["units"] == "EPSG:32610"
    assert found.found and [feature["geometry"]["coordinates"][0] for feature in told["features"]] == [
        [
            [1000 + 2 * x, 9000 - 2 * y]
            for x, y in ((e.x, e.y), (e.x, e.y + 8), (e.x + 8, e.y + 8), (e.x + 8, e.y), (e.x, e.y))
        ]
        for e in found.found
    ]
    (row, *_) = csv.DictReader((tmp_path / "out" / "found.csv").read_text().splitlines())
    assert float(row["x"]) == found.found[0].x  # in pixels
