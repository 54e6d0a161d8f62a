"""The compiled beginning of a network against torch's layers."""

import copy

import pytest
import torch
from torch import nn

from keensight.models import stem
from keensight.models.articles import husky
from keensight.models.cnn import cnn
from keensight.models.pooling import MaxPool2d
from keensight.models.stem import Layers

needs_stem = pytest.mark.skipif(not stem._is_compiled(), reason="no C compiler, or a processor without AVX-512")


def _pictures(n, channels, height, width):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, height, width, channels, generator=generator).permute(0, 3, 1, 2)


def _network(channels, filters, padding, bias):
    torch.manual_seed(1)
    return Layers(nn.Conv2d(channels, filters, 3, padding=padding, bias=bias), MaxPool2d(2))


def _answers(network, images, bfloat16=False):
    """What a network answers, and the gradients of its parameters for given gradients of the answers."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        answers = network(images)
    given = torch.randn(answers.shape, generator=torch.Generator().manual_seed(2)).to(answers.dtype)
    return answers, torch.autograd.grad(answers, list(network.parameters()), given)


@needs_stem
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("filters", [1, 16, 24, 33, 50])
@pytest.mark.parametrize(("height", "width"), [(4, 4), (7, 9), (12, 5), (28, 28)])
@pytest.mark.parametrize(("padding", "bias"), [(0, True), (1, False)])
def test_it_answers_as_torch_does(channels, filters, height, width, padding, bias):
    network, images = _network(channels, filters, padding, bias), _pictures(3, channels, height, width)
    ours, our_gradients = _answers(network, images)
    assert type(ours.grad_fn).__name__ == "_StemBackward"
    exact, exact_gradients = _answers(nn.Sequential(*copy.deepcopy(network)).double(), images.double())
    torch.testing.assert_close(ours.double(), exact, rtol=1e-5, atol=1e-5)
    assert ours.is_contiguous(memory_format=torch.channels_last)
    for found, expected in zip(our_gradients, exact_gradients, strict=True):
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)


@needs_stem
def test_in_bfloat16_only_the_answers_are_rounded():
    network, images = _network(3, 24, 1, bias=True), _pictures(4, 3, 20, 20)
    exact, exact_gradients = _answers(network, images)
    rounded, gradients = _answers(network, images, bfloat16=True)
    assert rounded.dtype == torch.bfloat16
    assert torch.equal(rounded, exact.bfloat16())
    for found, expected in zip(gradients, exact_gradients, strict=True):  # of given gradients that are rounded, too
        torch.testing.assert_close(found, expected, rtol=0.02, atol=0.1)


@needs_stem
def test_what_is_no_number_is_not_lost():
    network, images = _network(1, 16, 1, bias=False), _pictures(2, 1, 8, 8)
    images[0, 0, 3, 3] = float("nan")
    expected = nn.Sequential(*network)(images)
    assert torch.equal(network(images).isnan(), expected.isnan()) and expected.isnan().any()


@needs_stem
@pytest.mark.parametrize("build", [lambda: cnn(28, 28, 1, 10), lambda: husky(40, 40, 3, 2, dropout=0.0)])
def test_networks_learn_with_it_and_are_asked_without(build):
    network = build()
    images = _pictures(4, network[0].in_channels, *((28, 28) if network[0].in_channels == 1 else (40, 40)))
    calls = []
    network[0].register_forward_hook(lambda *_: calls.append(1))
    network.train()(images)
    assert not calls
    network.eval()(images)
    assert calls


@needs_stem
@pytest.mark.parametrize(
    "layers",
    [
        (nn.Conv2d(3, 8, 5), MaxPool2d(2)),
        (nn.Conv2d(3, 8, 3, stride=2), MaxPool2d(2)),
        (nn.Conv2d(3, 8, 3, padding=2), MaxPool2d(2)),
        (nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect"), MaxPool2d(2)),
        (nn.Conv2d(3, 6, 3, groups=3), MaxPool2d(2)),
        (nn.Conv2d(3, 8, 3), MaxPool2d(3, stride=2)),
        (nn.Conv2d(3, 8, 3), nn.MaxPool2d(2)),
        (nn.Conv2d(3, 8, 3), nn.ReLU()),
    ],
)
def test_other_layers_are_left_to_torch(layers):
    images = _pictures(2, 3, 16, 16)
    network = Layers(*layers)
    assert torch.equal(network(images), nn.Sequential(*layers)(images))
    assert type(network(images).grad_fn).__name__ != "_StemBackward"


def test_pictures_that_want_a_gradient_get_one():
    images = _pictures(2, 3, 16, 16).requires_grad_()
    (gradient,) = torch.autograd.grad(_network(3, 8, 1, bias=True)(images).sum(), images)
    assert gradient.shape == images.shape
