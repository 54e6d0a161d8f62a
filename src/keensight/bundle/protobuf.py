"""Parses Protocol Buffers, as far as an ONNX file needs them, and more strictly than the format asks for.

The encoding is specified at https://protobuf.dev/programming-guides/encoding. Other readers may ignore an unknown
field, and merge two copies of one message; here both are refused, so that any other reader sees what was checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

FIXED = {1: 8, 5: 4}  # bytes, by wire type


class Field(NamedTuple):
    """A field that a message may have: its name, its wire type, and whether it may be repeated."""

    name: str
    wire: int
    repeated: bool = False


def message(data: Any, fields: Mapping[int, Field], refused: Mapping[int, str], what: str) -> dict[str, Any]:
    """Return a message's fields by name: an int or a memoryview, or a list of them for fields that may be repeated.

    Raises ValueError, with the message's name `what`, for bytes that are cut short, a field that is in `refused` (with
    its content) or in neither table, a wrong wire type, and a field that is repeated but may not be.
    """
    found: dict[str, Any] = {field.name: [] for field in fields.values() if field.repeated}
    for number, wire, value in _fields(memoryview(data), what):
        if number in refused:
            raise ValueError(f"{what} has {refused[number]}, which keensight's models never have")
        field = fields.get(number)
        if field is not None and field.repeated and field.wire == 0 and wire == 2:
            found[field.name] += _packed(value, what)
        elif field is None or field.wire != wire:
            raise ValueError(f"{what} has a field that keensight's models never have (number {number})")
        elif field.repeated:
            found[field.name].append(value)
        elif field.name in found:
            raise ValueError(f"{what} has its {field.name} twice")
        else:
            found[field.name] = value
    return found


def encoded(number: int, content: bytes) -> bytes:
    """Return a field of bytes, such as a message within a message.

    >>> encoded(1, b"name")
    b'\\n\\x04name'
    """
    return _encoded_varint(number << 3 | 2) + _encoded_varint(len(content)) + content


def text(value: Any) -> str:
    """Return a string field's text, or an empty one if the field is missing."""
    return bytes(value or b"").decode()


def signed(value: int) -> int:
    """Return a varint as int64: negative numbers are their two's complement.

    >>> signed(2**64 - 1)
    -1
    """
    return value - 2**64 if value >= 2**63 else value


def _fields(data: memoryview, what: str) -> Iterator[tuple[int, int, Any]]:
    at = 0
    while at < len(data):
        key, at = _varint(data, at, what)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at, what)
            yield number, wire, value
            continue
        if wire == 2:
            size, at = _varint(data, at, what)
        elif wire in FIXED:
            size = FIXED[wire]
        else:
            raise ValueError(f"{what} is not a protocol buffer")
        if size > len(data) - at:
            raise ValueError(f"{what} is cut short")
        yield number, wire, data[at : at + size]
        at += size


def _packed(data: Any, what: str) -> list[int]:
    numbers, at = [], 0
    while at < len(data):
        number, at = _varint(data, at, what)
        numbers.append(number)
    return numbers


def _encoded_varint(value: int) -> bytes:
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _varint(data: memoryview, at: int, what: str) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError(f"{what} is cut short")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >= 2**64:
                break
            return value, at
    raise ValueError(f"{what} has a number of more than 64 bits")
