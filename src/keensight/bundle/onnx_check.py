"""Checks an ONNX file before ONNX Runtime loads it: its parts, and the sizes of all its results.

The field numbers are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto. Only NumPy is imported: the base
install, which predicts, has no `onnx`.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from keensight.bundle.folder import disguise
from keensight.bundle.onnx_shapes import Node, Shape, shape_of
from keensight.bundle.protobuf import Field, message, signed, text
from keensight.values import Preprocessing

MAX_NODES = 10_000
MAX_ELEMENTS = 2**26  # numbers in one operator's output for one picture: 256 MiB of float32
MAX_CONSTANT = 64  # numbers in a constant that controls padding, slicing or reshaping
FLOAT, UINT8, INT64 = 1, 2, 7
ITEM_BYTES = {FLOAT: 4, UINT8: 1, 3: 1, 6: 4, INT64: 8}  # 3 is int8, 6 is int32
ATTRIBUTE_TYPES = {"f": 1, "i": 2, "s": 3, "floats": 6, "ints": 7}

MODEL = {
    1: Field("ir_version", 0), 2: Field("producer_name", 2), 3: Field("producer_version", 2), 4: Field("domain", 2),
    5: Field("model_version", 0), 6: Field("doc_string", 2), 7: Field("graph", 2), 8: Field("opset", 2, True),
    14: Field("metadata", 2, True),
}  # fmt: skip
GRAPH = {
    1: Field("node", 2, True), 2: Field("name", 2), 5: Field("initializer", 2, True), 10: Field("doc_string", 2),
    11: Field("input", 2, True), 12: Field("output", 2, True), 13: Field("value_info", 2, True),
}  # fmt: skip
NODE = {
    1: Field("input", 2, True), 2: Field("output", 2, True), 3: Field("name", 2), 4: Field("op", 2),
    5: Field("attribute", 2, True), 6: Field("doc_string", 2), 7: Field("domain", 2),
}  # fmt: skip
ATTRIBUTE = {
    1: Field("name", 2), 2: Field("f", 5), 3: Field("i", 0), 4: Field("s", 2), 7: Field("floats", 5, True),
    8: Field("ints", 0, True), 20: Field("type", 0),
}  # fmt: skip
TENSOR = {
    1: Field("dims", 0, True), 2: Field("type", 0), 4: Field("floats", 2), 5: Field("ints", 0, True),
    8: Field("name", 2), 9: Field("raw", 2),
}  # fmt: skip
VALUE = {1: Field("name", 2), 2: Field("type", 2), 3: Field("doc_string", 2)}
TYPE = {1: Field("tensor", 2)}
TENSOR_TYPE = {1: Field("type", 0), 2: Field("shape", 2)}
SHAPE = {1: Field("dims", 2, True)}
DIM = {1: Field("size", 0), 2: Field("name", 2)}

NO_MODEL = {20: "training information", 25: "functions of its own"}
NO_GRAPH = {15: "sparse initializers"}
NO_ATTRIBUTE = {5: "a tensor", 6: "a subgraph", 10: "tensors", 11: "subgraphs", 22: "a sparse tensor"}
EXTERNAL = "external data, which could name any other file"
NO_TENSOR = {13: EXTERNAL, 14: EXTERNAL, 6: "text"}


def check_onnx(onnx: bytes, size: Preprocessing, num_classes: int) -> tuple[str, ...]:
    """Check that keensight could have written an ONNX model for such pictures; return its outputs' names.

    Its input is ``images`` uint8 [N, height, width, channels]. Its outputs are ``probabilities`` float32 [N, classes],
    alone or followed by ``oddness`` float32 [N]. All weights are inside, and fill their shapes; all operators are
    ONNX's own, and in `onnx_shapes.SHAPES`; none of their outputs for one picture has more than `MAX_ELEMENTS` numbers.
    Raises ValueError that says what is wrong.
    """
    try:
        return _check(onnx, size, num_classes)
    except UnicodeDecodeError:
        raise ValueError("a name in it is not text") from None
    except ValueError as error:
        raise ValueError(f"{error}{disguise(onnx)}") from None


def _check(onnx: bytes, size: Preprocessing, num_classes: int) -> tuple[str, ...]:
    model = message(onnx, MODEL, NO_MODEL, "the file")
    if "graph" not in model:
        raise ValueError("it holds no graph")
    graph = message(model["graph"], GRAPH, NO_GRAPH, "its graph")
    images = ("images", UINT8, (size.height, size.width, size.channels))
    outputs = ("probabilities", FLOAT, (num_classes,)), ("oddness", FLOAT, ())
    found = [tuple(map(_declared, graph[end])) for end in ("input", "output")]
    if found[0] != (images,) or found[1] not in (outputs, outputs[:1]):
        given = f"takes {_told(found[0])} and gives {_told(found[1])}"
        raise ValueError(f"it {given}, which is not what its bundle.json says")
    shapes: dict[str, Shape] = {"images": _bounded((1, size.height, size.width, size.channels), "a picture")}
    constants: dict[str, Sequence[int]] = {}
    for each in graph["initializer"]:
        name, shape, values = _weights(each)
        _define(shapes, name, shape)
        if values is not None:
            constants[name] = values
    if len(graph["node"]) > MAX_NODES:
        raise ValueError(f"its graph has {len(graph['node']):,} operators; at most {MAX_NODES:,} are accepted")
    for each in graph["node"]:
        _node(each, shapes, constants)
    for name, _, shape in found[1]:
        if shapes.get(name) != (1, *shape):
            raise ValueError(f"its graph does not make the {name} that it declares")
    return tuple(name for name, *_ in found[1])


def _node(data: Any, shapes: dict[str, Shape], constants: dict[str, Sequence[int]]) -> None:
    node = message(data, NODE, {}, "an operator")
    op, inputs, outputs = text(node.get("op")), [text(each) for each in node["input"]], node["output"]
    what = f"its operator {ascii(op)[:40]}"
    if text(node.get("domain")):
        raise ValueError(f"{what} is not ONNX's own")
    if len(outputs) != 1:
        raise ValueError(f"{what} has {len(outputs)} outputs")
    if unknown := [name for name in inputs if name not in shapes]:
        raise ValueError(f"{what} reads {ascii(unknown[0])[:60]}, which nothing before it makes")
    attributes = dict(_attribute(each) for each in node["attribute"])
    try:
        known = [shapes[name] for name in inputs]
        shape = shape_of(Node(op, known, [constants.get(name) for name in inputs], attributes))
    except (ValueError, KeyError) as error:
        raise ValueError(f"{what} is not accepted: {error}") from None
    name = text(outputs[0])
    _define(shapes, name, _bounded(shape, what))
    if op == "Shape":
        constants[name] = known[0]


def _attribute(data: Any) -> tuple[str, Any]:
    found = message(data, ATTRIBUTE, NO_ATTRIBUTE, "an operator's attribute")
    name = text(found.get("name"))
    given = [kind for kind in ATTRIBUTE_TYPES if found.get(kind, []) != []]
    if len(given) > 1 or ATTRIBUTE_TYPES[given[0] if given else "ints"] != found.get("type"):
        raise ValueError(f"its attribute {ascii(name)[:40]} does not have one value of its type")
    if "s" in given:
        return name, bytes(found["s"])
    if "f" in given:
        return name, struct.unpack("<f", found["f"])[0]
    if "i" in given:
        return name, signed(found["i"])
    return name, [signed(value) for value in found["ints"]]


def _weights(data: Any) -> tuple[str, Shape, list[int] | None]:
    """Return a tensor's name and shape, and its values if they may control padding, slicing or reshaping."""
    tensor = message(data, TENSOR, NO_TENSOR, "a tensor")
    name, kind = text(tensor.get("name")), tensor.get("type", 0)
    what = f"its tensor {ascii(name)[:60]}"
    if kind not in ITEM_BYTES:
        raise ValueError(f"{what} has a type that keensight's models never have (number {kind})")
    shape = _bounded(tuple(map(signed, tensor["dims"])), what)
    count = int(np.prod(shape))
    held = [len(tensor["raw"]) / ITEM_BYTES[kind]] if "raw" in tensor else []
    held += [len(tensor["floats"]) / 4] if "floats" in tensor else []
    held += [len(tensor["ints"])] if tensor["ints"] else []
    if held != [count]:
        raise ValueError(f"{what} holds {sum(held):,g} numbers for a shape of {'x'.join(map(str, shape)) or 'one'}")
    few = kind == INT64 and len(shape) == 1 and count <= MAX_CONSTANT and "raw" in tensor
    return name, shape, np.frombuffer(tensor["raw"], "<i8").tolist() if few else None


def _declared(data: Any) -> tuple[str, int, tuple[int, ...]]:
    """Return the name, type and shape of an input or output, its shape without the first axis, which must be free."""
    value = message(data, VALUE, {}, "an input or output")
    tensor = message(message(value.get("type", b""), TYPE, {}, "a type").get("tensor", b""), TENSOR_TYPE, {}, "a type")
    shape = message(tensor.get("shape", b""), SHAPE, {}, "a shape")
    first, *dims = [message(dim, DIM, {}, "a shape") for dim in shape["dims"]] or [{}]
    if "size" in first or any("size" not in dim for dim in dims):
        raise ValueError("its inputs and outputs must have a variable number of pictures, and otherwise a fixed size")
    return text(value.get("name")), tensor.get("type", 0), tuple(signed(dim["size"]) for dim in dims)


def _told(declared: Sequence[tuple[str, int, tuple[int, ...]]]) -> str:
    return ", ".join(f"{ascii(name)[:40]} {'x'.join(map(str, shape)) or 1}" for name, _, shape in declared) or "nothing"


def _define(shapes: dict[str, Shape], name: str, shape: Shape) -> None:
    if not name or name in shapes:
        raise ValueError(f"its graph makes {ascii(name)[:60]} twice, or without a name")
    shapes[name] = shape


def _bounded(shape: Shape, what: str) -> Shape:
    count = 1
    for size in shape:
        count *= size
        if size < 1 or count > MAX_ELEMENTS:
            raise ValueError(
                f"{what} has the shape {'x'.join(map(str, shape))[:80]}; sizes are 1 or more, and at most "
                f"{MAX_ELEMENTS:,} numbers are accepted"
            )
    return shape
