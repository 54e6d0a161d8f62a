"""Pooling, ReLU and dropout in one pass against the same layers one after the other."""

import copy

import pytest
import torch
from torch import nn

from keensight import kernels
from keensight.models.articles import fashion, husky, planes
from keensight.models.chain import Chain
from keensight.models.dropout import Dropout, seed_dropout
from keensight.models.pooling import MaxPool2d
from keensight.models.trace import trace

needs_kernels = pytest.mark.skipif(kernels.library() is None, reason="keensight was installed without a C compiler")


def learnt(network, images, precision):
    """What a network answers while it learns, and all gradients, that of the images included."""
    network = copy.deepcopy(network).to(memory_format=torch.channels_last).train()
    seed_dropout(network, 7)
    images = images.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        answers = network(images)
    weights = torch.linspace(-1, 1, answers.numel()).reshape(answers.shape)
    gradients = torch.autograd.grad((answers.float() * weights).sum(), [images, *network.parameters()])
    return answers, gradients


def one_by_one(network):
    return nn.Sequential(*network)


NETWORKS = [
    (lambda: husky(30, 27, 3, 2), (3, 30, 27)),
    (lambda: fashion(13, 14, 1, 4), (1, 13, 14)),
    (lambda: planes(12, 9, 3, 2), (3, 12, 9)),
    (lambda: Chain(nn.Conv2d(3, 21, 3), MaxPool2d(3), nn.ReLU(), Dropout(0.3), nn.Flatten()), (3, 11, 14)),
    (lambda: Chain(nn.Conv2d(3, 16, 3), MaxPool2d(3, 2), nn.ReLU(), Dropout(0.3), nn.Flatten()), (3, 12, 9)),
    (lambda: Chain(nn.Conv2d(3, 16, 3), MaxPool2d(2), Dropout(0.3), nn.ReLU(), nn.Flatten()), (3, 12, 9)),
    (lambda: Chain(nn.Conv2d(3, 16, 3), MaxPool2d(2)), (3, 12, 9)),
]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(("build", "shape"), NETWORKS)
def test_answers_and_gradients_have_the_bits_of_one_layer_after_the_other(build, shape, precision):
    torch.manual_seed(0)
    network, images = build(), torch.rand(5, *shape)
    (answers, gradients), (wanted, wanted_gradients) = (
        learnt(each, images, precision) for each in (network, one_by_one(network))
    )
    assert torch.equal(answers, wanted)
    assert all(map(torch.equal, gradients, wanted_gradients))
    assert any(gradient.any() for gradient in gradients)


def test_in_evaluation_and_in_a_trace_every_layer_is_a_step_of_its_own():
    network = husky(30, 30, 3, 2)
    images = torch.rand(4, 3, 30, 30)
    assert torch.equal(network.eval()(images), one_by_one(network).eval()(images))
    assert [step.name for step in trace(network.train())] == [name for name, _ in network.named_children()]


@needs_kernels
def test_what_is_no_number_stays_none_in_one_pass_too():
    maps = torch.full((1, 16, 2, 2), -1.0).to(memory_format=torch.channels_last)
    maps[0, 3, 1, 0] = float("nan")
    row = Chain(MaxPool2d(2), nn.ReLU(), nn.Flatten()).train()
    assert torch.equal(row(maps).isnan()[0], torch.arange(16) == 3)


@needs_kernels
def test_the_article_networks_go_the_short_way(monkeypatch):
    passes = []
    above_zero = MaxPool2d.above_zero
    monkeypatch.setattr(MaxPool2d, "above_zero", lambda *given: passes.append(given[2]) or above_zero(*given))
    learnt(husky(30, 30, 3, 2), torch.rand(2, 3, 30, 30), "float32")
    assert [type(dropout) for dropout in passes] == [Dropout] * 3


def test_what_is_no_longer_above_zero_has_no_gradient_in_windows_of_any_size():
    for side in (15, 16):
        maps = (-torch.rand(1, 4, side, side)).to(memory_format=torch.channels_last).requires_grad_()
        (gradient,) = torch.autograd.grad(Chain(MaxPool2d(side), nn.ReLU()).train()(maps).sum(), maps)
        assert not gradient.any()


def test_a_layer_that_is_switched_off_or_watched_is_called_by_itself():
    maps = torch.rand(2, 16, 8, 8).to(memory_format=torch.channels_last)
    row = Chain(MaxPool2d(2), nn.ReLU(), Dropout(0.5)).train()
    seed_dropout(row, 0)
    row[2].eval()
    assert torch.equal(row(maps), nn.functional.max_pool2d(maps, 2))
    seen = []
    for layer in row.train():
        layer.register_forward_hook(lambda layer, *_: seen.append(type(layer)))
    row(maps)
    assert seen == [MaxPool2d, nn.ReLU, Dropout]
