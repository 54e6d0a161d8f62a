"""A network as data: its steps, each a layer with its options and the steps that it reads.

The bundle of an imported model holds its network in this form, as no recipe of ours builds it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from keensight.errors import BundleError
from keensight.models import foreign
from keensight.models.linear import TwoLogits

INPUT = "input"  # the network's input: steps read it by this name
MAX_STEPS = 20_000
MAX_NUMBERS = 2**26  # in a layer's output for one picture
NEVER = {"device", "dtype", "inplace"}  # options of torch's layers that would allocate, or change what others read

JOINTS: dict[str, Callable[..., nn.Module]] = {  # that read two steps or more
    layer.__name__: layer
    for layer in (
        foreign.Add, foreign.Subtract, foreign.Multiply, foreign.Divide, foreign.Average, foreign.Maximum,
        foreign.Minimum, foreign.Concatenate,
    )
}  # fmt: skip
LAYERS: dict[str, Callable[..., nn.Module]] = JOINTS | {
    layer.__name__: layer
    for layer in (
        nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.BatchNorm1d, nn.GroupNorm, foreign.ChannelNorm, nn.ZeroPad2d,
        nn.MaxPool2d, nn.AvgPool2d, foreign.PaddedPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d,
        foreign.Resize2d, foreign.ChannelOrder, foreign.Permute, nn.Flatten, nn.Unflatten, nn.ReLU, nn.ReLU6,
        nn.Hardtanh, foreign.BentReLU, nn.LeakyReLU, foreign.PReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU,
        nn.Mish, nn.Hardswish, nn.Softplus, nn.Softsign, nn.Sigmoid, nn.LogSigmoid, foreign.HardSigmoid, nn.Tanh,
        nn.Tanhshrink, foreign.Exponential, foreign.Log, foreign.SquareRoot, nn.Softmax, nn.LogSoftmax, TwoLogits,
    )
}  # fmt: skip


class Graph(nn.Sequential):
    """Layers in the order in which they run, each with the outputs of the steps that it reads: "3" is the fourth."""

    def __init__(self, layers: Sequence[nn.Module], reads: Sequence[Sequence[str]]) -> None:
        super().__init__(*layers)
        self.reads = [tuple(each) for each in reads]
        last = {name: i for i, names in enumerate(self.reads) for name in names}
        self._done = [[name for name in set(names) if last[name] == i] for i, names in enumerate(self.reads)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the last layer's output. An output is freed when no later layer reads it."""
        values = {INPUT: x}
        for i, layer in enumerate(self):
            x = layer(*(values[name] for name in self.reads[i]))
            for name in self._done[i]:
                del values[name]
            values[str(i)] = x
        return x


def graph(steps: Sequence[Mapping[str, Any]]) -> nn.Sequential:
    """Build the network that `steps` describe: {"layer": a name in LAYERS, "inputs": the steps it reads, and options}.

    A step's name is its number, from "0" on, and the network's own input is "input". Without "inputs", a step reads
    the one before it. The last step's output is the network's. On torch's "meta" device, nothing is allocated.

    Raises BundleError for a step with an unknown layer or option, or one that reads a step that is not before it.

    >>> network = graph([{"layer": "Flatten"}, {"layer": "Linear", "in_features": 4, "out_features": 2}])
    >>> network(torch.ones(3, 1, 2, 2)).shape
    torch.Size([3, 2])
    >>> graph([{"layer": "ReLU"}, {"layer": "Add", "inputs": ["input", "0"]}])(torch.tensor([[-1.0, 2.0]]))
    tensor([[-1.,  4.]])
    """
    try:
        reads = _reads(steps)
        layers = [_layer(step) for step in steps]
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        why = f"there is no layer {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
        raise BundleError(
            f"The network of this bundle cannot be built: {why}. It must be a list of layers as keensight writes them; "
            "import the model again."
        ) from error
    if any("inputs" in step for step in steps):
        return Graph(layers, reads)
    return nn.Sequential(*layers)


def check_sizes(network: nn.Sequential, picture_CHW: Sequence[int], num_answers: int) -> None:
    """Check the sizes of a network's outputs for one picture, on torch's "meta" device, which computes nothing else.

    Raises BundleError if a layer does not fit the one before it, if an output has more than `MAX_NUMBERS` numbers, or
    if the network does not return `num_answers` numbers.
    """

    def check(layer: nn.Module, _: Any, output: torch.Tensor) -> None:
        if output.numel() > MAX_NUMBERS:
            raise ValueError(f"the output of a {type(layer).__name__} has {output.numel():,} numbers for one picture")

    hooks = [layer.register_forward_hook(check) for layer in network]
    try:
        with torch.no_grad():
            shape = tuple(network.eval()(torch.empty((1, *picture_CHW), device="meta")).shape)
        if shape != (1, num_answers):
            raise ValueError(f"it answers with {shape[1:]} numbers, and there are {num_answers} labels")
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError, NotImplementedError) as error:
        raise BundleError(
            f"The network of this bundle cannot be used: {str(error).splitlines()[0]}. Its layers fit each other when "
            "keensight writes them; import the model again."
        ) from error
    finally:
        for hook in hooks:
            hook.remove()


def _layer(step: Mapping[str, Any]) -> nn.Module:
    options = {key: value for key, value in step.items() if key not in ("layer", "inputs")}
    if odd := sorted(NEVER & set(options)):
        raise ValueError(f"a {step['layer']} has the option {odd[0]}, which is not accepted")
    return LAYERS[step["layer"]](**options)


def _reads(steps: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return the names of the steps that each step reads, all of which are before it."""
    if not 0 < len(steps) <= MAX_STEPS:
        raise ValueError(f"it has {len(steps):,} steps, and from 1 to {MAX_STEPS:,} are accepted")
    known, read = {INPUT}, set()
    found = []
    for i, step in enumerate(steps):
        inputs = step.get("inputs", [str(i - 1) if i else INPUT])
        if not isinstance(inputs, list) or not all(isinstance(name, str) and name in known for name in inputs):
            raise ValueError(f"step {i} reads {str(inputs)[:80]}, which are not steps before it")
        if (len(inputs) < 2) if step["layer"] in JOINTS else (len(inputs) != 1):
            raise ValueError(f"step {i}, a {str(step['layer'])[:80]}, reads {len(inputs)} steps")
        known.add(str(i))
        read.update(inputs)
        found.append(inputs)
    if unread := known - read - {str(len(steps) - 1)}:
        raise ValueError(f"nothing reads step {min(unread)}")
    return found
