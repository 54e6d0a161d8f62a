"""Checks a safetensors file before anything reads its tensors.

The format (https://github.com/huggingface/safetensors#format): eight bytes with the header's length, the header as
JSON, and the tensors' bytes one after the other.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from keensight.bundle.folder import MiB, disguise
from keensight.bundle.strict_json import strict_json

MAX_HEADER = 4 * MiB
MAX_AXES = 8
ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


def check_tensors(content: bytes) -> None:
    """Check that every tensor has the bytes that its shape needs, and that together they fill the file.

    Raises ValueError with what is wrong.
    """
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(MAX_HEADER, len(content) - 8):
        raise ValueError(f"its header does not fit{disguise(content)}")
    header = strict_json(content[8 : 8 + length])
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    told = header.pop("__metadata__", {})
    if not isinstance(told, dict) or not all(isinstance(value, str) for value in told.values()):
        raise ValueError("its metadata is not a table of text")
    places = sorted(_place(name, tensor) for name, tensor in header.items())
    ends = [(0, 0), *places, (len(content) - 8 - length,) * 2]
    if any(before[1] != after[0] for before, after in pairwise(ends)):
        raise ValueError("its tensors overlap, leave gaps, or do not fill the file")


def _place(name: str, tensor: Any) -> tuple[int, int]:
    """Return the start and end of a tensor's bytes."""
    what = f"its tensor {ascii(name)[:60]}"
    if not isinstance(tensor, dict) or set(tensor) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{what} has other keys than dtype, shape and data_offsets")
    dtype, shape, place = tensor["dtype"], tensor["shape"], tensor["data_offsets"]
    if not (_are_sizes(shape) and len(shape) <= MAX_AXES and _are_sizes(place) and len(place) == 2):
        raise ValueError(f"{what} has a shape or place that is not a list of sizes")
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise ValueError(f"{what} has a type that keensight's models never have")
    size = ITEM_BYTES[dtype]
    for axis in shape:
        size *= axis
    if place[1] - place[0] != size:
        raise ValueError(f"{what} has {place[1] - place[0]:,} bytes for a shape of {'x'.join(map(str, shape))[:80]}")
    return place[0], place[1]


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)
