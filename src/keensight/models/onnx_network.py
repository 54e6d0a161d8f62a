"""An ONNX graph as a torch network, for bundles and backbones whose Python code is not here. Its operators are a table.

Shapes are computed with Python's integers, so that a graph may ask for them and reshape by the answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import nn

from keensight.errors import BundleError

# names in the graphs that models/onnx/write.py writes
SCALE, SHIFT, NORMALISED = "normalisation.scale", "normalisation.shift", "normalised"
TEMPERATURE = "calibration.inverse_temperature"  # the constant that logits are multiplied by
Attributes = dict[str, Any]
Op = Callable[..., Any]


class OnnxNetwork(nn.Module):
    """The part of an ONNX graph from the value named `begin` to the one named `end`, float32 and differentiable.

    Raises BundleError for an operator that is not in OPS, naming it.
    """

    def __init__(self, graph: onnx.GraphProto, begin: str, end: str) -> None:
        super().__init__()
        made = {name: node for node in graph.node for name in node.output}
        if end not in made and end != begin:
            raise BundleError(f"The ONNX graph has nothing called '{end}'. It makes {', '.join(list(made)[-5:])}.")
        weights = {each.name: each for each in graph.initializer}
        self.steps: list[tuple[Op, list[str], str, Attributes]] = []
        self.begin, self.end = begin, end
        self._names: dict[str, str] = {}  # a tensor's name in the graph, and here
        self.constants: dict[str, list[int]] = {}
        needed, reached = [], {begin, ""}
        waiting = [end]
        while waiting:
            name = waiting.pop()
            if name in reached:
                continue
            reached.add(name)
            if name in weights:
                self._hold(name, numpy_helper.to_array(weights[name]))
            elif name in made:
                needed.append(made[name])
                waiting += made[name].input
            else:
                raise BundleError(f"The ONNX graph reads '{name}', which nothing in it makes. Export it again.")
        order = {id(node): i for i, node in enumerate(graph.node)}
        for node in sorted({id(node): node for node in needed}.values(), key=lambda node: order[id(node)]):
            attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
            if node.op_type == "Constant":
                self._hold(node.output[0], numpy_helper.to_array(attributes["value"]))
            elif node.op_type not in OPS or node.domain not in ("", "ai.onnx") or len(node.output) != 1:
                raise BundleError(
                    f"The ONNX graph has the operator {node.op_type} ('{node.name or node.output[0]}'), which cannot "
                    f"be read here. The operators that can are {', '.join(OPS)}."
                )
            else:
                self.steps.append((OPS[node.op_type], list(node.input), node.output[0], attributes))

    def _hold(self, name: str, array: np.ndarray[Any, Any]) -> None:
        if array.dtype.kind in "iu" and array.ndim <= 1:
            self.constants[name] = array.tolist()
            return
        own = f"weight_{len(self._names)}"
        self._names[name] = own
        tensor = torch.from_numpy(np.array(array))
        if tensor.is_floating_point():
            self.register_parameter(own, nn.Parameter(tensor.float(), requires_grad=False))
        else:
            self.register_buffer(own, tensor)

    def forward(self, x: torch.Tensor) -> Any:
        """Return the value at the end of the graph."""
        values: dict[str, Any] = {self.begin: x, "": None, **self.constants}
        values |= {name: getattr(self, own) for name, own in self._names.items()}
        for op, inputs, output, attributes in self.steps:
            values[output] = op(*(values[name] for name in inputs), **attributes)
        return values[self.end]


def _pads(pads: Sequence[int] | None, rank: int) -> list[int]:
    return list(pads) if pads else [0] * 2 * rank


def _padded(x: torch.Tensor, pads: Sequence[int], value: float = 0.0) -> torch.Tensor:
    rank = len(pads) // 2
    order = [side for axis in reversed(range(rank)) for side in (pads[axis], pads[rank + axis])]
    return F.pad(x, order, value=value) if any(order) else x


def _conv(x: Any, weight: Any, bias: Any = None, *, strides: Any = (1, 1), pads: Any = None, dilations: Any = (1, 1),
          group: int = 1, **_: Any) -> Any:  # fmt: skip
    return F.conv2d(_padded(x, _pads(pads, 2)), weight, bias, tuple(strides), 0, tuple(dilations), group)


def _max_pool(x: Any, *, kernel_shape: Any, strides: Any = (1, 1), pads: Any = None, dilations: Any = (1, 1),
              ceil_mode: int = 0, **_: Any) -> Any:  # fmt: skip
    padded = _padded(x, _pads(pads, 2), -math.inf)
    return F.max_pool2d(padded, tuple(kernel_shape), tuple(strides), 0, tuple(dilations), bool(ceil_mode))


def _average_pool(x: Any, *, kernel_shape: Any, strides: Any = (1, 1), pads: Any = None, count_include_pad: int = 0,
                  ceil_mode: int = 0, **_: Any) -> Any:  # fmt: skip
    padded = _padded(x, _pads(pads, 2))
    total = F.avg_pool2d(padded, tuple(kernel_shape), tuple(strides), 0, bool(ceil_mode))
    if count_include_pad or not any(_pads(pads, 2)):
        return total
    share = F.avg_pool2d(_padded(torch.ones_like(x[:1, :1]), _pads(pads, 2)), tuple(kernel_shape), tuple(strides))
    return total / share


def _gemm(a: Any, b: Any, c: Any = None, *, alpha: float = 1.0, beta: float = 1.0, transA: int = 0, transB: int = 0,
          **_: Any) -> Any:  # fmt: skip
    product = alpha * ((a.T if transA else a) @ (b.T if transB else b))
    return product if c is None else product + beta * c


def _cast(x: Any, *, to: int) -> Any:
    kinds = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 11: torch.float32}
    return x if isinstance(x, list) else x.to(kinds[to])


def _reshape(x: Any, shape: list[int], **_: Any) -> Any:
    return x.reshape([x.shape[i] if size == 0 else size for i, size in enumerate(shape)])


def _flatten(x: Any, *, axis: int = 1) -> Any:
    return x.reshape(math.prod(x.shape[:axis]), -1) if axis != 1 else x.flatten(1)


def _gather(x: Any, which: Any, *, axis: int = 0) -> Any:
    if isinstance(x, list):
        return [x[i] for i in which] if isinstance(which, list) else x[which]
    if isinstance(which, int):
        return x.select(axis, which)
    return x.index_select(axis, torch.as_tensor(which, device=x.device).reshape(-1))


def _unsqueeze(x: Any, axes: Any = None, **old: Any) -> Any:
    if isinstance(x, int):
        return [x]
    for axis in sorted(axes if axes is not None else old["axes"]):
        x = x.unsqueeze(axis)
    return x


def _squeeze(x: Any, axes: Any = None, **old: Any) -> Any:
    return x.squeeze(tuple(axes if axes is not None else old.get("axes", range(x.dim()))))


def _concat(*xs: Any, axis: int) -> Any:
    if all(isinstance(x, list) for x in xs):
        return [size for x in xs for size in x]
    return torch.cat(xs, axis)


def _slice(x: Any, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Any:
    for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis, step = axes[i] if axes else i, steps[i] if steps else 1
        if isinstance(x, list):
            x = x[start:end:step]
            continue
        which = list(range(*slice(start, end, step).indices(x.shape[axis]))) if step < 0 else None
        if which is None:
            at = [slice(None)] * x.dim()
            at[axis] = slice(start, min(end, 2**31), step)
            x = x[tuple(at)]
        else:
            x = x.index_select(axis, torch.tensor(which, device=x.device))
    return x


def _reduced(function: Callable[..., Any]) -> Op:
    def reduce(x: Any, axes: Any = None, *, keepdims: int = 1, **old: Any) -> Any:
        over = tuple(axes if axes is not None else old.get("axes", range(x.dim())))
        return function(x, over, keepdim=bool(keepdims))

    return reduce


def _layer_norm(x: Any, weight: Any, bias: Any = None, *, axis: int = -1, epsilon: float = 1e-5, **_: Any) -> Any:
    return F.layer_norm(x, x.shape[axis:], weight, bias, epsilon)


def _batch_norm(x: Any, weight: Any, bias: Any, mean: Any, variance: Any, *, epsilon: float = 1e-5, **_: Any) -> Any:
    return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, epsilon)


def _pad(x: Any, pads: list[int], value: Any = None, *_: Any, **__: Any) -> Any:
    return _padded(x, pads, 0.0 if value is None else float(value))


def _clip(x: Any, low: Any = None, high: Any = None, **old: Any) -> Any:
    low, high = old.get("min", low), old.get("max", high)
    return x if low is None and high is None else x.clamp(low, high)


OPS: dict[str, Op] = {
    "Abs": torch.abs,
    "Add": lambda a, b: a + b,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Celu": lambda x, alpha=1.0: F.celu(x, alpha),
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "Div": lambda a, b: a / b if not isinstance(a, int) else a // b,
    "Dropout": lambda x, *_, **__: x,
    "Elu": lambda x, alpha=1.0: F.elu(x, alpha),
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gelu": lambda x, approximate=b"none": F.gelu(x, approximate=approximate.decode()),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda x: x.mean((2, 3), keepdim=True),
    "GlobalMaxPool": lambda x: x.amax((2, 3), keepdim=True),
    "Greater": lambda a, b: a > b,
    "HardSigmoid": lambda x, alpha=0.2, beta=0.5: (alpha * x + beta).clamp(0, 1),
    "HardSwish": F.hardswish,
    "Identity": lambda x: x,
    "InstanceNormalization": lambda x, weight, bias, epsilon=1e-5: F.instance_norm(
        x, weight=weight, bias=bias, eps=epsilon
    ),
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda x, alpha=0.01: F.leaky_relu(x, alpha),
    "Log": torch.log,
    "LogSoftmax": lambda x, axis=-1: x.log_softmax(axis),
    "MatMul": lambda a, b: a @ b,
    "Max": torch.maximum,
    "MaxPool": _max_pool,
    "Min": torch.minimum,
    "Mul": lambda a, b: a * b,
    "Neg": torch.neg,
    "PRelu": lambda x, slope: torch.where(x > 0, x, x * slope),
    "Pad": _pad,
    "Pow": lambda a, b: a**b,
    "ReduceMax": _reduced(torch.amax),
    "ReduceMean": _reduced(torch.mean),
    "ReduceSum": _reduced(torch.sum),
    "Relu": torch.relu,
    "Reshape": _reshape,
    "Selu": F.selu,
    "Shape": lambda x, **_: list(x.shape),
    "Sigmoid": torch.sigmoid,
    "Slice": _slice,
    "Softmax": lambda x, axis=-1: x.softmax(axis),
    "Softplus": F.softplus,
    "Softsign": F.softsign,
    "Sqrt": torch.sqrt,
    "Squeeze": _squeeze,
    "Sub": lambda a, b: a - b,
    "Tanh": torch.tanh,
    "Transpose": lambda x, perm=None: x.permute(perm) if perm else x.permute(*reversed(range(x.dim()))),
    "Unsqueeze": _unsqueeze,
}
