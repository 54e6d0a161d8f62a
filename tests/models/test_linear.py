import pytest
import torch

from keensight.errors import RecipeError
from keensight.models.linear import TwoLogits, linear_weights
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
    with pytest.raises(RecipeError, match="exact for a linear model of two classes"):
        linear_weights(build(name, {}, SIZE, num_classes, seed=0))
