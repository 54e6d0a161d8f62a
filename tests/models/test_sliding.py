"""A sliding network answers for every place what the network itself answers for that place alone."""

import pytest
import torch
from torch import nn

from keensight.models.sliding import sliding
from keensight.models.zoo import build
from keensight.values import Preprocessing


def naive(model, images_NCHW, size, stride):
    h, w = ((side - size) // stride + 1 for side in images_NCHW.shape[2:])
    rows = []
    for i in range(h):
        windows = [images_NCHW[:, :, i * stride : i * stride + size, j * stride : j * stride + size] for j in range(w)]
        rows.append(torch.cat([model(each) for each in windows]))
    return torch.stack(rows).permute(2, 0, 1)


@pytest.mark.parametrize(("name", "size", "stride", "classes"), [("husky", 22, 8, 2), ("fashion", 9, 2, 3)])
def test_without_padding_it_is_exact(name, size, stride, classes):
    torch.manual_seed(0)
    shape = Preprocessing(size, size, 3)
    model = build(name, {}, shape, classes, seed=0).eval()
    network = sliding(model, shape)
    assert network.is_exact and network.stride == stride
    images = torch.rand(1, 3, 39, 31)
    with torch.no_grad():
        expected = naive(model, images, size, stride)
        found = network.logits(images)[0][:, : expected.shape[1], : expected.shape[2]]
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_with_padding_it_is_exact_where_nothing_lies_beyond():
    """Zeros around a place, after normalisation, are what padding would give."""
    shape = Preprocessing(20, 20, 3)
    model = build("planes", {}, shape, 2, seed=0).eval()
    network = sliding(model, shape)
    assert not network.is_exact and network.stride == 4
    images = torch.rand(1, 3, 20, 20)
    around = model.mean.expand(3, 60, 60)[None].clone()
    around[..., 20:40, 20:40] = images
    with torch.no_grad():
        torch.testing.assert_close(network.logits(images)[0, :, 0, 0], model(images)[0], atol=1e-5, rtol=1e-5)
        near = network.logits(around)[0, :, 5, 5] - model(images)[0]
    assert near.abs().max() < 0.2, "biases of the first layer reach in from outside"


def test_a_residual_network_slides():
    shape = Preprocessing(32, 32, 3)
    model = build("resnet", {}, shape, 4, seed=0).eval()
    network = sliding(model, shape)
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(network.logits(images)[0, :, 0, 0], model(images)[0], atol=1e-4, rtol=1e-4)
        assert network.logits(torch.rand(1, 3, 64, 64)).shape[2] == 32 // network.stride + 1


def test_what_cannot_slide():
    shape = Preprocessing(8, 8, 3)
    model = build("cnn", {"mirror": True}, shape, 2, seed=0)
    assert sliding(model, shape) is None
    model.network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(8 * 8 * 3), nn.Linear(8 * 8 * 3, 2))
    assert sliding(model, shape) is None
    assert sliding(build("logistic", {}, shape, 2, seed=0), shape).stride == 1
