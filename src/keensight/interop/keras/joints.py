"""What Keras does with several values at once, and arithmetic without a layer, such as ``x / 255.0``.

A value's shape is Keras'; see `building`. Shape letters: H height, W width, C channels, D numbers of a vector.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from keensight.interop.keras.activations import ACTIVATIONS
from keensight.interop.keras.building import OTHER, Building, Config, UnfitError, Value, number, numbers, shown
from keensight.values import FloatArray


def add_joint(building: Building, kind: str, config: Config, values: Sequence[Value]) -> None:
    """Add a layer that reads several values, such as Keras' Add. Raises UnfitError."""
    if len(values) < 2 or (kind in ("Subtract", "CustomScaleLayer") and len(values) > 2):
        raise UnfitError(f"reads {len(values)} values. {OTHER}")
    JOINTS[kind](building, config, values)


def add_op(building: Building, kind: str, config: Config, args: Sequence[Any]) -> None:
    """Add an operation of Keras that is no layer: `args` are values, lists of them, numbers, or arrays as lists.

    Raises UnfitError.
    """
    if args and isinstance(args[0], list) and (kind == "Stack" or kind in JOINTS):
        _stack(building, config, args[0]) if kind == "Stack" else add_joint(building, kind, config, args[0])
    elif kind in PAIRS and len(args) == 2:
        _pair(building, kind, *args)
    elif kind == "GetItem" and len(args) == 2 and isinstance(args[0], Value):
        building.value = args[0]
        _get_item(building, args[1])
    elif len(args) == 1 and isinstance(args[0], Value) and not set(config) - {"name", "trainable", "dtype"}:
        building.value = args[0]
        if kind == "Negative":
            building.affine(-np.ones(1), np.zeros(1))
        else:
            ACTIVATIONS[ACTIVATION_OPS[kind]](building)
    else:
        raise UnfitError(f"is used in a way that cannot be imported. {OTHER}")


def check_op(kind: str) -> None:
    """Raise UnfitError, by name, for an operation that is not in the tables here."""
    if kind not in OPS:
        raise UnfitError(
            f"is an operation that cannot be imported. Those that can are {', '.join(OPS)}; use one of them, or a "
            "layer that does the same."
        )


def _pair(building: Building, kind: str, a: Any, b: Any) -> None:
    """Add an operation of two values, or of a value and numbers."""
    if isinstance(a, Value) and isinstance(b, Value):
        _elementwise(PAIRS[kind])(building, {}, [a, b])
        return
    first = isinstance(a, Value)
    value, constant = (a, b) if first else (b, a)
    if not isinstance(value, Value):
        raise UnfitError(f"reads nothing of the network. {OTHER}")
    building.value = value
    c, one, zero = _constant(constant), np.ones(1), np.zeros(1)
    if kind == "Add":
        building.affine(one, c)
    elif kind == "Multiply":
        building.affine(c, zero)
    elif kind == "Subtract":
        building.affine(one, -c) if first else building.affine(-one, c)
    elif kind in ("TrueDivide", "Divide") and first and c.all():
        building.affine(1 / c, zero)
    else:
        raise UnfitError(f"divides by zero, or reads numbers where it cannot be imported with them. {OTHER}")


def _constant(value: Any) -> FloatArray:
    """Return one number, or one for each of the last axis."""
    if isinstance(value, dict) and value.get("class_name") in ("__numpy__", "__tensor__"):
        value = value["config"]["value"]
    if not isinstance(value, list):
        return np.array([number(value)])
    array = np.asarray(value, np.float64)
    if array.size != array.shape[-1]:
        raise UnfitError(
            f"has numbers of the shape {shown(array.shape)}, where one or one a channel is accepted. {OTHER}"
        )
    return numbers(value)


def _get_item(building: Building, key: Any) -> None:
    """Turn the channels over, as ``x[..., ::-1]`` does, or take one, as ``x[..., 0]``."""
    height, width, channels = building.pictures()
    *before, last = key if isinstance(key, list) and key else [None]
    if before != [{"class_name": "__ellipsis__", "config": {}}]:
        raise UnfitError(f"cuts a part out; the order of channels alone can be imported. {OTHER}")
    if type(last) is int and -channels <= last < channels:
        building.settle()
        building.add("ChannelOrder", order=[last % channels])
        building.become(height, width)
    elif last == {"class_name": "__slice__", "config": {"start": None, "stop": None, "step": -1}}:
        building.turn_channels()
    else:
        raise UnfitError(f"cuts a part out; the order of channels alone can be imported. {OTHER}")


def _stack(building: Building, config: Config, values: Sequence[Value]) -> None:
    """Make pictures of one channel each the channels of one."""
    if len(values) < 2 or {len(value.shape) for value in values} != {2} or config.get("axis") not in (-1, 3):
        raise UnfitError(f"stacks {_list(values)}; pictures of one channel, as channels, are accepted. {OTHER}")
    _concatenate(building, {}, [replace(value, shape=(*value.shape, 1)) for value in values])


def _elementwise(step: str) -> Callable[[Building, Config, Sequence[Value]], None]:
    def join(building: Building, config: Config, values: Sequence[Value]) -> None:
        values = _alike(building, values, same_shapes=False)
        try:
            shape = np.broadcast_shapes(*(value.shape for value in values))
        except ValueError:
            raise UnfitError(f"joins {_list(values)}, which do not fit each other. {OTHER}") from None
        building.value = values[0]
        building.add(step, reads=[value.name for value in values])
        building.become(*shape, flat_from=values[0].flat_from)

    return join


def _concatenate(building: Building, config: Config, values: Sequence[Value]) -> None:
    values = _alike(building, values, same_shapes=True)
    rank = len(values[0].shape)
    axis = config.get("axis", -1)
    axis = rank if axis == -1 else axis
    if type(axis) is not int or not 1 <= axis <= rank:
        raise UnfitError(f"joins the axis {axis} of {_list(values)}. {OTHER}")
    rests = {(*value.shape[: axis - 1], *value.shape[axis:]) for value in values}
    if len(rests) > 1:
        raise UnfitError(f"joins {_list(values)}, which do not fit each other. {OTHER}")
    shape = list(values[0].shape)
    shape[axis - 1] = sum(value.shape[axis - 1] for value in values)
    building.value = values[0]
    dim = {1: {1: 1}, 2: {1: 2, 2: 3}, 3: {1: 2, 2: 3, 3: 1}}[rank][axis]
    building.add("Concatenate", reads=[value.name for value in values], dim=dim)
    building.become(*shape)


def _scaled_sum(building: Building, config: Config, values: Sequence[Value]) -> None:
    """Add what keras.applications' InceptionResNetV2 calls a CustomScaleLayer: a + scale b."""
    building.value = values[1]
    building.affine(np.array([number(config["scale"])]), np.zeros(1))
    _elementwise("Add")(building, config, [values[0], building.value])


def _alike(building: Building, values: Sequence[Value], same_shapes: bool) -> list[Value]:
    """Return values of as many axes each, in one order, with pixels normalised."""
    rank = max(len(value.shape) for value in values)
    turned = len({value.flat_from for value in values}) > 1 or same_shapes
    turned = turned or len({value.shape for value in values}) > 1
    found = []
    for value in values:
        building.value = value
        building.settle()
        if turned:
            building.in_keras_order()
        if rank == 3 and len(value.shape) == 1 and not same_shapes:  # Keras puts the missing axes in front
            building.add("Unflatten", dim=1, unflattened_size=[value.shape[0], 1, 1])
            building.become(1, 1, value.shape[0])
        if len(building.shape) != rank:
            raise UnfitError(f"joins {_list(values)}, which do not fit each other. {OTHER}")
        found.append(building.value)
    return found


def _list(values: Sequence[Value]) -> str:
    return " and ".join(shown(value.shape) for value in values)


JOINTS: Mapping[str, Callable[[Building, Config, Sequence[Value]], None]] = {
    **{kind: _elementwise(kind) for kind in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")},
    "Concatenate": _concatenate,
    "CustomScaleLayer": _scaled_sum,
}
PAIRS = {  # operations of two values, or of one and numbers
    "Add": "Add",
    "Subtract": "Subtract",
    "Multiply": "Multiply",
    "TrueDivide": "Divide",
    "Divide": "Divide",
    "Maximum": "Maximum",
    "Minimum": "Minimum",
}
ACTIVATION_OPS = {
    "Relu": "relu",
    "Relu6": "relu6",
    "Sigmoid": "sigmoid",
    "HardSigmoid": "hard_sigmoid",
    "Silu": "silu",
    "HardSilu": "hard_silu",
    "Tanh": "tanh",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Mish": "mish",
    "Selu": "selu",
    "Exp": "exponential",
    "LogSigmoid": "log_sigmoid",
}
OPS = (*PAIRS, "Negative", "Concatenate", "Stack", "GetItem", *ACTIVATION_OPS)
TENSORFLOW = {  # functions that Keras 2 on TensorFlow wrote by name
    "math.add": "Add",
    "__operators__.add": "Add",
    "math.subtract": "Subtract",
    "__operators__.sub": "Subtract",
    "math.multiply": "Multiply",
    "__operators__.mul": "Multiply",
    "math.truediv": "TrueDivide",
    "math.divide": "TrueDivide",
    "__operators__.truediv": "TrueDivide",
    "math.negative": "Negative",
    "math.maximum": "Maximum",
    "math.minimum": "Minimum",
    "nn.relu": "Relu",
    "nn.relu6": "Relu6",
    "nn.silu": "Silu",
    "math.sigmoid": "Sigmoid",
    "math.tanh": "Tanh",
}
