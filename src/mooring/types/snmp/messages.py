"""SNMP's messages (RFC 1157, 3416, 3412, 3414), as far as notifications need them: to bytes, and replies from bytes."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hmac import compare_digest
from typing import TypeVar

from mooring.kit.ber import (
    INTEGER,
    OCTETS,
    SEQUENCE,
    Unintelligible,
    element,
    elements,
    integer,
    number,
    numbers,
    oid,
    spans,
    text,
)
from mooring.types.snmp.usm import User

RESPONSE, TRAP_V1, INFORM, TRAP, REPORT, GET = 0xA2, 0xA4, 0xA6, 0xA7, 0xA8, 0xA0
TIMETICKS = 0x43
SYS_UPTIME = "1.3.6.1.2.1.1.3.0"
SNMP_TRAP_OID = "1.3.6.1.6.3.1.1.4.1.0"
MAX_MESSAGE = 65507
AUTHENTICATED, ENCRYPTED, REPORTABLE = 1, 2, 4
_V3, _USM = 3, 3
_ENTERPRISE_SPECIFIC = 6
_STANDARD_TRAPS = "1.3.6.1.6.3.1.1.5"

T = TypeVar("T")
Encoder = Callable[[str], bytes]


def _address(value: str) -> bytes:
    return element(0x40, ipaddress.IPv4Address(value).packed)


def _whole(tag: int, lowest: int, highest: int) -> Encoder:
    def encode(value: str) -> bytes:
        if not lowest <= int(value) <= highest:
            raise ValueError
        return integer(int(value), tag)

    return encode


ENCODERS: dict[str, Encoder] = {
    "string": text,
    "hex": lambda value: text(bytes.fromhex(value)),
    "integer": _whole(INTEGER, -(2**31), 2**31 - 1),
    "unsigned": _whole(0x42, 0, 2**32 - 1),
    "counter": _whole(0x41, 0, 2**32 - 1),
    "counter64": _whole(0x46, 0, 2**64 - 1),
    "timeticks": _whole(TIMETICKS, 0, 2**32 - 1),
    "ipAddress": _address,
    "oid": oid,
}
"""How a value of each kind is written. They raise `ValueError`."""


@dataclass(frozen=True)
class Pdu:
    """A reply's inner part; *first* is the name of its first variable."""

    kind: int
    request_id: int
    error: int
    first: str


@dataclass(frozen=True)
class Secured:
    """A message of v3 as it stands, before anything of it is believed. `digest_at` is where its digest begins."""

    message_id: int
    flags: int
    engine: bytes
    boots: int
    time: int
    user: bytes
    digest: bytes
    digest_at: int
    salt: bytes
    data: bytes


def variable(name: str, value: bytes) -> bytes:
    """A name with its value, which is encoded already."""
    return element(SEQUENCE, oid(name), value)


def pdu(kind: int, request_id: int, variables: Sequence[bytes]) -> bytes:
    """The inner part of a message of v2c and v3."""
    return element(kind, integer(request_id), integer(0), integer(0), element(SEQUENCE, *variables))


def trap_v1(trap: str, ticks: int, variables: Sequence[bytes]) -> bytes:
    """
    The inner part of a trap of v1, with what RFC 3584 (section 3.2) makes of the trap's name.

    The sender's address stays open: behind a router, or in a container, the one that we know would be wrong.
    """
    head, _, last = trap.rpartition(".")
    generic, specific = _ENTERPRISE_SPECIFIC, int(last)
    if head == _STANDARD_TRAPS and 1 <= specific <= _ENTERPRISE_SPECIFIC:
        enterprise, generic, specific = head, specific - 1, 0
    else:
        enterprise = head.removesuffix(".0")
    return element(
        TRAP_V1, oid(enterprise), _address("0.0.0.0"), integer(generic), integer(specific),
        integer(ticks, TIMETICKS), element(SEQUENCE, *variables),
    )  # fmt: skip


def with_community(version: int, community: str, inner: bytes) -> bytes:
    """A message of v1 (0) or v2c (1)."""
    return element(SEQUENCE, integer(version), text(community), inner)


def secured(
    user: User, engine: bytes, boots: int, time: int, message_id: int, inner: bytes, *, reportable: bool
) -> bytes:
    """A message of v3 by *user*, authenticated and encrypted as it does."""
    keys = user.keys(engine)
    scoped = element(SEQUENCE, text(engine), text(b""), inner)
    flags = (AUTHENTICATED * user.authenticates) | (ENCRYPTED * user.encrypts) | (REPORTABLE * reportable)
    salt = b""
    if user.encrypts:
        ciphered, salt = user.encrypt(keys, boots, time, scoped)
        scoped = text(ciphered)

    def whole(digest: bytes) -> bytes:
        parameters = element(
            SEQUENCE, text(engine), integer(boots), integer(time), text(user.name), text(digest), text(salt)
        )
        return _v3(message_id, flags, parameters, scoped)

    unsigned = whole(b"\0" * user.digest_size)
    return whole(user.digest(keys, unsigned)) if user.authenticates else unsigned


def discovery(message_id: int) -> bytes:
    """The question for which engine listens there (RFC 3414, section 4)."""
    parameters = element(SEQUENCE, text(b""), integer(0), integer(0), text(b""), text(b""), text(b""))
    scoped = element(SEQUENCE, text(b""), text(b""), pdu(GET, message_id, []))
    return _v3(message_id, REPORTABLE, parameters, scoped)


def _v3(message_id: int, flags: int, parameters: bytes, scoped: bytes) -> bytes:
    header = element(SEQUENCE, integer(message_id), integer(MAX_MESSAGE), text(bytes((flags,))), integer(_USM))
    return element(SEQUENCE, integer(_V3), header, text(parameters), scoped)


def read_plain(frame: bytes, version: int, community: str) -> Pdu:
    """The inner part of a message of v1 or v2c. Raises `Unintelligible`."""
    parts = _parts(frame)
    if len(parts) != 3 or number(parts[0][1]) != version or bytes(parts[1][1]) != community.encode():
        raise Unintelligible
    return _pdu(*parts[2])


def read_secured(frame: bytes) -> Secured:
    """A message of v3. Raises `Unintelligible`."""
    ((tag, start, end),) = _exactly(list(spans(frame)), 1)
    outer = _exactly(list(spans(frame, start, end)), 4)
    if tag != SEQUENCE or number(_content(frame, outer[0])) != _V3:
        raise Unintelligible
    header = _exactly(list(spans(frame, *outer[1][1:])), 4)
    ((_, inner_start, inner_end),) = _exactly(list(spans(frame, *outer[2][1:])), 1)
    parameters = _exactly(list(spans(frame, inner_start, inner_end)), 6)
    flags = _content(frame, header[2])
    if len(flags) != 1 or number(_content(frame, header[3])) != _USM:
        raise Unintelligible
    engine, boots, time, user, digest, salt = (_content(frame, part) for part in parameters)
    scoped = outer[3]
    return Secured(
        message_id=number(_content(frame, header[0])),
        flags=flags[0],
        engine=engine,
        boots=number(boots),
        time=number(time),
        user=user,
        digest=digest,
        digest_at=parameters[4][1],
        salt=salt,
        data=_content(frame, scoped) if scoped[0] == OCTETS else _element(frame, scoped),
    )


def opened(user: User, frame: bytes, message: Secured) -> tuple[Pdu, bool]:
    """
    What *message*, read from *frame*, says to *user*, and whether it is proved to be from the engine that it names.

    Raises `Unintelligible` where its digest is wrong, or it is not encrypted as the user's messages are.
    """
    proved = bool(message.flags & AUTHENTICATED)
    data = message.data
    if proved:
        if not user.authenticates or message.user != user.name.encode():
            raise Unintelligible
        keys = user.keys(message.engine)
        end = message.digest_at + len(message.digest)
        zeroed = frame[: message.digest_at] + b"\0" * len(message.digest) + frame[end:]
        if len(message.digest) != user.digest_size or not compare_digest(user.digest(keys, zeroed), message.digest):
            raise Unintelligible
        if message.flags & ENCRYPTED:
            if not user.encrypts:
                raise Unintelligible
            data = user.decrypt(keys, message.boots, message.time, message.salt, data)
    inner = unwrapped(data)
    if inner.kind == RESPONSE and (proved != user.authenticates or bool(message.flags & ENCRYPTED) != user.encrypts):
        raise Unintelligible
    return inner, proved


def unwrapped(data: bytes) -> Pdu:
    """The inner part of the scoped one in *data*. Raises `Unintelligible`."""
    # Encrypted data may have padding behind it, which is not looked at.
    tag, start, end = next(spans(data), (0, 0, 0))
    if tag != SEQUENCE:
        raise Unintelligible
    parts = _exactly(list(elements(memoryview(data)[start:end])), 3)
    return _pdu(*parts[2])


def _parts(frame: bytes) -> list[tuple[int, memoryview]]:
    ((tag, content),) = _exactly(list(elements(memoryview(frame))), 1)
    if tag != SEQUENCE:
        raise Unintelligible
    return list(elements(content))


def _pdu(kind: int, content: memoryview) -> Pdu:
    if kind not in (RESPONSE, REPORT):
        raise Unintelligible
    request_id, error, _, variables = _exactly(list(elements(content)), 4)
    first = next(elements(variables[1]), None)
    name = next(elements(first[1]), None) if first else None
    return Pdu(kind, number(request_id[1]), number(error[1]), numbers(name[1]) if name else "")


def _content(frame: bytes, span: tuple[int, int, int]) -> bytes:
    return frame[span[1] : span[2]]


def _element(frame: bytes, span: tuple[int, int, int]) -> bytes:
    return element(span[0], _content(frame, span))


def _exactly(found: list[T], count: int) -> list[T]:
    if len(found) != count:
        raise Unintelligible
    return found
