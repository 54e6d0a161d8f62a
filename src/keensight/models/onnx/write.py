"""From a trained model to ONNX: bytes NHWC in, calibrated probabilities NK out, preprocessing inside.

A hand-written table of layers instead of torch's exporter: it takes milliseconds instead of seconds, needs no
onnxscript, and gives a graph that a reviewer can read. A layer that the table lacks is refused by name.

Shape letters: N images, H height, W width, C channels, K classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from keensight.errors import BundleError, RecipeError
from keensight.models.classifier import Classifier
from keensight.models.graph import INPUT
from keensight.models.oddness import LEAST_NORM, Oddness, oddness_steps
from keensight.models.onnx.exported import write_exported
from keensight.models.onnx.graph import Graph
from keensight.models.onnx.layers import JOINTS, LAYERS, unknown, write_linear
from keensight.models.onnx_network import NORMALISED, SCALE, SHIFT, TEMPERATURE
from keensight.models.trace import Step, trace, without_norms
from keensight.values import Preprocessing
from keensight.version import __version__

OPSET = 17
IR_VERSION = 8
FEATURES = "features"
ODDNESS = "oddness"  # the second output, and how the names of its parts begin


def to_onnx(
    model: Classifier,
    preprocessing: Preprocessing,
    num_classes: int,
    temperature: float,
    labels: Sequence[str] = (),
    oddness: Oddness | None = None,
) -> bytes:
    """Return an ONNX model: ``images`` uint8 NHWC to ``probabilities`` float32 NK, softmax(logits / temperature).

    Its own metadata, for programs without a bundle, has the `labels`, a JSON list in the order of the probabilities,
    and the `preprocessing`, a JSON object.
    With `oddness`, its second output is ``oddness`` float32 N. The model is switched to evaluation.
    Raises BundleError for a layer that has no ONNX counterpart here.
    """
    graph = Graph()
    names = {INPUT: _pixels(graph, model)}
    logits = _network(graph, model, model.network, names, preprocessing)
    inverse = graph.weight(_inverse(temperature), TEMPERATURE)
    calibrated = graph.add("Mul", [logits, inverse], "calibrated_logits")
    graph.add("Softmax", [calibrated], "probabilities", axis=1)
    outputs = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", num_classes])]
    if oddness is not None:
        side = min(preprocessing.height, preprocessing.width) if oddness.num_statistics else None
        _oddness(graph, oddness, _features(graph, model.network, names, side))
        outputs.append(helper.make_tensor_value_info("oddness", TensorProto.FLOAT, ["N"]))
    size = {name: value for name, value in asdict(preprocessing).items() if value is not None}
    told = {"preprocessing": {**size, "resample": "bilinear"}} | ({"labels": labels} if labels else {})
    return _checked(graph, preprocessing, outputs, told)


def features_to_onnx(network: nn.Module, model: Classifier, size: Preprocessing) -> bytes:
    """Return an ONNX model of a backbone in a classifier: ``images`` uint8 NHWC to ``features`` float32 NF.

    Raises BundleError as `to_onnx` does.
    """
    graph = Graph()
    answer = _network(graph, model, network, {INPUT: _pixels(graph, model)}, size)
    graph.add("Identity", [answer], FEATURES)
    return _checked(graph, size, [helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, ["N", "F"])], {})


def _pixels(graph: Graph, model: Classifier) -> str:
    """Write what makes the network's input of bytes, and return its name."""
    mean, std = model.mean.cpu().double(), model.std.cpu().double()
    pixels = graph.add("Cast", ["images"], "pixels", to=TensorProto.FLOAT)
    pixels = graph.add("Transpose", [pixels], "pixels_nchw", perm=[0, 3, 1, 2])
    scale = graph.weight((1 / (255 * std)).float()[None], SCALE)
    shift = graph.weight((-mean / std).float()[None], SHIFT)
    pixels = graph.add("Mul", [pixels, scale], "scaled")
    return graph.add("Add", [pixels, shift], NORMALISED)


def _checked(
    graph: Graph, size: Preprocessing, outputs: Sequence[onnx.ValueInfoProto], told: Mapping[str, object]
) -> bytes:
    """Return the bytes of a whole model; `told` is its metadata."""
    shape_in: list[str | int | None] = ["N", size.height, size.width, size.channels]
    onnx_graph = helper.make_graph(
        graph.nodes,
        "keensight",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, shape_in)],
        outputs,
        graph.weights,
    )
    proto = helper.make_model(
        onnx_graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="keensight",
        producer_version=__version__,
    )
    helper.set_model_props(proto, {key: json.dumps(value, ensure_ascii=False) for key, value in told.items()})
    onnx.checker.check_model(proto, full_check=True)
    return bytes(proto.SerializeToString(deterministic=True))


def with_temperature(model: bytes, temperature: float) -> bytes:
    """Return a model that `to_onnx` wrote, with another temperature: one number differs.

    Raises BundleError for a model that `to_onnx` did not write.
    """
    proto = onnx.load_from_string(model)
    weights = [each for each in proto.graph.initializer if each.name == TEMPERATURE]
    if len(weights) != 1:
        raise BundleError(f"The ONNX model has no constant {TEMPERATURE}. Give one that keensight has written.")
    weights[0].CopyFrom(numpy_helper.from_array(_inverse(temperature), TEMPERATURE))
    return bytes(proto.SerializeToString(deterministic=True))


def _inverse(temperature: float) -> NDArray[np.float32]:
    return np.asarray(1 / temperature, np.float32)


def _network(graph: Graph, model: Classifier, network: nn.Module, names: dict[str, str], size: Preprocessing) -> str:
    """Translate a model's network, or a part of it that sees pictures; return the name of its answer.

    It is translated by its layers, or by its operations where this table lacks one. `names` learns the names of its
    steps, if it is translated by layers.
    """
    before, images = (len(graph.nodes), len(graph.weights)), names[INPUT]
    try:
        return _by_layers(graph, without_norms(trace(network)), names)
    except (BundleError, RecipeError):
        del graph.nodes[before[0] :], graph.weights[before[1] :]
        names.clear()
        return write_exported(graph, network, images, (len(model.mean), size.height, size.width))


def _features(graph: Graph, network: nn.Module, names: dict[str, str], side: int | None) -> str:
    """Return the name of what oddness reads: the network's features, part of the graph but perhaps for their mean.

    Statistics are behind them, unless `side` is None: see `oddness_steps`.

    Raises BundleError if the graph was written by operations, and has no steps.
    """
    if not names:
        raise unknown("one whose operations alone are known, so its features have no name")
    steps = oddness_steps(network, side)
    known = [step for step in steps if step.name in names]
    start = names[known[-1].name if known else INPUT]
    return _by_layers(graph, steps[len(known) :], names) if len(known) < len(steps) else start


def _oddness(graph: Graph, module: Oddness, features: str) -> None:
    """Write `Oddness.forward`; tests of the same evidence are the columns of one matrix."""
    prefix, statistics = ODDNESS, ""
    if module.num_statistics:
        statistics = _part(graph, features, module.num_features, 2**31 - 1, "behind")
        features = _part(graph, features, 0, module.num_features, "front")
    squares = graph.add("Mul", [features, features], f"{prefix}.squares")
    mean = graph.add("ReduceMean", [squares], f"{prefix}.mean_square", axes=[1])
    least = LEAST_NORM / module.hidden.in_features**0.5
    root = graph.add("Sqrt", [mean], f"{prefix}.root")
    safe = graph.add("Max", [root, graph.weight(np.asarray(least, np.float32), f"{prefix}.least")], f"{prefix}.length")
    unit = graph.add("Div", [features, safe], f"{prefix}.directions")
    directions = module.prototypes_PF / module.hidden.in_features**0.5  # as the mean is not the sum
    near = graph.add("Gemm", [unit, graph.weight(directions, f"{prefix}.prototypes")], f"{prefix}.near", transB=1)
    nearest = graph.add("ReduceMax", [near], f"{prefix}.nearest", axes=[1])
    far = graph.add("Sub", [graph.weight(np.asarray(1, np.float32), f"{prefix}.one"), nearest], f"{prefix}.far")
    cells = graph.add("Relu", [write_linear(graph, module.hidden, features, f"{prefix}.hidden")], f"{prefix}.cells")
    background = write_linear(graph, module.background, cells, f"{prefix}.background")
    scaled = _scaled(graph, module, graph.add("Concat", [far, background], f"{prefix}.tests", axis=1), slice(0, 2))
    if not module.num_statistics:
        graph.add("ReduceMax", [scaled], ODDNESS, axes=[1], keepdims=0)
        return
    worse = graph.add("ReduceMax", [scaled], f"{prefix}.worse", axes=[1], keepdims=1)
    third = _scaled(graph, module, _unusual(graph, module, statistics), slice(2, 3))
    both = graph.add("Relu", [graph.add("Concat", [worse, third], f"{prefix}.both", axis=1)], f"{prefix}.above")
    graph.add("ReduceMean", [both], ODDNESS, axes=[1], keepdims=0)


def _scaled(graph: Graph, module: Oddness, tests: str, which: slice) -> str:
    zeros = graph.weight(module.zeros[which], f"{tests}.zeros")
    centred = graph.add("Sub", [tests, zeros], f"{tests}.centred")
    return graph.add("Mul", [centred, graph.weight(module.rates[which], f"{tests}.rates")], f"{tests}.scaled")


def _unusual(graph: Graph, module: Oddness, statistics: str) -> str:
    prefix = f"{ODDNESS}.statistics"
    centred = graph.add("Sub", [statistics, graph.weight(module.usual_S, f"{prefix}.usual")], f"{prefix}.centred")
    whitening = graph.weight(module.whitening_SS, f"{prefix}.whitening")
    white = graph.add("Gemm", [centred, whitening], f"{prefix}.white", transB=1)
    squares = graph.add("Mul", [white, white], f"{prefix}.squares")
    mean = graph.add("ReduceMean", [squares], f"{prefix}.mean_square", axes=[1])
    return graph.add("Sqrt", [mean], f"{prefix}.unusual")


def _part(graph: Graph, x: str, start: int, end: int, what: str) -> str:
    """Take columns from `start` to before `end`."""
    places = {"starts": start, "ends": end, "axes": 1, "steps": 1}
    name = f"{ODDNESS}.{what}"
    slices = [graph.weight(np.array([at], np.int64), f"{name}.{key}") for key, at in places.items()]
    return graph.add("Slice", [x, *slices], name)


def _by_layers(graph: Graph, steps: Sequence[Step], names: dict[str, str]) -> str:
    """Translate a network step by step, and return the name of its answer; `names` learns those of all steps."""
    answer = names[INPUT]
    for step in steps:
        inputs, name, kind = [names[each] for each in step.inputs], f"network.{step.name}", type(step.layer)
        if kind in JOINTS:
            answer = JOINTS[kind](graph, step.layer, inputs, name)
        elif kind in LAYERS and len(inputs) == 1:
            answer = LAYERS[kind](graph, step.layer, inputs[0], name)
        else:
            raise unknown(f"{step.what}, as '{step.name}'")
        names[step.name] = answer
    return answer
