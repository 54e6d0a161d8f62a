"""A classifier as a list of nodes that can be bounded: affine layers and bends, in the order of their work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import nn

from keensight.errors import RecipeError
from keensight.models.chain import Chain
from keensight.models.classifier import Classifier
from keensight.models.foreign import Add
from keensight.models.graph import INPUT
from keensight.models.onnx_network import OnnxNetwork
from keensight.models.resnet import Residual
from keensight.models.trace import Step, trace
from keensight.robustness.bounds.affine import AFFINE, Affine
from keensight.robustness.bounds.bends import BENDS, Bend

Op: TypeAlias = Affine | Bend
OTHERWISE = (
    "Certify by randomised smoothing, which needs to know no layer, with --smooth 0.25; or train another model, such "
    "as that of the recipe digits-certified."
)


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A step: `op` reads the values numbered `inputs`. The pictures are number 0, and the first node makes number 1."""

    name: str
    op: Op
    inputs: tuple[int, ...]


def nodes_of(model: Classifier) -> list[Node]:
    """Return the nodes of a classifier in evaluation, from pictures in [0, 1] to logits.

    They compute with the classifier's own parameters, live: a later training step changes both.

    Raises RecipeError for a layer that has no bounds, naming it.
    """
    if isinstance(model.network, OnnxNetwork):
        raise RecipeError(
            "This network is known only as an ONNX graph, as its Python code is not here; bounds are known for layers, "
            f"not for a graph's operators, so nothing can be certified by them. {OTHERWISE}"
        )
    steps = in_a_row(model.network)
    if steps is None:
        modes = [(module, module.training) for module in model.network.modules()]
        steps = trace(model.network)
        for module, training in modes:
            module.training = training
    nodes = [Node("normalisation", _normalisation(model), (0,))]
    numbers = {INPUT: 1}
    for step in steps:
        nodes.append(Node(step.name, _op(step), tuple(numbers[name] for name in step.inputs)))
        numbers[step.name] = len(nodes)
    return nodes


def in_a_row(network: nn.Module) -> list[Step] | None:
    """Return the steps of layers in a row, and of our residuals, without tracing; None for another network.

    Tracing replaces `nn.Module.__call__` for all threads while it lasts, so a loss must not do it.
    """
    try:
        steps = list(_walk(network, "", INPUT))
    except _NotInARowError:
        return None
    return steps if steps else None


class _NotInARowError(Exception):
    pass


def _walk(module: nn.Module, name: str, source: str) -> Iterator[Step]:
    if type(module) in AFFINE or type(module) in BENDS:
        yield Step(name, module, (source,))
    elif isinstance(module, Residual):
        last = source
        for step in _walk(module.body, f"{name}.body", source):
            yield step
            last = step.name
        yield Step(f"{name}.sum", Add(), (source, last))
    elif type(module).forward in (nn.Sequential.forward, Chain.forward):
        for inner, layer in module.named_children():
            for step in _walk(layer, f"{name}.{inner}" if name else inner, source):
                yield step
                source = step.name
    else:
        raise _NotInARowError


def _op(step: Step) -> Op:
    kind = type(step.layer)
    op: Op | None = AFFINE[kind](step.layer) if kind in AFFINE else None
    op = BENDS[kind](step.layer) if op is None and kind in BENDS else op
    if op is None:
        options = " with these options" if kind in AFFINE or kind in BENDS else ""
        raise RecipeError(
            f"No bounds are known for the layer '{step.name}', a {step.what}{options}, so nothing can be certified "
            f"by them. Networks that `train` chooses for photographs have such layers. {OTHERWISE}"
        )
    return op


def _normalisation(model: Classifier) -> Affine:
    def transposed(rows: torch.Tensor, shape: object) -> torch.Tensor:
        return rows / model.std

    return Affine(lambda x: (x - model.mean) / model.std, lambda x: x / model.std, 4, transposed)
