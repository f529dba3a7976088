"""One long-lived producer, and short-lived consumers, on one topic of a Kafka cluster."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from annotated_types import Ge, Le, MaxLen, MinLen
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource  # type: ignore[attr-defined]  # it is public
from pydantic import Field

from mooring.errors import Busy, ConnectorError, EgressDenied, Misconfigured, Unreachable
from mooring.plugin.connector import Answer, Connector, Context, Request, operation
from mooring.plugin.network import Network
from mooring.plugin.probe import Probe
from mooring.types.kafka.brokers import allowed_brokers, judge_advertised, judge_told
from mooring.types.kafka.faults import Troubles, driver_error, explain, silence
from mooring.types.kafka.model import KafkaConfig
from mooring.types.kafka.properties import SERIALIZERS
from mooring.types.kafka.records import Encoding, from_bytes, to_bytes
from mooring.types.kafka.settings import Settings, settings_of
from mooring.types.kafka.threads import Pump, Visits

T = TypeVar("T")
VISITORS = 4
PROBE_S = 8.0
PREFLIGHT_S = 3.0
JUDGED_S = 60.0
TOPIC_S = 3.0
FIRST_SLICE_S = 0.5
LONGEST_SLICE_S = 2.0
FULL_S = 0.02
SMALL_S = 0.1
MIB = 1024 * 1024
LONGEST_VALUE = MIB
LONGEST_ANSWER = 8 * MIB


class PublishRequest(Request):
    """One record."""

    value: Any = Field(
        default=None, description="Text, or any JSON, which is written as JSON; null is Kafka's null, a tombstone."
    )
    key: str | int | float | bytes | None = Field(
        default=None, description="Records of one key stay in order, in one partition."
    )
    headers: dict[str, str | None] = Field(default={}, description="Headers of the record, by name.", max_length=1000)
    partition: int | None = Field(
        default=None, ge=0, le=2**31 - 1, description="The partition; absent, Kafka's own rule chooses."
    )
    encoding: Encoding = Field(default="text", description="`base64` where the value is base64 of the bytes to write.")
    key_encoding: Encoding = Field(default="text", description="The same for the key.")


class Published(Answer):
    """Where the record stands."""

    topic: str = Field(description="The topic.")
    partition: int = Field(description="The partition.")
    offset: int | None = Field(description="The offset; null where `acks` is 0, because then nobody knows.")
    timestamp: datetime | None = Field(description="The record's time.")


class ReceiveRequest(Request):
    """How much, how long, and from where."""

    max_messages: Annotated[int, Ge(1), Le(1000)] = Field(default=10, description="End when so many records are there.")
    timeout_seconds: Annotated[float, Ge(0.1), Le(300)] = Field(default=5.0, description="End after this time.")
    group: Annotated[str, MinLen(1), MaxLen(255)] | None = Field(
        default=None,
        description="Consumer group, whose place is remembered; absent, every partition is read and nothing is remembered.",
    )
    from_beginning: bool = Field(
        default=False,
        description="Begin with the oldest record where no place is remembered; otherwise with those that come now.",
    )


class Header(Answer):
    """A header of a record."""

    name: str = Field(description="Its name.")
    value: str | None = Field(description="Its value.")
    encoding: Encoding = Field(default="text", description="How `value` stands for bytes.")


class Received(Answer):
    """A record."""

    topic: str = Field(description="The topic.")
    partition: int = Field(description="The partition.")
    offset: int = Field(description="The offset.")
    timestamp: datetime | None = Field(description="The record's time.")
    key: str | None = Field(description="The key.")
    key_encoding: Encoding = Field(default="text", description="How `key` stands for bytes.")
    value: str | None = Field(description="The value.")
    encoding: Encoding = Field(default="text", description="How `value` stands for bytes.")
    headers: list[Header] = Field(default=[], description="The headers, in order; a name may stand more than once.")
    truncated: bool = Field(default=False, description="The value was longer than 1 MiB, and is cut off there.")


class Batch(Answer):
    """Records, in the order of each partition."""

    messages: list[Received] = Field(description="The records.")
    truncated: bool = Field(
        default=False,
        description="The answer was full (8 MiB) before `maxMessages` were there; receive again for more.",
    )


class KafkaConnector(Connector[KafkaConfig]):
    """A producer that starts with the first use; consumers for the length of one call."""

    def __init__(self, config: KafkaConfig, context: Context) -> None:
        super().__init__(config, context)
        self._settings: Settings | None = None
        self._pump: Pump[Producer] | None = None
        self._visits = Visits("kafka-visit", VISITORS)
        self._troubles = Troubles(config.servers)
        self._known = False
        self._judge_at = 0.0
        self._lacking = False
        self._metadata: asyncio.Task[None] | None = None
        self._renewing = asyncio.Lock()

    async def open(self) -> None:
        self._settings = settings_of(self.config, self.context)

    def hosts(self) -> Iterable[str]:
        return [host for host, _ in self._built().servers]

    async def start(self) -> None:
        settings, troubles = self._built(), Troubles(self.config.servers)
        self._troubles, self._known, self._lacking = troubles, False, True
        await self._judged(settings, settings.max_block_s)
        self._pump = Pump("kafka-poll", lambda: Producer({**settings.producer, "error_cb": troubles.note}))
        await self._pump.start()
        self._lacking = False

    async def _judged(self, settings: Settings, within_s: float) -> None:
        """
        Every broker may be connected to, configured or told of. Raises `EgressDenied`.

        One that writes or reads would connect to what it is told of before anybody could judge that. With a login, it
        is a client of its own that asks: the driver knows how to log in, and we do not.
        """
        await allowed_brokers(settings.network, settings.servers)
        if not await self._judged_by_us(settings):
            visit = _ProbeVisit(settings, self.config.topic_name)
            try:
                await self._visits.run(lambda halt: visit.judge(halt, within_s))
            except KafkaException as exc:
                raise self.translate(exc) or exc from exc
            except ConnectorError as exc:
                raise await self._with_tls_reason(exc) from exc
        self._judge_at = time.monotonic() + JUDGED_S

    async def _judged_by_us(self, settings: Settings) -> bool:
        """Whether we asked the brokers ourselves, and were answered."""
        tls = settings.tls.context if settings.tls else None
        return not self.config.sasl and await judge_told(settings.network, settings.servers, tls)

    async def stop(self) -> None:
        pump, self._pump = self._pump, None
        await self._visits.stop()
        if pump is not None:
            await pump.stop()
        if self._metadata is not None:
            await asyncio.wait([self._metadata])
            self._metadata = None

    def native(self) -> Producer:
        """The live `confluent_kafka.Producer`; its delivery reports are served by this connector's thread."""
        producer = self._started().client
        assert producer is not None
        return producer

    def secret_values(self) -> set[str]:
        return set(self._settings.hidden) if self._settings else set()

    @operation
    async def publish(self, request: PublishRequest) -> Published:
        """Write a record to the topic, and wait until the brokers have it."""
        if self._troubles.fatal or self._lacking:
            await self._renew()
        value = to_bytes(request.value, request.encoding, self._serializer("value"), "value")
        key = to_bytes(request.key, request.key_encoding, self._serializer("key"), "key")
        await self._topic_known()
        message = await self._delivered(value, key, request)
        kind, moment = message.timestamp()
        offset = message.offset()
        return Published(
            topic=self.config.topic_name,
            partition=message.partition() or 0,
            offset=offset if offset is not None and offset >= 0 else None,
            timestamp=_moment(kind, moment),
        )

    @operation
    async def receive(self, request: ReceiveRequest) -> Batch:
        """Read records of the topic: those that come while waiting, or from the beginning, or from a group's place."""
        settings = self._built()
        reading = _Reading(
            settings, self.config.topic_name, request, self._serializer("key"), self._serializer("value")
        )
        began = time.monotonic()
        await allowed_brokers(settings.network, settings.servers)
        if began >= self._judge_at:
            await self._judged(settings, min(request.timeout_seconds, settings.max_block_s))
        spent_s = time.monotonic() - began
        try:
            return await self._visits.run(lambda halt: reading.run(halt, spent_s))
        except ConnectorError as exc:
            raise await self._with_tls_reason(exc) from exc

    async def probe(self, probe: Probe) -> None:
        settings = self._built()
        async with probe.step("resolve"):
            await _any_of([settings.network.resolve(host, port) for host, port in settings.servers])
            await allowed_brokers(settings.network, settings.servers)
        async with probe.step("bootstrap"):
            reached = await _any_of([_reached(settings.network, host, port) for host, port in settings.servers])
        if settings.tls is None:
            probe.skip("tls", "this connection does not speak TLS")
        else:
            async with probe.step("tls"):
                for host, port in reached:
                    await settings.network.handshake(host, port, settings.tls.context)
        visit = _ProbeVisit(settings, self.config.topic_name)
        if self.config.sasl:
            async with probe.step("sasl"):
                await self._visits.run(visit.log_in)
        else:
            probe.skip("sasl", "this connection has no login")
        async with probe.step("topic"):
            await self._judged_by_us(settings)
            unknown = await self._visits.run(visit.find_topic)
            if unknown:
                probe.unknown(unknown)

    def translate(self, error: BaseException) -> ConnectorError | None:
        known = driver_error(error)
        if known is not None:
            return explain(known, self.config.topic_name, self._troubles.reason)
        return None

    def _built(self) -> Settings:
        if self._settings is None:
            raise Misconfigured("the connection was not opened")
        return self._settings

    def _started(self) -> Pump[Producer]:
        if self._pump is None:
            raise Unreachable("the connection is being closed", hint="Retry.")
        return self._pump

    def _serializer(self, of: str) -> str:
        name = self.config.given(f"{of}.serializer", "").lower()
        return next((short for java, short in SERIALIZERS.items() if java.lower() == name), "String")

    async def _renew(self) -> None:
        """A producer that the driver declared dead is replaced."""
        async with self._renewing:
            if self._troubles.fatal or self._lacking:
                await self.stop()
                await self.start()

    async def _topic_known(self) -> None:
        """Wait, `max.block.ms` at most, until the partitions of the topic are known. One look-up serves all who wait."""
        if self._known and time.monotonic() < self._judge_at:
            return
        if self._metadata is None or self._metadata.done():
            self._metadata = asyncio.create_task(self._look_up())
            # Whoever waited may have left; then nobody else hears of the failure.
            self._metadata.add_done_callback(lambda task: task.cancelled() or task.exception())
        if self._known:
            return  # the brokers are judged again beside it
        await asyncio.shield(self._metadata)

    async def _look_up(self) -> None:
        settings, troubles, topic = self._built(), self._troubles, self.config.topic_name
        troubles.hope()
        try:
            await self._started().run(
                lambda producer: _find_topic(producer, topic, troubles, settings.max_block_s, settings.network)
            )
        except EgressDenied:
            # The driver would connect to them when it likes: it ends here, and begins anew with the next use.
            self._known, self._lacking = False, True
            pump, self._pump = self._pump, None
            if pump is not None:
                await pump.stop()
            raise
        except KafkaException as exc:
            raise self.translate(exc) or exc from exc
        except ConnectorError as exc:
            raise await self._with_tls_reason(exc) from exc
        troubles.forget()
        self._known, self._judge_at = True, time.monotonic() + JUDGED_S

    async def _delivered(self, value: bytes | None, key: bytes | None, request: PublishRequest) -> Message:
        pump, topic, loop = self._started(), self.config.topic_name, asyncio.get_running_loop()
        delivery: asyncio.Future[Message] = loop.create_future()

        def report(error: KafkaError | None, message: Message) -> None:
            pump.report(delivery, message, KafkaException(error) if error else None)

        options: dict[str, Any] = {} if request.partition is None else {"partition": request.partition}
        until = loop.time() + self._built().max_block_s
        while True:
            try:
                self.native().produce(
                    topic, value, key, headers=list(request.headers.items()), on_delivery=report, **options
                )
                break
            except BufferError:
                if loop.time() >= until:
                    raise Busy(
                        "the queue of records on their way is full",
                        hint="Wait, then retry; send more slowly, or raise buffer.memory.",
                    ) from None
                await asyncio.sleep(FULL_S)
        pump.wake()
        try:
            message = await delivery
        except KafkaException as exc:
            self._known = False
            known = self.translate(exc)
            if known is None:
                raise
            raise await self._with_tls_reason(known) from exc
        self._troubles.forget()
        return message

    async def _with_tls_reason(self, error: ConnectorError) -> ConnectorError:
        """*error*, or what our own handshake says where the driver knows only that a certificate was not accepted."""
        tls = self._built().tls
        if tls is None or "certificate was not accepted" not in error.message:
            return error
        for host, port in self._built().servers:
            try:
                async with asyncio.timeout(PREFLIGHT_S):
                    await self.context.network.handshake(host, port, tls.context)
            except Misconfigured as exc:
                return exc
            except (ConnectorError, TimeoutError):
                continue
        return error


class _Reading:
    """One `receive`, in a thread of its own."""

    def __init__(self, settings: Settings, topic: str, request: ReceiveRequest, key: str, value: str) -> None:
        self.settings, self.topic, self.request = settings, topic, request
        self.key_serializer, self.value_serializer = key, value
        self.troubles = Troubles(settings.client["bootstrap.servers"])

    def run(self, halt: threading.Event, spent_s: float) -> Batch:
        request = self.request
        until = time.monotonic() + request.timeout_seconds - spent_s
        consumer = Consumer(
            {
                **self.settings.client,
                "error_cb": self.troubles.note,
                # The driver wants a name in any case; unless it was asked for, nothing is stored under it.
                "group.id": request.group or "mooring-reader",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "earliest" if request.from_beginning else "latest",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 100,
                "fetch.message.max.bytes": LONGEST_VALUE,
                "fetch.max.bytes": LONGEST_ANSWER,
                "queued.max.messages.kbytes": LONGEST_ANSWER // 1024,
            }
        )
        try:
            partitions = _find_topic(
                consumer,
                self.topic,
                self.troubles,
                min(request.timeout_seconds, self.settings.max_block_s),
                self.settings.network,
                halt,
            )
            if request.group:
                consumer.subscribe([self.topic])
            else:
                first = OFFSET_BEGINNING if request.from_beginning else OFFSET_END
                consumer.assign([TopicPartition(self.topic, partition, first) for partition in partitions])
            batch = self._collect(consumer, until, halt)
            if request.group and batch.messages and not halt.is_set():
                consumer.commit(offsets=_places(batch.messages), asynchronous=False)
            return batch
        finally:
            consumer.close()

    def _collect(self, consumer: Consumer, until: float, halt: threading.Event) -> Batch:
        found: list[Received] = []
        size, finished = 0, set[int]()
        while len(found) < self.request.max_messages and not halt.is_set():
            left = until - time.monotonic()
            if left <= 0:
                break
            message: Any = consumer.poll(min(left, SMALL_S))
            if message is None:
                self._give_up_if_hopeless()
                if found and finished >= {part.partition for part in consumer.assignment()}:
                    break
                continue
            if message.error() is not None:
                self._look_at(message.error())
                finished.add(message.partition())
                continue
            finished.discard(message.partition())
            weight = _weight(message)
            if found and size + weight > LONGEST_ANSWER:
                return Batch(messages=found, truncated=True)
            size += weight
            found.append(self._read(message))
        return Batch(messages=found)

    def _look_at(self, error: KafkaError) -> None:
        """Errors of the stream end it, unless the driver goes on trying."""
        if error.code() in (KafkaError._PARTITION_EOF, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN):
            return
        if error.retriable() or (error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED and not self.request.group):
            return
        raise KafkaException(error)

    def _give_up_if_hopeless(self) -> None:
        if self.troubles.hopeless and self.troubles.reason is not None:
            raise self.troubles.reason

    def _read(self, message: Any) -> Received:
        key, key_encoding = from_bytes(message.key(), self.key_serializer)
        data = message.value()
        cut = data is not None and len(data) > LONGEST_VALUE
        value, encoding = from_bytes(data[:LONGEST_VALUE] if cut else data, self.value_serializer)
        headers = [_header(name, raw) for name, raw in message.headers() or []]
        kind, moment = message.timestamp()
        return Received(
            topic=message.topic(), partition=message.partition(), offset=message.offset(), timestamp=_moment(kind, moment),
            key=key, key_encoding=key_encoding, value=value, encoding=encoding, headers=headers, truncated=cut,
        )  # fmt: skip


class _ProbeVisit:
    """The last steps of a probe, each in a thread, with clients that nothing else uses and that create nothing."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self.settings, self.topic = settings, topic

    def log_in(self, halt: threading.Event) -> None:
        judge_advertised(self.settings.network, self._told(halt, PROBE_S, None))

    def judge(self, halt: threading.Event, within_s: float) -> None:
        """Whether all brokers may be connected to. Raises `EgressDenied`."""
        judge_advertised(self.settings.network, self._told(halt, within_s, self.topic))

    def find_topic(self, halt: threading.Event) -> str | None:
        """Why nobody can tell whether the topic may be used, where that is so."""
        found = self._told(halt, PROBE_S, self.topic)
        judge_advertised(self.settings.network, found)
        error = found.topics[self.topic].error
        if error is None:
            return None
        if error.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise explain(error, self.topic) or KafkaException(error)
        client = self._client(Troubles(self.settings.client["bootstrap.servers"]))
        creates = self._brokers_create_topics(client, next(iter(found.brokers)))
        if creates is False:
            raise explain(error, self.topic) or KafkaException(error)
        if creates is None:
            return f"the topic {self.topic} does not exist, and this user may not see whether the brokers create topics on first use"
        return f"the topic {self.topic} does not exist yet; the brokers create it on first use"

    def _told(self, halt: threading.Event, within_s: float, topic: str | None) -> Any:
        """What the cluster tells. The client ends with this call: a moment later it would connect to what it was told of."""
        troubles = Troubles(self.settings.client["bootstrap.servers"])
        client = self._client(troubles)
        of = {} if topic is None else {"topic": topic}
        return _slices(client, troubles, within_s, halt, lambda left: client.list_topics(**of, timeout=left))

    def _client(self, troubles: Troubles) -> AdminClient:
        settings: dict[str, Any] = {"error_cb": troubles.note, "allow.auto.create.topics": False}
        return AdminClient({**self.settings.client, **settings})

    def _brokers_create_topics(self, client: AdminClient, broker: int) -> bool | None:
        asked = client.describe_configs(
            [ConfigResource(ConfigResource.Type.BROKER, str(broker))], request_timeout=TOPIC_S
        )
        try:
            settings = next(iter(asked.values())).result(TOPIC_S)
        except (KafkaException, TimeoutError):
            return None
        entry = settings.get("auto.create.topics.enable")
        return None if entry is None else entry.value == "true"


def _find_topic(
    client: Any,
    topic: str,
    troubles: Troubles,
    within_s: float,
    network: Network,
    halt: threading.Event | None = None,
) -> list[int]:
    """
    The partitions of *topic*. Blocks, in a thread. Raises `EgressDenied` where a broker is none that may be used.

    A topic that is not there is waited for a little: brokers that create topics need a moment.
    """
    until = time.monotonic() + within_s
    patience = time.monotonic() + TOPIC_S
    while True:
        left = max(until - time.monotonic(), SMALL_S)
        answer = _slices(client, troubles, left, halt, lambda slice_s: client.list_topics(topic, timeout=slice_s))
        judge_advertised(network, answer)
        found = answer.topics[topic]
        if found.error is None and found.partitions:
            return sorted(found.partitions)
        missing = (
            found.error is None or found.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART or found.error.retriable()
        )
        if not missing or time.monotonic() > min(until, patience):
            raise KafkaException(found.error or KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
        client.poll(SMALL_S)


def _slices(
    client: Any, troubles: Troubles, within_s: float, halt: threading.Event | None, ask: Callable[[float], T]
) -> T:
    """
    What *ask* answers within a time, in slices between which the driver's errors are heard.

    The driver asks for ever; we stop as soon as it is clear that it asks in vain.
    """
    until = time.monotonic() + within_s
    slice_s = FIRST_SLICE_S
    while True:
        client.poll(0)
        left = until - time.monotonic()
        try:
            return ask(min(max(left, 0.01), slice_s))
        except KafkaException as exc:
            client.poll(SMALL_S)
            reason = troubles.reason
            over = left <= slice_s or (halt is not None and halt.is_set())
            if over or (reason is not None and troubles.hopeless):
                raise reason or silence(troubles.brokers, within_s) from exc
        slice_s = min(slice_s * 2, LONGEST_SLICE_S)


async def _reached(network: Network, host: str, port: int) -> tuple[str, int]:
    await network.dial(host, port)
    return host, port


async def _any_of(attempts: list[Any]) -> list[Any]:
    """The results of those that worked; one broker is enough. Raises the first failure where none did."""
    results = await asyncio.gather(*attempts, return_exceptions=True)
    worked = [result for result in results if not isinstance(result, BaseException)]
    if not worked:
        raise next(result for result in results if isinstance(result, BaseException))
    return worked


def _places(messages: list[Received]) -> list[TopicPartition]:
    after = {(message.topic, message.partition): message.offset + 1 for message in messages}
    return [TopicPartition(topic, partition, offset) for (topic, partition), offset in after.items()]


def _header(name: str, data: bytes | None) -> Header:
    value, encoding = from_bytes(data)
    return Header(name=name, value=value, encoding=encoding)


def _weight(message: Any) -> int:
    headers = sum(len(name) + len(data or b"") for name, data in message.headers() or [])
    return min(len(message.value() or b""), LONGEST_VALUE) + len(message.key() or b"") + headers


def _moment(kind: int, milliseconds: int) -> datetime | None:
    return None if kind == TIMESTAMP_NOT_AVAILABLE else datetime.fromtimestamp(milliseconds / 1000, UTC)
