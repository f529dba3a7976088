"""Publishing to, and receiving from, a queue or topic of an ActiveMQ broker, over OpenWire or AMQP 1.0."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from mooring.errors import Busy, ConnectorError, Misconfigured
from mooring.plugin.connector import Connector, Context, operation
from mooring.plugin.probe import Probe
from mooring.types.activemq.line import Consumer, Line, Link, client_id_of, connect
from mooring.types.activemq.messages import (
    Batch,
    Message,
    Published,
    ReceiveRequest,
    outgoing,
    received,
)
from mooring.types.activemq.model import ActiveMqConfig
from mooring.types.activemq.settings import Settings, settings_of

T = TypeVar("T")
R = TypeVar("R")
HELD_S = 60.0
MOST_HELD = 16


@dataclass(frozen=True)
class _Held:
    """A reader whose messages wait for their acknowledgement."""

    link: Link
    consumer: Consumer
    expiry: asyncio.TimerHandle


class ActiveMqConnector(Connector[ActiveMqConfig]):
    """
    At most two connections to the broker, made with the first use: one publishes, one receives.

    A broker that is short of memory stops whoever publishes, and must not stop those who empty its queues.
    """

    def __init__(self, config: ActiveMqConfig, context: Context) -> None:
        super().__init__(config, context)
        self._settings: Settings | None = None
        self._mode = config.session_acknowledgement
        self._amqp = config.active_mq_connection_protocol_type == "AMQP"
        self._target = f"{config.destination_type.lower()}://{config.destination_name}"
        self._publishing = Line(lambda first: self._connected(first, publishes=True))
        self._receiving = Line(lambda first: self._connected(first, publishes=False))
        self._held: dict[str, _Held] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._settings = settings_of(self.config, self.context)

    def hosts(self) -> Iterable[str]:
        return [broker.host for broker in self._built().brokers]

    async def stop(self) -> None:
        await asyncio.gather(*(self._give_back(receipt) for receipt in list(self._held)))
        if self._leaving:
            await asyncio.wait(list(self._leaving))
        await asyncio.gather(self._publishing.close(), self._receiving.close())

    def native(self) -> Callable[[], Awaitable[Link]]:
        """A function that gives the live link of the publishing side."""
        return self._publishing.link

    def secret_values(self) -> set[str]:
        """Passwords that stand in the URL, as they are once read."""
        if self._settings is None:
            return set()
        found = {broker.login[1] for broker in self._settings.brokers if broker.login is not None}
        if self._settings.password:
            found.add(self._settings.password)
        return {form for value in found if value for form in (value, urllib.parse.quote(value, safe=""))}

    @operation
    async def publish(self, request: Message) -> Published:
        """Publish a message, and wait until the broker says that it has it."""
        message = outgoing(request, self.config)
        link = await self._publishing.link()
        try:
            message_id = await link.session.publish(message)
        except Exception as exc:
            doing = "took the message, and may or may not have kept it"
            raise link.explain(exc, doing) or exc from exc
        return Published(message_id=message_id, destination=self._target)

    @operation
    async def receive(self, request: ReceiveRequest) -> Batch:
        """Take messages; sessionAcknowledgement says when they are done, and gone from the broker."""
        self._check(request)
        acknowledged = request.receipt is not None
        if request.receipt is not None:
            await self._acknowledge(request.receipt)
        if request.max_messages == 0:
            return Batch(messages=[], acknowledged=acknowledged)
        holds = self._mode == "CLIENT_ACKNOWLEDGE"
        if holds and len(self._held) >= MOST_HELD:
            raise Busy(
                f"{MOST_HELD} answers wait for their acknowledgement",
                hint="Give their receipts to `receive`, or wait a minute: then their messages are given again.",
            )
        link = await self._receiving.link()
        async with self._reading(link, request) as consumer:
            taken = await consumer.take(request.max_messages, request.timeout_seconds)
            messages, full = [received(message) for message in taken], consumer.full
            receipt = None
            if messages and holds:
                receipt = self._hold(link, consumer)
            elif messages:
                await consumer.acknowledge(waits=self._mode != "DUPS_OK_ACKNOWLEDGE")
            return Batch(messages=messages, truncated=full, receipt=receipt, acknowledged=acknowledged)

    async def probe(self, probe: Probe) -> None:
        settings = self._built()
        links: list[Link] = []
        link: Link | None = None
        try:
            async with probe.step("resolve"):
                brokers = await _each(
                    settings.brokers, lambda broker: settings.network.resolve(broker.host, broker.port)
                )
            async with probe.step("connect"):
                links += [Link(settings, broker, self._amqp) for broker in brokers]
                links = await _each(links, Link.dial)
            if any(each.broker.tls is not None for each in links):
                async with probe.step("tls"):
                    links = await _each(links, Link.secure)
            else:
                probe.skip("tls", "the scheme of brokerURL says no TLS: nothing is encrypted")
                links = await _each(links, Link.secure)
            make = client_id_of(settings, exact=False)
            async with probe.step("login"):
                link = (await _each(links, lambda each: each.log_in(make()), first=True))[0]
            async with probe.step("destination"):
                await link.open(publishes=True)
        finally:
            if link is not None:
                await link.leave()
            for each in links:
                each.abort()

    def translate(self, error: BaseException) -> ConnectorError | None:
        broker = self._built().brokers[0]
        return Link(self._built(), broker, self._amqp).explain(error, "was used")

    async def _connected(self, first: bool, publishes: bool) -> Link:
        settings = self._built()
        exact = not publishes and settings.kind == "TOPIC"
        return await connect(settings, self._amqp, client_id_of(settings, exact), publishes, first)

    def _built(self) -> Settings:
        if self._settings is None:
            raise Misconfigured("the connection was not opened")
        return self._settings

    def _check(self, request: ReceiveRequest) -> None:
        settings = self._built()
        if request.subscription is not None and settings.kind != "TOPIC":
            raise Misconfigured("only topics have subscriptions", hint="Leave `subscription` out: a queue keeps all.")
        if request.subscription is not None and settings.client_id is None:
            raise Misconfigured(
                "a durable subscription belongs to a client id, and the connection has none", hint="Set clientID."
            )
        if request.receipt is not None and self._mode != "CLIENT_ACKNOWLEDGE":
            raise Misconfigured(
                f"there is nothing to acknowledge: sessionAcknowledgement is {self._mode}",
                hint="Leave `receipt` out, or set it to CLIENT_ACKNOWLEDGE.",
            )

    @asynccontextmanager
    async def _reading(self, link: Link, request: ReceiveRequest) -> AsyncIterator[Consumer]:
        """A consumer; closed afterwards, unless its messages are held."""
        consumer: Consumer | None = None
        try:
            consumer = await link.session.consumer(request.max_messages, request.selector, request.subscription)
            yield consumer
        except Exception as exc:
            raise link.explain(exc, "gave messages, which it keeps") or exc from exc
        finally:
            if consumer is not None and not any(held.consumer is consumer for held in self._held.values()):
                # It ends beside us where we are cancelled: its messages shall go to somebody else all the same.
                await asyncio.shield(self._closing(consumer))

    def _closing(self, consumer: Consumer) -> asyncio.Task[None]:
        task = asyncio.create_task(consumer.close())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        return task

    def _hold(self, link: Link, consumer: Consumer) -> str:
        receipt = secrets.token_urlsafe(12)
        expiry = asyncio.get_running_loop().call_later(HELD_S, self._expire, receipt)
        self._held[receipt] = _Held(link, consumer, expiry)
        return receipt

    def _expire(self, receipt: str) -> None:
        task = asyncio.ensure_future(self._give_back(receipt))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _give_back(self, receipt: str) -> None:
        held = self._held.pop(receipt, None)
        if held is not None:
            held.expiry.cancel()
            with contextlib.suppress(Exception):
                await held.consumer.close()

    async def _acknowledge(self, receipt: str) -> None:
        held = self._held.pop(receipt, None)
        if held is None or not held.link.alive:
            if held is not None:
                held.expiry.cancel()
            raise Misconfigured(
                "this receipt is not known, or not any more: its messages are given to somebody again",
                hint="Acknowledge within a minute, on the same worker, and once.",
            )
        held.expiry.cancel()
        try:
            await held.consumer.acknowledge()
        except Exception as exc:
            raise held.link.explain(exc, "took the acknowledgement") or exc from exc
        finally:
            await asyncio.shield(self._closing(held.consumer))


async def _each(items: Iterable[T], attempt: Callable[[T], Awaitable[object]], first: bool = False) -> list[T]:
    """Those of *items* for which *attempt* works, or the *first*. Raises the first failure where it works for none."""
    found: list[T] = []
    failures: list[ConnectorError] = []
    for item in items:
        try:
            await attempt(item)
        except ConnectorError as exc:
            failures.append(exc)
        else:
            found.append(item)
            if first:
                break
    if not found:
        raise failures[0]
    return found
