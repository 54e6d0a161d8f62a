"""Imports a Keras model from a file as a classifier: a chain of layers, its weights, and the preprocessing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from keensight.errors import ModelFileError
from keensight.interop.keras.file import KerasFile, open_keras
from keensight.interop.keras.layers import IDENTITIES, Building, UnfitError, add_layer, check_layer
from keensight.models.chain import chain
from keensight.models.classifier import Classifier
from keensight.names import odd_name
from keensight.values import FloatArray, Preprocessing

PIXELS = {"0-1": (0.0, 1.0), "0-255": (0.0, 255.0), "-1-1": (-1.0, 1.0)}
CONTAINERS = ("Sequential", "Functional", "Model")
MAX_NESTING = 8
POLICIES = ("float32", "float64", "float16", "bfloat16", "mixed_float16", "mixed_bfloat16")
HOME = ("keras", "tf_keras", "tensorflow")  # packages with Keras' own classes


@dataclass(frozen=True, slots=True, eq=False)
class Imported:
    """An imported Keras model, and notes on what the file does not say and was assumed.

    `network` are the steps of the `chain` that `model` holds, `pixels` the range of the pixels that the Keras model
    reads.
    """

    model: Classifier
    network: list[dict[str, Any]]
    preprocessing: Preprocessing
    num_classes: int
    pixels: str
    keras: str
    sha256: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer, and its place in the file; see `keras_file.Weights`."""

    kind: str
    config: Mapping[str, Any]
    trail: tuple[tuple[str, int], ...]
    names: tuple[str, ...]


def read_keras(path: str | Path, pixels: str | None = None) -> Imported:
    """Read a Keras model from a ``.h5`` or ``.keras`` file: Sequential, or a plain chain of layers.

    The classifier maps images float NCHW in [0, 1] to logits NK: a softmax at the end is left out, and one sigmoid
    cell z becomes the logits (0, z). `pixels` is the range that the model was trained with, a key of `PIXELS`; if None,
    the first layer shows it, and otherwise 0 to 1 is assumed.

    Raises ModelFileError for any other file, for an unknown layer, and for anything else that cannot be imported.
    """
    path = Path(path)
    try:
        with open_keras(path) as file:
            return _imported(file, pixels)
    except ModelFileError as error:
        raise ModelFileError(f"{path} cannot be imported: {error}") from error


def _imported(file: KerasFile, pixels: str | None) -> Imported:
    _check_home(file.config, "the model")
    layers = list(_flat(file.config, (), (), 0))
    _check_policies(layers)
    preprocessing, building, notes = _start(file, layers)
    for layer in layers:
        with_weights = _taking(file, layer)
        try:
            add_layer(building, layer.kind, layer.config, with_weights)
        except UnfitError as error:
            raise ModelFileError(f"its layer {_named(layer.names[-1], layer.kind)} {error}") from error
    notes += _end(building)
    if pixels is None:
        pixels = "0-255" if building.expects_bytes else "0-1"
        notes.append(_PIXEL_NOTES[building.expects_bytes])
    if any(_policy(layer) != "float32" for layer in layers):
        notes.append("It was trained in another precision than float32, which is used here: the last digits differ.")
    model = _classifier(building, preprocessing, PIXELS[pixels])
    (num_classes,) = building.shape
    return Imported(model, building.steps, preprocessing, num_classes, pixels, file.version, file.sha256, tuple(notes))


_OVERRIDE = "Where that is wrong, import it again with --pixels 0-1, 0-255 or -1-1."
_PIXEL_NOTES = {
    None: "Nothing in the file says what pixels it was trained with; 0 to 1 is assumed, as after division by 255. "
    + _OVERRIDE,
    True: f"Its first layer is made for pixels of 0 to 255, so it gets those. {_OVERRIDE}",
    False: f"Its first layer is made for pixels of 0 to 1, so it gets those. {_OVERRIDE}",
}


def _flat(table: Mapping[str, Any], trail: Any, names: Any, depth: int) -> Iterator[Layer]:
    """Yield the layers of a model, and of the models in it, in order, each of them checked by name."""
    config = table["config"]
    rows = config if isinstance(config, list) else config["layers"]
    if table["class_name"] != "Sequential":
        rows = _in_a_row(config)
    if depth > MAX_NESTING:
        raise ModelFileError(
            f"its models are nested deeper than {MAX_NESTING}. Flatten it in Keras, and save it again."
        )
    counts: Counter[str] = Counter()
    for row in rows:
        kind, name = row["class_name"], row["config"]["name"]
        if not isinstance(kind, str) or not isinstance(name, str):
            raise ModelFileError("one of its layers has a name that is not text. Save it again with Keras.")
        _check_home(row, f"its layer {_named(name, kind)}")
        place = (*trail, (kind, counts[kind])), (*names, name)
        counts[kind] += 1
        if kind in CONTAINERS:
            yield from _flat(row, *place, depth + 1)
        elif kind != "InputLayer":
            try:
                check_layer(kind, row["config"])
            except UnfitError as error:
                raise ModelFileError(f"its layer {_named(name, kind)} {error}") from error
            yield Layer(kind, row["config"], *place)


def _check_home(row: Mapping[str, Any], what: str) -> None:
    """Raise ModelFileError, by name, for code in a configuration, and for a class that is not Keras' own."""
    kind, module, registered = row["class_name"], row.get("module"), row.get("registered_name")
    if code := next(
        _functions({"class_name": kind, "config": row.get("config") if kind not in CONTAINERS else 0}), None
    ):
        raise ModelFileError(
            f"{what} holds code ({_shown(code)}), and code from a file is never run. Replace it by layers of Keras' "
            "own, and save the model again."
        )
    outside = ">" in str(kind) or (module is not None and str(module).split(".")[0] not in HOME)
    if outside or registered not in (None, kind) or (what == "the model" and kind not in CONTAINERS):
        raise ModelFileError(
            f"{what} is of the custom class '{_shown(str(registered or kind))}', which only its own code defines. "
            "Sequential models of Keras' own layers are accepted; build it from those, and copy the weights over."
        )


def _functions(value: Any) -> Iterator[str]:
    """Yield the names of functions and lambdas anywhere in a configuration."""
    if isinstance(value, dict):
        kind = value.get("class_name")
        if kind in ("__lambda__", "Lambda", "TFOpLambda", "SlicingOpLambda"):
            yield "a Lambda"
        elif kind == "function":
            yield f"the function {value.get('config')}"
        for each in value.values():
            yield from _functions(each)
    elif isinstance(value, list):
        for each in value:
            yield from _functions(each)


def _in_a_row(config: Mapping[str, Any]) -> list[Any]:
    """Return the layers of a functional model, each of which must read the one before."""
    rows, before = config["layers"], None
    for row in rows:
        read = [source for node in row["inbound_nodes"] for source in _sources(node)]
        if read != ([] if before is None else [before]) or (before is None) != (row["class_name"] == "InputLayer"):
            raise ModelFileError(
                f"it is a functional model whose layer '{_shown(str(row['config']['name']))}' does not just read the "
                "one before. Sequential models are accepted, and functional ones without branches; import one of those."
            )
        before = row["config"]["name"]
    return list(rows)


def _sources(node: Any) -> Iterator[str]:
    """Yield the names of the layers that a node reads, in Keras 2's format or Keras 3's."""
    if isinstance(node, dict):
        if set(node["kwargs"]) - {"training", "mask"} or any(node["kwargs"].values()):
            yield "something with options of its own"
        for tensor in node["args"]:
            yield tensor["config"]["keras_history"][0] if isinstance(tensor, dict) else "a list"
    else:
        for name, _, _, *options in node:
            yield (
                name
                if not any(value for each in options for value in each.values())
                else "something with options of its own"
            )


def _start(file: KerasFile, layers: list[Layer]) -> tuple[Preprocessing, Building, list[str]]:
    """Return the preprocessing of pictures, the network's beginning, and what was assumed."""
    shape, bytes_come = _input(file.config)
    if not shape or not all(type(size) is int and size >= 1 for size in shape):
        raise ModelFileError(
            f"its input {shape} has no fixed size. Pictures of one size are accepted; build the model again with "
            "keras.Input((height, width, channels)) in front, load its weights, and save it."
        )
    notes: list[str] = []
    flat = len(shape) == 1
    if flat:
        height, width, channels = _picture_of(shape[0], layers)
        notes.append(
            f"It reads {shape[0]:,} numbers in a row; they are taken to be a picture of {height}x{width} in "
            f"{'grey' if channels == 1 else 'colour'}, row by row."
        )
    else:
        height, width, channels = (*shape, 1)[:3]
    if len(shape) > 3 or channels not in (1, 3) or max(height, width) > 4096:
        raise ModelFileError(
            f"its input is {shape}. Pictures of height, width and 1 or 3 channels, up to 4096x4096, are accepted; "
            "import a model of those."
        )
    major = file.version.split(".")[0]
    building = Building((height, width, channels) if flat else tuple(shape), int(major) if major.isdigit() else 2)
    building.expects_bytes = True if bytes_come else None
    if flat:
        add_layer(building, "Flatten", {}, lambda wanted: [])
    return Preprocessing(height, width, channels), building, notes  # type: ignore[arg-type]


def _input(config: Mapping[str, Any]) -> tuple[list[Any], bool]:
    """Return the shape of one picture, and whether its numbers are integers."""
    rows = config["config"] if isinstance(config["config"], list) else config["config"]["layers"]
    first = rows[0]["config"]
    given = first.get("batch_shape") or first.get("batch_input_shape")
    if given is None and rows[0]["class_name"] in CONTAINERS:
        return _input(rows[0])
    if given is None and isinstance(config["config"], dict):
        given = config["config"].get("build_input_shape")
    whole = rows[0]["class_name"] == "InputLayer" and "int" in str(first.get("dtype"))
    return list(given or [None])[1:], whole


def _picture_of(numbers: int, layers: list[Layer]) -> tuple[int, int, int]:
    """Return the HWC of a flattened picture: that of a Reshape in front, else a square, grey or colour."""
    first = next((layer for layer in layers if layer.kind not in IDENTITIES), None)
    if first is not None and first.kind == "Reshape" and len(first.config["target_shape"]) in (2, 3):
        height, width, channels = (*first.config["target_shape"], 1)[:3]
        if height * width * channels == numbers and min(height, width, channels) > 0:
            return height, width, channels
    for channels in (1, 3):
        side = math.isqrt(numbers // channels)
        if side * side * channels == numbers:
            return side, side, channels
    raise ModelFileError(
        f"it reads {numbers:,} numbers in a row, which is not a square picture. Put keras.layers.Reshape((height, "
        "width, channels)) in front of it, and save it again."
    )


def _taking(file: KerasFile, layer: Layer) -> Any:
    return lambda wanted: file.weights.of(layer.trail, layer.names, wanted)


def _end(building: Building) -> list[str]:
    """Remove the last activation, so that logits NK are left, and return what was assumed."""
    last = next((i for i in reversed(range(len(building.steps))) if building.steps[i]["layer"] != "Flatten"), -1)
    kind = building.steps[last]["layer"] if last >= 0 else "no layer"
    if len(building.shape) != 1 or building.flat_from is not None:
        raise ModelFileError(
            f"it answers with {'x'.join(map(str, building.shape))} numbers for a picture, not with one for each "
            "class. Import a classifier, such as one that ends in Dense(classes, activation='softmax')."
        )
    (cells,) = building.shape
    is_end = kind in ("Softmax", "Sigmoid")
    if is_end:
        del building.steps[last]  # only Flatten layers follow, so the weights keep their numbers
    elif kind not in ("Linear", "Conv2d", "AdaptiveAvgPool2d", "AdaptiveMaxPool2d", "BatchNorm1d"):
        raise ModelFileError(
            f"its last layer is a {kind}, so its answers are neither probabilities nor logits. A last layer with "
            "softmax, sigmoid (one cell) or no activation is accepted."
        )
    if kind == "Softmax" and cells == 1:
        raise ModelFileError(
            "it ends in a softmax over one cell, which always answers 1. Train it with a sigmoid, or with two cells."
        )
    if kind == "Sigmoid" and cells > 1:
        raise ModelFileError(
            f"it ends in {cells} sigmoid cells, so a picture may have several labels. Only one label per picture is "
            "accepted: train it with a softmax, or with one sigmoid cell."
        )
    if cells == 1:
        building.add("TwoLogits")
        building.shape = (2,)
    if is_end:
        return []
    return [
        "Its last layer has no activation: its answers are taken to be logits, "
        + ("of the second class, as of a loss with from_logits=True." if cells == 1 else "as of from_logits=True.")
    ]


def _classifier(building: Building, preprocessing: Preprocessing, pixels: tuple[float, float]) -> Classifier:
    low, high = pixels
    scale = np.broadcast_to(building.scale * (high - low), preprocessing.channels)
    offset = np.broadcast_to(building.scale * low + building.offset, preprocessing.channels)
    if not scale.all():
        raise ModelFileError(
            "it multiplies pixels with 0, so that nothing is left of them. Save it with another scale."
        )
    arrays: dict[str, FloatArray] = {f"network.{name}": array for name, array in building.weights.items()}
    arrays |= {"mean": (-offset / scale)[:, None, None], "std": (1 / scale)[:, None, None]}
    state = {name: torch.tensor(np.ascontiguousarray(array, np.float32)) for name, array in arrays.items()}
    with torch.device("meta"):  # so that no weights are drawn only to be overwritten
        model = Classifier(chain(building.steps), preprocessing.channels)
    counts = [name for name in model.state_dict() if name.endswith("num_batches_tracked")]
    model.load_state_dict(state | {name: torch.tensor(0) for name in counts}, assign=True)
    return model.eval()


def _check_policies(layers: list[Layer]) -> None:
    for layer in layers:
        if (policy := _policy(layer)) not in POLICIES:
            raise ModelFileError(
                f"its layer {_named(layer.names[-1], layer.kind)} computes in {_shown(policy)}. {', '.join(POLICIES)} "
                "are accepted; save the model before it is quantized."
            )


def _policy(layer: Layer) -> str:
    dtype = layer.config.get("dtype") or "float32"
    if isinstance(dtype, dict):
        kind = str(dtype.get("class_name"))
        return str(dtype["config"]["name"]) if kind in ("DTypePolicy", "Policy") else kind
    return str(dtype)


def _named(name: str, kind: str) -> str:
    return f"'{_shown(name)}' ({_shown(kind)})"


def _shown(name: str) -> str:
    return (odd_name(name) or name)[:80]
