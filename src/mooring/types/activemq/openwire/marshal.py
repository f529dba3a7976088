"""
How OpenWire writes values.

Nothing here takes more memory than what came has bytes, times a constant.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from mooring.types.activemq.faults import Garbled
from mooring.types.activemq.text import from_java, to_java

NULL = b"\x00"
LONGEST_SHORT = 65535
DEEPEST = 16
MOST_VALUES = 100_000

_INT = struct.Struct(">i")
_LONG = struct.Struct(">q")
_SHORT = struct.Struct(">h")
_LENGTH = struct.Struct(">H")
_FLOAT = struct.Struct(">f")
_DOUBLE = struct.Struct(">d")
_SMALLEST_INT, _LARGEST_INT = -(2**31), 2**31 - 1

(
    _T_NULL, _T_BOOLEAN, _T_BYTE, _T_CHAR, _T_SHORT, _T_INT, _T_LONG, _T_DOUBLE, _T_FLOAT, _T_STRING, _T_BYTES, _T_MAP,
    _T_LIST, _T_BIG_STRING,
) = range(14)  # fmt: skip


class Long(int):
    """A whole number that takes 64 bits, whatever its value."""


def text_of(data: bytes) -> str:
    """The text that Java wrote as *data*. Raises `Garbled`."""
    try:
        return from_java(data)
    except UnicodeDecodeError:
        raise Garbled("a text is not UTF-8") from None


def flag(value: bool) -> bytes:
    return b"\x01" if value else b"\x00"


def integer(value: int) -> bytes:
    return _INT.pack(value)


def long(value: int) -> bytes:
    return _LONG.pack(value)


def string(value: str | None) -> bytes:
    """A text of up to 65,535 bytes, or nothing."""
    if value is None:
        return NULL
    data = to_java(value)
    return b"\x01" + _LENGTH.pack(len(data)) + data


def octets(value: bytes | None) -> bytes:
    """Bytes, or nothing."""
    return NULL if value is None else b"\x01" + _INT.pack(len(value)) + value


def properties(values: Mapping[str, Any]) -> bytes:
    """A map of primitive values."""
    parts = [_INT.pack(len(values))]
    for name, value in values.items():
        data = to_java(name)
        parts += [_LENGTH.pack(len(data)), data, primitive(value)]
    return b"".join(parts)


def primitive(value: Any) -> bytes:
    """A value with its type before it: a whole number takes as many bytes as it needs."""
    if value is None:
        return bytes((_T_NULL,))
    if isinstance(value, bool):
        return bytes((_T_BOOLEAN, value))
    if isinstance(value, int):
        if _SMALLEST_INT <= value <= _LARGEST_INT and not isinstance(value, Long):
            return bytes((_T_INT,)) + _INT.pack(value)
        return bytes((_T_LONG,)) + _LONG.pack(value)
    if isinstance(value, float):
        return bytes((_T_DOUBLE,)) + _DOUBLE.pack(value)
    data = to_java(value)
    if len(data) <= LONGEST_SHORT:
        return bytes((_T_STRING,)) + _LENGTH.pack(len(data)) + data
    return bytes((_T_BIG_STRING,)) + _INT.pack(len(data)) + data


class Reader:
    """Reads values one after another. Raises `Garbled` where there are none."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self._data = data
        self.at = at

    @property
    def left(self) -> int:
        """How many bytes have not been read."""
        return len(self._data) - self.at

    def take(self, count: int) -> bytes:
        end = self.at + count
        if count < 0 or end > len(self._data):
            raise Garbled("a value is longer than what it is in")
        data = self._data[self.at : end]
        self.at = end
        return data

    def since(self, start: int) -> bytes:
        """What was read after *start*, as it was written."""
        return self._data[start : self.at]

    def byte(self) -> int:
        if self.at >= len(self._data):
            raise Garbled("a value is longer than what it is in")
        value = self._data[self.at]
        self.at += 1
        return value

    def flag(self) -> bool:
        return self.byte() != 0

    def integer(self) -> int:
        return int(_INT.unpack(self.take(4))[0])

    def long(self) -> int:
        return int(_LONG.unpack(self.take(8))[0])

    def short_text(self) -> str:
        return text_of(self.take(_LENGTH.unpack(self.take(2))[0]))

    def long_text(self) -> str:
        return text_of(self.take(self.integer()))

    def string(self) -> str | None:
        return self.short_text() if self.flag() else None

    def octets(self) -> bytes | None:
        return self.take(self.integer()) if self.flag() else None

    def properties(self, depth: int = 0) -> dict[str, Any]:
        """A map of primitive values."""
        if depth > DEEPEST:
            raise Garbled("values stand too deep in one another")
        count = self.integer()
        # Each entry has three bytes at least.
        if not 0 <= count <= min(self.left // 3, MOST_VALUES):
            raise Garbled("a map is longer than what it is in")
        return {self.short_text(): self.primitive(depth) for _ in range(count)}

    def primitive(self, depth: int = 0) -> Any:
        """A value that says itself what it is."""
        match self.byte():
            case 0:
                return None
            case 1:
                return self.flag()
            case 2:
                return int.from_bytes(self.take(1), "big", signed=True)
            case 3:
                return text_of(chr(_LENGTH.unpack(self.take(2))[0]).encode("utf-8", "surrogatepass"))
            case 4:
                return _SHORT.unpack(self.take(2))[0]
            case 5:
                return self.integer()
            case 6:
                return self.long()
            case 7:
                return _DOUBLE.unpack(self.take(8))[0]
            case 8:
                return _FLOAT.unpack(self.take(4))[0]
            case 9:
                return self.short_text()
            case 10:
                return self.take(self.integer())
            case 11:
                return self.properties(depth + 1)
            case 12:
                return self._list(depth + 1)
            case 13:
                return self.long_text()
        raise Garbled("a value has an unknown type")

    def stream(self) -> list[Any]:
        """All values that are left."""
        found: list[Any] = []
        while self.left:
            if len(found) == MOST_VALUES:
                raise Garbled("a list is too long")
            found.append(self.primitive())
        return found

    def _list(self, depth: int) -> list[Any]:
        if depth > DEEPEST:
            raise Garbled("values stand too deep in one another")
        count = self.integer()
        if not 0 <= count <= min(self.left, MOST_VALUES):
            raise Garbled("a list is longer than what it is in")
        return [self.primitive(depth) for _ in range(count)]
