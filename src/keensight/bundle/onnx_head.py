"""Finds how a network in an ONNX file ends, so that its answers can be explained from its last feature maps.

Shape letters: R rows, C channels, K classes; h, w of a feature map.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from keensight.bundle.onnx_check import ATTRIBUTE, GRAPH, MODEL, NODE, TENSOR
from keensight.bundle.protobuf import encoded, message, signed, text
from keensight.explanation.head import Head, Operator
from keensight.values import FloatArray

Message = Mapping[str, Any]

# what may stand between the means of feature maps and the logits: the attributes that an operator may have
ENDS: dict[str, tuple[dict[str, Any], ...]] = {
    "Add": ({},),
    "Conv": (),  # of one pixel: any of its attributes, see `_is_of_one_pixel`
    "Concat": ({"axis": 1},),
    "DequantizeLinear": ({},),
    "Flatten": ({}, {"axis": 1}),
    "Gemm": ({"transB": 1},),
    "HardSwish": ({},),
    "Mul": ({},),
    "QuantizeLinear": ({},),
    "ReduceMean": ({"axes": [0], "keepdims": 0},),
    "Relu": ({},),
    "Reshape": ({},),
    "Softmax": ({"axis": 1}, {"axis": -1}),
    "Sigmoid": ({},),
    "Sqrt": ({},),
    "Tanh": ({},),
    "Unsqueeze": ({},),
}
MEANS: dict[str, tuple[dict[str, Any], ...]] = {
    "GlobalAveragePool": ({},),
    "ReduceMean": tuple({"axes": axes, "keepdims": kept} for axes in ([2, 3], [-1, -2], [-2, -1]) for kept in (0, 1)),
}
SHAPES = ([0, -1], [2, -1, 0])  # flat; and a picture's row apart from its mirror image's, of which the mean is taken
READS_SHAPES = {"Reshape": SHAPES, "Unsqueeze": ([0],)}
TYPES = {1: "<f4", 2: "u1", 3: "i1", 6: "<i4", 7: "<i8"}


def head_of(onnx: bytes) -> Head | None:
    """Return the head of a model that `check_onnx` accepts; None where it ends in another way."""
    graph = message(message(onnx, MODEL, {}, "the file")["graph"], GRAPH, {}, "its graph")
    nodes = [message(each, NODE, {}, "an operator") for each in graph["node"]]
    makers = {text(node["output"][0]): node for node in nodes}
    tensors = {text(found.get("name")): found for found in (message(t, TENSOR, {}, "") for t in graph["initializer"])}
    answer = makers["probabilities"]
    if text(answer.get("op")) != "Softmax" or _attributes(answer) not in ENDS["Softmax"]:
        return None
    wanted, maps, operators = {text(answer["input"][0])}, {}, []
    for output, node in reversed(makers.items()):
        if output not in wanted:
            continue
        op, attributes, read = text(node.get("op")), _attributes(node), [text(each) for each in node["input"]]
        if attributes in MEANS.get(op, ()):
            maps[output] = read[0]
            continue
        if attributes not in ENDS.get(op, ()) and not (op == "Conv" and _is_of_one_pixel(attributes)):
            return None
        found = {name: _constant(name, tensors, makers) for name in read}
        inputs = tuple(name for name, constant in found.items() if constant is None)
        constants = tuple(constant for constant in found.values() if constant is not None)
        if not _fits(op, read, inputs, constants):
            return None
        wanted.update(inputs)
        operators.append(Operator(op, inputs, constants, output))
    return Head(maps, tuple(reversed(operators))) if maps and operators else None


def with_output(onnx: bytes, name: str) -> bytes:
    """Return a model with one more output, the value `name` of its graph.

    Two messages, one after the other, are one with the fields of both: https://protobuf.dev/programming-guides/encoding.
    """
    return onnx + encoded(7, encoded(12, encoded(1, name.encode())))


def _is_of_one_pixel(conv: Mapping[str, Any]) -> bool:
    """Say whether a convolution's attributes are those of a linear layer on a picture of one pixel."""
    return conv.get("kernel_shape") == [1, 1] and not any(conv.get("pads", ())) and conv.get("group", 1) == 1


def _fits(op: str, read: list[str], inputs: tuple[str, ...], constants: tuple[FloatArray, ...]) -> bool:
    """Say whether an operator reads values and constants in the order that the rules of `explanation.head` expect."""
    if op == "Concat":
        return not constants and tuple(read) == inputs
    if len(inputs) != 1:
        return False
    if op in READS_SHAPES:
        return len(constants) == 1 and constants[0].tolist() in READS_SHAPES[op]
    if op in ("Add", "Mul"):
        return len(constants) == 1 and constants[0].ndim <= 2
    if op == "Conv":
        return read[0] == inputs[0] and [each.ndim for each in constants] in ([4], [4, 1])
    if op == "Gemm":
        return read[0] == inputs[0] and [each.ndim for each in constants] in ([2], [2, 1])
    return read[0] == inputs[0]


def _constant(name: str, tensors: Mapping[str, Message], makers: Mapping[str, Message]) -> FloatArray | None:
    """Return a constant, or what its int8 numbers stand for; None for what depends on the picture."""
    if name in tensors:
        return _array(tensors[name])
    node = makers.get(name, {})
    if text(node.get("op")) != "DequantizeLinear" or text(node["input"][0]) not in tensors:
        return None
    numbers, scale, *zero = (_array(tensors[text(each)]).astype(np.float32) for each in node["input"])
    along = [1] * numbers.ndim
    if scale.size > 1:  # one for each index of an axis
        along[_attributes(node).get("axis", 1)] = -1
    return np.asarray((numbers - (zero[0].reshape(along) if zero else 0)) * scale.reshape(along))


def _attributes(node: Message) -> dict[str, Any]:
    found = [message(each, ATTRIBUTE, {}, "an attribute") for each in node["attribute"]]
    return {
        text(each.get("name")): signed(each["i"]) if "i" in each else [signed(value) for value in each["ints"]]
        for each in found
    }


def _array(tensor: Message) -> FloatArray:
    kind, held = TYPES[tensor["type"]], tensor.get("raw", tensor.get("floats"))
    numbers = np.asarray(tensor["ints"], kind) if held is None else np.frombuffer(held, kind)
    return numbers.reshape(tensor["dims"])
