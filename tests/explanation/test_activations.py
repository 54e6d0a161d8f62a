import numpy as np
import pytest
import torch
from torch import nn

from keensight.explanation.activations import activations
from keensight.models.backbone import efficientnet_lite
from keensight.models.classifier import Classifier
from keensight.models.zoo import build
from keensight.values import Preprocessing

RNG = np.random.default_rng(0)


def a_model(name, size, **options):
    """A model whose normalisation and batch statistics are not the trivial ones."""
    model = build(name, options, size, 2, seed=1)
    torch.manual_seed(0)
    model.mean += 0.3
    model.std *= 0.5
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.weight)
    return model.eval()


def prefix(model, picture, end):
    """What the first layers of a sequential network make of a picture, one after the other by hand."""
    x = (torch.from_numpy(picture).permute(2, 0, 1)[None] / 255 - model.mean) / model.std
    with torch.no_grad():
        for layer in list(model.network)[:end]:
            x = layer(x)
    return x[0].numpy()


@pytest.mark.parametrize(
    ("name", "size", "ends"),
    [
        ("cnn", Preprocessing(16, 12, 3), {"network.0": 4, "network.4": 8}),  # convolution, pooling, norm, ReLU
        ("husky", Preprocessing(32, 32, 1), {"network.0": 3, "network.4": 7, "network.8": 11}),  # then dropout
        ("fashion", Preprocessing(28, 28, 1), {"network.0": 2, "network.2": 5}),  # ReLU at once; pooling, ReLU
    ],
)
def test_they_are_the_networks_prefix_run_by_hand(name, size, ends):
    model = a_model(name, size)
    picture = RNG.integers(0, 256, (size.height, size.width, size.channels), dtype=np.uint8)
    found = activations(model, picture)
    assert [each.layer for each in found] == list(ends)
    for each in found:
        expected = prefix(model, picture, ends[each.layer])
        assert expected.std() > 0.01 and expected.min() == 0
        np.testing.assert_allclose(each.maps_CHW, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["logistic", "dense"])
def test_a_network_without_convolutions_has_none(name):
    size = Preprocessing(8, 8, 1)
    assert activations(a_model(name, size), np.zeros((8, 8, 1), np.uint8)) == ()


def test_a_convolution_without_an_activation_function_passes_on_what_it_is():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(48, 2))
    model = Classifier(network, 1).eval()
    picture = RNG.integers(0, 256, (8, 8, 1), dtype=np.uint8)
    first, second = activations(model, picture)
    np.testing.assert_allclose(first.maps_CHW, prefix(model, picture, 2), atol=1e-6)
    np.testing.assert_allclose(second.maps_CHW, prefix(model, picture, 3), atol=1e-6)
    assert second.maps_CHW.min() < 0


def test_a_deep_network_has_one_for_every_convolution():
    model = Classifier(nn.Sequential(efficientnet_lite(1.0, 1.0, 32, 32), nn.Linear(1280, 2)), 3).eval()
    found = activations(model, RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    convolutions = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.Conv2d)]
    assert [each.layer for each in found] == [name for name, _ in convolutions]
    assert [len(each.maps_CHW) for each in found] == [m.out_channels for _, m in convolutions]


def test_layers_that_work_in_place_are_not_taken_for_others():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.ReLU6(inplace=True), nn.Flatten(), nn.Linear(72, 2))
    model = Classifier(network, 1).eval()
    with torch.no_grad():
        network[0].bias += 50
    (found,) = activations(model, np.zeros((8, 8, 1), np.uint8))
    assert found.maps_CHW.min() > 40


def test_the_model_is_left_as_it_was():
    model = a_model("cnn", Preprocessing(8, 8, 1)).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    activations(model, np.full((8, 8, 1), 200, np.uint8))
    assert model.training and not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
