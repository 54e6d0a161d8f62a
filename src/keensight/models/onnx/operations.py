"""How each operation that torch.export lists is written as ONNX: one visible table.

What depends on weights alone is a constant by the time it comes here. The first axis, the number of pictures, stays
free.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch

Value = Any  # the name of a value in the graph, or a constant: a tensor, a number, a list of these


class Nodes(Protocol):
    """The graph that is written to."""

    def weight(self, value: Any, name: str) -> str:
        """Add a constant and return its name."""

    def add(self, op: str, inputs: list[str], name: str, **attributes: Any) -> str:
        """Add a node and return the name of its output."""


class Writer:
    """Writes one operation after the other; `shape` is of the operation at hand, with -1 for what is not fixed."""

    def __init__(self, nodes: Nodes, images: str) -> None:
        self.nodes, self.images = nodes, images
        self.name, self._count = "", 0
        self.shape: tuple[int, ...] = ()

    def add(self, op: str, *inputs: Value, **attributes: Any) -> str:
        """Add a node that reads `inputs`, constants among them."""
        self._count += 1
        names = [self.constant(each) for each in inputs]
        return self.nodes.add(op, names, f"network.{self.name}.{self._count}", **attributes)

    def constant(self, value: Value) -> str:
        """Return the name of a value, after adding it if it is a constant."""
        if isinstance(value, str):
            return value
        self._count += 1
        if isinstance(value, torch.Tensor):
            array = value.detach().cpu().contiguous().numpy()
            array = array.astype(np.int64 if array.dtype.kind in "iub" else np.float32)
        elif isinstance(value, int | float):
            array = np.asarray(value, np.float32)
        else:
            array = np.asarray(value, np.int64)
        return self.nodes.weight(array, f"network.{self.name}.{self._count}.value")

    def reshape(self, x: Value, shape: Sequence[int]) -> str:
        """Return x in another shape, of which one size may be -1."""
        if list(shape).count(-1) > 1:
            raise NotImplementedError("with more than one free axis")
        return self.add("Reshape", x, list(shape))

    def zeros(self) -> str:
        """Return zeros of the shape [pictures]: what all that is made for each picture begins with."""
        total = self.add("ReduceMean", self.images, axes=[1, 2, 3], keepdims=0)
        return self.add("Mul", self.add("Clip", total, 0.0, 0.0), 1.0)


def _unary(op: str) -> Callable[..., str]:
    return lambda w, x: w.add(op, x)


def _binary(op: str, scaled: bool = False) -> Callable[..., str]:
    def write(w: Writer, a: Value, b: Value, *, alpha: float = 1) -> str:
        return w.add(op, a, b if alpha == 1 or not scaled else w.add("Mul", b, float(alpha)))

    return write


def _pair(value: Any) -> list[int]:
    both = [value] if isinstance(value, int) else list(value)
    return both * 2 if len(both) == 1 else both


def _convolution(w: Writer, x: Value, weight: Value, bias: Value = None, stride: Any = 1, padding: Any = 0,
                 dilation: Any = 1, groups: int = 1) -> str:  # fmt: skip
    kernel, dilations = list(weight.shape[2:]), _pair(dilation)
    if padding == "same":
        total = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
        pads = [each // 2 for each in total] + [each - each // 2 for each in total]
    else:
        pads = [0] * 4 if padding == "valid" else _pair(padding) * 2
    inputs = [x, weight] if bias is None else [x, weight, bias]
    return w.add("Conv", *inputs, kernel_shape=kernel, strides=_pair(stride), pads=pads, dilations=dilations,
                 group=groups)  # fmt: skip


def _linear(w: Writer, x: Value, weight: Value, bias: Value = None) -> str:
    if len(w.shape) == 2:
        return w.add("Gemm", x, weight, *([] if bias is None else [bias]), transB=1)
    product = w.add("MatMul", x, weight.T)
    return product if bias is None else w.add("Add", product, bias)


def _batch_norm(w: Writer, x: Value, weight: Value, bias: Value, mean: Any, variance: Any, _: bool, __: float,
                eps: float, ___: bool) -> str:  # fmt: skip
    scale = (variance.double() + eps).rsqrt() * (1 if weight is None else weight.double())
    shift = (0 if bias is None else bias.double()) - mean.double() * scale
    shape = (-1, *[1] * (len(w.shape) - 2))
    return w.add("Add", w.add("Mul", x, scale.view(shape).float()), shift.view(shape).float())


def _layer_norm(w: Writer, x: Value, shape: Sequence[int], weight: Value = None, bias: Value = None, eps: float = 1e-5,
                *_: Any) -> str:  # fmt: skip
    weight = torch.ones(tuple(shape)) if weight is None else weight
    bias = torch.zeros(tuple(shape)) if bias is None else bias
    return w.add("LayerNormalization", x, weight, bias, axis=-len(shape), epsilon=eps)


def _group_norm(w: Writer, x: Value, groups: int, weight: Value = None, bias: Value = None, eps: float = 1e-5,
                *_: Any) -> str:  # fmt: skip
    normal = w.add("InstanceNormalization", w.add("Reshape", x, [0, groups, -1]), torch.ones(groups),
                   torch.zeros(groups), epsilon=eps)  # fmt: skip
    normal = w.reshape(normal, w.shape)
    shape = (w.shape[1], *[1] * (len(w.shape) - 2))
    normal = normal if weight is None else w.add("Mul", normal, weight.view(shape))
    return normal if bias is None else w.add("Add", normal, bias.view(shape))


def _addmm(w: Writer, bias: Value, a: Value, b: Value, *, beta: float = 1, alpha: float = 1) -> str:
    return w.add("Gemm", a, b, bias, alpha=float(alpha), beta=float(beta))


def _clamp_relu6(w: Writer, x: Value) -> str:
    return _clamp(w, x, 0, 6)


def _permute(w: Writer, x: Value, dims: Sequence[int]) -> str:
    return w.add("Transpose", x, perm=[dim % len(dims) for dim in dims])


def _transpose(w: Writer, x: Value, one: int, other: int) -> str:
    order = list(range(len(w.shape)))
    order[one], order[other] = order[other], order[one]
    return w.add("Transpose", x, perm=order)


def _reshape(w: Writer, x: Value, *_: Any, **__: Any) -> str:
    return w.reshape(x, w.shape)


def _expand(w: Writer, x: Value, *_: Any, **__: Any) -> str:
    each = w.reshape(w.zeros(), [-1, *[1] * (len(w.shape) - 1)])
    if w.shape[0] != -1 or -1 in w.shape[1:]:
        raise NotImplementedError("to a size that is not fixed")
    return w.add("Add", w.add("Add", each, x), torch.zeros(1, *w.shape[1:]))


def _full(w: Writer, _: Any, value: float, **__: Any) -> str:
    return _expand(w, torch.full((1,) * len(w.shape), float(value)))


def _mean(w: Writer, x: Value, dims: Any = None, keep: bool = False, **_: Any) -> str:
    return w.add("ReduceMean", x, axes=list(dims), keepdims=int(keep))


def _amax(w: Writer, x: Value, dims: Any, keep: bool = False) -> str:
    return w.add("ReduceMax", x, axes=list(dims), keepdims=int(keep))


def _max_pool(w: Writer, x: Value, kernel: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1,
              ceil_mode: bool = False) -> str:  # fmt: skip
    return w.add("MaxPool", x, kernel_shape=_pair(kernel), strides=_pair(stride or kernel), pads=_pair(padding) * 2,
                 dilations=_pair(dilation), ceil_mode=int(ceil_mode))  # fmt: skip


def _adaptive_pool(w: Writer, x: Value, size: Any) -> str:
    if _pair(size) != [1, 1]:
        raise NotImplementedError(f"to {size}")
    return w.add("GlobalAveragePool", x)


def _avg_pool(w: Writer, x: Value, kernel: Any, stride: Any = (), padding: Any = 0, ceil_mode: bool = False,
              count_include_pad: bool = True, divisor: int | None = None) -> str:  # fmt: skip
    if divisor is not None or (ceil_mode and any(_pair(padding))):
        raise NotImplementedError("with a divisor of its own, or ceil_mode and padding")
    return w.add("AveragePool", x, kernel_shape=_pair(kernel), strides=_pair(stride or kernel),
                 pads=_pair(padding) * 2, ceil_mode=int(ceil_mode), count_include_pad=int(count_include_pad)
                 )  # fmt: skip


def _slice(w: Writer, x: Value, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> str:
    if w.shape[dim] == -1 and (start or 0) == 0 and step == 1:
        return str(x)  # of all pictures
    return w.add("Slice", x, [start or 0], [2**31 - 1 if end is None else min(end, 2**31 - 1)], [dim], [step])


def _index_select(w: Writer, x: Value, dim: int, which: Value) -> str:
    return w.add("Gather", x, which, axis=dim % len(w.shape))


def _roll(w: Writer, x: Value, shifts: Sequence[int], dims: Sequence[int]) -> Value:
    for shift, dim in zip(shifts, dims, strict=True):
        x = w.add("Gather", x, np.roll(np.arange(w.shape[dim]), shift).tolist(), axis=dim % len(w.shape))
    return x


def _select(w: Writer, x: Value, dim: int, index: int) -> str:
    dim = dim % (len(w.shape) + 1)
    return w.reshape(w.add("Gather", x, [index], axis=dim), w.shape)


def _chunk(w: Writer, x: Value, count: int, dim: int = 0) -> list[str]:
    return _split(w, x, w.shape[dim], dim)  # the first is of the size of all but the last


def _split(w: Writer, x: Value, sizes: Any, dim: int = 0) -> list[str]:
    # of equal sizes, the last part may be smaller: Slice ends where x ends
    count = 64 if isinstance(sizes, int) else len(sizes)
    ends = np.cumsum([sizes] * count if isinstance(sizes, int) else sizes).tolist()
    dim = dim % len(w.shape)
    return _Parts(lambda i: w.add("Slice", x, [ends[i - 1] if i else 0], [ends[i]], [dim], [1]))


class _Parts(list[str]):
    """The parts of a value. Each is written when it is asked for."""

    def __init__(self, part: Callable[[int], str]) -> None:
        super().__init__()
        self._part = part

    def __getitem__(self, i: Any) -> Any:
        return self._part(i)


def _unbind(w: Writer, x: Value, dim: int = 0) -> list[str]:
    shape, dim = w.shape, dim % (len(w.shape) + 1)
    return _Parts(lambda i: w.reshape(w.add("Gather", x, [i], axis=dim), shape))


def _clamp(w: Writer, x: Value, low: Any = None, high: Any = None) -> str:
    big = float(np.finfo(np.float32).max)
    return w.add("Clip", x, -big if low is None else float(low), big if high is None else float(high))


def _gelu(w: Writer, x: Value, *, approximate: str = "none") -> str:
    if approximate == "tanh":
        cube = w.add("Mul", w.add("Pow", x, 3.0), 0.044715)
        inner = w.add("Tanh", w.add("Mul", w.add("Add", x, cube), math.sqrt(2 / math.pi)))
    else:
        inner = w.add("Erf", w.add("Mul", x, math.sqrt(0.5)))
    return w.add("Mul", w.add("Mul", x, 0.5), w.add("Add", inner, 1.0))


def _attention(w: Writer, q: Value, k: Value, v: Value, mask: Value = None, dropout: float = 0, causal: bool = False, *,
               scale: Any = None, enable_gqa: bool = False, attn_mask: Value = None) -> str:  # fmt: skip
    mask = attn_mask if mask is None else mask
    if causal or enable_gqa or (isinstance(mask, torch.Tensor) and mask.dtype == torch.bool):
        raise NotImplementedError("that is causal, grouped, or masked by true and false")
    order = list(range(len(w.shape)))
    order[-2], order[-1] = order[-1], order[-2]
    by = float(scale or w.shape[-1] ** -0.5)
    scores = w.add("MatMul", w.add("Mul", q, by), w.add("Transpose", k, perm=order))
    scores = scores if mask is None else w.add("Add", scores, mask)
    return w.add("MatMul", w.add("Softmax", scores, axis=len(order) - 1), v)


def _pad(w: Writer, x: Value, pads: Sequence[int], mode: str = "constant", value: Any = None) -> str:
    if mode != "constant":
        raise NotImplementedError(f"by {mode}")
    rank = len(w.shape)
    both = [[0, 0] for _ in range(rank)]
    for i in range(len(pads) // 2):
        both[rank - 1 - i] = [pads[2 * i], pads[2 * i + 1]]
    return w.add("Pad", x, [side[0] for side in both] + [side[1] for side in both], float(value or 0), mode="constant")


def _same(w: Writer, x: Value, *_: Any, **__: Any) -> Value:
    return x


def _leaky(w: Writer, x: Value, slope: float = 0.01) -> str:
    return w.add("LeakyRelu", x, alpha=float(slope))


def _elu(w: Writer, x: Value, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> str:
    if input_scale != 1:
        raise NotImplementedError("with a scale of its input")
    return w.add("Mul", w.add("Elu", x, alpha=float(alpha)), float(scale))


OPERATIONS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("conv2d", "conv1d"), _convolution),
    "linear": _linear,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "addmm": _addmm,
    **dict.fromkeys(("mm", "bmm", "matmul"), _binary("MatMul")),
    "add": _binary("Add", scaled=True),
    "sub": _binary("Sub", scaled=True),
    "rsub": lambda w, a, b: w.add("Sub", b, a),
    "mul": _binary("Mul"),
    "div": _binary("Div"),
    "maximum": _binary("Max"),
    "minimum": _binary("Min"),
    "pow": lambda w, x, power: w.add("Pow", x, float(power)),
    "square": lambda w, x: w.add("Mul", x, x),
    "rsqrt": lambda w, x: w.add("Div", 1.0, w.add("Sqrt", x)),
    "reciprocal": lambda w, x: w.add("Div", 1.0, x),
    "abs": lambda w, x: w.add("Max", x, w.add("Neg", x)),
    "relu": _unary("Relu"),
    "relu6": _clamp_relu6,
    "sigmoid": _unary("Sigmoid"),
    "tanh": _unary("Tanh"),
    "exp": _unary("Exp"),
    "log": _unary("Log"),
    "neg": _unary("Neg"),
    "sqrt": _unary("Sqrt"),
    "erf": _unary("Erf"),
    "selu": _unary("Selu"),
    "softplus": _unary("Softplus"),
    "silu": lambda w, x: w.add("Mul", x, w.add("Sigmoid", x)),
    "mish": lambda w, x: w.add("Mul", x, w.add("Tanh", w.add("Softplus", x))),
    "hardswish": _unary("HardSwish"),
    "hardsigmoid": lambda w, x: w.add("HardSigmoid", x, alpha=1 / 6, beta=0.5),
    "gelu": _gelu,
    "leaky_relu": _leaky,
    "elu": _elu,
    **dict.fromkeys(("hardtanh", "clamp", "clamp_min"), _clamp),
    "softmax": lambda w, x, dim, *_: w.add("Softmax", x, axis=dim % len(w.shape)),
    "log_softmax": lambda w, x, dim, *_: w.add("LogSoftmax", x, axis=dim % len(w.shape)),
    "mean": _mean,
    "amax": _amax,
    "max_pool2d": _max_pool,
    "avg_pool2d": _avg_pool,
    "adaptive_avg_pool2d": _adaptive_pool,
    "scaled_dot_product_attention": _attention,
    "permute": _permute,
    "transpose": _transpose,
    **dict.fromkeys(("view", "reshape", "_unsafe_view", "squeeze", "unsqueeze", "flatten", "unflatten"), _reshape),
    **dict.fromkeys(
        ("dropout", "feature_dropout", "clone", "alias", "detach", "to", "_to_copy", "lift_fresh_copy", "contiguous",
         "identity"), _same),
    **dict.fromkeys(("cat", "concat"), lambda w, xs, dim=0: w.add("Concat", *xs, axis=dim % len(w.shape))),
    "slice": _slice,
    "select": _select,
    "index_select": _index_select,
    "roll": _roll,
    **dict.fromkeys(("split_with_sizes", "split"), _split),
    "chunk": _chunk,
    "unbind": _unbind,
    **dict.fromkeys(("expand", "expand_as"), _expand),
    "full": _full,
    "pad": _pad,
}  # fmt: skip
