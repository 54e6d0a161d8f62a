import pytest
import torch
from torch import nn

from keensight.errors import RecipeError
from keensight.models.classifier import Classifier
from keensight.models.linear import TwoLogits, is_linear, linear_weights, pixel_weights
from keensight.models.zoo import build
from keensight.values import Preprocessing

SIZE = Preprocessing(5, 4, 3)
IMAGES = torch.rand(6, 3, 5, 4, generator=torch.Generator().manual_seed(0))


def test_a_sigmoid_is_a_softmax_over_0_and_z():
    z = torch.randn(7, 1)
    assert torch.allclose(TwoLogits()(z).softmax(dim=1)[:, 1:], z.sigmoid(), atol=1e-6)


@pytest.mark.parametrize("name", ["linear", "logistic"])
def test_the_weights_are_the_gradient_with_respect_to_the_pixels(name):
    """Against autograd, with a normalisation that differs by channel."""
    model = build(name, {}, SIZE, 2, seed=0)
    model.std.copy_(torch.tensor([0.2, 0.3, 0.5]).view(3, 1, 1))
    torch.nn.init.normal_(model.network[1].weight)
    images = IMAGES.clone().requires_grad_()
    logits = model(images)
    (gradient,) = torch.autograd.grad((logits[:, 1] - logits[:, 0]).sum(), images)
    weights = linear_weights(model).view(3, 5, 4)
    assert torch.allclose(gradient, weights.expand_as(gradient), atol=1e-5)


@pytest.mark.parametrize(("name", "num_classes"), [("dense", 2), ("cnn", 2), ("logistic", 3)])
def test_other_models_have_no_such_weights(name, num_classes):
    with pytest.raises(RecipeError, match="need a linear model of two classes"):
        linear_weights(build(name, {}, SIZE, num_classes, seed=0))


def test_a_network_that_cannot_be_counted_through_has_none_either():
    """A network with a backbone is no sequence of layers; asking it must refuse, not crash."""

    class Twofold(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone, self.head = nn.Linear(60, 3), nn.Linear(3, 2)

    model = Classifier(Twofold(), 3)
    assert not is_linear(model)
    with pytest.raises(RecipeError, match="need a linear model of two classes"):
        linear_weights(model)


@pytest.mark.parametrize(("name", "num_classes"), [("logistic", 4), ("logistic", 2), ("linear", 2)])
def test_each_logits_weights_by_finite_differences(name, num_classes):
    model = build(name, {}, SIZE, num_classes, seed=0)
    model.std.copy_(torch.tensor([0.2, 0.3, 0.5]).view(3, 1, 1))
    torch.nn.init.normal_(model.network[1].weight)
    found = pixel_weights(model).view(num_classes, 3, 5, 4)
    base = torch.full((1, 3, 5, 4), 0.5)
    for c, y, x in [(0, 0, 0), (2, 3, 2), (1, 4, 3)]:
        moved = base.clone()
        moved[0, c, y, x] += 0.25
        slope = (model(moved) - model(base))[0] / 0.25
        assert torch.allclose(found[:, c, y, x], slope, atol=1e-4)


def test_what_is_linear():
    assert is_linear(build("linear", {}, SIZE, 2, 0)) and is_linear(build("logistic", {}, SIZE, 5, 0))
    for name in ("dense", "cnn"):
        model = build(name, {}, Preprocessing(16, 16, 1), 2, 0)
        assert not is_linear(model)
        with pytest.raises(RecipeError, match="Only a linear model has a weight for each pixel"):
            pixel_weights(model)
