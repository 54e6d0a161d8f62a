"""A network as a list of steps: each a layer, and the earlier steps that it reads.

All code that walks through a network layer by layer uses it: the ONNX export, and bounds. Each has a table of layers,
and refuses by name what its table lacks.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx, nn

from keensight.errors import RecipeError
from keensight.models.dropout import Dropout
from keensight.models.folding import merged
from keensight.models.foreign import Add, Multiply
from keensight.models.graph import INPUT, LAYERS
from keensight.models.mirror import AddMirrored, MeanOfMirrored
from keensight.models.pooling import MaxPool2d


class Other(nn.Module):
    """An operation that is not a layer and in no table; `what` names it in a refusal."""

    def __init__(self, what: str, run: Callable[..., Any]) -> None:
        super().__init__()
        self.what, self._run = what, run

    def forward(self, *inputs: Any) -> Any:
        """Return the operation's output."""
        return self._run(*inputs)


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One step: `layer` reads the outputs of the steps named `inputs`, and its own output is called `name`.

    A layer keeps its name in the network, such as "features.0". If it is used again, that is "features.0.again".
    """

    name: str
    layer: nn.Module
    inputs: tuple[str, ...]

    @property
    def what(self) -> str:
        """The layer's name in a refusal."""
        return self.layer.what if isinstance(self.layer, Other) else type(self.layer).__name__


# Our own layers that are one step. torch's layers are too; all others are traced inside.
OWN = (AddMirrored, Dropout, MaxPool2d, MeanOfMirrored, *LAYERS.values())
FUNCTIONS: Mapping[Any, type[nn.Module]] = {
    operator.add: Add,
    torch.add: Add,
    operator.mul: Multiply,
    torch.mul: Multiply,
    torch.relu: nn.ReLU,
}


def trace(network: nn.Module) -> list[Step]:
    """Return the steps of a network in the order of execution; the last one's output is the network's.

    The network is switched to evaluation. The layers are its own, not copies: they can still be trained.
    Raises RecipeError for a network whose control flow depends on its input.

    >>> [(step.name, step.inputs) for step in trace(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)))]
    [('0', ('input',)), ('1', ('0',))]
    """
    network = network.eval()
    try:
        graph = _Tracer().trace(network)
    except fx.proxy.TraceError as error:
        raise RecipeError(
            f"The network cannot be written as a list of layers: its steps depend on its input ({error}). Choose "
            "another model or backbone."
        ) from error
    steps: list[Step] = []
    names: dict[fx.Node, str] = {}
    for node in graph.nodes:
        if node.op == "placeholder":
            names[node] = INPUT
        elif node.op == "output":
            last = names[node.all_input_nodes[0]]
            return steps[: 1 + max((i for i, step in enumerate(steps) if step.name == last), default=-1)]
        else:
            called = str(node.target) if node.op in ("call_module", "get_attr") else node.name
            names[node] = _free(called, names.values())
            inputs = tuple(names[each] for each in _inputs(node))
            steps.append(Step(names[node], _layer(node, network), inputs))
    raise AssertionError("torch.fx ends every graph with its output")


def run(steps: Iterable[Step], inputs: torch.Tensor) -> torch.Tensor:
    """Return the network's output, computed step by step: the same as calling it."""
    steps, values = list(steps), {INPUT: inputs}
    last = {name: i for i, step in enumerate(steps) for name in step.inputs}
    for i, step in enumerate(steps):
        values[step.name] = inputs = step.layer(*(values[name] for name in step.inputs))
        for name in {*step.inputs, step.name}:
            if last.get(name, i) == i:  # no later step reads it: it is freed
                del values[name]
    return inputs


def without_norms(steps: Sequence[Step]) -> list[Step]:
    """Return steps with the same output, with batch normalisation folded into the convolution before it.

    This is done only if nothing else reads the convolution. Its step keeps its name, and its layer is a copy.
    """
    readers: dict[str, list[Step]] = {}
    for step in steps:
        for name in step.inputs:
            readers.setdefault(name, []).append(step)
    found: list[Step] = []
    renamed: dict[str, str] = {}
    for step in steps:
        if step.name in renamed:
            continue
        layer, after = step.layer, readers.get(step.name, [])
        if type(layer) is nn.Conv2d and len(after) == 1 and isinstance(after[0].layer, nn.BatchNorm2d):
            layer = merged(layer, after[0].layer)
            renamed[after[0].name] = step.name
        inputs = tuple(renamed.get(name, name) for name in step.inputs)
        found.append(replace(step, layer=layer, inputs=inputs))
    return found


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in OWN or super().is_leaf_module(m, module_qualified_name)


def _layer(node: fx.Node, network: nn.Module) -> nn.Module:
    if node.op == "call_module":
        return network.get_submodule(str(node.target))
    takes_steps_alone = len(_inputs(node)) == len(node.args) and not node.kwargs
    if node.op == "call_function" and node.target in FUNCTIONS and takes_steps_alone:
        return FUNCTIONS[node.target]()
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
    return Other(str(name), _runner(node, network))


def _inputs(node: fx.Node) -> list[fx.Node]:
    """Return the steps that a node reads; with repetitions if it has no other arguments."""
    alone = [arg for arg in node.args if isinstance(arg, fx.Node)]
    return alone if len(alone) == len(node.args) and not node.kwargs else node.all_input_nodes


def _runner(node: fx.Node, network: nn.Module) -> Callable[..., Any]:
    """Return a function of the node's inputs that computes what the node does."""
    inputs = _inputs(node)

    def run_it(*values: Any) -> Any:
        if node.op == "get_attr":
            return operator.attrgetter(str(node.target))(network)
        known: dict[fx.Node, Any] = dict(zip(inputs, values, strict=True))
        given: Any = fx.node.map_arg((node.args, node.kwargs), known.__getitem__)
        args, kwargs = given
        function = node.target if callable(node.target) else getattr(type(args[0]), node.target)  # or a method
        return function(*args, **kwargs)

    return run_it


def _free(name: str, taken: Iterable[str]) -> str:
    while name in taken or name == INPUT:
        name += ".again"
    return name
