"""What a Keras model reads: the size and channels of its pictures, from its input, or as the caller gives it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from keensight.errors import ModelFileError
from keensight.interop.keras.building import Building
from keensight.interop.keras.file import KerasFile
from keensight.interop.keras.layers import IDENTITIES, add_layer
from keensight.interop.keras.nodes import ends_of
from keensight.interop.keras.tree import CONTAINERS, Layer
from keensight.values import Preprocessing


def start(
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
