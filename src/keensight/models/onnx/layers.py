"""How each layer is written as ONNX: one visible table, of functions that add a layer's nodes to a graph.

Shape letters: N images, H height, W width, C channels, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto
from torch import nn

from keensight.errors import BundleError
from keensight.models import foreign
from keensight.models.dropout import Dropout
from keensight.models.folding import scale_and_shift
from keensight.models.foreign import ChannelNorm, HardSigmoid, PaddedPool2d, PReLU
from keensight.models.linear import TwoLogits
from keensight.models.mirror import AddMirrored, MeanOfMirrored
from keensight.models.oddness import MapStatistics
from keensight.models.onnx.graph import Graph
from keensight.models.pooling import MaxPool2d


def _conv(graph: Graph, conv: nn.Conv2d, x: str, name: str) -> str:
    inputs = [x, graph.weight(conv.weight, f"{name}.weight")]
    if conv.bias is not None:
        inputs.append(graph.weight(conv.bias, f"{name}.bias"))
    if isinstance(conv.padding, str) or conv.padding_mode != "zeros":
        raise unknown(f"Conv2d with padding '{conv.padding}', {conv.padding_mode}")
    return graph.add(
        "Conv", inputs, name, kernel_shape=list(conv.kernel_size), strides=list(conv.stride),
        pads=list(conv.padding) * 2, dilations=list(conv.dilation), group=conv.groups,
    )  # fmt: skip


def write_linear(graph: Graph, linear: nn.Linear, x: str, name: str) -> str:
    """Add a linear layer to the graph; return the name of its output."""
    inputs = [x, graph.weight(linear.weight, f"{name}.weight")]
    if linear.bias is not None:
        inputs.append(graph.weight(linear.bias, f"{name}.bias"))
    return graph.add("Gemm", inputs, name, transB=1)


def _batch_norm(graph: Graph, norm: nn.BatchNorm2d | nn.BatchNorm1d, x: str, name: str) -> str:
    """Write batch normalisation in evaluation: one multiplication and one addition per channel."""
    shape = (-1, 1, 1) if isinstance(norm, nn.BatchNorm2d) else (-1,)
    scale, shift = (value.float().view(shape) for value in scale_and_shift(norm))
    scaled = graph.add("Mul", [x, graph.weight(scale, f"{name}.scale")], f"{name}.scaled")
    return graph.add("Add", [scaled, graph.weight(shift, f"{name}.shift")], name)


def _channel_norm(graph: Graph, norm: ChannelNorm, x: str, name: str) -> str:
    """Write layer normalisation over axis 1 in its parts: ONNX has it only for the last axes."""
    mean = graph.add("ReduceMean", [x], f"{name}.mean", axes=[1])
    centred = graph.add("Sub", [x, mean], f"{name}.centred")
    squares = graph.add("Mul", [centred, centred], f"{name}.squares")
    variance = graph.add("ReduceMean", [squares], f"{name}.variance", axes=[1])
    eps = graph.weight(np.asarray(norm.eps, np.float32), f"{name}.eps")
    spread = graph.add("Sqrt", [graph.add("Add", [variance, eps], f"{name}.safe")], f"{name}.spread")
    normal = graph.add("Div", [centred, spread], f"{name}.normal")
    # in a picture, a channel has two axes after it; only the graph knows whether x is a picture or a vector
    shape = graph.weight(np.array([0, len(norm.weight), -1], np.int64), f"{name}.shape")
    flat = graph.add("Reshape", [normal, shape], f"{name}.flat")
    scaled = graph.add("Mul", [flat, graph.weight(norm.weight[:, None], f"{name}.weight")], f"{name}.scaled")
    shifted = graph.add("Add", [scaled, graph.weight(norm.bias[:, None], f"{name}.bias")], f"{name}.shifted")
    return graph.add("Reshape", [shifted, graph.add("Shape", [x], f"{name}.sizes")], name)


def _group_norm(graph: Graph, norm: nn.GroupNorm, x: str, name: str) -> str:
    """Write group normalisation as ONNX' instance normalisation of groups laid out as channels."""
    shape = graph.weight(np.array([0, norm.num_groups, -1], np.int64), f"{name}.shape")
    ones = graph.weight(np.ones(norm.num_groups, np.float32), f"{name}.ones")
    zeros = graph.weight(np.zeros(norm.num_groups, np.float32), f"{name}.zeros")
    grouped = graph.add("Reshape", [x, shape], f"{name}.grouped")
    normal = graph.add("InstanceNormalization", [grouped, ones, zeros], f"{name}.normal", epsilon=norm.eps)
    channels = graph.weight(np.array([0, norm.num_channels, -1], np.int64), f"{name}.channels")
    flat = graph.add("Reshape", [normal, channels], f"{name}.flat")
    scaled = graph.add("Mul", [flat, graph.weight(norm.weight[:, None], f"{name}.weight")], f"{name}.scaled")
    shifted = graph.add("Add", [scaled, graph.weight(norm.bias[:, None], f"{name}.bias")], f"{name}.shifted")
    return graph.add("Reshape", [shifted, graph.add("Shape", [x], f"{name}.sizes")], name)


def _max_pool(graph: Graph, pool: nn.MaxPool2d, x: str, name: str) -> str:
    return graph.add(
        "MaxPool", [x], name, kernel_shape=_pair(pool.kernel_size), strides=_pair(pool.stride),
        pads=_pair(pool.padding) * 2, dilations=_pair(pool.dilation), ceil_mode=int(pool.ceil_mode),
    )  # fmt: skip


def _average_pool(graph: Graph, pool: nn.AvgPool2d, x: str, name: str) -> str:
    if _pair(pool.padding) != [0, 0] or pool.ceil_mode or pool.divisor_override:
        raise unknown("AvgPool2d with padding, ceil_mode or divisor_override")
    return graph.add(
        "AveragePool", [x], name, kernel_shape=_pair(pool.kernel_size), strides=_pair(pool.stride)
    )  # fmt: skip


def _padded_pool(graph: Graph, pool: PaddedPool2d, x: str, name: str) -> str:
    left, right, top, bottom = pool.pads
    op = "MaxPool" if pool.kind == "max" else "AveragePool"  # neither counts padding
    return graph.add(op, [x], name, kernel_shape=pool.kernel_size, strides=pool.stride, pads=[top, left, bottom, right])


def _global_pool(op: str) -> Callable[[Graph, Any, str, str], str]:
    def pool(graph: Graph, module: Any, x: str, name: str) -> str:
        if _pair(module.output_size) != [1, 1]:
            raise unknown(f"{type(module).__name__} to {module.output_size}")
        return graph.add(op, [x], name)

    return pool


def _two_logits(graph: Graph, module: nn.Module, x: str, name: str) -> str:
    return graph.add("Pad", [x, graph.weight(np.array([0, 1, 0, 0]), f"{name}.pads")], name)


def _clip(graph: Graph, clip: nn.Hardtanh, x: str, name: str) -> str:
    ends = {"low": clip.min_val, "high": clip.max_val}
    return graph.add(
        "Clip", [x, *(graph.weight(np.asarray(v, np.float32), f"{name}.{end}") for end, v in ends.items())], name
    )


def _bent_relu(graph: Graph, relu: foreign.BentReLU, x: str, name: str) -> str:
    def number(value: float, what: str) -> str:
        return graph.weight(np.asarray(value, np.float32), f"{name}.{what}")

    threshold = number(relu.threshold, "threshold")
    above = graph.add(
        "Cast", [graph.add("Greater", [x, threshold], f"{name}.above")], f"{name}.gate", to=TensorProto.FLOAT
    )
    kept = graph.add("Mul", [x, above], f"{name}.kept")
    if relu.max_value is not None:
        kept = graph.add("Clip", [kept, number(0, "low"), number(relu.max_value, "high")], f"{name}.clipped")
    below = graph.add("Relu", [graph.add("Sub", [threshold, x], f"{name}.missing")], f"{name}.below")
    return graph.add(
        "Sub", [kept, graph.add("Mul", [below, number(relu.negative_slope, "slope")], f"{name}.bent")], name
    )


def _leaky_relu(graph: Graph, relu: nn.LeakyReLU, x: str, name: str) -> str:
    return graph.add("LeakyRelu", [x], name, alpha=relu.negative_slope)


def _prelu(graph: Graph, relu: PReLU, x: str, name: str) -> str:
    return graph.add("PRelu", [x, graph.weight(relu.weight, f"{name}.weight")], name)


def _elu(graph: Graph, elu: nn.ELU, x: str, name: str) -> str:
    return graph.add("Elu", [x], name, alpha=elu.alpha)


def _hard_sigmoid(graph: Graph, sigmoid: HardSigmoid, x: str, name: str) -> str:
    return graph.add("HardSigmoid", [x], name, alpha=sigmoid.slope, beta=0.5)


def _celu(graph: Graph, celu: nn.CELU, x: str, name: str) -> str:
    return graph.add("Celu", [x], name, alpha=celu.alpha)


def _mish(graph: Graph, mish: nn.Mish, x: str, name: str) -> str:
    return graph.add("Mul", [x, graph.add("Tanh", [graph.add("Softplus", [x], f"{name}.plus")], f"{name}.gate")], name)


def _log_sigmoid(graph: Graph, layer: nn.LogSigmoid, x: str, name: str) -> str:
    minus = graph.add("Softplus", [graph.add("Neg", [x], f"{name}.minus")], f"{name}.plus")
    return graph.add("Neg", [minus], name)


def _tanh_shrink(graph: Graph, layer: nn.Tanhshrink, x: str, name: str) -> str:
    return graph.add("Sub", [x, graph.add("Tanh", [x], f"{name}.tanh")], name)


def _log(graph: Graph, layer: foreign.Log, x: str, name: str) -> str:
    least = graph.weight(np.asarray(1e-30, np.float32), f"{name}.least")
    return graph.add("Log", [graph.add("Clip", [x, least], f"{name}.clipped")], name)


def _silu(graph: Graph, silu: nn.SiLU, x: str, name: str) -> str:
    return graph.add("Mul", [x, graph.add("Sigmoid", [x], f"{name}.sigmoid")], name)


def _gelu(graph: Graph, gelu: nn.GELU, x: str, name: str) -> str:
    """Write x times the normal distribution's integral, or its approximation by tanh (arXiv:1606.08415)."""

    def number(value: float, what: str) -> str:
        return graph.weight(np.asarray(value, np.float32), f"{name}.{what}")

    if gelu.approximate == "tanh":
        cube = graph.add("Pow", [x, number(3, "three")], f"{name}.cube")
        bent = graph.add("Mul", [cube, number(0.044715, "bend")], f"{name}.bent")
        inner = graph.add("Mul", [graph.add("Add", [x, bent], f"{name}.sum"), number((2 / np.pi) ** 0.5, "rate")],
                          f"{name}.inner")  # fmt: skip
    else:
        inner = graph.add("Mul", [x, number(0.5**0.5, "rate")], f"{name}.inner")
    integral = graph.add("Tanh" if gelu.approximate == "tanh" else "Erf", [inner], f"{name}.integral")
    share = graph.add("Add", [integral, number(1, "one")], f"{name}.share")
    return graph.add("Mul", [graph.add("Mul", [x, number(0.5, "half")], f"{name}.half_x"), share], name)


def _softplus(graph: Graph, softplus: nn.Softplus, x: str, name: str) -> str:
    if softplus.beta != 1:
        raise unknown(f"Softplus with beta {softplus.beta}")
    return graph.add("Softplus", [x], name)


def _softmax(graph: Graph, softmax: nn.Softmax | nn.LogSoftmax, x: str, name: str) -> str:
    if softmax.dim != 1:
        raise unknown(f"Softmax over the dimension {softmax.dim}")
    return graph.add(type(softmax).__name__, [x], name, axis=1)


def _permute(graph: Graph, permute: foreign.Permute, x: str, name: str) -> str:
    return graph.add("Transpose", [x], name, perm=[0, *permute.dims])


def _channel_order(graph: Graph, layer: foreign.ChannelOrder, x: str, name: str) -> str:
    return graph.add("Gather", [x, graph.weight(np.array(layer.order, np.int64), f"{name}.order")], name, axis=1)


def _resize(graph: Graph, resize: foreign.Resize2d, x: str, name: str) -> str:
    """Write what each row, and then each column, is made of: unlike ONNX' Resize, its size shows in the graph."""
    for axis, at, what in ((2, 0, "rows"), (3, 1, "columns")):
        before, after = resize.from_size[at], resize.size[at]
        place = (np.arange(after) + 0.5) * before / after  # where its middle lies
        if not resize.bilinear:
            x = _taken(graph, x, place.astype(np.int64), axis, name if axis == 3 else f"{name}.{what}")
            continue
        place = np.maximum(place - 0.5, 0)
        low = np.minimum(place.astype(np.int64), before - 1)
        far = (place - low).astype(np.float32).reshape((-1, 1) if axis == 2 else -1)
        near = graph.weight(1 - far, f"{name}.{what}.near")
        share = graph.weight(far, f"{name}.{what}.far")
        one = _taken(graph, x, low, axis, f"{name}.{what}.first")
        other = _taken(graph, x, np.minimum(low + 1, before - 1), axis, f"{name}.{what}.second")
        parts = [graph.add("Mul", [part, weight], f"{part}.share") for part, weight in ((one, near), (other, share))]
        x = graph.add("Add", parts, name if axis == 3 else f"{name}.{what}")
    return x


def _taken(graph: Graph, x: str, which: NDArray[np.int64], axis: int, name: str) -> str:
    return graph.add("Gather", [x, graph.weight(which, f"{name}.which")], name, axis=axis)


def _unflatten(graph: Graph, unflatten: nn.Unflatten, x: str, name: str) -> str:
    shape = graph.weight(np.array([0, *unflatten.unflattened_size], np.int64), f"{name}.shape")
    return graph.add("Reshape", [x, shape], name)


def _zero_pad(graph: Graph, pad: nn.ZeroPad2d, x: str, name: str) -> str:
    left, right, top, bottom = pad.padding
    pads = graph.weight(np.asarray([0, 0, top, left, 0, 0, bottom, right], np.int64), f"{name}.pads")
    return graph.add("Pad", [x, pads], name, mode="constant")


def _add_mirrored(graph: Graph, module: nn.Module, x: str, name: str) -> str:
    ends = {"starts": -1, "ends": -(2**31), "axes": 3, "steps": -1}
    slices = [graph.weight(np.array([at], np.int64), f"{name}.{key}") for key, at in ends.items()]
    return graph.add("Concat", [x, graph.add("Slice", [x, *slices], f"{name}.mirrored")], name, axis=0)


def _mean_of_mirrored(graph: Graph, module: nn.Module, x: str, name: str) -> str:
    shape = graph.weight(np.array([2, -1, 0], np.int64), f"{name}.shape")  # 0: keeps the number of classes
    halves = graph.add(
        "Reshape",
        [graph.add("Unsqueeze", [x, graph.weight(np.array([0]), f"{name}.axis")], f"{name}.one"), shape],
        f"{name}.halves",
    )
    return graph.add("ReduceMean", [halves], name, axes=[0], keepdims=0)


def _map_statistics(graph: Graph, module: MapStatistics, x: str, name: str) -> str:
    if module.every > 1:
        places = {"starts": 0, "ends": 2**31 - 1, "axes": (2, 3), "steps": module.every}
        slices = [graph.weight(np.full(2, at, np.int64), f"{name}.{key}") for key, at in places.items()]
        x = graph.add("Slice", [x, *slices], f"{name}.some")
    mean = graph.add("ReduceMean", [x], f"{name}.mean", axes=[2, 3])
    away = graph.add("Sub", [x, mean], f"{name}.away")
    squares = graph.add("Mul", [away, away], f"{name}.squares")
    spread = graph.add("ReduceMean", [squares], f"{name}.spread", axes=[2, 3], keepdims=0)
    deviation = graph.add("Sqrt", [spread], f"{name}.deviation")
    most = graph.add("ReduceMax", [x], f"{name}.most", axes=[2, 3], keepdims=0)
    return graph.add("Concat", [graph.add("Flatten", [mean], f"{name}.flat"), deviation, most], name, axis=1)


def _joint(op: str) -> Callable[[Graph, Any, list[str], str], str]:
    """Return a function that joins two or more steps, one after the other."""

    def join(graph: Graph, module: Any, inputs: list[str], name: str) -> str:
        answer, *more = inputs
        for i, each in enumerate(more):
            answer = graph.add(op, [answer, each], name if i == len(more) - 1 else f"{name}.{i}")
        return answer

    return join


def _average(graph: Graph, module: nn.Module, inputs: list[str], name: str) -> str:
    total = _joint("Add")(graph, module, inputs, f"{name}.sum")
    share = graph.weight(np.asarray(1 / len(inputs), np.float32), f"{name}.share")
    return graph.add("Mul", [total, share], name)


def _concatenate(graph: Graph, module: foreign.Concatenate, inputs: list[str], name: str) -> str:
    return graph.add("Concat", inputs, name, axis=module.dim)


def _plain(op: str) -> Callable[[Graph, nn.Module, str, str], str]:
    return lambda graph, module, x, name: graph.add(op, [x], name)


def _nothing(graph: Graph, module: nn.Module, x: str, name: str) -> str:
    return x


LAYERS: dict[type[nn.Module], Callable[[Graph, Any, str, str], str]] = {
    nn.Conv2d: _conv,
    nn.Linear: write_linear,
    TwoLogits: _two_logits,
    nn.BatchNorm2d: _batch_norm,
    nn.BatchNorm1d: _batch_norm,
    nn.GroupNorm: _group_norm,
    ChannelNorm: _channel_norm,
    MaxPool2d: _max_pool,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _average_pool,
    PaddedPool2d: _padded_pool,
    nn.AdaptiveAvgPool2d: _global_pool("GlobalAveragePool"),
    nn.AdaptiveMaxPool2d: _global_pool("GlobalMaxPool"),
    nn.ReLU: _plain("Relu"),
    nn.ReLU6: _clip,
    nn.Hardtanh: _clip,
    foreign.BentReLU: _bent_relu,
    nn.LeakyReLU: _leaky_relu,
    PReLU: _prelu,
    nn.ELU: _elu,
    nn.CELU: _celu,
    nn.SELU: _plain("Selu"),
    nn.GELU: _gelu,
    nn.SiLU: _silu,
    nn.Mish: _mish,
    nn.Hardswish: _plain("HardSwish"),
    nn.Softplus: _softplus,
    nn.Softsign: _plain("Softsign"),
    nn.ZeroPad2d: _zero_pad,
    foreign.Resize2d: _resize,
    foreign.ChannelOrder: _channel_order,
    foreign.Permute: _permute,
    nn.Sigmoid: _plain("Sigmoid"),
    nn.LogSigmoid: _log_sigmoid,
    HardSigmoid: _hard_sigmoid,
    nn.Tanh: _plain("Tanh"),
    nn.Tanhshrink: _tanh_shrink,
    foreign.Exponential: _plain("Exp"),
    foreign.SquareRoot: _plain("Sqrt"),
    foreign.Log: _log,
    nn.Softmax: _softmax,
    nn.LogSoftmax: _softmax,
    nn.Flatten: _plain("Flatten"),
    nn.Unflatten: _unflatten,
    AddMirrored: _add_mirrored,
    MeanOfMirrored: _mean_of_mirrored,
    MapStatistics: _map_statistics,
    Dropout: _nothing,
    nn.Dropout: _nothing,
    nn.Identity: _nothing,
}
JOINTS: dict[type[nn.Module], Callable[[Graph, Any, list[str], str], str]] = {  # of two steps and more
    foreign.Add: _joint("Add"),
    foreign.Subtract: _joint("Sub"),
    foreign.Multiply: _joint("Mul"),
    foreign.Divide: _joint("Div"),
    foreign.Average: _average,
    foreign.Maximum: _joint("Max"),
    foreign.Minimum: _joint("Min"),
    foreign.Concatenate: _concatenate,
}


def _pair(value: int | tuple[int, ...]) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)


def unknown(what: str) -> BundleError:
    """Return the refusal of a layer that the table lacks, or of an option that it cannot write."""
    return BundleError(
        f"The model has a layer that cannot be written as ONNX: {what}. The layers that can are "
        f"{', '.join(kind.__name__ for kind in LAYERS)}; use those, or add a row to the table in "
        "models/onnx/layers.py."
    )
