"""
A small reader of BER (and so of DER): tags, lengths, and the values inside, whoever wrote them.

It is for looking at a file before a library may work on it: how often a password would be hashed, and where the
keys are. What is nested too deep, or does not fit its length, is refused.
"""

from __future__ import annotations

from collections.abc import Iterator

MAX_DEPTH = 24
MAX_NODES = 50_000

INTEGER, OCTETS, OID, SEQUENCE, SET, BMP_STRING = 0x02, 0x04, 0x06, 0x30, 0x31, 0x1E
CONTEXT_0 = 0xA0


class NotBer(ValueError):
    """The bytes are not what they should be; the message never quotes them."""


class Node:
    """One value: its tag as written, its bytes with and without the header, and what it is made of."""

    __slots__ = ("children", "content", "raw", "tag")

    def __init__(self, tag: int, content: bytes, raw: bytes, children: list[Node]) -> None:
        self.tag, self.content, self.raw, self.children = tag, content, raw, children

    def expect(self, tag: int, least: int = 0) -> Node:
        """Itself, where it has *tag* and at least so many children. Raises `NotBer`."""
        if self.tag != tag or len(self.children) < least:
            raise NotBer("a part of it is not what it should be")
        return self

    def number(self) -> int:
        """The INTEGER that it is, where it fits eight bytes. Raises `NotBer`."""
        self.expect(INTEGER)
        if not 1 <= len(self.content) <= 9:
            raise NotBer("a number in it is too large")
        return int.from_bytes(self.content, signed=True)

    def octets(self) -> bytes:
        """The OCTET STRING that it is, in one piece or in several. Raises `NotBer`."""
        if self.tag in (OCTETS, 0x80):
            return self.content
        if self.tag in (OCTETS | 0x20, CONTEXT_0):
            return b"".join(child.octets() for child in self.children)
        raise NotBer("a part of it is not what it should be")

    def oid(self) -> str:
        """The OBJECT IDENTIFIER that it is, with dots. Raises `NotBer`."""
        self.expect(OID)
        if not 1 <= len(self.content) <= 64 or self.content[-1] & 0x80:
            raise NotBer("an identifier in it is broken")
        numbers, value = [], 0
        for byte in self.content:
            value = value << 7 | byte & 0x7F
            if not byte & 0x80:
                numbers.append(value)
                value = 0
        first = min(numbers[0] // 40, 2)
        return ".".join(str(number) for number in (first, numbers[0] - 40 * first, *numbers[1:]))


def read_ber(data: bytes) -> Node:
    """The one value that *data* is. Raises `NotBer`, also where something stands behind it."""
    reader = _Reader(data)
    node, end = reader.node(0, len(data), 0)
    if end != len(data):
        raise NotBer("something stands behind its end")
    return node


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = MAX_NODES

    def node(self, at: int, end: int, depth: int) -> tuple[Node, int]:
        """The value that begins at *at*, and where the next one begins."""
        data, start = self._data, at
        self._left -= 1
        if depth > MAX_DEPTH or self._left < 0:
            raise NotBer("it is nested too deep, or has too many parts")
        if end - at < 2:
            raise NotBer("it is cut off")
        tag, length = data[at], data[at + 1]
        at += 2
        if tag & 0x1F == 0x1F:
            raise NotBer("a part of it is not what it should be")
        if length == 0x80:
            if not tag & 0x20:
                raise NotBer("a length in it is broken")
            children, content_end, after = self._until_end(at, end, depth)
            return Node(tag, data[at:content_end], data[start:after], children), after
        if length & 0x80:
            size = length & 0x7F
            if size > 4 or end - at < size:
                raise NotBer("a length in it is broken")
            length = int.from_bytes(data[at : at + size])
            at += size
        if length > end - at:
            raise NotBer("it is cut off")
        stop = at + length
        children = list(self._within(at, stop, depth)) if tag & 0x20 else []
        return Node(tag, data[at:stop], data[start:stop], children), stop

    def _within(self, at: int, stop: int, depth: int) -> Iterator[Node]:
        while at < stop:
            child, at = self.node(at, stop, depth + 1)
            yield child

    def _until_end(self, at: int, end: int, depth: int) -> tuple[list[Node], int, int]:
        """Values up to the two zero bytes that end an indefinite length."""
        children = []
        while self._data[at : at + 2] != b"\0\0":
            child, at = self.node(at, end, depth + 1)
            children.append(child)
        if at + 2 > end:
            raise NotBer("it is cut off")
        return children, at, at + 2
