"""Finds how a network in an ONNX file ends, so that its answers can be explained from its last feature maps.

Shape letters: K classes, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from keensight.bundle.onnx_check import ATTRIBUTE, GRAPH, MODEL, NODE, TENSOR
from keensight.bundle.protobuf import encoded, message, text
from keensight.values import FloatArray

# from the answer back to the feature maps: what an operator is, and the attributes that it may have
END: tuple[tuple[str, Mapping[str, int]], ...] = (
    ("Softmax", {"axis": 1}),
    ("Mul", {}),
    ("Gemm", {"transB": 1}),
    ("Flatten", {}),
    ("GlobalAveragePool", {}),
)


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """Logits that are a linear layer of feature maps' means: the maps' name, and the layer's weights float32 KC.

    The weights are divided by the temperature, so that they belong to the calibrated logits.
    """

    features: str
    weights_KC: FloatArray


def head_of(onnx: bytes) -> Head | None:
    """Return the head of a model that `check_onnx` accepts; None where it ends in another way."""
    graph = message(message(onnx, MODEL, {}, "the file")["graph"], GRAPH, {}, "its graph")
    makers = {}
    for each in graph["node"]:
        node = message(each, NODE, {}, "an operator")
        makers[text(node["output"][0])] = node
    tensors = {text(found.get("name")): found for found in (message(t, TENSOR, {}, "") for t in graph["initializer"])}
    name, weights_KC, temperature = "probabilities", np.empty((0, 0), np.float32), np.ones((), np.float32)
    for op, attributes in END:
        node = makers.get(name, {})
        if text(node.get("op")) != op or _attributes(node) != attributes:
            return None
        name, *others = map(text, node["input"])
        if op in ("Mul", "Gemm") and (not others or others[0] not in tensors):
            return None
        if op == "Mul":
            temperature = _array(tensors[others[0]])
        elif op == "Gemm":
            weights_KC = _array(tensors[others[0]])
    if temperature.size != 1 or weights_KC.ndim != 2:
        return None
    return Head(name, weights_KC * temperature.reshape(()))


def with_output(onnx: bytes, name: str) -> bytes:
    """Return a model with one more output, the value `name` of its graph.

    Two messages, one after the other, are one with the fields of both: https://protobuf.dev/programming-guides/encoding.
    """
    return onnx + encoded(7, encoded(12, encoded(1, name.encode())))


def _attributes(node: Mapping[str, Any]) -> dict[str, Any]:
    found = [message(each, ATTRIBUTE, {}, "an attribute") for each in node["attribute"]]
    return {text(each.get("name")): each.get("i") for each in found}


def _array(tensor: Mapping[str, Any]) -> FloatArray:
    dims = tensor["dims"]
    if "raw" not in tensor or tensor.get("type") != 1:
        return np.empty((0, 0, 0), np.float32)
    return np.frombuffer(tensor["raw"], "<f4").reshape(dims).copy()
