"""
The part of ASN.1's Basic Encoding Rules that LDAP is written in (RFC 4511, section 5.1): definite lengths only.

Reading takes time in proportion to what is read, whatever a server puts into it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

BOOLEAN: Final = 0x01
INTEGER: Final = 0x02
OCTETS: Final = 0x04
ENUMERATED: Final = 0x0A
SEQUENCE: Final = 0x30
SET: Final = 0x31

_LONG = 0x80
_LENGTH_BYTES = 4
_HEADER = 2 + _LENGTH_BYTES
_MAX_INTEGER_BYTES = 8


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
    return element(tag, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def text(value: str | bytes, tag: int = OCTETS) -> bytes:
    """A string of bytes; of text, its UTF-8."""
    return element(tag, value.encode() if isinstance(value, str) else value)


def boolean(value: bool, tag: int = BOOLEAN) -> bytes:
    """True or false."""
    return element(tag, b"\xff" if value else b"\x00")


def frame_length(buffer: bytes | bytearray) -> int | None:
    """How long the element at the start of *buffer* is, header included; None while its header is incomplete."""
    if len(buffer) < 2:
        return None
    first = buffer[1]
    if first < _LONG:
        return 2 + first
    count = first & ~_LONG
    if not 1 <= count <= _LENGTH_BYTES:
        raise Unintelligible
    if len(buffer) < 2 + count:
        return None
    return 2 + count + int.from_bytes(buffer[2 : 2 + count], "big")


def elements(content: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The tag and the content of each element in *content*. Raises `Unintelligible`."""
    while content:
        length = frame_length(bytes(content[:_HEADER]))
        if length is None or length > len(content):
            raise Unintelligible
        header = 2 if content[1] < _LONG else 2 + (content[1] & ~_LONG)
        yield content[0], content[header:length]
        content = content[length:]


def number(content: memoryview) -> int:
    """The whole number in *content*."""
    if not 1 <= len(content) <= _MAX_INTEGER_BYTES:
        raise Unintelligible
    return int.from_bytes(content, "big", signed=True)


def words(content: memoryview) -> str:
    """The text in *content*; what is no UTF-8 is replaced."""
    return str(content, "utf-8", "replace")
