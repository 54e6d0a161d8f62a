"""A model that `fit` trained, somebody's own network too, becomes a report and a bundle."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import keensight
from keensight.bundle.network import network_of
from keensight.bundle.read import read_bundle
from keensight.errors import BundleError, TrainingError
from keensight.values import Preprocessing


class Mine(nn.Module):
    """A small network with a branch and functions, as people write them."""

    def __init__(self, classes=10):
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8 * 16, classes)

    def forward(self, x):
        x = torch.relu(self.norm(self.first(x)))
        x = x + torch.relu(self.second(x))
        x = F.max_pool2d(x, 2)
        return self.head(x.flatten(1))


@pytest.fixture(scope="module")
def digits():
    dataset = keensight.open_dataset("digits")
    pixels = keensight.decode(dataset, Preprocessing(8, 8, 1))
    return pixels, keensight.split(pixels, seed=5), keensight.load_recipe("default", ["epochs=8"])


@pytest.fixture(scope="module")
def finished(digits, tmp_path_factory):
    pixels, splits, recipe = digits
    torch.manual_seed(0)
    model = Mine()
    epochs = list(keensight.fit(model, splits, recipe))
    return model, keensight.finish(
        model, pixels, splits, recipe, epochs=epochs, out=tmp_path_factory.mktemp("finish") / "run"
    )


def test_a_network_of_ones_own_is_trained_in_place(finished, digits):
    model, run = finished
    _, splits, _ = digits
    with torch.no_grad():
        answers = model.eval()(torch.from_numpy(splits.test.gather()).permute(0, 3, 1, 2).float() / 255)
    right = (answers.argmax(1).numpy() == splits.test.labels).mean()
    assert right == pytest.approx(run.report.test.accuracy) and right > 0.9


def test_its_bundle_answers_as_it_does_without_its_code(finished, digits):
    model, run = finished
    predictor = keensight.load(run.bundle)
    few = digits[1].test.take(slice(20))
    bundle = read_bundle(run.bundle)
    images = torch.from_numpy(few.gather()).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        own = model.eval()(images)
        again = network_of(bundle)(images)
    np.testing.assert_allclose(again, own, atol=1e-4)
    expected = torch.softmax(own / bundle.info.temperature, 1).numpy()
    probabilities, _ = predictor.on_split(few)
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)
    assert json.loads((run.bundle / "bundle.json").read_text())["model"]["name"] == "Mine"
    assert len(run.report.history) == 8


def test_the_verbs_take_its_bundle(finished, tmp_path):
    _, run = finished
    assert keensight.evaluate(run.bundle, "digits", split="test").metrics.accuracy == run.report.test.accuracy
    other = keensight.train("digits", recipe="dense", set=["epochs=1"], out=tmp_path / "dense")
    compared = keensight.compare([run.bundle, other.bundle], "digits", out=tmp_path / "compared")
    assert compared is not None


def test_what_does_not_fit_is_refused(digits, tmp_path):
    _, splits, recipe = digits
    with pytest.raises(TrainingError, match=r"answers two pictures with \(2, 7\), and there are 10"):
        next(keensight.fit(Mine(7), splits, recipe))
    with pytest.raises(TrainingError, match="cannot take two pictures, 2x1x8x8"):
        next(keensight.fit(nn.Linear(5, 10), splits, recipe))
    with pytest.raises(TrainingError, match=r"A str was given.*torch\.nn\.Module"):
        next(keensight.fit("resnet", splits, recipe))


class Sorted(nn.Module):
    def forward(self, x):
        return torch.sort(x, dim=1).values


def test_a_layer_that_cannot_be_exported_is_named(digits, tmp_path):
    pixels, splits, recipe = digits
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), Sorted())
    with pytest.raises(BundleError, match="sort"):
        keensight.finish(model, pixels, splits, recipe, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
