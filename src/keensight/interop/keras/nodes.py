"""How the layers of a functional Keras model read each other, in Keras 2's way of writing it or in Keras 3's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keensight.errors import ModelFileError


@dataclass(frozen=True, slots=True)
class Source:
    """What a call of a layer gave: the layer's name, and which of its calls it was."""

    layer: str
    call: int


@dataclass(frozen=True, slots=True)
class Call:
    """What a layer is called with: values, lists of them and constants by place, and by name."""

    args: tuple[Any, ...]
    options: Mapping[str, Any]

    @property
    def sources(self) -> list[Source]:
        """All that it reads."""
        return [each for value in (*self.args, *self.options.values()) for each in _flat(value)]


def call_of(node: Any) -> Call:
    """Return what one node of `inbound_nodes` says."""
    if isinstance(node, dict):
        return Call(
            tuple(map(_of_keras_3, node["args"])), {name: _of_keras_3(each) for name, each in node["kwargs"].items()}
        )
    rows = [node] if node and isinstance(node[0], str) else node
    options = {name: _of_keras_2(value) for row in rows for name, value in (row[3] if len(row) > 3 else {}).items()}
    values = [row[2] if row[0] == "_CONSTANT_VALUE" else _source(row[:3]) for row in rows]
    return Call((values if len(values) > 1 else values[0],), options)


def ends_of(listed: Any) -> list[str]:
    """Return the names of the layers that `input_layers` or `output_layers` of a configuration list."""
    if isinstance(listed, dict):
        return [name for each in listed.values() for name in ends_of(each)]
    if len(listed) == 3 and isinstance(listed[0], str) and type(listed[1]) is int:
        return [listed[0]]
    return [name for each in listed for name in ends_of(each)]


def source_of(listed: Any) -> Source:
    """Return what a list of one output stands for."""
    if isinstance(listed, dict):
        (listed,) = listed.values()
    while not isinstance(listed[0], str):
        (listed,) = listed
    return _source(listed)


def _of_keras_3(value: Any) -> Any:
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        return _source(value["config"]["keras_history"])
    if isinstance(value, list):
        return [_of_keras_3(each) for each in value]
    return value


def _of_keras_2(value: Any) -> Any:
    if isinstance(value, list) and len(value) == 3 and isinstance(value[0], str):
        return _source(value)
    return value


def _source(history: Sequence[Any]) -> Source:
    name, call, which = history
    if not isinstance(name, str) or type(call) is not int or which != 0:
        raise ModelFileError(
            "a layer of it reads another output of a layer than its only one. Models whose layers have one output each "
            "are accepted; import one of those."
        )
    return Source(name, call)


def _flat(value: Any) -> list[Source]:
    if isinstance(value, Source):
        return [value]
    return [found for each in value for found in _flat(each)] if isinstance(value, list) else []
