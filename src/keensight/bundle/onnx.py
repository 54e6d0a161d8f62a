"""From a trained model to ONNX: bytes NHWC in, calibrated probabilities NK out, preprocessing inside.

A hand-written table of layers instead of torch's exporter: it takes milliseconds instead of seconds, needs no
onnxscript, and gives a graph that a reviewer can read. A layer that the table lacks is refused by name.

Shape letters: N images, H height, W width, C channels, K classes.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import fx, nn

from keensight.errors import BundleError
from keensight.models.dropout import Dropout
from keensight.models.folding import fold, scale_and_shift
from keensight.models.linear import TwoLogits
from keensight.models.resnet import AddMirrored, MeanOfMirrored
from keensight.models.zoo import Classifier
from keensight.values import Preprocessing
from keensight.version import __version__

OPSET = 17
IR_VERSION = 8


class Graph:
    """An ONNX graph under construction."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, value: torch.Tensor | np.ndarray[Any, Any], name: str) -> str:
        """Add a constant and return its name."""
        array = value.detach().cpu().contiguous().numpy() if isinstance(value, torch.Tensor) else value
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def add(self, op: str, inputs: list[str], name: str, **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name


def to_onnx(model: Classifier, preprocessing: Preprocessing, num_classes: int, temperature: float) -> bytes:
    """Return an ONNX model: ``images`` uint8 NHWC to ``probabilities`` float32 NK, softmax(logits / temperature).

    Raises BundleError for a layer that has no ONNX counterpart here.
    """
    graph = Graph()
    mean, std = model.mean.double().cpu(), model.std.double().cpu()
    pixels = graph.add("Cast", ["images"], "pixels", to=TensorProto.FLOAT)
    pixels = graph.add("Transpose", [pixels], "pixels_nchw", perm=[0, 3, 1, 2])
    scale = graph.weight((1 / (255 * std)).float()[None], "normalisation.scale")
    shift = graph.weight((-mean / std).float()[None], "normalisation.shift")
    pixels = graph.add("Mul", [pixels, scale], "scaled")
    pixels = graph.add("Add", [pixels, shift], "normalised")
    logits = _network(graph, model.network, pixels)
    inverse = graph.weight(np.asarray(1 / temperature, np.float32), "calibration.inverse_temperature")
    calibrated = graph.add("Mul", [logits, inverse], "calibrated_logits")
    graph.add("Softmax", [calibrated], "probabilities", axis=1)
    shape_in: list[str | int | None] = ["N", preprocessing.height, preprocessing.width, preprocessing.channels]
    onnx_graph = helper.make_graph(
        graph.nodes,
        "keensight",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, shape_in)],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", num_classes])],
        graph.weights,
    )
    proto = helper.make_model(
        onnx_graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="keensight",
        producer_version=__version__,
    )
    onnx.checker.check_model(proto, full_check=True)
    return bytes(proto.SerializeToString(deterministic=True))


def _network(graph: Graph, network: nn.Module, images: str) -> str:
    """Trace the network and translate it node by node."""
    network = network.eval()
    traced = fx.GraphModule(network, _Tracer().trace(network))
    modules = dict(traced.named_modules())
    names: dict[fx.Node, str] = {}
    for node in traced.graph.nodes:
        inputs = [names[arg] for arg in node.args if isinstance(arg, fx.Node)]
        if node.op == "placeholder":
            names[node] = images
        elif (norm := _norm_after(node, modules)) is not None:
            names[node] = _conv(graph, modules[str(node.target)], inputs[0], f"network.{node.target}", norm)
        elif node.op == "call_module" and _norm_after(node.args[0], modules) is not None:
            names[node] = inputs[0]  # folded into the convolution before it
        elif node.op == "call_module":
            module = modules[str(node.target)]
            translate = LAYERS.get(type(module))
            if translate is None:
                raise _unknown(type(module).__name__)
            names[node] = translate(graph, module, inputs[0], f"network.{node.target}")
        elif node.op == "call_function" and node.target in FUNCTIONS and len(inputs) == len(node.args):
            names[node] = graph.add(FUNCTIONS[node.target], inputs, f"network.{node.name}")
        elif node.op == "output":
            return inputs[0]
        else:
            raise _unknown(str(node.target))
    raise _unknown("a network without an output")


class _Tracer(fx.Tracer):
    """Stops at every layer that the table below translates, and looks into all others."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in LAYERS or super().is_leaf_module(m, module_qualified_name)


def _norm_after(node: fx.Node, modules: dict[str, nn.Module]) -> nn.BatchNorm2d | None:
    """Return the batch normalisation that alone reads this node, if the node is a convolution: the two are one."""
    if node.op != "call_module" or type(modules[str(node.target)]) is not nn.Conv2d or len(node.users) != 1:
        return None
    (user,) = node.users
    module = modules[str(user.target)] if user.op == "call_module" else None
    return module if isinstance(module, nn.BatchNorm2d) else None


def _conv(graph: Graph, conv: nn.Conv2d, x: str, name: str, norm: nn.BatchNorm2d | None = None) -> str:
    weight, bias = (conv.weight, conv.bias) if norm is None else fold(conv, norm)
    inputs = [x, graph.weight(weight, f"{name}.weight")]
    if bias is not None:
        inputs.append(graph.weight(bias, f"{name}.bias"))
    if isinstance(conv.padding, str) or conv.padding_mode != "zeros":
        raise _unknown(f"Conv2d with padding '{conv.padding}', {conv.padding_mode}")
    return graph.add(
        "Conv", inputs, name, kernel_shape=list(conv.kernel_size), strides=list(conv.stride),
        pads=list(conv.padding) * 2, dilations=list(conv.dilation), group=conv.groups,
    )  # fmt: skip


def _linear(graph: Graph, linear: nn.Linear, x: str, name: str) -> str:
    inputs = [x, graph.weight(linear.weight, f"{name}.weight")]
    if linear.bias is not None:
        inputs.append(graph.weight(linear.bias, f"{name}.bias"))
    return graph.add("Gemm", inputs, name, transB=1)


def _batch_norm(graph: Graph, norm: nn.BatchNorm2d, x: str, name: str) -> str:
    """Write what batch normalisation is once training is over: one multiplication and one addition per channel."""
    scale, shift = scale_and_shift(norm)
    scaled = graph.add("Mul", [x, graph.weight(scale.float()[:, None, None], f"{name}.scale")], f"{name}.scaled")
    return graph.add("Add", [scaled, graph.weight(shift.float()[:, None, None], f"{name}.shift")], name)


def _max_pool(graph: Graph, pool: nn.MaxPool2d, x: str, name: str) -> str:
    return graph.add(
        "MaxPool", [x], name, kernel_shape=_pair(pool.kernel_size), strides=_pair(pool.stride),
        pads=_pair(pool.padding) * 2, dilations=_pair(pool.dilation), ceil_mode=int(pool.ceil_mode),
    )  # fmt: skip


def _global_pool(op: str) -> Callable[[Graph, Any, str, str], str]:
    def pool(graph: Graph, module: Any, x: str, name: str) -> str:
        if _pair(module.output_size) != [1, 1]:
            raise _unknown(f"{type(module).__name__} to {module.output_size}")
        return graph.add(op, [x], name)

    return pool


def _two_logits(graph: Graph, module: nn.Module, x: str, name: str) -> str:
    return graph.add("Pad", [x, graph.weight(np.array([0, 1, 0, 0]), f"{name}.pads")], name)


def _relu6(graph: Graph, relu6: nn.ReLU6, x: str, name: str) -> str:
    low, high = (graph.weight(np.asarray(v, np.float32), f"{name}.{end}") for v, end in ((0, "low"), (6, "high")))
    return graph.add("Clip", [x, low, high], name)


def _zero_pad(graph: Graph, pad: nn.ZeroPad2d, x: str, name: str) -> str:
    left, right, top, bottom = pad.padding
    pads = graph.weight(np.asarray([0, 0, top, left, 0, 0, bottom, right], np.int64), f"{name}.pads")
    return graph.add("Pad", [x, pads], name, mode="constant")


def _add_mirrored(graph: Graph, module: nn.Module, x: str, name: str) -> str:
    ends = {"starts": -1, "ends": -(2**31), "axes": 3, "steps": -1}
    slices = [graph.weight(np.array([at], np.int64), f"{name}.{key}") for key, at in ends.items()]
    return graph.add("Concat", [x, graph.add("Slice", [x, *slices], f"{name}.mirrored")], name, axis=0)


def _mean_of_mirrored(graph: Graph, module: nn.Module, x: str, name: str) -> str:
    shape = graph.weight(np.array([2, -1, 0], np.int64), f"{name}.shape")  # 0: as many classes as there are
    halves = graph.add(
        "Reshape",
        [graph.add("Unsqueeze", [x, graph.weight(np.array([0]), f"{name}.axis")], f"{name}.one"), shape],
        f"{name}.halves",
    )
    return graph.add("ReduceMean", [halves], name, axes=[0], keepdims=0)


def _plain(op: str) -> Callable[[Graph, nn.Module, str, str], str]:
    return lambda graph, module, x, name: graph.add(op, [x], name)


def _nothing(graph: Graph, module: nn.Module, x: str, name: str) -> str:
    return x


LAYERS: dict[type[nn.Module], Callable[[Graph, Any, str, str], str]] = {
    nn.Conv2d: _conv,
    nn.Linear: _linear,
    TwoLogits: _two_logits,
    nn.BatchNorm2d: _batch_norm,
    nn.MaxPool2d: _max_pool,
    nn.AdaptiveAvgPool2d: _global_pool("GlobalAveragePool"),
    nn.AdaptiveMaxPool2d: _global_pool("GlobalMaxPool"),
    nn.ReLU: _plain("Relu"),
    nn.ReLU6: _relu6,
    nn.ZeroPad2d: _zero_pad,
    nn.Sigmoid: _plain("Sigmoid"),
    nn.Tanh: _plain("Tanh"),
    nn.Flatten: _plain("Flatten"),
    AddMirrored: _add_mirrored,
    MeanOfMirrored: _mean_of_mirrored,
    Dropout: _nothing,
    nn.Dropout: _nothing,
    nn.Identity: _nothing,
}
FUNCTIONS: dict[Any, str] = {operator.add: "Add", torch.add: "Add", operator.mul: "Mul", torch.relu: "Relu"}


def _pair(value: int | tuple[int, ...]) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)


def _unknown(what: str) -> BundleError:
    return BundleError(
        f"The model has a layer that cannot be written as ONNX: {what}. The layers that can are "
        f"{', '.join(kind.__name__ for kind in LAYERS)}; use those, or add a row to the table in bundle/onnx.py."
    )
