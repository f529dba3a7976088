"""Publishing to, and receiving from, a RabbitMQ broker or cluster."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

import aio_pika
from aiormq import spec
from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel

from mooring.errors import ConnectorError, Misconfigured
from mooring.plugin.connector import Connector, Context, operation
from mooring.plugin.probe import Probe
from mooring.types.rabbitmq.faults import Refused, explain_use
from mooring.types.rabbitmq.line import Line
from mooring.types.rabbitmq.link import LONGEST_BODY, Link, Wire, channel_of, connect, dial, first_of, patience, speak
from mooring.types.rabbitmq.messages import (
    Batch,
    Message,
    Properties,
    Published,
    Received,
    ReceiveRequest,
    check_room,
    from_delivered,
    to_bytes,
)
from mooring.types.rabbitmq.model import UNSET_ROUTING_KEY, RabbitMqConfig
from mooring.types.rabbitmq.settings import Broker, Settings, settings_of

T = TypeVar("T")
R = TypeVar("R")
LONGEST_ANSWER = 8 * 1024 * 1024


# A message that brings none but these is refused only where every message of the connection is: for its exchange, its
# routing key, its permissions, its properties. An id of its own might be another's too, and the driver tells returned
# messages apart by it.
_ALIKE = frozenset({"value", "encoding", "correlation_id", "type", "content_type", "content_encoding", "timestamp"})
LONGEST_SHARED = 1024 * 1024


class RabbitMqConnector(Connector[RabbitMqConfig]):
    """
    At most two connections to the broker, made with the first use: one publishes, one receives.

    A broker that is short of memory stops whoever publishes, and must not stop those who empty its queues.
    """

    def __init__(self, config: RabbitMqConfig, context: Context) -> None:
        super().__init__(config, context)
        self._id_prefix, self._ids = secrets.token_hex(12), itertools.count(1)
        self._settings: Settings | None = None
        self._exchange = config.channel_exchange
        unset = config.channel_routing_key in ("", UNSET_ROUTING_KEY)
        self._routing_key = None if unset else config.channel_routing_key
        self._publishing = Line(self._connected)
        self._receiving = Line(self._connected)

    async def open(self) -> None:
        self._settings = settings_of(self.config, self.context)
        self._properties = Properties(self.config)

    def hosts(self) -> Iterable[str]:
        return [broker.host for broker in self._built().brokers]

    async def stop(self) -> None:
        await asyncio.gather(self._publishing.close(), self._receiving.close())

    def native(self) -> Callable[[], Awaitable[aio_pika.Connection]]:
        """A function that gives the live `aio_pika.Connection` of the publishing side."""
        return self._client

    @operation
    async def publish(self, request: Message) -> Published:
        """Publish a message, and wait until the broker confirms that its queues have it."""
        body = to_bytes(request.value, request.encoding)
        if len(body) > LONGEST_BODY:
            raise Misconfigured(
                f"the message has {len(body)} bytes, and at most {LONGEST_BODY} are sent",
                hint="Put it elsewhere, and publish where it is.",
            )
        properties, routing_key = self._properties.of(request), self._routing_key_of(request)
        if not properties.message_id:
            # Random once, then counted: as unique, and a random number for each costs more than all else here.
            properties.message_id = f"{self._id_prefix}{next(self._ids):08x}"
        alike = request.model_fields_set <= _ALIKE and len(body) <= LONGEST_SHARED
        lend = self._publishing.shared_channel if alike else self._publishing.channel
        async with lend("took the message, and may or may not have kept it") as channel:
            if request.headers:
                check_room(properties, channel.max_content_size)
            # The driver's own wait for the socket is not needed: the confirm says more.
            await channel.basic_publish(
                body,
                exchange=self._exchange,
                routing_key=routing_key,
                properties=properties,
                mandatory=True,
                wait=False,
            )
        return Published(message_id=properties.message_id, exchange=self._exchange, routing_key=routing_key)

    @operation
    async def receive(self, request: ReceiveRequest) -> Batch:
        """Take messages from a queue; they are acknowledged once they are in the answer."""
        queue = request.queue or self._queue()
        if queue is None:
            raise Misconfigured(
                "the connection does not say which queue to read",
                hint="Give `queue`; or set channelRoutingKey to its name, and no channelExchange.",
            )
        async with self._receiving.channel("gave messages, which it keeps") as channel:
            return await _taken(channel, queue, request)

    async def probe(self, probe: Probe) -> None:
        settings = self._built()
        wires: list[Wire] = []
        link: Link | None = None

        async def resolved(broker: Broker) -> Broker:
            await settings.network.resolve(broker.host, broker.port)
            return broker

        async def reach(broker: Broker) -> None:
            async with patience(broker, settings, is_last=broker is settings.brokers[-1]):
                wires.append(await dial(settings.network, broker))

        async def secure(wire: Wire) -> Wire:
            async with patience(wire.broker, settings, is_last=wire is wires[-1]):
                await wire.begin(settings)
            return wire

        try:
            async with probe.step("resolve"):
                brokers = await _each(settings.brokers, resolved)
            async with probe.step("connect"):
                await _each(brokers, reach)
            ready = wires
            if settings.tls is None:
                probe.skip("tls", "connectionFactoryUseSslProtocol is off: nothing is encrypted")
            else:
                async with probe.step("tls"):
                    ready = await _each(wires, secure)
            refused: ConnectorError | None = None
            async with probe.step("login"):
                try:
                    link = await first_of(
                        [(wire.broker, wire) for wire in ready], lambda wire: speak(wire, settings), settings
                    )
                except ConnectorError as exc:
                    if not isinstance(exc.__cause__, Refused) or exc.__cause__.stage == "login":
                        raise
                    refused = exc
            async with probe.step("vhost"):
                if refused is not None:
                    raise refused
            assert link is not None
            await self._find_target(probe, link)
        finally:
            if link is not None:
                await link.leave()
            for wire in wires:
                wire.abort()

    def translate(self, error: BaseException) -> ConnectorError | None:
        return explain_use(error, self._built().brokers[0].address, "was used")

    async def _client(self) -> aio_pika.Connection:
        return (await self._publishing.link()).client()

    async def _connected(self) -> Link:
        return await connect(self._built())

    def _built(self) -> Settings:
        if self._settings is None:
            raise Misconfigured("the connection was not opened")
        return self._settings

    def _routing_key_of(self, message: Message) -> str:
        given = message.routing_key if message.routing_key is not None else self._routing_key
        if given is None and not self._exchange:
            raise Misconfigured(
                "neither an exchange nor a routing key is set, so the message has nowhere to go",
                hint="Set channelExchange or channelRoutingKey, or give `routingKey` with the message.",
            )
        return given or ""

    def _queue(self) -> str | None:
        return None if self._exchange else self._routing_key

    async def _find_target(self, probe: Probe, link: Link) -> None:
        queue = self._queue()
        if self._exchange:
            async with probe.step("exchange"), channel_of(link) as channel:
                await _asked(channel.exchange_declare(self._exchange, passive=True), link)
        elif queue is not None:
            async with probe.step("queue"), channel_of(link) as channel:
                await _asked(channel.queue_declare(queue, passive=True), link)
        else:
            probe.skip("queue", "neither an exchange nor a queue is set: each message names its own")


async def _taken(channel: Channel, queue: str, request: ReceiveRequest) -> Batch:
    until = asyncio.get_running_loop().time() + request.timeout_seconds
    messages: list[Received] = []
    size, last = 0, 0
    truncated = False
    while len(messages) < request.max_messages:
        message = await _next(channel, queue, None if messages else until)
        if message is None:
            break
        size += len(message.body)
        if size > LONGEST_ANSWER:
            if not messages:
                raise Misconfigured(
                    f"the first message of the queue has {len(message.body)} bytes, and at most {LONGEST_ANSWER}"
                    " are answered; it was left there",
                    hint="Read this queue with a client of its own.",
                )
            await channel.basic_reject(message.delivery_tag or 0, requeue=True)
            truncated = True
            break
        messages.append(from_delivered(message))
        last = message.delivery_tag or 0
    if messages:
        await channel.basic_ack(last, multiple=True)
        # Nobody answers an acknowledgement; an answer to what comes after it shows that it was seen.
        await channel.basic_qos(prefetch_count=1)
    return Batch(messages=messages, truncated=truncated)


async def _next(channel: Channel, queue: str, until: float | None) -> DeliveredMessage | None:
    """The first message of the queue, waited for *until* then, or not at all."""
    message = await _got(channel, queue)
    if message is not None or until is None or until <= asyncio.get_running_loop().time():
        return message
    # One message on its way at the most: what is not in the answer shall stay in its place in the queue.
    await channel.basic_qos(prefetch_count=1)
    message = await _waited(channel, queue, until)
    # The queue may be gone, and then this says so.
    return message or await _got(channel, queue)


async def _got(channel: Channel, queue: str) -> DeliveredMessage | None:
    message = await channel.basic_get(queue)
    return None if isinstance(message.delivery, spec.Basic.GetEmpty) else message


async def _waited(channel: Channel, queue: str, until: float) -> DeliveredMessage | None:
    loop = asyncio.get_running_loop()
    arrived: asyncio.Future[DeliveredMessage | None] = loop.create_future()

    async def deliver(message: DeliveredMessage) -> None:
        if not arrived.done():
            arrived.set_result(message)

    def dismissed(_: spec.Basic.Cancel) -> None:
        if not arrived.done():
            arrived.set_result(None)

    channel.on_consumer_cancel_callbacks.add(dismissed)
    closing = channel.closing
    try:
        consumer = await channel.basic_consume(queue, deliver)
        await asyncio.wait([arrived, closing], timeout=until - loop.time(), return_when=asyncio.FIRST_COMPLETED)
        # Whoever is interrupted before this leaves the channel, and its consumer with it.
        await channel.basic_cancel(consumer.consumer_tag or "")
    finally:
        channel.on_consumer_cancel_callbacks.discard(dismissed)
        if not closing.done():
            closing.cancel()
    return arrived.result() if arrived.done() else None


async def _each(items: Iterable[T], attempt: Callable[[T], Awaitable[R]]) -> list[R]:
    """What *attempt* gives for each of *items* that it works for. Raises the first failure where it works for none."""
    found: list[R] = []
    failures: list[ConnectorError] = []
    for item in items:
        try:
            found.append(await attempt(item))
        except ConnectorError as exc:
            failures.append(exc)
    if not found:
        raise failures[0]
    return found


async def _asked(question: Awaitable[object], link: Link) -> None:
    try:
        await question
    except Exception as exc:
        raise explain_use(exc, link.address, "was asked") or exc from exc
