"""Publishing to, and receiving from, one destination over an OpenWire connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable

from mooring.types.activemq.faults import Lost, Refused, Silent
from mooring.types.activemq.inbox import Inbox
from mooring.types.activemq.messages import Incoming, Outgoing
from mooring.types.activemq.openwire import commands
from mooring.types.activemq.openwire.commands import MessageWriter
from mooring.types.activemq.openwire.connection import Connection
from mooring.types.activemq.openwire.marshal import NULL
from mooring.types.activemq.settings import Settings

MOST_PULLS = 64
LATE_S = 5.0


class Session:
    """What the connector does over one connection. Raises what `faults.explain` understands."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self.wire = connection
        self._settings = settings
        self._where = commands.destination(settings.kind, settings.name)
        self._session = connection.next("session")
        self._producer = commands.producer_id(connection.name, self._session, 1)
        self._writer = MessageWriter(self._producer, self._where)
        self._sequence = 0
        self._sending = "sendTimeout", settings.send_s
        self._transacted = settings.transacted

    async def open(self, publishes: bool) -> None:
        """Begin the session, and the producer where it *publishes*: the broker says here whether that is allowed."""
        await self._ask(commands.SESSION, commands.session_id(self.wire.name, self._session))
        if publishes:
            await self._ask(commands.PRODUCER, commands.producer_info(self._producer, self._where))

    async def publish(self, message: Outgoing) -> str:
        """The id of *message*, once the broker has it."""
        await self.wire.room()
        self._sequence += 1
        sequence, now_ms = self._sequence, int(time.time() * 1000)
        if self._transacted:
            transaction = self._begin()
            kind, body = self._writer.write(message, sequence, now_ms, transaction)
            await self._committed(transaction, self.wire.ask(kind, body, *self._sending))
        else:
            kind, body = self._writer.write(message, sequence, now_ms)
            await self.wire.ask(kind, body, *self._sending)
        return f"{self.wire.name}:{self._session}:1:{sequence}"

    async def consumer(self, count: int, selector: str | None, subscription: str | None) -> Consumer:
        """A reader of up to *count* messages, which nobody else gets meanwhile."""
        waits = self._settings.kind == "TOPIC" and subscription is None
        consumer = Consumer(self, self.wire.next("consumer"), prefetch=count if waits else 0)
        await consumer.open(selector, subscription)
        return consumer

    async def leave(self) -> None:
        """Say goodbye."""
        await self.wire.leave(self._settings.close_s)

    def _begin(self) -> bytes:
        transaction = commands.transaction_id(self.wire.name, self.wire.next("transaction"))
        self._tell_transaction(transaction, commands.BEGIN)
        return transaction

    async def _committed(self, transaction: bytes, work: Awaitable[None]) -> None:
        try:
            await work
        except BaseException:
            self._tell_transaction(transaction, commands.ROLLBACK)
            raise
        await self._ask(commands.TRANSACTION, commands.transaction_info(self.wire.name, transaction, commands.COMMIT))

    def _tell_transaction(self, transaction: bytes, kind: int) -> None:
        self.wire.tell(commands.TRANSACTION, commands.transaction_info(self.wire.name, transaction, kind))

    async def _ask(self, kind: int, body: bytes) -> None:
        await self.wire.ask(kind, body, "requestTimeout", self._settings.request_s)


class Consumer:
    """
    Reads from the destination of a session.

    From a queue, or a durable subscription, it asks for one message after another, and the broker tells when there is
    none; from a topic it is given what is published while it is there.
    """

    def __init__(self, session: Session, number: int, prefetch: int) -> None:
        self._session, self._wire = session, session.wire
        self._number, self._prefetch = number, prefetch
        self._id = commands.consumer_id(self._wire.name, session._session, number)
        self._inbox = Inbox()
        self._taken: list[Incoming] = []

    async def open(self, selector: str | None, subscription: str | None) -> None:
        self._wire.consumers[self._number] = self._inbox.put
        try:
            await self._session._ask(
                commands.CONSUMER,
                commands.consumer_info(self._id, self._session._where, self._prefetch, selector, subscription),
            )
        except BaseException:
            self._forget()
            raise

    async def take(self, count: int, wait_s: float) -> list[Incoming]:
        """Up to *count* messages, waited for as `ReceiveRequest` says."""
        if self._prefetch:
            self._taken = await self._inbox.collect(count, wait_s)
            return self._taken
        await self._pull(count)
        if not self._inbox.messages and wait_s > 0:
            await self._pull_waiting(wait_s)
            if self._inbox.messages:
                await self._pull(count - len(self._inbox.messages))
        self._taken = self._inbox.drain(count)
        return self._taken

    @property
    def full(self) -> bool:
        """Whether there was more than could be kept."""
        return self._inbox.full

    async def acknowledge(self, waits: bool = True) -> None:
        """Tell the broker that what was taken is done; in a transaction where the session has them."""
        if not self._taken:
            return
        session = self._session
        transaction = session._begin() if session._transacted else NULL
        first, last = self._taken[0].ticket[0], self._taken[-1].ticket[0]
        body = commands.acknowledgement(
            session._where, transaction, self._id, commands.STANDARD, first, last, len(self._taken)
        )
        if session._transacted:
            await session._committed(transaction, session._ask(commands.ACKNOWLEDGE, body))
        elif waits:
            await session._ask(commands.ACKNOWLEDGE, body)
        else:
            self._wire.tell(commands.ACKNOWLEDGE, body)
        self._taken = []

    async def close(self) -> None:
        """End the reading; what was not acknowledged is given to somebody again."""
        known = self._number in self._wire.consumers
        self._forget()
        if not known or not self._wire.alive:
            return
        last = self._taken[-1].ticket[1] if self._taken else commands.NEVER_DELIVERED
        try:
            async with asyncio.timeout(self._session._settings.close_s):
                await self._wire.asking(commands.REMOVE, commands.remove_info(self._id, last))
        except (TimeoutError, Lost, Refused):
            # A broker that does not even do that is of no use any more.
            self._wire.fail(Lost())

    async def _pull(self, count: int) -> None:
        """What is there now. All is here once the last question is answered, for the broker does one after another."""
        while count > 0 and not self._inbox.over:
            before = len(self._inbox.messages)
            number = min(count, MOST_PULLS)
            question = commands.pull(self._id, self._session._where, -1)
            for _ in range(number - 1):
                self._wire.tell(commands.PULL, question)
            await self._session._ask(commands.PULL, question)
            self._inbox.check()
            got = len(self._inbox.messages) - before
            count -= got
            if got < number:
                return

    async def _pull_waiting(self, seconds: float) -> None:
        self._wire.tell(commands.PULL, commands.pull(self._id, self._session._where, max(1, int(seconds * 1000))))
        try:
            async with asyncio.timeout(seconds + LATE_S):
                await self._inbox.anything()
        except TimeoutError:
            raise Silent("timeoutSeconds", seconds) from None

    def _forget(self) -> None:
        self._wire.consumers.pop(self._number, None)
