"""Publishing to, and receiving from, one destination over an AMQP 1.0 connection."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from mooring.types.activemq.amqp.codec import Described, Symbol, Symbols, UInt, encode
from mooring.types.activemq.amqp.connection import Connection
from mooring.types.activemq.amqp.links import Receiver, Sender, described
from mooring.types.activemq.amqp.message import write
from mooring.types.activemq.faults import Lost, Refused, Silent
from mooring.types.activemq.inbox import Inbox
from mooring.types.activemq.messages import LONGEST_PROPERTIES, Incoming, Outgoing, too_long
from mooring.types.activemq.settings import Settings
from mooring.types.activemq.wire import LONGEST_MESSAGE

T = TypeVar("T")
LATE_S = 5.0
_SOURCE, _TARGET, _COORDINATOR = 0x28, 0x29, 0x30
_ACCEPTED, _REJECTED, _RELEASED, _MODIFIED, _DECLARED, _TRANSACTIONAL = 0x24, 0x25, 0x26, 0x27, 0x33, 0x34
_DECLARE, _DISCHARGE = 0x31, 0x32
_VALUE = 0x77
_SELECTOR = 0x0000468C00000004
_PERMANENT = 2
_OUTCOMES = Symbols(f"amqp:{name}:list" for name in ("accepted", "rejected", "released", "modified"))


class Session:
    """What the connector does over one connection. Raises what `faults.explain` understands."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self.wire = connection
        self.settings = settings
        self._sender: Sender | None = None
        self._coordinator: Sender | None = None
        self._attaching = asyncio.Lock()

    @property
    def address(self) -> str:
        """The destination as this peer names it."""
        kind = self.settings.kind
        prefix = self.settings.prefixes.get(kind)
        if prefix is None:
            theirs = self.wire.properties.get("queue-prefix" if kind == "QUEUE" else "topic-prefix")
            prefix = str(theirs) if isinstance(theirs, str) else ""
        return prefix + self.settings.name

    @property
    def capability(self) -> Symbols:
        """What says whether the destination is a queue or a topic."""
        return Symbols(["queue" if self.settings.kind == "QUEUE" else "topic"])

    async def open(self, publishes: bool) -> None:
        """Attach what publishes, where it *publishes*: the peer says here whether that is allowed."""
        if publishes:
            await self._publisher()

    async def publish(self, message: Outgoing) -> str:
        """The id of *message*, once the peer has it."""
        message_id = f"ID:{uuid.uuid4()}"
        payload = write(message, message_id, self.address, self.settings.kind == "TOPIC", int(time.time() * 1000))
        if len(payload) > LONGEST_MESSAGE + 2 * LONGEST_PROPERTIES:
            raise too_long(len(payload))
        sender = await self._publisher()
        if sender.longest is not None and len(payload) > sender.longest:
            raise Refused(
                "amqp:link:message-size-exceeded", f"it takes messages of {sender.longest} bytes at most here"
            )
        await self._within("sendTimeout", self.settings.send_s, self._delivered(sender, payload))
        return message_id

    async def consumer(self, count: int, selector: str | None, subscription: str | None) -> Consumer:
        """A reader of up to *count* messages, which nobody else gets meanwhile."""
        consumer = Consumer(self, count, subscription)
        await self.ask(consumer.open(selector))
        return consumer

    async def leave(self) -> None:
        """Say goodbye."""
        await self.wire.leave(self.settings.close_s)

    async def ask(self, work: Awaitable[T]) -> T:
        """What *work* gives, which the peer has to answer."""
        return await self._within("requestTimeout", self.settings.request_s, work)

    async def in_transaction(self, work: Callable[[bytes], Awaitable[None]]) -> None:
        """Do *work* in a transaction of its own: all of it, or nothing."""
        coordinator = await self._transactions()
        declared = await self._told(coordinator, described(_DECLARE, None))
        identity = declared.field(0) if declared is not None and declared.code == _DECLARED else None
        if not isinstance(identity, bytes):
            raise Refused("amqp:transaction:rollback", "it began no transaction")
        try:
            await work(identity)
        except BaseException:
            if self.wire.alive and coordinator.credit > 0:
                await self.wire.transfer(coordinator, _order(described(_DISCHARGE, identity, True)))
            raise
        await self._told(coordinator, described(_DISCHARGE, identity, False))

    async def _delivered(self, sender: Sender, payload: bytes) -> None:
        if self.settings.transacted:
            await self.in_transaction(lambda identity: self._transferred(sender, payload, identity))
        else:
            _check(await (await self.wire.transfer(sender, payload)))

    async def _transferred(self, sender: Sender, payload: bytes, transaction: bytes) -> None:
        _check(await (await self.wire.transfer(sender, payload, described(_TRANSACTIONAL, transaction))))

    async def _publisher(self) -> Sender:
        if self._sender is not None and self._sender.failure is None:
            return self._sender
        async with self._attaching:
            if self._sender is None or self._sender.failure is not None:
                self._sender = await self._attached(
                    described(
                        _TARGET, self.address, UInt(0), None, UInt(0), False, None, self.capability
                    )
                )  # fmt: skip
            return self._sender

    async def _transactions(self) -> Sender:
        async with self._attaching:
            if self._coordinator is None or self._coordinator.failure is not None:
                self._coordinator = await self._attached(described(_COORDINATOR, Symbols(["amqp:local-transactions"])))
            return self._coordinator

    async def _attached(self, target: Described) -> Sender:
        sender = Sender(f"sender-{uuid.uuid4()}")
        source = described(_SOURCE, self.wire.container, None, None, None, None, None, None, None, None, _OUTCOMES)
        await self.ask(self.wire.attach(sender, source, target))
        return sender

    async def _told(self, coordinator: Sender, order: Described) -> Described | None:
        outcome = await self.ask(self.wire.transfer(coordinator, _order(order)))
        state = await self.ask(outcome)
        _check(state)
        return state

    async def _within(self, field: str, seconds: float | None, work: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(seconds):
                return await work
        except TimeoutError:
            raise Silent(field, seconds or 0.0) from None


class Consumer:
    """
    Reads from the destination of a session.

    From a queue, or a durable subscription, it asks for all that is there, and the peer tells when there is no more;
    from a topic it is given what is published while it is there.
    """

    def __init__(self, session: Session, count: int, subscription: str | None) -> None:
        self._session, self._wire = session, session.wire
        self._count, self._subscription = count, subscription
        self._waits = session.settings.kind == "TOPIC" and subscription is None
        self._inbox = Inbox()
        self._receiver = Receiver(subscription or f"receiver-{uuid.uuid4()}", self._inbox.put)
        self._taken: list[Incoming] = []

    async def open(self, selector: str | None) -> None:
        durable, expires = (UInt(_PERMANENT), Symbol("never")) if self._subscription else (UInt(0), None)
        filters = None
        if selector is not None:
            filters = {Symbol("jms-selector"): Described(_SELECTOR, selector)}
        source = described(
            _SOURCE, self._session.address, durable, expires, UInt(0), False, None, None, filters,
            described(_MODIFIED, True, False), _OUTCOMES, self._session.capability,
        )  # fmt: skip
        await self._wire.attach(self._receiver, source, described(_TARGET, self._wire.container))
        if self._waits:
            self._wire.grant(self._receiver, self._count)

    @property
    def full(self) -> bool:
        """Whether there was more than could be kept."""
        return self._inbox.full

    async def take(self, count: int, wait_s: float) -> list[Incoming]:
        """Up to *count* messages, waited for as `ReceiveRequest` says."""
        if self._waits:
            self._taken = await self._inbox.collect(count, wait_s)
            return self._taken
        await self._take_all(count)
        if not self._inbox.messages and wait_s > 0:
            self._wire.grant(self._receiver, count)
            try:
                async with asyncio.timeout(wait_s):
                    await self._inbox.anything()
            except TimeoutError:
                pass
            await self._take_all(count - len(self._inbox.messages))
        self._inbox.check()
        self._taken = self._inbox.drain(count)
        return self._taken

    async def acknowledge(self, waits: bool = True) -> None:
        """Tell the peer that what was taken is done; in a transaction where the session has them."""
        taken, self._taken = self._taken, []
        if not taken:
            return
        accepted = described(_ACCEPTED)
        if self._session.settings.transacted:
            try:
                await self._session.in_transaction(lambda identity: self._enrolled(taken, identity))
            except BaseException:
                self._taken = taken
                raise
            return
        self._settle(taken, accepted)
        if waits:
            # Nobody answers that; the answer to what comes after it shows that it was seen.
            await self._session.ask(self._detach())

    async def close(self) -> None:
        """End the reading; what was not acknowledged is given to somebody again."""
        if not self._wire.alive or self._receiver.failure is not None:
            return
        if self._taken:
            self._settle(self._taken, described(_MODIFIED, True, False))
        self._settle(self._inbox.drain(len(self._inbox.messages)), described(_RELEASED))
        try:
            async with asyncio.timeout(self._session.settings.close_s):
                await self._detach()
        except (TimeoutError, Lost, Refused):
            # A peer that does not even do that is of no use any more.
            self._wire.fail(Lost())

    async def _enrolled(self, taken: list[Incoming], transaction: bytes) -> None:
        self._settle(taken, described(_TRANSACTIONAL, transaction, described(_ACCEPTED)))

    async def _detach(self) -> None:
        await self._wire.detach(self._receiver, closed=self._subscription is None)

    async def _take_all(self, count: int) -> None:
        """What the peer has now, up to *count*. Some say that there is no more when there is: so until nothing comes."""
        before = -1
        until = len(self._inbox.messages) + count
        while before < len(self._inbox.messages) < until and not self._inbox.over:
            before = len(self._inbox.messages)
            self._wire.grant(self._receiver, until - before, drain=True)
            await self._session.ask(self._drained())
            self._inbox.check()

    async def _drained(self) -> None:
        while self._receiver.credit > 0 and not self._inbox.over:
            await self._inbox.news()

    def _settle(self, messages: list[Incoming], state: Described) -> None:
        for first, last in _spans(messages):
            self._wire.settle(first, last, state)


def _spans(messages: list[Incoming]) -> Iterator[tuple[int, int]]:
    """The numbers of *messages* where they follow one another: those in between are somebody else's."""
    start: int | None = None
    last = 0
    for message in messages:
        number = int(message.ticket)
        if start is not None and number == last + 1:
            last = number
            continue
        if start is not None:
            yield start, last
        start = last = number
    if start is not None:
        yield start, last


def _order(order: Described) -> bytes:
    """What a coordinator is told."""
    return encode(Described(_VALUE, order))


def _check(state: Described | None) -> None:
    """Raise `Refused` unless *state* is good. A delivery that is settled and nothing more is taken for accepted."""
    if state is None or state.code in (_ACCEPTED, _DECLARED):
        return
    if state.code == _TRANSACTIONAL:
        inner = state.field(1)
        _check(inner if isinstance(inner, Described) else None)
        return
    error = state.field(0)
    if state.code == _REJECTED and isinstance(error, Described):
        raise Refused(str(error.field(0) or "amqp:internal-error"), str(error.field(1) or ""))
    if state.code == _REJECTED:
        raise Refused("rejected", "it did not want the message, and did not say why")
    raise Refused("released" if state.code == _RELEASED else "modified", "it gave the message back")
