"""Keras' activation functions, by name, and those that are layers with options of their own, as steps of a `graph`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from keensight.interop.keras.building import OTHER, Building, Config, UnfitError, number, shown
from keensight.values import FloatArray

Take = Callable[[Mapping[str, tuple[int, ...]]], list[FloatArray]]


def add_activation(building: Building, value: Any) -> None:
    """Add the activation of a layer's options, if it has one."""
    if isinstance(value, dict):
        ACTIVATION_LAYERS[value["class_name"]](building, value["config"], _takes_nothing)
    elif value is not None:
        ACTIVATIONS[value](building)


def check_activation(activation: Any) -> None:
    """Raise UnfitError, by name, for an activation that is not in the tables here."""
    if isinstance(activation, dict) and activation.get("class_name") in ACTIVATION_LAYERS:
        return
    if activation is not None and (not isinstance(activation, str) or activation not in ACTIVATIONS):
        name = activation.get("class_name") if isinstance(activation, dict) else activation
        raise UnfitError(
            f"has the activation {name!r}, which cannot be imported. Those that can are {', '.join(ACTIVATIONS)}; use "
            "one of them."
        )


def _takes_nothing(wanted: Mapping[str, tuple[int, ...]]) -> list[FloatArray]:
    raise UnfitError(f"has an activation with weights. {OTHER}")


def _softmax(building: Building, config: Config, take: Take, step: str = "Softmax") -> None:
    if len(building.shape) == 2 or config.get("axis", -1) not in (-1, len(building.shape)):
        raise UnfitError(f"is a softmax over another axis than the last. {OTHER}")
    building.add(step, dim=1)


def _relu(building: Building, config: Config, take: Take) -> None:
    highest, slope = config.get("max_value"), number(config.get("negative_slope") or 0.0)
    threshold = number(config.get("threshold") or 0.0)
    if threshold or (slope and highest is not None):
        most = None if highest is None else number(highest)
        building.add("BentReLU", max_value=most, negative_slope=slope, threshold=threshold)
    elif highest is not None:
        building.add("Hardtanh", min_val=0.0, max_val=number(highest))
    elif slope:
        building.add("LeakyReLU", negative_slope=slope)
    else:
        building.add("ReLU")


def _leaky_relu(building: Building, config: Config, take: Take) -> None:
    building.add("LeakyReLU", negative_slope=number(config.get("negative_slope", config.get("alpha", 0.3))))


def _elu(building: Building, config: Config, take: Take) -> None:
    building.add("ELU", alpha=number(config.get("alpha", 1.0)))


def _prelu(building: Building, config: Config, take: Take) -> None:
    shared = config.get("shared_axes") or []
    if len(building.shape) == 2:
        raise UnfitError(f"reads {shown(building.shape)}. Put a Reshape layer with a channel axis before it.")
    shape = tuple(1 if axis in shared else size for axis, size in enumerate(building.shape, start=1))
    (alpha,) = take({"alpha": shape})
    slopes = alpha.transpose(2, 0, 1) if alpha.ndim == 3 else building.ours(np.broadcast_to(alpha, building.shape))
    building.add("PReLU", {"weight": slopes}, shape=list(slopes.shape))


def _plain(step: str, **options: Any) -> Callable[[Building], None]:
    return lambda building: building.add(step, **options)


def _hard_sigmoid(building: Building) -> None:
    building.add("HardSigmoid", slope=1 / 6 if building.major >= 3 else 0.2)


ACTIVATIONS: dict[str, Callable[[Building], None]] = {
    "linear": lambda building: None,
    "relu": _plain("ReLU"),
    "relu6": _plain("ReLU6"),
    "leaky_relu": _plain("LeakyReLU", negative_slope=0.2),
    "elu": _plain("ELU"),
    "selu": _plain("SELU"),
    "gelu": _plain("GELU"),
    "silu": _plain("SiLU"),
    "swish": _plain("SiLU"),
    "softplus": _plain("Softplus"),
    "sigmoid": _plain("Sigmoid"),
    "hard_sigmoid": _hard_sigmoid,
    "hard_silu": _plain("Hardswish"),
    "hard_swish": _plain("Hardswish"),
    "hard_tanh": _plain("Hardtanh", min_val=-1.0, max_val=1.0),
    "log_sigmoid": _plain("LogSigmoid"),
    "tanh": _plain("Tanh"),
    "tanh_shrink": _plain("Tanhshrink"),
    "celu": _plain("CELU"),
    "mish": _plain("Mish"),
    "softsign": _plain("Softsign"),
    "exponential": _plain("Exponential"),
    "log_softmax": lambda building: _softmax(building, {}, _takes_nothing, "LogSoftmax"),
    "softmax": lambda building: _softmax(building, {}, _takes_nothing),
}
ACTIVATION_LAYERS: dict[str, Callable[[Building, Config, Take], None]] = {
    "ReLU": _relu,
    "LeakyReLU": _leaky_relu,
    "PReLU": _prelu,
    "ELU": _elu,
    "Softmax": _softmax,
}
