"""Output shapes of ONNX operators for one picture: one row for each operator that a bundle may have.

An operator that is not in the table is refused, because its output size cannot be bounded.
Shapes are those of the ONNX specification (https://onnx.ai/onnx/operators), for one picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """An operator in a graph: the shapes of its inputs, the values of constant ones, and its attributes."""

    op: str
    shapes: Sequence[Shape]
    constants: Sequence[Sequence[int] | None]
    attributes: Mapping[str, Any]

    def ints(self, name: str, default: Sequence[int]) -> Sequence[int]:
        """Return an attribute that is a list of integers."""
        values: Sequence[int] = self.attributes.get(name, default)
        return values

    def constant(self, i: int) -> Sequence[int]:
        """Return the integers of input `i`. Raises ValueError if they are only known when the graph runs."""
        values = self.constants[i]
        if values is None:
            raise ValueError(f"input {i} is not a constant list of integers")
        return values


def shape_of(node: Node) -> Shape:
    """Return the shape of a node's output. Raises ValueError if it has none, or the operator is unknown."""
    if node.op not in SHAPES:
        raise ValueError("keensight's models never have it")
    try:
        return tuple(int(size) for size in SHAPES[node.op](node))
    except (IndexError, TypeError, ZeroDivisionError) as error:
        raise ValueError("its inputs or attributes do not fit it") from error


def _same(node: Node) -> Shape:
    return node.shapes[0]


def _broadcast(node: Node) -> Shape:
    return np.broadcast_shapes(*node.shapes)


def _transpose(node: Node) -> Shape:
    x, order = node.shapes[0], node.attributes["perm"]
    if sorted(order) != list(range(len(x))):
        raise ValueError("its axes are not a permutation")
    return tuple(x[axis] for axis in order)


def _windows(node: Node, kernel: Sequence[int]) -> Shape:
    """Return how many places a kernel has on each spatial axis."""
    if node.attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise ValueError("its padding is not explicit")
    spatial, n = node.shapes[0][2:], len(kernel)
    pads, strides = node.ints("pads", [0] * 2 * n), node.ints("strides", [1] * n)
    dilations = node.ints("dilations", [1] * n)
    if not (len(spatial) == n == len(strides) == len(dilations) and len(pads) == 2 * n):
        raise ValueError("its kernel, strides, dilations and pads do not fit together")
    if min(*pads, 0) < 0 or min(*kernel, *strides, *dilations, 1) < 1:
        raise ValueError("its kernel, strides, dilations or pads are too small")
    reach = [s + pads[i] + pads[n + i] - dilations[i] * (kernel[i] - 1) - 1 for i, s in enumerate(spatial)]
    up = node.attributes.get("ceil_mode", 0)
    return tuple((-(-r // s) if up else r // s) + 1 for r, s in zip(reach, strides, strict=True))


def _conv(weight: int) -> Callable[[Node], Shape]:
    return lambda node: (
        node.shapes[0][0], node.shapes[weight][0], *_windows(node, node.shapes[weight][2:])
    )  # fmt: skip


def _pool(node: Node) -> Shape:
    return (*node.shapes[0][:2], *_windows(node, node.ints("kernel_shape", ())))


def _global_pool(node: Node) -> Shape:
    return (*node.shapes[0][:2], *(1 for _ in node.shapes[0][2:]))


def _product(weight: int) -> Callable[[Node], Shape]:
    def shape(node: Node) -> Shape:
        (rows, inner), matrix = node.shapes[0], node.shapes[weight]
        matrix = matrix[::-1] if node.attributes.get("transB", 0) else matrix
        if node.attributes.get("transA", 0) or len(matrix) != 2 or matrix[0] != inner:
            raise ValueError("its matrices do not fit together")
        return rows, matrix[1]

    return shape


def _matmul(node: Node) -> Shape:
    a, b = node.shapes
    if len(a) < 2 or len(b) < 2 or a[-1] != b[-2]:
        raise ValueError("its matrices do not fit together")
    return (*np.broadcast_shapes(a[:-2], b[:-2]), a[-2], b[-1])


def _pad(node: Node) -> Shape:
    x, pads = node.shapes[0], node.constant(1)
    if len(pads) != 2 * len(x) or len(node.shapes) > 3:
        raise ValueError("it does not say how much to pad on each axis")
    return tuple(size + pads[i] + pads[len(x) + i] for i, size in enumerate(x))


def _slice(node: Node) -> Shape:
    sizes = list(node.shapes[0])
    for start, end, axis, step in zip(*(node.constant(i) for i in (1, 2, 3, 4)), strict=True):
        sizes[axis] = len(range(*slice(start, end, step).indices(sizes[axis])))
    return tuple(sizes)


def _gather(node: Node) -> Shape:
    x, axis = node.shapes[0], node.attributes.get("axis", 0)
    if not 0 <= axis < len(x):
        raise ValueError("it has no such axis")
    return (*x[:axis], *node.shapes[1], *x[axis + 1 :])


def _concat(node: Node) -> Shape:
    axis = node.attributes["axis"]
    sizes = list(node.shapes[0])
    sizes[axis] = sum(shape[axis] for shape in node.shapes)
    return tuple(sizes)


def _reshape(node: Node) -> Shape:
    x, wanted = node.shapes[0], node.constant(1)
    sizes = [x[i] if size == 0 else size for i, size in enumerate(wanted)]
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = _count(x) // -_count(sizes)
    if _count(sizes) != _count(x):
        raise ValueError("its shape does not fit its input")
    return tuple(sizes)


def _unsqueeze(node: Node) -> Shape:
    sizes, axes = list(node.shapes[0]), node.constant(1)
    for axis in sorted(axes):
        sizes.insert(axis, 1)
    return tuple(sizes)


def _reduce(node: Node) -> Shape:
    x = node.shapes[0]
    axes = {axis % len(x) for axis in node.ints("axes", range(len(x)))}
    keep = node.attributes.get("keepdims", 1)
    return tuple(1 if i in axes else size for i, size in enumerate(x) if keep or i not in axes)


def _flatten(node: Node) -> Shape:
    x, axis = node.shapes[0], node.attributes.get("axis", 1)
    return _count(x[:axis]), _count(x[axis:])


def _count(shape: Sequence[int]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


UNARY = (
    "Cast", "Clip", "Relu", "LeakyRelu", "Elu", "Selu", "Sigmoid", "HardSigmoid", "Softplus", "Tanh", "Erf", "Sqrt",
    "Softmax", "QuantizeLinear", "DequantizeLinear", "Celu", "Exp", "HardSwish", "InstanceNormalization", "Log",
    "LogSoftmax", "Neg", "Softsign", "LayerNormalization",
)  # fmt: skip
SHAPES: dict[str, Callable[[Node], Sequence[int]]] = {
    **dict.fromkeys(UNARY, _same),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Pow", "PRelu", "Max", "Min", "Greater"), _broadcast),
    "Shape": lambda node: (len(node.shapes[0]),),
    "Transpose": _transpose,
    "Conv": _conv(1),
    "QLinearConv": _conv(3),
    "MaxPool": _pool,
    "AveragePool": _pool,
    "GlobalMaxPool": _global_pool,
    "GlobalAveragePool": _global_pool,
    "Gemm": _product(1),
    "MatMul": _matmul,
    "QLinearMatMul": _product(3),
    "Pad": _pad,
    "Slice": _slice,
    "Concat": _concat,
    "Gather": _gather,
    "Reshape": _reshape,
    "Unsqueeze": _unsqueeze,
    "ReduceMean": _reduce,
    "ReduceMax": _reduce,
    "Flatten": _flatten,
}
