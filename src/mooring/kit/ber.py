"""
The part of ASN.1's Basic Encoding Rules that network protocols are written in: definite lengths, one byte of tag.

Reading takes time in proportion to what is read, whatever the other side puts into it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

BOOLEAN: Final = 0x01
INTEGER: Final = 0x02
OCTETS: Final = 0x04
NULL: Final = 0x05
OID: Final = 0x06
ENUMERATED: Final = 0x0A
SEQUENCE: Final = 0x30
SET: Final = 0x31

_LONG = 0x80
_LENGTH_BYTES = 4
_MAX_INTEGER_BYTES = 9
_MAX_OID_BYTES = 640

Bytes = bytes | bytearray | memoryview


class Unintelligible(ValueError):
    """What came is not what the protocol allows."""


def element(tag: int, *parts: bytes) -> bytes:
    """One element: *parts*, encoded already, with a tag and their length before them."""
    content = b"".join(parts)
    length = len(content)
    if length < _LONG:
        return bytes((tag, length)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, _LONG | len(octets))) + octets + content


def integer(value: int, tag: int = INTEGER) -> bytes:
    """A whole number in the fewest bytes."""
    magnitude = value if value >= 0 else ~value
    return element(tag, value.to_bytes(magnitude.bit_length() // 8 + 1, "big", signed=True))


def text(value: str | bytes, tag: int = OCTETS) -> bytes:
    """A string of bytes; of text, its UTF-8."""
    return element(tag, value.encode() if isinstance(value, str) else value)


def boolean(value: bool, tag: int = BOOLEAN) -> bytes:
    """True or false."""
    return element(tag, b"\xff" if value else b"\x00")


def oid(value: str) -> bytes:
    """An object identifier: numbers with dots between them, and perhaps one in front."""
    first, second, *rest = (int(part) for part in value.lstrip(".").split("."))
    return element(OID, *map(_base128, (40 * first + second, *rest)))


def frame_length(buffer: Bytes, start: int = 0) -> int | None:
    """How long the element at *start* is, header included; None while its header is incomplete."""
    if len(buffer) < start + 2:
        return None
    first = buffer[start + 1]
    if first < _LONG:
        return 2 + first
    count = first & ~_LONG
    if not 1 <= count <= _LENGTH_BYTES:
        raise Unintelligible
    if len(buffer) < start + 2 + count:
        return None
    return 2 + count + int.from_bytes(buffer[start + 2 : start + 2 + count], "big")


def spans(buffer: Bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int, int]]:
    """The tag of each element between *start* and *end*, and where its content begins and ends."""
    end = len(buffer) if end is None else end
    while start < end:
        length = frame_length(buffer, start)
        if length is None or start + length > end:
            raise Unintelligible
        header = 2 if buffer[start + 1] < _LONG else 2 + (buffer[start + 1] & ~_LONG)
        yield buffer[start], start + header, start + length
        start += length


def elements(content: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The tag and the content of each element in *content*. Raises `Unintelligible`."""
    for tag, start, end in spans(content):
        yield tag, content[start:end]


def number(content: Bytes) -> int:
    """The whole number in *content*."""
    if not 1 <= len(content) <= _MAX_INTEGER_BYTES:
        raise Unintelligible
    return int.from_bytes(content, "big", signed=True)


def words(content: memoryview) -> str:
    """The text in *content*; what is no UTF-8 is replaced."""
    return str(content, "utf-8", "replace")


def numbers(content: Bytes) -> str:
    """The object identifier in *content*, with dots between its numbers."""
    if not 1 <= len(content) <= _MAX_OID_BYTES or content[-1] & _LONG:
        raise Unintelligible
    found, value = [], 0
    for byte in content:
        value = value << 7 | byte & ~_LONG
        if not byte & _LONG:
            found.append(value)
            value = 0
    first = min(found[0] // 40, 2)
    return ".".join(map(str, (first, found[0] - 40 * first, *found[1:])))


def _base128(value: int) -> bytes:
    octets = [value & 0x7F]
    while value := value >> 7:
        octets.append(_LONG | value & 0x7F)
    return bytes(reversed(octets))
