"""A network of somebody else as ONNX: torch.export lists its operations, and a table writes each.

It is for networks that the table of layers, layers.py, does not cover: they call functions, look at shapes, or have
layers of their own. torch's exporter to ONNX would need onnxscript; torch.export is torch's own. What depends on
weights alone is computed here and written as a constant.
"""

from __future__ import annotations

import operator
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from keensight.errors import BundleError
from keensight.models.onnx.operations import OPERATIONS, Nodes, Value, Writer


def write_exported(nodes: Nodes, network: nn.Module, images: str, picture_CHW: Sequence[int]) -> str:
    """Write a network that reads the value `images`, float NCHW; return the name of what it answers.

    Raises BundleError, with the layer's place and name, for an operation that has no row in OPERATIONS, and for a
    network whose operations depend on what it is given.
    """
    example = torch.zeros(2, *picture_CHW)
    dynamic = ({0: torch.export.Dim.DYNAMIC},)
    kept = next((p.device for p in network.parameters()), torch.device("cpu"))
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.export.export(network.cpu().eval(), (example,), dynamic_shapes=dynamic, strict=False)
    except Exception as error:  # of many kinds, for a network whose operations cannot be listed
        named = type(getattr(network, "module", network)).__name__
        raise BundleError(
            f"The network {named} cannot be exported: {str(error).strip().splitlines()[0]} Its "
            "operations must not depend on the pictures that it is given, nor on how many these are."
        ) from error
    finally:
        network.to(kept)
    writer = Writer(nodes, images)
    values: dict[torch.fx.Node, Value] = {}
    held = {**program.state_dict, **program.constants}
    signature = program.graph_signature
    lifted = {
        **signature.inputs_to_parameters, **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }  # fmt: skip
    for node in program.graph.nodes:
        if node.op == "placeholder":
            values[node] = held[lifted[node.name]].detach().cpu() if node.name in lifted else images
        elif node.op == "output":
            answer = node.args[0][0]
            return writer.constant(values[answer])
        else:
            values[node] = _written(writer, node, values)
    raise AssertionError("torch.export ends every graph with its output")


def _written(writer: Writer, node: torch.fx.Node, values: dict[torch.fx.Node, Value]) -> Value:
    given: Any = torch.fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
    args, kwargs = given
    inputs = [values[each] for each in node.all_input_nodes]
    found = node.meta.get("val")
    if node.target is operator.getitem:
        return args[0][args[1]]
    if found is None or isinstance(found, torch.SymInt | int):
        return -1  # how many pictures there are, or a multiple: shapes are taken from what comes out
    shapes = [each.shape for each in (found if isinstance(found, tuple | list) else [found]) if each is not None]
    is_fixed = all(isinstance(size, int) for shape in shapes for size in shape)
    if is_fixed and not any(_is_made(each) for each in inputs):
        return node.target(*args, **kwargs)  # type: ignore[operator]  # it depends on weights alone
    writer.name, writer.shape = node.name, _fixed(shapes[0])
    try:
        return OPERATIONS[_operation(node)](writer, *args, **kwargs)
    except (KeyError, NotImplementedError, TypeError, ValueError) as error:
        # a KeyError says that there is no row, a TypeError that the row's function lacks an option
        why = {KeyError: "", TypeError: " with the options that it is given"}.get(type(error), f" {error}")
        raise _unknown(node, why) from error


def _fixed(shape: Sequence[Any]) -> tuple[int, ...]:
    return tuple(size if isinstance(size, int) else -1 for size in shape)


def _is_made(value: Value) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_is_made, value))
    return isinstance(value, str) or (isinstance(value, int) and value == -1)


def _unknown(node: torch.fx.Node, why: str) -> BundleError:
    within = [entry for entry in (node.meta.get("nn_module_stack") or {}).values() if entry[0]]
    place = ""
    if within:
        kind = within[-1][1]
        named = kind.rpartition(".")[2] if isinstance(kind, str) else kind.__name__
        place = f", in {within[-1][0].removeprefix('module.')} ({named})"
    return BundleError(
        f"The model has a layer that cannot be written as ONNX: {_operation(node)}{why}{place}. Use another "
        "layer there, or add a row to the table in models/onnx/operations.py."
    )


def _operation(node: torch.fx.Node) -> str:
    """Return an operation's name, the same for a tensor and a number, and for one that changes what it is given."""
    schema: Any = getattr(node.target, "_schema", None)
    name = str(schema.name if schema is not None else node.target)
    return name.removeprefix("aten::").removesuffix("_")
