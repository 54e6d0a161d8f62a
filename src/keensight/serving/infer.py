"""What an inference request of the Open Inference Protocol asks for. Each part is known, or refused by its name.

Parts that are null count as left out. Binary tensors and raw binary requests, which have no JSON at all:
https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/protocol/extension_binary_data.html

Shape letters: N images, H height, W width, C channels.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from keensight.bundle.strict_json import without_repeats
from keensight.errors import suggestion
from keensight.serving.limits import RefusalError
from keensight.serving.registry import Model
from keensight.serving.uploads import suffix_of
from keensight.values import Uint8Array

HEADER_LENGTH = "Inference-Header-Content-Length"
INPUT, OUTPUT = "images", "probabilities"
DOUBTS = ("abstained", "reasons")  # further outputs, for those who ask for them
MOST_NESTED = 4  # lists in lists that are looked at for what is wrong

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Infer:
    """A parsed request: images uint8 NHWC, and the form of its answer.

    `num_classes`, if not 0, asks for this many of the likeliest classes as text, instead of all probabilities. `doubts`
    are the outputs of `DOUBTS` that are asked for.
    """

    id: str | None
    images_NHWC: Uint8Array
    is_binary: bool
    num_classes: int = 0
    doubts: tuple[str, ...] = ()


def parse(body: bytes, header_length: str | None, content_type: str, model: Model) -> Infer:
    """Parse the body of an inference request. Raises RefusalError (400) that says which part is wrong, and how."""
    try:
        if header_length is None:
            return _with_json(body, b"", model)
        if not (header_length.isascii() and header_length.isdigit()):
            raise ValueError(f"{HEADER_LENGTH} is not a number")
        end = int(header_length)
        if end > len(body):
            raise ValueError(f"{HEADER_LENGTH} is {end:,}, and the body has {len(body):,} bytes")
        if end:
            return _with_json(body[:end], body[end:], model)
        if content_type.partition(";")[0].strip().lower() == "application/json":
            raise ValueError(f"its Content-Type says JSON, and {HEADER_LENGTH}: 0 that there is none")
        return _raw(body, model)
    except ValueError as error:
        raise RefusalError(400, "bad_request", f"The inference request cannot be used: {error}.") from error


def _raw(body: bytes, model: Model) -> Infer:
    """Read a raw binary request: nothing but pixels, as many images as there are. Its answer is binary, too."""
    sides = _sides(model)
    if not body or len(body) % math.prod(sides):
        raise ValueError(
            f"with {HEADER_LENGTH}: 0 the body is raw pixels, {math.prod(sides):,} bytes for each image "
            f"[{_text(sides)}], and it has {len(body):,} bytes"
        )
    return Infer(None, np.frombuffer(body, np.uint8).reshape(-1, *sides), is_binary=True)


def _with_json(text: bytes, binary: bytes, model: Model) -> Infer:
    asked = _object(
        _read(text), "the request", ("id", "parameters", "inputs", "outputs", "model_name", "model_version")
    )
    for part, own in (("model_name", model.name), ("model_version", model.version)):
        if asked.get(part, own) != own:
            raise ValueError(f"{part} is not {own}, which the address names")
    if not isinstance(asked.get("id", ""), str):
        raise ValueError("its id must be text")
    given = _only(asked, "inputs", INPUT, ("datatype", "shape", "parameters", "data"))
    doubts = _doubts(asked)
    wanted = _only(asked, "outputs", OUTPUT, ("parameters",)) if asked.get("outputs") else {}
    images_NHWC = _tensor(given, binary, model)
    of_all = _object(asked.get("parameters", {}), "parameters", ("binary_data_output",))
    of_output = _object(wanted.get("parameters", {}), "outputs[0].parameters", ("binary_data", "classification"))
    by_default = _truth(of_all, "parameters", "binary_data_output", False)
    is_binary = _truth(of_output, "outputs[0].parameters", "binary_data", by_default)
    num_classes = of_output.get("classification", 0)
    if type(num_classes) is not int or num_classes < 0:
        raise ValueError("outputs[0].parameters.classification must be a whole number: how many classes to name")
    return Infer(asked.get("id"), images_NHWC, is_binary, num_classes, doubts)


def _doubts(asked: Json) -> tuple[str, ...]:
    """Take the outputs of `DOUBTS` out of those that are asked for, and return their names."""
    if not isinstance(wanted := asked.get("outputs"), list):
        return ()
    names = [each.get("name") if isinstance(each, dict) else None for each in wanted]
    asked["outputs"] = [each for each, name in zip(wanted, names, strict=True) if name not in DOUBTS]
    return tuple(name for name in DOUBTS if name in names)


def _read(text: bytes) -> Any:
    try:
        return json.loads(text, object_pairs_hook=without_repeats)
    except RecursionError:
        raise ValueError("the body is JSON of the wrong kind: its lists are nested too deeply") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"the body is not JSON: byte {error.start} is not UTF-8. {_on_binary(text)}") from None
    except json.JSONDecodeError as error:
        found = f"line {error.lineno}, column {error.colno}: {error.msg[:1].lower()}{error.msg[1:]}"
        raise ValueError(f"the body is not JSON ({found}). {_on_binary(text)}") from None


def _on_binary(text: bytes) -> str:
    is_picture = suffix_of(text) is not None
    other = "a picture's file to /v1/predict" if is_picture else f"pixels alone with {HEADER_LENGTH}: 0"
    return f'Send {{"inputs": [...]}}, or {other}'


def _object(given: Any, part: str, known: Collection[str]) -> Json:
    """Return the parts of a JSON object that are not null. Raises ValueError for another value, or an unknown part."""
    if not isinstance(given, dict):
        raise ValueError(f"{part} is of the wrong kind: it must be an object with {', '.join(known)}")
    found = {name: value for name, value in given.items() if value is not None}
    for name in found:
        if name not in known:
            asked = ascii(name)[1:-1][:100]
            hint = suggestion(asked, known)
            raise ValueError(f"{part} has no {asked} here. {hint}It takes {', '.join(known)}")
    return found


def _only(asked: Json, part: str, name: str, known: Collection[str]) -> Json:
    """Return the one tensor of `inputs` or `outputs`, which must have that name."""
    tensors = asked.get(part)
    if not isinstance(tensors, list):
        raise ValueError(f"{part} is missing or of the wrong kind: it must be a list with one object, called {name}")
    if len(tensors) != 1:
        raise ValueError(f"{part} must be one {part[:-1]}, called {name}, and there are {len(tensors)}")
    found = _object(tensors[0], f"{part}[0]", ("name", *known))
    if found.get("name") != name:
        raise ValueError(f"{part}[0].name must be the model's: the only {part[:-1]} is called {name}")
    return found


def _truth(parameters: Json, part: str, name: str, otherwise: bool) -> bool:
    found = parameters.get(name, otherwise)
    if not isinstance(found, bool):
        raise ValueError(f"{part}.{name} must be true or false")
    return found


def _tensor(given: Json, binary: bytes, model: Model) -> Uint8Array:
    sides, part = _sides(model), "inputs[0]"
    shape = given.get("shape")
    if not isinstance(shape, list):
        raise ValueError(f"{part}.shape is missing or of the wrong kind: it must be a list, [N, {_text(sides)}]")
    if not all(type(side) is int for side in shape) or tuple(shape[1:]) != sides or shape[0] < 1:
        raise ValueError(f"{part}: its shape must be [N, {_text(sides)}], and is {json.dumps(shape)[:100]}")
    if given.get("datatype") != "UINT8":
        raise ValueError(f"{part}: its datatype must be UINT8")
    size = math.prod(shape)
    told = _object(given.get("parameters", {}), f"{part}.parameters", ("binary_data_size",)).get("binary_data_size")
    if told is not None:
        if told != len(binary) or len(binary) != size:
            raise ValueError(
                f"{part}: its binary data has another size than its shape or binary_data_size says. {len(binary):,} "
                f"bytes follow the JSON, the shape means {size:,}"
            )
        if "data" in given:
            raise ValueError(f"{part} has both data and binary_data_size; give one of them")
        return np.frombuffer(binary, np.uint8).reshape(shape)
    if binary:
        raise ValueError(f"{part} has binary data, but no parameters.binary_data_size")
    return _numbers(given.get("data"), shape, f"{part}.data")


def _numbers(data: Any, shape: list[int], part: str) -> Uint8Array:
    if not isinstance(data, list):
        raise ValueError(f"{part} is missing or of the wrong kind: it must be a list of numbers, nested or not")
    wanted = f"{part} must be as many whole numbers from 0 to 255 as its shape says, {math.prod(shape):,}"
    try:
        found = np.array(data)
    except (ValueError, OverflowError):
        raise ValueError(f"{wanted}; its lists have different lengths{_first_odd(data, part)}") from None
    if found.dtype.kind not in "iu" or found.size != math.prod(shape) or found.min() < 0 or found.max() > 255:
        raise ValueError(f"{wanted}; there are {found.size:,}" if found.size != math.prod(shape) else wanted)
    values: Iterable[Any] = data
    for _ in range(found.ndim - 1):
        values = chain.from_iterable(values)
    if bool in set(map(type, values)):  # NumPy takes true among numbers for a 1
        raise ValueError(f"{wanted}; true and false are no numbers")
    return found.astype(np.uint8).reshape(shape)


def _first_odd(data: list[Any], part: str, depth: int = 0) -> str:
    """Say which list differs from the first one beside it."""
    lengths = [len(each) if isinstance(each, list) else None for each in data]
    for i, length in enumerate(lengths):
        if length != lengths[0]:
            return f": {part}[{i}] is {_size(length)}, and {part}[0] {_size(lengths[0])}"
    if depth < MOST_NESTED and lengths and lengths[0] is not None:
        for i, each in enumerate(data):
            if found := _first_odd(each, f"{part}[{i}]", depth + 1):
                return found
    return ""


def _size(length: int | None) -> str:
    return "no list" if length is None else f"a list of {length:,}"


def _sides(model: Model) -> tuple[int, int, int]:
    size = model.bundle.preprocessing
    return size.height, size.width, size.channels


def _text(sides: tuple[int, ...]) -> str:
    return ", ".join(map(str, sides))
