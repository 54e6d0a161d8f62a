"""Networks as data: branches are what a function by hand makes of them, and hostile ones are refused unbuilt."""

import pytest
import torch

from keensight.errors import BundleError
from keensight.models.graph import MAX_STEPS, Graph, check_sizes, graph

CONV = {"layer": "Conv2d", "in_channels": 3, "out_channels": 3, "kernel_size": 3, "padding": 1}
BRANCHES = [
    CONV,
    {"layer": "ReLU"},
    {"layer": "Add", "inputs": ["1", "input"]},
    {"layer": "Concatenate", "inputs": ["2", "0"], "dim": 1},
    {"layer": "AdaptiveAvgPool2d", "output_size": 1},
    {"layer": "Flatten"},
]


def test_a_graph_is_what_a_function_by_hand_makes():
    network, x = graph(BRANCHES), torch.rand(2, 3, 5, 6)
    conv = network[0](x)
    expected = torch.cat([conv.clamp(min=0) + x, conv], dim=1).mean(dim=(2, 3))
    assert isinstance(network, Graph) and torch.allclose(network(x), expected, atol=1e-6)


def test_steps_in_one_row_are_a_sequential():
    assert type(graph([CONV, {"layer": "ReLU"}])) is torch.nn.Sequential


HOSTILE = {
    "cycle": ([{"layer": "Add", "inputs": ["1", "input"]}, {"layer": "ReLU"}], "reads .* not steps before it"),
    "itself": ([{"layer": "ReLU", "inputs": ["0"]}], "not steps before it"),
    "missing": ([{"layer": "ReLU", "inputs": ["nowhere"]}], "not steps before it"),
    "no list": ([{"layer": "ReLU", "inputs": "input"}], "not steps before it"),
    "numbers": ([{"layer": "ReLU", "inputs": [0]}], "not steps before it"),
    "too few": ([{"layer": "Add", "inputs": ["input"]}], "reads 1 steps"),
    "too many": ([{"layer": "ReLU", "inputs": ["input", "input"]}], "reads 2 steps"),
    "unread": ([{"layer": "ReLU"}, {"layer": "ReLU", "inputs": ["input"]}], "nothing reads step 0"),
    "device": ([{"layer": "Linear", "in_features": 10**6, "out_features": 10**6, "device": "cpu"}], "option device"),
    "in place": ([{"layer": "ReLU", "inplace": True}], "option inplace"),
    "none": ([], "has 0 steps"),
    "many": ([{"layer": "ReLU"}] * (MAX_STEPS + 1), "has 20,001 steps"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_graphs_are_refused(name):
    steps, why = HOSTILE[name]
    with pytest.raises(BundleError, match=why):
        graph(steps)


SIZES = {
    "padding": ([{"layer": "ZeroPad2d", "padding": [10**5] * 4}], "numbers for one picture"),
    "upscaled": (
        [{"layer": "Resize2d", "from_size": [5, 6], "size": [10**5, 10**5], "bilinear": True}],
        "numbers for one picture",
    ),
    "unfit": ([{"layer": "Linear", "in_features": 7, "out_features": 2}], "cannot be used"),
    "answers": ([{"layer": "Flatten"}], "answers with"),
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_known_before_anything_is_allocated(name):
    steps, why = SIZES[name]
    with torch.device("meta"):
        network = graph(steps)
    with pytest.raises(BundleError, match=why):
        check_sizes(network, (3, 5, 6), 2)
