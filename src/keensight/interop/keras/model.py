"""Imports a Keras model from a file as a classifier: a graph of layers, its weights, and the preprocessing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from keensight.errors import ModelFileError
from keensight.interop.keras.building import Building, UnfitError, Value
from keensight.interop.keras.end import end
from keensight.interop.keras.file import KerasFile, open_keras
from keensight.interop.keras.joints import JOINTS, OPS, TENSORFLOW, add_joint, add_op, check_op
from keensight.interop.keras.layers import IDENTITIES, add_layer, check_layer, holds_arrays
from keensight.interop.keras.nodes import Call, Source, call_of, ends_of, source_of
from keensight.interop.keras.pixels import PIXELS, Pixels, noted
from keensight.models.classifier import Classifier
from keensight.models.graph import graph
from keensight.names import odd_name
from keensight.values import FloatArray, Preprocessing

CONTAINERS = ("Sequential", "Functional", "Model")
# Layers that `training` changes; models of Keras 3 say it to their layers, whatever these were called with.
_CHANGED_BY_TRAINING = ("Dropout", "SpatialDropout2D", "GaussianDropout", "AlphaDropout", "GaussianNoise",
                        "BatchNormalization", *CONTAINERS)  # fmt: skip
MAX_NESTING = 8
MAX_CALLS = 20_000  # of layers, where a model within the model counts as often as it is used
POLICIES = ("float32", "float64", "float16", "bfloat16", "mixed_float16", "mixed_bfloat16")
HOME = ("keras", "tf_keras", "tensorflow")  # packages with Keras' own classes


@dataclass(frozen=True, slots=True, eq=False)
class Imported:
    """An imported Keras model, and notes on what the file does not say and was assumed.

    `network` are the steps of the `graph` that `model` holds, `pixels` those that the Keras model was given.
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
    """A layer as a row of its container has it, and where it is; see `Weights.of`."""

    row: Mapping[str, Any]
    kind: str
    trail: tuple[tuple[str, int], ...]
    names: tuple[str, ...]

    @property
    def config(self) -> Mapping[str, Any]:
        """Its options."""
        config: Mapping[str, Any] = self.row["config"]
        return config

    @property
    def is_op(self) -> bool:
        """Whether it is an operation without a layer, such as a division."""
        module = self.row.get("module")
        is_plain = module is None and "trainable" not in self.config and self.kind in OPS  # as in an .h5 of Keras 3
        return is_plain or self.row["class_name"] == "TFOpLambda" or "ops" in str(module).split(".")

    @property
    def shown(self) -> str:
        """Its name and class, for a refusal."""
        return _named(self.names[-1], self.kind)


def read_keras(
    path: str | Path, pixels: str | None = None, size: tuple[int, int] | None = None, exclusive: bool = False
) -> Imported:
    """Read a Keras model from a ``.h5`` or ``.keras`` file: Sequential or functional, with one input and one output.

    The classifier maps images float NCHW in [0, 1] to logits NK: a softmax at the end is left to what reads them, and
    one sigmoid cell z becomes the logits (0, z). `pixels` are those that the model was trained with, a key of
    `PIXELS`; if None, its first layer tells, and 0 to 1 is assumed where it does not. `size`, height and width, is for
    a model that takes pictures of any size; `exclusive` says that of several sigmoid cells only one is right.

    Raises ModelFileError for any other file, for an unknown layer, and for anything else that cannot be imported.
    """
    path = Path(path)
    try:
        with open_keras(path) as file:
            return _imported(file, pixels, size, exclusive)
    except ModelFileError as error:
        raise ModelFileError(f"{path} cannot be imported: {error}") from error


def _imported(file: KerasFile, pixels: str | None, size: tuple[int, int] | None, exclusive: bool) -> Imported:
    _check_home(file.config, "the model")
    layers = list(_all_layers(file.config, (), (), 0))
    _check_policies(layers)
    preprocessing, building, notes = _start(file, layers, size)
    given = PIXELS[pixels or "0-1"]
    if given.needs_colour and building.shape[-1:] != (3,):
        raise ModelFileError(
            f"it reads grey pictures, and pixels of {pixels} are those of colour pictures. Leave it out."
        )
    if given.is_bgr:
        building.turn_channels()
    try:
        walk = _Walk(file, building)
        walk.through(file.config, (), ())
        building.settle()
    except UnfitError as error:
        raise ModelFileError(f"it {error}") from error
    file.weights.check_all_read()
    notes += walk.notes
    notes += end(building, file.loss, exclusive)
    if pixels is None:
        pixels, note = noted(building.expects_bytes, [layer.names[-1] for layer in layers], _name(file.config))
        notes.append(note)
    if any(_policy(layer) != "float32" for layer in layers):
        notes.append("It was trained in another precision than float32, which is used here: the last digits differ.")
    model = _classifier(building, preprocessing, PIXELS[pixels])
    (num_classes,) = building.shape
    return Imported(model, building.steps, preprocessing, num_classes, pixels, file.version, file.sha256, tuple(notes))


def _layers(table: Mapping[str, Any], trail: Any, names: Any) -> Iterator[Layer]:
    """Yield a container's layers in the order in which the file has them."""
    config = table["config"]
    counts: Counter[str] = Counter()
    for row in config if isinstance(config, list) else config["layers"]:
        kind, name = row["class_name"], row["config"]["name"]
        if kind == "TFOpLambda":
            kind = row["config"]["function"]
            kind = TENSORFLOW.get(kind, kind)
            name = row.get("name", name)
        if not isinstance(kind, str) or not isinstance(name, str):
            raise ModelFileError("one of its layers has a name that is not text. Save it again with Keras.")
        layer = Layer(row, kind, (*trail, (kind, counts[kind])), (*names, name))
        counts[kind] += not layer.is_op and (kind in CONTAINERS or holds_arrays(kind, row["config"]))
        yield layer


def _all_layers(table: Mapping[str, Any], trail: Any, names: Any, depth: int) -> Iterator[Layer]:
    """Yield the layers of a model, and of the models in it, in order, each of them checked by name."""
    if depth > MAX_NESTING:
        raise ModelFileError(
            f"its models are nested deeper than {MAX_NESTING}. Flatten it in Keras, and save it again."
        )
    if table["class_name"] != "Sequential":
        _check_ends(table["config"], _shown(names[-1]) if names else None)
    for layer in _layers(table, trail, names):
        _check_home(layer.row, f"its layer {layer.shown}")
        if layer.kind in CONTAINERS and not layer.is_op:
            yield from _all_layers(layer.row, layer.trail, layer.names, depth + 1)
        elif layer.kind != "InputLayer":
            try:
                if layer.is_op:
                    check_op(layer.kind)
                elif layer.kind not in JOINTS:
                    check_layer(layer.kind, layer.config, JOINTS)
            except UnfitError as error:
                raise ModelFileError(f"its layer {layer.shown} {error}") from error
            yield layer


def _check_ends(config: Mapping[str, Any], name: str | None) -> None:
    """Raise ModelFileError unless a functional model has one input and one output."""
    model = "it" if name is None else f"its model '{name}'"
    for key, what in (("input_layers", "inputs"), ("output_layers", "outputs")):
        if key not in config:
            raise ModelFileError(f"{model} does not say which layers are its {what}. Save it again with Keras.")
        ends = ends_of(config[key])
        if len(ends) != 1:
            raise ModelFileError(
                f"{model} has {len(ends)} {what} ({', '.join(map(_shown, ends[:5]))}), and one is accepted. Make a "
                "model of one picture and one answer, such as keras.Model(model.inputs[0], model.outputs[0]), and save "
                "that."
            )


class _Walk:
    """The way of a value through a model's layers, each of which adds its steps to `building`."""

    def __init__(self, file: KerasFile, building: Building) -> None:
        self.file, self.building, self.calls = file, building, 0
        self.notes: list[str] = []
        self._taken: dict[tuple[Any, ...], tuple[Any, list[FloatArray]]] = {}

    def through(self, table: Mapping[str, Any], trail: Any, names: Any) -> None:
        """Let the building's value pass a container."""
        layers = list(_layers(table, trail, names))
        if table["class_name"] == "Sequential":
            for layer in layers:
                if layer.kind != "InputLayer":
                    self._pass(layer, Call((self.building.value,), {}))
            return
        known = {Source(ends_of(table["config"]["input_layers"])[0], 0): self.building.value}
        waiting = [
            (layer, number, call_of(node))
            for layer in layers
            if layer.kind != "InputLayer"
            for number, node in enumerate(layer.row["inbound_nodes"])
        ]
        while waiting:
            later = []
            for layer, number, call in waiting:
                if all(source in known for source in call.sources):
                    self._pass(layer, _filled(call, known))
                    known[Source(layer.names[-1], number)] = self.building.value
                else:
                    later.append((layer, number, call))
            if len(later) == len(waiting):
                raise ModelFileError(
                    f"its layer {later[0][0].shown} reads what the model does not have, or itself. Save it "
                    "again with Keras."
                )
            waiting = later
        end = source_of(table["config"]["output_layers"])
        if end not in known:
            raise ModelFileError(f"its output '{_shown(end.layer)}' is none of its layers. Save it again with Keras.")
        self.building.value = known[end]

    def _pass(self, layer: Layer, call: Call) -> None:
        """Let values pass a layer, or a model within the model."""
        self.calls += 1
        if self.calls > MAX_CALLS:
            raise ModelFileError(f"it uses layers more than {MAX_CALLS:,} times. Import a smaller model.")
        try:
            if layer.is_op:
                args = (*call.args, *(call.options[key] for key in ("y", "x2") if key in call.options))
                self._check_options(layer, call, ("y", "x2", "name"))
                add_op(self.building, layer.kind, layer.config, args)
                return
            self._check_options(layer, call, ())
            (given,) = call.args
            if layer.kind in JOINTS:
                add_joint(self.building, layer.kind, layer.config, given if isinstance(given, list) else [given])
                return
            if isinstance(given, list) and len(given) == 1:
                (given,) = given
            if not isinstance(given, Value):
                raise UnfitError("reads something else than the answer of one layer. Import a model without it.")
            self.building.value = given
            if layer.kind in CONTAINERS:
                self.through(layer.row, layer.trail, layer.names)
            else:
                add_layer(self.building, layer.kind, layer.config, lambda wanted: self._take(layer, wanted))
        except UnfitError as error:
            raise ModelFileError(f"its layer {layer.shown} {error}") from error

    def _check_options(self, layer: Layer, call: Call, known: Sequence[str]) -> None:
        for name, value in call.options.items():
            if name == "training" and value and layer.kind in _CHANGED_BY_TRAINING:
                if self.building.major < 3:
                    raise UnfitError(
                        "is called with training=True, so that it answers by chance, or learns, after training too. "
                        "Call it without, and save the model again."
                    )
                self.notes.append(
                    f"Its layer {layer.shown} is called with training=True. It answers as Keras 3's predict does, "
                    "which does not heed that."
                )
            if name not in ("training", *known) and value is not None:
                raise UnfitError(f"is called with the option '{_shown(name)}'. Import a model without it.")

    def _take(self, layer: Layer, wanted: Mapping[str, tuple[int, ...]]) -> list[FloatArray]:
        """Read a layer's arrays, once; a layer that is used again has the same ones."""
        if layer.names not in self._taken:
            self._taken[layer.names] = dict(wanted), self.file.weights.of(layer.trail, layer.names, wanted)
        before, arrays = self._taken[layer.names]
        if before != wanted:
            raise UnfitError("is used for values of two shapes, and has weights for one. Import a model without it.")
        return arrays


def _filled(call: Call, known: Mapping[Source, Value]) -> Call:
    """Return a call with the values of what it reads."""

    def fill(value: Any) -> Any:
        if isinstance(value, Source):
            return known[value]
        return [fill(each) for each in value] if isinstance(value, list) else value

    return Call(tuple(map(fill, call.args)), {name: fill(value) for name, value in call.options.items()})


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
            "Models of Keras' own layers are accepted; build it from those, and copy the weights over."
        )


def _functions(value: Any) -> Iterator[str]:
    """Yield the names of functions and lambdas anywhere in a configuration."""
    if isinstance(value, dict):
        kind = value.get("class_name")
        if kind in ("__lambda__", "Lambda"):
            yield "a Lambda"
        elif kind == "function":
            yield f"the function {value.get('config')}"
        for each in value.values():
            yield from _functions(each)
    elif isinstance(value, list):
        for each in value:
            yield from _functions(each)


def _start(
    file: KerasFile, layers: list[Layer], size: tuple[int, int] | None
) -> tuple[Preprocessing, Building, list[str]]:
    """Return the preprocessing of pictures, the network's beginning, and what was assumed."""
    shape, bytes_come = _input(file.config)
    notes: list[str] = []
    if len(shape) in (2, 3) and None in shape[:2]:
        shape[:2] = _size_for_any(shape, layers, size, notes)
    elif size is not None and list(size) != shape[:2]:
        raise ModelFileError(
            f"its input is {shape}, and the size {size[0]}x{size[1]} came. A size is for models that take pictures of "
            "any; leave it out."
        )
    if not shape or not all(type(each) is int and each >= 1 for each in shape):
        raise ModelFileError(
            f"its input {shape} has no fixed size. Pictures of one size are accepted; build the model again with "
            "keras.Input((height, width, channels)) in front, load its weights, and save it."
        )
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


def _size_for_any(shape: Any, layers: list[Layer], size: tuple[int, int] | None, notes: list[str]) -> tuple[int, int]:
    """Return height and width for a model that takes any: what was asked for, else what it resizes pictures to."""
    first = next((layer for layer in layers if layer.kind not in IDENTITIES), None)
    if size is None and first is not None and first.kind == "Resizing":
        size = first.config["height"], first.config["width"]
        notes.append(f"It takes pictures of any size, and resizes them to {size[0]}x{size[1]}, so that is its size.")
    if size is None:
        raise ModelFileError(
            f"its input {shape} has no fixed size. Say what pictures are resized to, such as --size 224 or --size "
            "160x224: the size that it was trained with."
        )
    if any(given not in (None, asked) for given, asked in zip(shape, size, strict=False)):
        raise ModelFileError(f"its input is {shape}, and the size {size[0]}x{size[1]} came. Give one that fits it.")
    return size


def _input(config: Mapping[str, Any]) -> tuple[list[Any], bool]:
    """Return the shape of one picture, and whether its numbers are integers."""
    rows = config["config"] if isinstance(config["config"], list) else config["config"]["layers"]
    row = rows[0]
    if config["class_name"] != "Sequential":
        name = ends_of(config["config"]["input_layers"])[0]
        row = next(row for row in rows if row["class_name"] == "InputLayer" and row["config"]["name"] == name)
    first = row["config"]
    given = first.get("batch_shape") or first.get("batch_input_shape") if isinstance(first, dict) else None
    if given is None and row["class_name"] in CONTAINERS:
        return _input(row)
    if given is None and isinstance(config["config"], dict):
        given = config["config"].get("build_input_shape")
    whole = row["class_name"] == "InputLayer" and "int" in str(first.get("dtype"))
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


def _classifier(building: Building, preprocessing: Preprocessing, pixels: Pixels) -> Classifier:
    assert building.normalisation is not None  # a network's end has settled it
    known, shift = building.normalisation
    scale = np.broadcast_to(known * pixels.scale, preprocessing.channels)
    offset = np.broadcast_to(known * pixels.offset + shift, preprocessing.channels)
    arrays: dict[str, FloatArray] = {f"network.{name}": array for name, array in building.weights.items()}
    arrays |= {"mean": (-offset / scale)[:, None, None], "std": (1 / scale)[:, None, None]}
    state = {name: torch.tensor(np.ascontiguousarray(array, np.float32)) for name, array in arrays.items()}
    with torch.device("meta"):  # so that no weights are drawn only to be overwritten
        model = Classifier(graph(building.steps), preprocessing.channels)
    counts = [name for name in model.state_dict() if name.endswith("num_batches_tracked")]
    model.load_state_dict(state | {name: torch.tensor(0) for name in counts}, assign=True)
    return model.eval()


def _check_policies(layers: list[Layer]) -> None:
    for layer in layers:
        if (policy := _policy(layer)) not in POLICIES:
            raise ModelFileError(
                f"its layer {layer.shown} computes in {_shown(policy)}. {', '.join(POLICIES)} "
                "are accepted; save the model before it is quantized."
            )


def _policy(layer: Layer) -> str:
    dtype = layer.config.get("dtype") or "float32"
    if isinstance(dtype, dict):
        kind = str(dtype.get("class_name"))
        return str(dtype["config"]["name"]) if kind in ("DTypePolicy", "Policy") else kind
    return str(dtype)


def _name(config: Mapping[str, Any]) -> str:
    name = config["config"].get("name") if isinstance(config["config"], dict) else None
    return name if isinstance(name, str) else ""


def _named(name: str, kind: str) -> str:
    return f"'{_shown(name)}' ({_shown(kind)})"


def _shown(name: str) -> str:
    return (odd_name(name) or name)[:80]
