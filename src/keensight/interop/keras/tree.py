"""A Keras file's configuration as layers, in order and each checked by name; code and foreign classes are refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from keensight.errors import ModelFileError
from keensight.interop.keras.building import UnfitError
from keensight.interop.keras.joints import JOINTS, OPS, TENSORFLOW, check_op
from keensight.interop.keras.layers import check_layer, holds_arrays
from keensight.interop.keras.nodes import ends_of
from keensight.names import odd_name

CONTAINERS = ("Sequential", "Functional", "Model")
MAX_NESTING = 8
POLICIES = ("float32", "float64", "float16", "bfloat16", "mixed_float16", "mixed_bfloat16")
HOME = ("keras", "tf_keras", "tensorflow")  # packages with Keras' own classes


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
        return named(self.names[-1], self.kind)


def layers_of(table: Mapping[str, Any], trail: Any, names: Any) -> Iterator[Layer]:
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


def all_layers(table: Mapping[str, Any], trail: Any, names: Any, depth: int) -> Iterator[Layer]:
    """Yield the layers of a model, and of the models in it, in order, each of them checked by name."""
    if depth > MAX_NESTING:
        raise ModelFileError(
            f"its models are nested deeper than {MAX_NESTING}. Flatten it in Keras, and save it again."
        )
    if table["class_name"] != "Sequential":
        _check_ends(table["config"], shown(names[-1]) if names else None)
    for layer in layers_of(table, trail, names):
        check_home(layer.row, f"its layer {layer.shown}")
        if layer.kind in CONTAINERS and not layer.is_op:
            yield from all_layers(layer.row, layer.trail, layer.names, depth + 1)
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
                f"{model} has {len(ends)} {what} ({', '.join(map(shown, ends[:5]))}), and one is accepted. Make a "
                "model of one picture and one answer, such as keras.Model(model.inputs[0], model.outputs[0]), and save "
                "that."
            )


def check_home(row: Mapping[str, Any], what: str) -> None:
    """Raise ModelFileError, by name, for code in a configuration, and for a class that is not Keras' own."""
    kind, module, registered = row["class_name"], row.get("module"), row.get("registered_name")
    if code := next(
        _functions({"class_name": kind, "config": row.get("config") if kind not in CONTAINERS else 0}), None
    ):
        raise ModelFileError(
            f"{what} holds code ({shown(code)}), and code from a file is never run. Replace it by layers of Keras' "
            "own, and save the model again."
        )
    outside = ">" in str(kind) or (module is not None and str(module).split(".")[0] not in HOME)
    if outside or registered not in (None, kind) or (what == "the model" and kind not in CONTAINERS):
        raise ModelFileError(
            f"{what} is of the custom class '{shown(str(registered or kind))}', which only its own code defines. "
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


def check_policies(layers: list[Layer]) -> None:
    """Raise ModelFileError for a layer that computes in a precision without an answer here."""
    for layer in layers:
        if (precision := precision_of(layer)) not in POLICIES:
            raise ModelFileError(
                f"its layer {layer.shown} computes in {shown(precision)}. {', '.join(POLICIES)} "
                "are accepted; save the model before it is quantized."
            )


def precision_of(layer: Layer) -> str:
    """Return the precision that a layer computes in."""
    dtype = layer.config.get("dtype") or "float32"
    if isinstance(dtype, dict):
        kind = str(dtype.get("class_name"))
        return str(dtype["config"]["name"]) if kind in ("DTypePolicy", "Policy") else kind
    return str(dtype)


def model_name(config: Mapping[str, Any]) -> str:
    """Return the name of a model, or nothing."""
    name = config["config"].get("name") if isinstance(config["config"], dict) else None
    return name if isinstance(name, str) else ""


def named(name: str, kind: str) -> str:
    """Return a layer's name and class, for a refusal."""
    return f"'{shown(name)}' ({shown(kind)})"


def shown(name: str) -> str:
    """Return a name in a form that is safe to print."""
    return (odd_name(name) or name)[:80]
