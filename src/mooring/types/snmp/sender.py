"""Who sends: with a community (v1 and v2c), or as a user (v3)."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mooring.kit.ber import integer, oid
from mooring.plugin.network import Network
from mooring.types.snmp.exchange import Exchange
from mooring.types.snmp.messages import (
    AUTHENTICATED,
    ENCRYPTED,
    INFORM,
    MAX_MESSAGE,
    REPORT,
    RESPONSE,
    SNMP_TRAP_OID,
    SYS_UPTIME,
    TIMETICKS,
    TRAP,
    Pdu,
    Secured,
    discovery,
    opened,
    pdu,
    read_plain,
    read_secured,
    secured,
    trap_v1,
    unwrapped,
    variable,
    with_community,
)
from mooring.types.snmp.usm import User

ENGINE = b"\x80\x00\x00\x00\x04Mooring"
"""The engine that traps of v3 come from: the same for every worker, so that a receiver needs to know one."""
BOOTS = 1
EPOCH = 1_577_836_800
"""Traps tell the seconds since 2020 for the time since the engine's only start: workers agree on it without talking."""

_REPORTS = "1.3.6.1.6.3.15.1.1."
UNSUPPORTED_LEVEL, NOT_IN_TIME, UNKNOWN_USER, UNKNOWN_ENGINE, WRONG_DIGEST, UNDECIPHERABLE = (
    f"{_REPORTS}{number}.0" for number in range(1, 7)
)
_ROUNDS = 4
_NUMBERS = 2**31
_numbers = itertools.count(secrets.randbits(30))


def new_number() -> int:
    """A number for a message, which the answer repeats."""
    return next(_numbers) % _NUMBERS


class Refused(Exception):
    """The receiver said no: *report* is what it reports (v3), *error* the error's number in its answer."""

    def __init__(self, report: str = "", error: int = 0) -> None:
        super().__init__()
        self.report, self.error = report, error


class TooLarge(Exception):
    """The notification does not fit into a message."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size


@dataclass(frozen=True)
class Notification:
    """What is to be sent. The variables are encoded already, without the uptime and the trap's name."""

    trap: str
    ticks: int
    variables: Sequence[bytes]

    def pdu(self, kind: int, number: int) -> bytes:
        """The inner part for v2c and v3."""
        head = (variable(SYS_UPTIME, integer(self.ticks, TIMETICKS)), variable(SNMP_TRAP_OID, oid(self.trap)))
        return pdu(kind, number, [*head, *self.variables])


class Sender(Protocol):
    """Knows how a notification is written, and what the answer to one looks like."""

    def exchange(self, network: Network, host: str, port: int, *, datagrams: bool) -> Exchange[Any]:
        """A socket to the receiver, for messages as this sender reads them."""

    async def trap(self, notification: Notification) -> bytes:
        """The message of a trap."""

    async def inform(self, exchange: Exchange[Any], notification: Notification, timeout_s: float, retries: int) -> None:
        """Send an inform until it is acknowledged. Raises `Refused`, and what `Exchange.ask` raises."""

    @property
    def engine(self) -> bytes | None:
        """The receiver's engine, as soon as it is known."""


class CommunitySender:
    """v1 and v2c."""

    engine = None

    def __init__(self, version: int, community: str) -> None:
        self._version, self._community = version, community

    def exchange(self, network: Network, host: str, port: int, *, datagrams: bool) -> Exchange[Pdu]:
        return Exchange(network, host, port, self._read, datagrams=datagrams)

    async def trap(self, notification: Notification) -> bytes:
        if self._version == 0:
            inner = trap_v1(notification.trap, notification.ticks, notification.variables)
        else:
            inner = notification.pdu(TRAP, new_number())
        return _fitting(with_community(self._version, self._community, inner))

    async def inform(self, exchange: Exchange[Pdu], notification: Notification, timeout_s: float, retries: int) -> None:
        number = new_number()
        message = _fitting(with_community(self._version, self._community, notification.pdu(INFORM, number)))
        answer = await exchange.ask(message, number, lambda _, found: found, timeout_s, retries)
        if answer.error:
            raise Refused(error=answer.error)

    def _read(self, frame: bytes) -> tuple[int, Pdu]:
        found = read_plain(frame, self._version, self._community)
        return found.request_id, found


@dataclass
class _Clock:
    """What the receiver's engine said of its own time, and when it said so."""

    engine: bytes
    boots: int
    time: int
    told_at: float

    @property
    def now(self) -> int:
        return (self.time + int(time.monotonic() - self.told_at)) % _NUMBERS


class UserSender:
    """v3. Informs are secured for the receiver's engine, which is asked for first; traps for our own."""

    def __init__(self, user: User) -> None:
        self._user = user
        self._clock: _Clock | None = None
        self._asking = asyncio.Lock()
        self._deriving = asyncio.Lock()

    @property
    def engine(self) -> bytes | None:
        return self._clock.engine if self._clock else None

    def exchange(self, network: Network, host: str, port: int, *, datagrams: bool) -> Exchange[Secured]:
        return Exchange(network, host, port, _read, datagrams=datagrams)

    async def trap(self, notification: Notification) -> bytes:
        await self._prepare(ENGINE)
        number = new_number()
        seconds = (int(time.time()) - EPOCH) % _NUMBERS
        message = secured(self._user, ENGINE, BOOTS, seconds, number, notification.pdu(TRAP, number), reportable=False)
        return _fitting(message)

    async def inform(
        self, exchange: Exchange[Secured], notification: Notification, timeout_s: float, retries: int
    ) -> None:
        inner = notification.pdu(INFORM, request := new_number())
        for _ in range(_ROUNDS):
            clock = self._clock or await self._ask_who(exchange, timeout_s, retries)
            await self._prepare(clock.engine)
            number = new_number()
            message = secured(self._user, clock.engine, clock.boots, clock.now, number, inner, reportable=True)
            answer = await exchange.ask(
                _fitting(message), number, self._believing(clock.engine, request), timeout_s, retries
            )
            if answer.kind == RESPONSE:
                if answer.error:
                    raise Refused(error=answer.error)
                return
            if answer.first == UNKNOWN_ENGINE and self._clock is clock:
                self._clock = None
            elif answer.first not in (NOT_IN_TIME, UNKNOWN_ENGINE):
                raise Refused(report=answer.first)
        raise Refused(report=NOT_IN_TIME)

    async def _ask_who(self, exchange: Exchange[Secured], timeout_s: float, retries: int) -> _Clock:
        """Which engine listens there, and what time it has."""
        async with self._asking:
            if self._clock is None:
                number = new_number()
                self._clock = await exchange.ask(discovery(number), number, _told, timeout_s, retries)
            return self._clock

    def _believing(self, engine: bytes, request: int) -> Any:
        """Reads an answer to a message for *engine*; what is not proved to be from it counts only as a refusal."""

        def believe(frame: bytes, message: Secured) -> Pdu | None:
            if message.engine != engine:
                return _stranger(message)
            found, proved = opened(self._user, frame, message)
            if found.kind == RESPONSE and found.request_id != request:
                return None
            if found.kind == REPORT and found.first == NOT_IN_TIME:
                if not proved:
                    return None
                self._clock = _Clock(engine, message.boots, message.time, time.monotonic())
            return found

        return believe

    async def _prepare(self, engine: bytes) -> None:
        if not self._user.knows(engine):
            async with self._deriving:
                if not self._user.knows(engine):
                    await asyncio.to_thread(self._user.keys, engine)


def _fitting(message: bytes) -> bytes:
    if len(message) > MAX_MESSAGE:
        raise TooLarge(len(message))
    return message


def _read(frame: bytes) -> tuple[int, Secured]:
    found = read_secured(frame)
    return found.message_id, found


def _told(_: bytes, message: Secured) -> _Clock | None:
    if not 5 <= len(message.engine) <= 32:
        return None
    return _Clock(message.engine, message.boots, message.time, time.monotonic())


def _stranger(message: Secured) -> Pdu | None:
    """Another engine's report that it is not the one that was meant."""
    if message.flags & (AUTHENTICATED | ENCRYPTED):
        return None
    found = unwrapped(message.data)
    return found if found.kind == REPORT and found.first == UNKNOWN_ENGINE else None
