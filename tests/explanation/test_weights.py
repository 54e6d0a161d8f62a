import numpy as np
import pytest
import torch
from torch import nn

from keensight.explanation.weights import first_layer
from keensight.models.classifier import Classifier
from keensight.models.linear import linear_weights as weights_of_two
from keensight.models.zoo import build
from keensight.values import Preprocessing

SIZE = Preprocessing(6, 5, 3)


def a_model(name, num_classes, size=SIZE, **options):
    model = build(name, options, size, num_classes, seed=1)
    torch.manual_seed(0)
    model.mean += torch.rand_like(model.mean)
    model.std *= torch.rand_like(model.std) + 0.2
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    return model.eval()


@pytest.mark.parametrize(("name", "size"), [("cnn", SIZE), ("planes", Preprocessing(8, 8, 1))])
def test_filters_are_those_of_the_state_dict(name, size):
    model = a_model(name, 2, size)
    found = first_layer(model, size, ("a", "b"))
    assert found.kind == "convolution" and found.names == ("a", "b")
    np.testing.assert_array_equal(found.weights, model.state_dict()["network.0.weight"].numpy())


def test_cells_of_a_dense_network_are_pictures():
    model = a_model("dense", 4, hidden=(7,))
    found = first_layer(model, SIZE, tuple("abcd"))
    assert found.kind == "dense" and found.weights.shape == (7, 3, 6, 5)
    np.testing.assert_array_equal(found.weights.reshape(7, -1), model.state_dict()["network.1.weight"].numpy())


@pytest.mark.parametrize("name", ["linear", "logistic"])
def test_two_classes_have_one_picture(name):
    model = a_model(name, 2)
    found = first_layer(model, SIZE, ("zero", "one"))
    assert found.kind == "linear" and found.weights.shape == (1, 3, 6, 5)
    expected = weights_of_two(model).detach().numpy().reshape(1, 3, 6, 5)
    np.testing.assert_allclose(found.weights, expected, rtol=1e-5)


def test_weights_of_many_classes_explain_every_difference_between_logits():
    model = a_model("logistic", 4)
    weights = first_layer(model, SIZE, tuple("abcd")).weights
    assert weights.shape == (4, 3, 6, 5)
    one, other = torch.rand(2, 3, 6, 5)
    with torch.no_grad():
        change = (model(one[None]) - model(other[None]))[0].numpy()
    told = (weights * (one - other).numpy()).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(told - told[0], change - change[0], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(weights.sum(axis=0), 0, atol=1e-4)


def test_a_network_that_begins_otherwise_has_none():
    class Halved(nn.Module):
        def forward(self, x):
            return x[:, :, ::2]

    network = nn.Sequential(Halved(), nn.Flatten(), nn.Linear(45, 2))
    assert first_layer(Classifier(network, 3), SIZE, ("a", "b")) is None
    wide = nn.Sequential(nn.Conv2d(5, 2, 1), nn.Flatten(), nn.Linear(60, 2))
    assert first_layer(Classifier(wide, 5), SIZE, ("a", "b")) is None
    assert first_layer(Classifier(nn.Flatten(), 3), SIZE, ("a", "b")) is None
