"""Imports a Keras model from a file as a classifier: a graph of layers, its weights, and the preprocessing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from keensight.errors import ModelFileError
from keensight.interop.keras.building import Building, UnfitError, Value
from keensight.interop.keras.end import end
from keensight.interop.keras.file import KerasFile, open_keras
from keensight.interop.keras.input import start
from keensight.interop.keras.joints import JOINTS, add_joint, add_op
from keensight.interop.keras.layers import add_layer
from keensight.interop.keras.nodes import Call, Source, call_of, ends_of, source_of
from keensight.interop.keras.pixels import PIXELS, Pixels, noted
from keensight.interop.keras.tree import (
    CONTAINERS,
    Layer,
    all_layers,
    check_home,
    check_policies,
    layers_of,
    model_name,
    precision_of,
    shown,
)
from keensight.models.classifier import Classifier
from keensight.models.graph import graph
from keensight.values import FloatArray, Preprocessing

# Layers that `training` changes; models of Keras 3 say it to their layers, whatever these were called with.
_CHANGED_BY_TRAINING = ("Dropout", "SpatialDropout2D", "GaussianDropout", "AlphaDropout", "GaussianNoise",
                        "BatchNormalization", *CONTAINERS)  # fmt: skip
MAX_CALLS = 20_000  # of layers, where a model within the model counts as often as it is used


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
    check_home(file.config, "the model")
    layers = list(all_layers(file.config, (), (), 0))
    check_policies(layers)
    preprocessing, building, notes = start(file, layers, size)
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
        pixels, note = noted(building.expects_bytes, [layer.names[-1] for layer in layers], model_name(file.config))
        notes.append(note)
    if any(precision_of(layer) != "float32" for layer in layers):
        notes.append("It was trained in another precision than float32, which is used here: the last digits differ.")
    model = _classifier(building, preprocessing, PIXELS[pixels])
    (num_classes,) = building.shape
    return Imported(model, building.steps, preprocessing, num_classes, pixels, file.version, file.sha256, tuple(notes))


class _Walk:
    """Passes a value through a model's layers, each of which adds its steps to `building`."""

    def __init__(self, file: KerasFile, building: Building) -> None:
        self.file, self.building, self.calls = file, building, 0
        self.notes: list[str] = []
        self._taken: dict[tuple[Any, ...], tuple[Any, list[FloatArray]]] = {}

    def through(self, table: Mapping[str, Any], trail: Any, names: Any) -> None:
        """Let the building's value pass a container."""
        layers = list(layers_of(table, trail, names))
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
            raise ModelFileError(f"its output '{shown(end.layer)}' is none of its layers. Save it again with Keras.")
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
                    "which ignores it."
                )
            if name not in ("training", *known) and value is not None:
                raise UnfitError(f"is called with the option '{shown(name)}'. Import a model without it.")

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
