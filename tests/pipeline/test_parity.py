import json
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import keensight
from keensight.errors import GateError
from keensight.models import transfer
from keensight.models.backbone import Backbone
from keensight.models.onnx.layers import LAYERS
from keensight.models.onnx.write import with_temperature
from keensight.pipeline import finish
from keensight.training.loop import State
from keensight.verbs import train

QUICK = ["model=logistic", "epochs=2", "size=16", "val_fraction=0.3"]


@pytest.fixture
def photographs(tmp_path):
    """Two classes of JPEGs, upright and turned by their EXIF tags, that decoding must treat alike twice."""
    random = np.random.default_rng(0)
    for name, level in (("dark", 60), ("light", 190)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(20):
            pixels = random.normal(level, 40, (24 + i, 40, 3)).clip(0, 255).astype(np.uint8)
            exif = Image.Exif()
            exif[0x0112] = 1 + i % 8
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{i}.jpg", exif=exif)
    return tmp_path / "data"


def test_a_bundle_says_on_how_many_pictures_it_was_compared(photographs, tmp_path):
    run = keensight.train(photographs, out=tmp_path / "run", set=QUICK)
    parity = json.loads((run.bundle / "bundle.json").read_text())["parity"]
    assert parity["n"] == run.report.val.n
    assert 0 <= parity["difference"] < 1e-5


def test_pictures_that_are_arrays_are_compared_as_files(trained):
    parity = json.loads((trained.bundle / "bundle.json").read_text())["parity"]
    assert parity["n"] == trained.report.val.n
    assert parity["difference"] < 1e-5


@pytest.mark.thorough
def test_a_model_that_is_exported_wrongly_is_refused_and_the_run_goes_on_later(photographs, tmp_path, monkeypatch):
    def hotter(model, temperature):
        return with_temperature(model, 1.05 * temperature)

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(finish, "with_temperature", hotter)
        with pytest.raises(
            GateError, match=r"answers differ from the trained model.s for \d+ of 12 held-out"
        ) as refused:
            keensight.train(photographs, out=out, set=QUICK)
    assert refused.value.exit_status == 3
    assert "trained" in str(refused.value).splitlines()[1]
    assert not (out / "bundle").exists() and not (out / "report.json").exists()
    assert keensight.train(photographs, out=out, resume=True).bundle.is_dir()


def test_a_picture_that_was_changed_after_training_began_is_named(photographs, tmp_path, monkeypatch):
    def fit_and_swap(state: State, splits, *rest, **named):
        yield from fit_any(state, splits, *rest, **named)
        for where in splits.val.paths:
            Image.effect_mandelbrot((30, 30), (-3, -2.5, 2, 2.5), 50).save(photographs / where)

    fit_any = train.fit_any
    monkeypatch.setattr(train, "fit_any", fit_and_swap)
    with pytest.raises(GateError) as refused:
        keensight.train(photographs, out=tmp_path / "run", set=QUICK)
    assert any(line.strip().startswith(("dark/", "light/")) for line in str(refused.value).splitlines()[2:])


def test_a_class_that_is_another_is_refused_however_near(photographs, tmp_path, monkeypatch):
    """Two equal probabilities: the trained model says one class, the bundle another."""
    from keensight.pipeline import parity

    def drawn(model, part, borders):
        return np.tile(np.array([[1e-6, 0.0]]), (len(part), 1))

    class Other:
        def __init__(self, bundle):
            self.bundle = bundle

        def outputs_on_split(self, part):
            return {"probabilities": np.tile(np.array([[0.5 - 1e-6, 0.5 + 1e-6]]), (len(part), 1))}

    monkeypatch.setattr(parity, "logits", drawn)
    check = parity.check_parity
    monkeypatch.setattr(
        finish, "check_parity", lambda model, predictor, *rest: check(model, Other(predictor.bundle), *rest)
    )
    with pytest.raises(GateError, match="for 12 of 12 held-out"):
        keensight.train(photographs, out=tmp_path / "run", set=QUICK)


@pytest.mark.parametrize("is_right", [True, False])
def test_features_of_the_exported_backbone_do_not_hide_that_it_was_exported_wrongly(
    photographs, tmp_path, monkeypatch, is_right
):
    def drawn(name, height, width):
        torch.manual_seed(0)
        body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return Backbone(body.eval(), 6, (0.5,) * 3, (0.2,) * 3, 16, None)

    monkeypatch.setattr(transfer, "load_backbone", drawn)
    if not is_right:
        monkeypatch.setitem(LAYERS, nn.ReLU, LAYERS[nn.Identity])
    changes = ["model=transfer", "backbone=six", "epochs=1", "size=16", "val_fraction=0.3", "coverage=1"]
    with nullcontext() if is_right else pytest.raises(GateError, match="answers differ from the trained model"):
        keensight.train(photographs, out=tmp_path / "run", set=changes)
