"""LDAP's messages (RFC 4511), as far as searching and logging in need them: requests to bytes, replies from bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mooring.kit.ber import (
    ENUMERATED,
    OCTETS,
    SEQUENCE,
    SET,
    Unintelligible,
    boolean,
    element,
    elements,
    integer,
    number,
    text,
    words,
)
from mooring.types.ldap.filter import Comparison, Filter, Group, escaped

BIND: Final = 0x61
ENTRY: Final = 0x64
DONE: Final = 0x65
REFERENCE: Final = 0x73
EXTENDED: Final = 0x78
INTERMEDIATE: Final = 0x79
RESULTS = frozenset((BIND, DONE, EXTENDED))
"""Replies that end an operation."""

SCOPES = {"OBJECT": 0, "ONE_LEVEL": 1, "SUBTREE": 2}
PAGED = "1.2.840.113556.1.4.319"
START_TLS = "1.3.6.1.4.1.1466.20037"
_VERSION = 3
_NEVER_DEREFERENCE = 0
_OPERATORS = {"=": 0xA3, ">=": 0xA5, "<=": 0xA6, "~=": 0xA8}
_GROUPS = {"&": 0xA0, "|": 0xA1, "!": 0xA2}
_SUBSTRINGS, _PRESENT, _EXTENSIBLE = 0xA4, 0x87, 0xA9
_REFERRAL, _CONTROLS = 0xA3, 0xA0
_INITIAL, _ANY, _FINAL = 0x80, 0x81, 0x82


@dataclass(frozen=True)
class Result:
    """How an operation ended. `cookie` is where the next page of a paged search begins; empty after the last."""

    code: int
    message: str
    referrals: tuple[str, ...] = ()
    cookie: bytes = b""


@dataclass(frozen=True)
class Entry:
    """What a search found: the name, and the values of each attribute as they came."""

    dn: str
    attributes: tuple[tuple[str, tuple[bytes, ...]], ...]


@dataclass(frozen=True)
class Reference:
    """Where a search would go on, on other servers."""

    urls: tuple[str, ...]


Reply = Result | Entry | Reference | None
"""None is a message that says nothing here, such as an intermediate response."""


def message(identifier: int, operation: bytes, controls: bytes = b"") -> bytes:
    """The whole message for *operation*."""
    return element(SEQUENCE, integer(identifier), operation, element(_CONTROLS, controls) if controls else b"")


def bind(dn: str, password: str) -> bytes:
    """Log in with a password."""
    return element(0x60, integer(_VERSION), text(dn), text(password, 0x80))


def unbind() -> bytes:
    """Say goodbye."""
    return element(0x42)


def abandon(identifier: int) -> bytes:
    """Say that the answer to that message is not wanted any more."""
    return integer(identifier, 0x50)


def start_tls() -> bytes:
    """Ask for TLS."""
    return element(0x77, text(START_TLS, 0x80))


def search(base: str, scope: str, asked: bytes, attributes: Sequence[str], limit: int) -> bytes:
    """Look for entries; at most *limit* of them, 0 for as many as the server gives."""
    return element(
        0x63,
        text(base),
        integer(SCOPES[scope], ENUMERATED),
        integer(_NEVER_DEREFERENCE, ENUMERATED),
        integer(limit),
        integer(0),
        boolean(False),
        asked,
        element(SEQUENCE, *map(text, attributes)),
    )


def page(size: int, cookie: bytes) -> bytes:
    """The control (RFC 2696) that asks for the page which begins at *cookie*."""
    return element(SEQUENCE, text(PAGED), text(element(SEQUENCE, integer(size), text(cookie))))


def filter_of(asked: Filter, user: str) -> bytes:
    """The filter *asked*, with *user* in the place of `{0}`."""
    if isinstance(asked, Group):
        return element(_GROUPS[asked.operator], *(filter_of(part, user) for part in asked.parts))
    return _comparison(asked, asked.value.replace("{0}", escaped(user)))


def _comparison(asked: Comparison, value: str) -> bytes:
    if asked.operator == ":=":
        return _extensible(asked.left, value)
    if asked.operator == "=" and "*" in value:
        pieces = _pieces(value.split("*"))
        return (
            element(_SUBSTRINGS, text(asked.left), element(SEQUENCE, *pieces)) if pieces else text(asked.left, _PRESENT)
        )
    return element(_OPERATORS[asked.operator], text(asked.left), text(literal(value)))


def _pieces(pieces: list[str]) -> list[bytes]:
    tags = [_INITIAL, *[_ANY] * (len(pieces) - 2), _FINAL]
    return [text(literal(piece), tag) for tag, piece in zip(tags, pieces, strict=True) if piece]


def _extensible(left: str, value: str) -> bytes:
    attribute, *rest = left.split(":")
    by_dn = bool(rest) and rest[0].lower() == "dn"
    rule = "".join(rest[1:] if by_dn else rest)
    return element(
        _EXTENSIBLE,
        text(rule, 0x81) if rule else b"",
        text(attribute, 0x82) if attribute else b"",
        text(literal(value), 0x83),
        boolean(True, 0x84) if by_dn else b"",
    )


def literal(value: str) -> bytes:
    r"""The bytes that a filter's value stands for, in which `\2a` is an asterisk."""
    first, *rest = value.split("\\")
    return first.encode() + b"".join(bytes.fromhex(part[:2]) + part[2:].encode() for part in rest)


def read(frame: bytes) -> tuple[int, int, Reply]:
    """The number of the request that *frame* answers, the kind of answer, and the answer. Raises `ValueError`."""
    ((tag, content),) = elements(memoryview(frame))
    if tag != SEQUENCE:
        raise Unintelligible
    parts = list(elements(content))
    if len(parts) < 2:
        raise Unintelligible
    identifier, (kind, operation) = number(parts[0][1]), parts[1]
    if kind in RESULTS:
        controls = parts[2][1] if len(parts) > 2 and parts[2][0] == _CONTROLS else memoryview(b"")
        return identifier, kind, _result(operation, controls)
    if kind == ENTRY:
        return identifier, kind, _entry(operation)
    if kind == REFERENCE:
        return identifier, kind, Reference(tuple(words(url) for _, url in elements(operation)))
    if kind == INTERMEDIATE:
        return identifier, kind, None
    raise Unintelligible


def _result(content: memoryview, controls: memoryview) -> Result:
    parts = list(elements(content))
    if len(parts) < 3:
        raise Unintelligible
    referrals = tuple(words(url) for tag, inner in parts[3:] if tag == _REFERRAL for _, url in elements(inner))
    return Result(number(parts[0][1]), words(parts[2][1]), referrals, _cookie(controls))


def _cookie(controls: memoryview) -> bytes:
    for _, control in elements(controls):
        kind, *rest = elements(control)
        if words(kind[1]) == PAGED:
            for tag, value in rest:
                if tag == OCTETS:
                    ((_, inner),) = elements(value)
                    *_, (_, cookie) = elements(inner)
                    return bytes(cookie)
    return b""


def _entry(content: memoryview) -> Entry:
    parts = list(elements(content))
    if len(parts) != 2:
        raise Unintelligible
    attributes = []
    for _, attribute in elements(parts[1][1]):
        pair = list(elements(attribute))
        if len(pair) != 2 or pair[1][0] != SET:
            raise Unintelligible
        attributes.append((words(pair[0][1]), tuple(bytes(value) for _, value in elements(pair[1][1]))))
    return Entry(words(parts[0][1]), tuple(attributes))
