"""How AMQP 1.0 writes values. Nothing here takes more memory than what came has bytes, times a constant."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from mooring.types.activemq.faults import Garbled
from mooring.types.activemq.text import from_java

DEEPEST = 16
MOST_VALUES = 100_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHORT, _BYTE_MAX = 255, 127
_ZERO_SIZED = frozenset({0x40, 0x41, 0x42, 0x43, 0x44, 0x45})


class Symbol(str):
    """A word of the protocol, in ASCII."""


class Symbols(list[str]):
    """Several words where one might stand."""


class UByte(int):
    """8 bits, without a sign."""


class Byte(int):
    """8 bits, with a sign."""


class UInt(int):
    """32 bits, without a sign."""


class Timestamp(int):
    """Milliseconds since 1970."""


class Described:
    """A value that says what it is by a number."""

    __slots__ = ("code", "value")

    def __init__(self, code: int, value: Any) -> None:
        self.code, self.value = code, value

    def field(self, index: int) -> Any:
        """A field of the list that it is; None where the list ends before."""
        fields = self.value
        return fields[index] if isinstance(fields, list) and index < len(fields) else None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Described) and (self.code, self.value) == (other.code, other.value)

    __hash__ = None  # type: ignore[assignment]  # it can be changed

    def __repr__(self) -> str:
        return f"Described({self.code:#x}, {self.value!r})"


def encode(value: Any) -> bytes:
    """*value* with its type before it."""
    match value:
        case None:
            return b"\x40"
        case bool():
            return b"\x41" if value else b"\x42"
        case Described():
            code = bytes((0x53, value.code)) if value.code <= _SHORT else struct.pack(">BQ", 0x80, value.code)
            return b"\x00" + code + encode(value.value)
        case UByte():
            return bytes((0x50, value))
        case Byte():
            return struct.pack(">Bb", 0x51, value)
        case UInt():
            return (
                b"\x43" if value == 0 else bytes((0x52, value)) if value <= _SHORT else struct.pack(">BI", 0x70, value)
            )
        case Timestamp():
            return struct.pack(">Bq", 0x83, value)
        case int():
            small = -_BYTE_MAX - 1 <= value <= _BYTE_MAX
            return struct.pack(">Bb", 0x55, value) if small else struct.pack(">Bq", 0x81, value)
        case float():
            return struct.pack(">Bd", 0x82, value)
        case Symbol():
            return _sized(0xA3, value.encode("ascii", "replace"))
        case str():
            return _sized(0xA1, value.encode("utf-8", "replace"))
        case bytes():
            return _sized(0xA0, value)
        case Symbols():
            words = [word.encode("ascii", "replace") for word in value]
            items = b"".join(struct.pack(">I", len(word)) + word for word in words)
            return struct.pack(">BIIB", 0xF0, len(items) + 5, len(words), 0xB3) + items
        case list():
            return _compound(0xD0, len(value), b"".join(map(encode, value)))
        case dict():
            return _compound(0xD1, 2 * len(value), b"".join(encode(k) + encode(v) for k, v in value.items()))
    raise TypeError(f"AMQP knows no {type(value).__name__}")


def decode(data: bytes, at: int = 0, depth: int = 0) -> tuple[Any, int]:
    """The value that begins *at*, and where the next one does. Raises `Garbled`."""
    code = _byte(data, at)
    at += 1
    if code == 0:
        return _described(data, at, depth)
    fixed = _FIXED.get(code)
    if fixed is not None:
        size, read = fixed
        return read(_part(data, at, size)), at + size
    group = code >> 4
    if group in (0xA, 0xB):
        width = 1 if group == 0xA else 4
        size = int.from_bytes(_part(data, at, width), "big")
        return _variable(code, _part(data, at + width, size)), at + width + size
    if group in (0xC, 0xD, 0xE, 0xF):
        return _several(code, data, at, depth)
    raise Garbled("a value has an unknown type")


def _sized(code: int, data: bytes) -> bytes:
    if len(data) <= _SHORT:
        return bytes((code, len(data))) + data
    return struct.pack(">BI", code + 0x10, len(data)) + data


def _compound(code: int, count: int, items: bytes) -> bytes:
    if len(items) < _SHORT and count <= _SHORT:
        return bytes((code - 0x10, len(items) + 1, count)) + items
    return struct.pack(">BII", code, len(items) + 4, count) + items


def _byte(data: bytes, at: int) -> int:
    if at >= len(data):
        raise Garbled("a value is longer than what it is in")
    return data[at]


def _part(data: bytes, at: int, size: int) -> bytes:
    if at + size > len(data):
        raise Garbled("a value is longer than what it is in")
    return data[at : at + size]


def _described(data: bytes, at: int, depth: int) -> tuple[Described, int]:
    if depth > DEEPEST:
        raise Garbled("values stand too deep in one another")
    code, at = decode(data, at, depth + 1)
    value, at = decode(data, at, depth + 1)
    return Described(
        _CODES.get(code, -1) if isinstance(code, str) else code if isinstance(code, int) else -1, value
    ), at


def _variable(code: int, data: bytes) -> Any:
    kind = code & 0xF
    if kind == 0:
        return data
    try:
        if kind == 1:
            # What ActiveMQ kept as Java writes it, it passes on so.
            return from_java(data)
        if kind == 3:
            return Symbol(data.decode("ascii"))
    except UnicodeDecodeError:
        raise Garbled("a text is not UTF-8") from None
    raise Garbled("a value has an unknown type")


def _several(code: int, data: bytes, at: int, depth: int) -> tuple[Any, int]:
    """A list, a map, or an array."""
    if depth > DEEPEST:
        raise Garbled("values stand too deep in one another")
    width = 1 if code >> 4 in (0xC, 0xE) else 4
    size = int.from_bytes(_part(data, at, width), "big")
    inner = _part(data, at + width, size)
    after = at + width + size
    count, at = int.from_bytes(_part(inner, 0, width), "big"), width
    if count > min(size, MOST_VALUES):
        raise Garbled("there are more values than bytes")
    if code >> 4 in (0xE, 0xF):
        if code & 0xF != 0:
            raise Garbled("a value has an unknown type")
        return _array(inner, at, count, depth + 1), after
    items = []
    for _ in range(count):
        item, at = decode(inner, at, depth + 1)
        items.append(item)
    if code & 0xF == 0:
        return items, after
    if code & 0xF == 1 and count % 2 == 0:
        return {_key(name): value for name, value in zip(items[::2], items[1::2], strict=True)}, after
    raise Garbled("a value has an unknown type")


def _array(inner: bytes, at: int, count: int, depth: int) -> list[Any]:
    code = _byte(inner, at)
    if code == 0:
        # Arrays of described values: what describes them stands once, and nothing here needs it.
        _, at = decode(inner, at + 1, depth)
        code = _byte(inner, at)
    items = []
    at += 1
    head = bytes((code,))
    for _ in range(count):
        item, used = _element(head, inner, at, depth)
        items.append(item)
        at += used
    return items


def _element(head: bytes, inner: bytes, at: int, depth: int) -> tuple[Any, int]:
    """An element of an array, whose type stands before all of them, and how many bytes it has."""
    code = head[0]
    if code in _ZERO_SIZED:
        return decode(head)[0], 0
    fixed = _FIXED.get(code)
    if fixed is not None:
        return fixed[1](_part(inner, at, fixed[0])), fixed[0]
    if code == 0:
        raise Garbled("an array holds what it cannot")
    width = 1 if code >> 4 in (0xA, 0xC, 0xE) else 4
    size = width + int.from_bytes(_part(inner, at, width), "big")
    value, _ = decode(head + _part(inner, at, size), 0, depth)
    return value, size


def _key(name: Any) -> Any:
    return name if isinstance(name, str | int | bytes | float) or name is None else repr(name)


def _moment(data: bytes) -> Any:
    milliseconds = int.from_bytes(data, "big", signed=True)
    try:
        return _EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return milliseconds


def _unpacking(layout: str) -> Callable[[bytes], Any]:
    unpack = struct.Struct(layout).unpack
    return lambda data: unpack(data)[0]


def _character(data: bytes) -> str:
    number = int.from_bytes(data, "big")
    return chr(number) if number < 0xD800 or 0xDFFF < number < 0x110000 else "\ufffd"


_FIXED: dict[int, tuple[int, Callable[[bytes], Any]]] = {
    0x40: (0, lambda _: None), 0x41: (0, lambda _: True), 0x42: (0, lambda _: False), 0x43: (0, lambda _: 0),
    0x44: (0, lambda _: 0), 0x45: (0, lambda _: []),
    0x50: (1, _unpacking(">B")), 0x51: (1, _unpacking(">b")), 0x52: (1, _unpacking(">B")), 0x53: (1, _unpacking(">B")),
    0x54: (1, _unpacking(">b")), 0x55: (1, _unpacking(">b")), 0x56: (1, lambda data: data != b"\0"),
    0x60: (2, _unpacking(">H")), 0x61: (2, _unpacking(">h")),
    0x70: (4, _unpacking(">I")), 0x71: (4, _unpacking(">i")), 0x72: (4, _unpacking(">f")), 0x73: (4, _character),
    0x74: (4, bytes), 0x80: (8, _unpacking(">Q")), 0x81: (8, _unpacking(">q")), 0x82: (8, _unpacking(">d")),
    0x83: (8, _moment), 0x84: (8, bytes), 0x94: (16, bytes), 0x98: (16, lambda data: str(uuid.UUID(bytes=data))),
}  # fmt: skip
"""How long a value is after its type, and what it means."""

_CODES = {
    "amqp:open:list": 0x10, "amqp:begin:list": 0x11, "amqp:attach:list": 0x12, "amqp:flow:list": 0x13,
    "amqp:transfer:list": 0x14, "amqp:disposition:list": 0x15, "amqp:detach:list": 0x16, "amqp:end:list": 0x17,
    "amqp:close:list": 0x18, "amqp:error:list": 0x1D, "amqp:received:list": 0x23, "amqp:accepted:list": 0x24,
    "amqp:rejected:list": 0x25, "amqp:released:list": 0x26, "amqp:modified:list": 0x27, "amqp:source:list": 0x28,
    "amqp:target:list": 0x29, "amqp:coordinator:list": 0x30, "amqp:declared:list": 0x33,
    "amqp:transactional-state:list": 0x34, "amqp:sasl-mechanisms:list": 0x40, "amqp:sasl-challenge:list": 0x42,
    "amqp:sasl-outcome:list": 0x44, "amqp:header:list": 0x70, "amqp:delivery-annotations:map": 0x71,
    "amqp:message-annotations:map": 0x72, "amqp:properties:list": 0x73, "amqp:application-properties:map": 0x74,
    "amqp:data:binary": 0x75, "amqp:amqp-sequence:list": 0x76, "amqp:amqp-value:*": 0x77, "amqp:footer:map": 0x78,
}  # fmt: skip
"""What peers may write as a word in place of a number."""
