"""`certify` on small bundles: never above what an attack leaves, and equal to the closed form where it is known."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn

import keensight
from keensight.bundle.network import network_of
from keensight.bundle.read import read_bundle
from keensight.errors import BundleError, DataError, RecipeError, UsageError
from keensight.models.linear import linear_weights
from keensight.pipeline import finish
from keensight.pipeline.watch import Watcher
from keensight.robustness.answers import logits
from keensight.training.recipe import load_recipe
from keensight.training.trainers import check_fits
from keensight.values import Floor, Preprocessing, Split, Threat

EPS = [0.004, 0.012]


class Ears(Watcher):
    def __init__(self):
        self.heard = []

    def note(self, text):
        self.heard.append(text)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A robust two-class model on scikit-learn's zeros and ones, and a network with a layer that has no bounds."""
    root = tmp_path_factory.mktemp("certify")
    digits = load_digits()
    for i, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        if label < 2:
            folder = root / "zero-one" / ("test" if i % 3 == 0 else "train") / str(label)
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray((image * 15.9).astype(np.uint8)).save(folder / f"{i}.png")
    patch = pytest.MonkeyPatch()
    patch.setenv("KEENSIGHT_CACHE", str(root / "cache"))
    patch.setattr(finish, "logistic_floor", lambda *_: Floor("logistic regression", 0.5, 0.5))
    robust = ["model=linear", "loss=robust-hinge", "eps=0.1", "epochs=4", "certify_eps=[0.05,0.1]", "coverage=1"]
    keensight.train(root / "zero-one", out=root / "linear", set=robust)
    dataset = keensight.open_dataset(root / "zero-one")
    recipe = keensight.load_recipe("default", ["epochs=1", "coverage=1"])
    pixels = keensight.decode(dataset, keensight.choose_preprocessing(dataset, recipe))
    splits = keensight.split(pixels, seed=0)
    own = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Sigmoid(), nn.Flatten(), nn.Linear(108, 2))
    epochs = list(keensight.fit(own, splits, recipe))
    keensight.finish(own, pixels, splits, recipe, epochs=epochs, out=root / "own")
    patch.undo()
    return root


def test_certified_is_below_attacked_is_below_clean(trained):
    found = keensight.certify(trained.bundle, "digits", eps=EPS[::-1], split="test", most=60)
    assert (found.n, found.split, found.norm, found.noise) == (60, "test", "linf", 0.0)
    assert [share.eps for share in found.shares] == EPS
    bundle = read_bundle(trained.folder)
    pixels = keensight.decode(keensight.open_dataset("digits"), bundle.preprocessing)
    places = {sample.path: i for i, sample in enumerate(pixels.dataset.samples)}
    members = np.array([places[each.file] for each in found.pictures])
    labels = np.array([pixels.dataset.samples[i].label for i in members])
    part = Split(pixels.images, pixels.rows[members], labels, tuple(each.file for each in found.pictures))
    assert found.accuracy == (logits(network_of(bundle), part, bundle.borders).argmax(axis=1) == labels).mean()
    for share in found.shares:
        survived = logits(network_of(bundle), part, bundle.borders, Threat("linf", share.eps)).argmax(axis=1) == labels
        proved = np.array([each.eps is not None and each.eps >= share.eps for each in found.pictures])
        assert (survived | ~proved).all() and proved.mean() == share.certified <= survived.mean()
        assert sum(share.methods.values()) == proved.sum() and share.certified_low <= share.certified
    assert found.shares[0].certified > 0.8 and "linear" in found.shares[0].methods
    assert found == keensight.certify(trained.bundle, "digits", eps=EPS, split="test", most=60)


def test_a_linear_model_of_two_classes_is_certified_exactly(home):
    """The closed form, with pixels that cannot leave [0, 1]; and the report says the same."""
    found = keensight.certify(home / "linear", home / "zero-one")
    assert [share.eps for share in found.shares] == [0.05, 0.1]  # the recipe's
    report = json.loads((home / "linear" / "report.json").read_text())
    model = network_of(read_bundle(home / "linear" / "bundle"))
    weights = linear_weights(model).detach().double()[0]
    for share, own in zip(found.shares, report["certificates"], strict=True):
        right = []
        for each in found.pictures:
            file = next((home / "zero-one").rglob(each.file.rpartition("/")[2]))
            image = torch.from_numpy(np.array(Image.open(file)).copy()).double().flatten() / 255
            sign = 1 if each.label == "1" else -1
            worst = (image - sign * share.eps * weights.sign()).clamp(0, 1)
            f = model(worst.float().view(1, 1, 8, 8)).diff(dim=1).item()
            right.append(sign * f > 0)
        assert share.certified == np.mean(right) > 0.5
        assert own["threat"]["eps"] == share.eps and own["accuracy"] == share.certified and own["n"] == found.n
    assert "certified within linf 0.05" in (home / "linear" / "bundle" / "MODEL_CARD.md").read_text()
    assert "What is proved?" in (home / "linear" / "report.html").read_text()


def test_cases_prove_more(trained):
    without = keensight.certify(trained.bundle, "digits", eps=[0.03], split="test", most=10)
    more = keensight.certify(trained.bundle, "digits", eps=[0.03], split="test", most=10, branch=1)
    assert more.shares[0].certified >= without.shares[0].certified and without.n == 10
    assert set(more.shares[0].methods) <= {"intervals", "linear", "cases"}


def test_noise_certifies_any_network_and_bounds_name_the_layer(home):
    with pytest.raises(RecipeError, match="known only as an ONNX graph.*with --smooth 0.25"):
        keensight.certify(home / "own", home / "zero-one", eps=[0.1])
    ears = Ears()
    found = keensight.certify(
        home / "own", home / "zero-one", eps=[0.0, 0.05, 3], smooth=0.1, draws=60, most=9, watcher=ears
    )
    assert (found.norm, found.noise, found.n) == ("l2", 0.1, 9) and found.shares[-1].certified == 0
    assert found.shares[0].certified >= found.shares[1].certified
    assert any("60 draws of this noise can certify 0.12" in note for note in ears.heard)
    again = keensight.certify(home / "own", home / "zero-one", eps=[0.0, 0.05, 3], smooth=0.1, draws=60, most=9)
    assert again == found


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"eps": [8]}, "looks like one on the scale of 0 to 255.*nothing is converted: give --eps 0.03137 for 8"),
        ({"eps": [0.1, 255]}, "give --eps 1 for 255"),
        ({"eps": [300]}, "It is a part of the pixel range: give numbers from 0 to 1"),
        ({"eps": [-0.1]}, "An epsilon of -0.1 was asked for"),
        ({"eps": [float("nan")]}, "An epsilon of nan was asked for"),
        ({"smooth": 64}, "--smooth is 64. Give the noise's standard deviation as a part"),
        ({"smooth": 0.1, "branch": 3}, "two ways to certify"),
        ({"smooth": 0.1, "draws": 3}, "--draws is 3, which proves nothing"),
        ({"branch": -1}, "--branch is -1. Give seconds"),
        ({"most": -1}, "--most is -1"),
        ({"most": 1.5}, "--most is 1.5"),
        ({"eps": []}, "No epsilon is in the list"),
        ({"split": "tset"}, "There is no split 'tset'"),
    ],
)
def test_what_makes_no_sense_is_refused(trained, asked, message):
    with pytest.raises(UsageError, match=message):
        keensight.certify(trained.bundle, "digits", **asked)


def test_pictures_without_labels_and_bundles_without_weights_are_refused(trained, tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "one.png")
    with pytest.raises(DataError, match="labels are unknown"):
        keensight.certify(trained.bundle, tmp_path, eps=[0.1])
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    for file in trained.bundle.iterdir():
        if file.name != "model.safetensors":
            (bundle / file.name).write_bytes(file.read_bytes())
    with pytest.raises(BundleError, match="has no model.safetensors"):
        keensight.certify(bundle, "digits", eps=[0.1])


def test_a_recipe_whose_network_has_no_bounds_is_refused_before_training():
    recipe = load_recipe("default", ["certify_eps=[0.1]"])
    model = keensight.build("cnn", {}, Preprocessing(8, 8, 1), 2, 0)
    check_fits(recipe, model, ("a", "b"))
    model.network.append(nn.Tanh())
    with pytest.raises(RecipeError, match="No bounds are known for the layer '.*', a Tanh"):
        check_fits(recipe, model, ("a", "b"))
