"""What a client and a broker say to each other: our commands as bytes, the broker's as objects."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any

from mooring.types.activemq.faults import Garbled, TooLong
from mooring.types.activemq.messages import Incoming, Kind, Outgoing, too_long
from mooring.types.activemq.openwire.marshal import (
    NULL,
    Reader,
    flag,
    integer,
    long,
    octets,
    properties,
    string,
    text_of,
)
from mooring.types.activemq.text import to_java
from mooring.types.activemq.wire import LONGEST_MESSAGE

MAGIC = b"ActiveMQ"
VERSION = 12

WIRE_FORMAT, BROKER, CONNECTION, SESSION, CONSUMER, PRODUCER, TRANSACTION = 1, 2, 3, 4, 5, 6, 7
KEEP_ALIVE, SHUTDOWN, REMOVE, CONNECTION_ERROR, CONSUMER_CONTROL, CONNECTION_CONTROL = 10, 11, 12, 16, 17, 18
PULL, DISPATCH, ACKNOWLEDGE = 20, 21, 22
PLAIN_MESSAGE, BYTES_MESSAGE, MAP_MESSAGE, OBJECT_MESSAGE, STREAM_MESSAGE, TEXT_MESSAGE, BLOB_MESSAGE = range(23, 30)
RESPONSE, EXCEPTION_RESPONSE, DATA_RESPONSE, DATA_ARRAY_RESPONSE, INTEGER_RESPONSE = range(30, 35)
_QUEUE, _TOPIC, _TEMPORARY_QUEUE, _TEMPORARY_TOPIC = range(100, 104)
_MESSAGE_ID, _LOCAL_TRANSACTION, _XA_TRANSACTION = 110, 111, 112
_CONNECTION_ID, _SESSION_ID, _CONSUMER_ID, _PRODUCER_ID, _BROKER_ID = range(120, 125)

BEGIN, COMMIT, ROLLBACK = 0, 2, 4
DELIVERED, STANDARD = 0, 2
NEVER_DELIVERED = -1
_SCHEMES = {_QUEUE: "queue", _TOPIC: "topic", _TEMPORARY_QUEUE: "temp-queue", _TEMPORARY_TOPIC: "temp-topic"}
_KINDS: dict[int, Kind] = {
    PLAIN_MESSAGE: "empty", BYTES_MESSAGE: "bytes", MAP_MESSAGE: "map", OBJECT_MESSAGE: "object",
    STREAM_MESSAGE: "list", TEXT_MESSAGE: "text", BLOB_MESSAGE: "object",
}  # fmt: skip
_HEAD = struct.Struct(">iBi?")
_SIZE = struct.Struct(">i")


def command(kind: int, number: int, wants_answer: bool, body: bytes) -> bytes:
    """A command as it is sent, its length before it."""
    return _HEAD.pack(len(body) + 6, kind, number, wants_answer) + body


def wire_format(options: dict[str, Any]) -> bytes:
    """What we propose to agree on; it goes out before anything is agreed, so its form never changes."""
    body = bytes((WIRE_FORMAT,)) + MAGIC + integer(VERSION) + octets(properties(options))
    return _SIZE.pack(len(body)) + body


# Who and where: names that stand in commands


def connection_id(connection: str) -> bytes:
    return _object(_CONNECTION_ID, string(connection))


def session_id(connection: str, session: int) -> bytes:
    return _object(_SESSION_ID, string(connection) + long(session))


def consumer_id(connection: str, session: int, consumer: int) -> bytes:
    return _object(_CONSUMER_ID, string(connection) + long(session) + long(consumer))


def producer_id(connection: str, session: int, producer: int) -> bytes:
    return _object(_PRODUCER_ID, string(connection) + long(producer) + long(session))


def transaction_id(connection: str, number: int) -> bytes:
    return _object(_LOCAL_TRANSACTION, long(number) + connection_id(connection))


def destination(kind: str, name: str) -> bytes:
    """A queue or topic; *kind* is `QUEUE` or `TOPIC`."""
    return _object(_QUEUE if kind == "QUEUE" else _TOPIC, string(name))


def reply_destination(text: str) -> bytes:
    """A destination as people write it: `topic://NAME`; a name alone is a queue."""
    for kind, scheme in _SCHEMES.items():
        if text.startswith(f"{scheme}://"):
            return _object(kind, string(text[len(scheme) + 3 :]))
    return _object(_QUEUE, string(text))


# Bodies of our commands


def connection_info(connection: str, client_id: str, user: str | None, password: str | None) -> bytes:
    login = string(client_id) + string(password) + string(user)
    no_path, no_address = NULL, NULL
    flags = flag(False) + flag(False) + flag(True) + flag(False) + flag(False)
    return connection_id(connection) + login + no_path + flags + no_address


def producer_info(producer: bytes, where: bytes) -> bytes:
    return producer + where + NULL + flag(False) + integer(0)


def consumer_info(
    consumer: bytes, where: bytes, prefetch: int, selector: str | None, subscription: str | None
) -> bytes:
    """What *consumer* reads. Its messages are dispatched at once, in the order of our commands."""
    filters = string(selector) + string(None) + string(subscription)
    no_local, exclusive, retroactive, priority = flag(False), flag(False), flag(False), b"\0"
    network, optimized, no_ranges = flag(False), flag(False), flag(False)
    return b"".join(
        (
            consumer, flag(False), where, integer(prefetch), integer(0), flag(False), filters,
            no_local, exclusive, retroactive, priority, NULL, NULL, network, optimized, no_ranges, NULL,
        )
    )  # fmt: skip


def pull(consumer: bytes, where: bytes, milliseconds: int) -> bytes:
    """Ask for one message: -1 looks whether there is one; the answer is a dispatch, with nothing in it where not."""
    return consumer + where + long(milliseconds) + string(None) + NULL


def acknowledgement(
    where: bytes, transaction: bytes, consumer: bytes, kind: int, first: bytes, last: bytes, count: int
) -> bytes:
    return where + transaction + consumer + bytes((kind,)) + first + last + integer(count) + NULL


def transaction_info(connection: str, transaction: bytes, kind: int) -> bytes:
    return connection_id(connection) + transaction + bytes((kind,))


def remove_info(what: bytes, last_delivered: int = NEVER_DELIVERED) -> bytes:
    return what + long(last_delivered)


class MessageWriter:
    """Writes messages of one producer for one destination."""

    def __init__(self, producer: bytes, where: bytes) -> None:
        self._producer = producer
        self._before = producer + where
        self._after = b"".join(
            (
                NULL, NULL, flag(False), integer(0), NULL, long(0), string(None), flag(False), flag(False), NULL,
                long(0), long(0), flag(False),
            )
        )  # fmt: skip

    def write(self, message: Outgoing, sequence: int, now_ms: int, transaction: bytes = NULL) -> tuple[int, bytes]:
        """The kind of the command and its body. Raises `Misconfigured` where the message is too long."""
        if isinstance(message.body, bytes):
            kind, content = BYTES_MESSAGE, message.body
        else:
            text = to_java(message.body)
            kind, content = TEXT_MESSAGE, _SIZE.pack(len(text)) + text
        if len(content) > LONGEST_MESSAGE + 4:
            raise too_long(len(content))
        values = dict(message.properties)
        for name, label in (("contentType", message.content_type), ("contentEncoding", message.content_encoding)):
            if label is not None:
                values.setdefault(name, label)
        expires = now_ms + message.time_to_live if message.time_to_live else 0
        identity = _object(_MESSAGE_ID, string(None) + self._producer + long(sequence) + long(0))
        body = b"".join(
            (
                self._before, transaction, NULL, identity, NULL, string(message.group), integer(0),
                string(message.correlation_id), flag(message.persistent), long(expires), bytes((message.priority,)),
                NULL if message.reply_to is None else reply_destination(message.reply_to), long(now_ms),
                string(message.type), octets(content), octets(properties(values)) if values else NULL, self._after,
            )
        )  # fmt: skip
        return kind, body


# What a broker says


@dataclass(frozen=True, slots=True)
class WireFormat:
    """What the broker proposes to agree on."""

    version: int
    options: dict[str, Any]

    def number(self, name: str, default: int) -> int:
        value = self.options.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else default


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to command *to*: done, or the Java class of an exception and what it says."""

    to: int
    exception: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something went wrong that answers no command."""

    exception: tuple[str, str]


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """The broker lives, and may want to hear that we do."""

    wants_answer: bool


@dataclass(frozen=True, slots=True)
class Dispatch:
    """A message for a consumer, or none: it asked for one, and there was none."""

    consumer: int
    message: Incoming | None


@dataclass(frozen=True, slots=True)
class ConsumerClosed:
    """The broker ended a consumer."""

    consumer: int


@dataclass(frozen=True, slots=True)
class Shutdown:
    """The broker leaves, or wants us to."""


@dataclass(frozen=True, slots=True)
class Other:
    """A command that means nothing to us."""

    number: int
    wants_answer: bool


Command = WireFormat | Response | Trouble | KeepAlive | Dispatch | ConsumerClosed | Shutdown | Other


def read(frame: bytes) -> Command:
    """The command in *frame*, without its length. Raises `Garbled`."""
    reader = Reader(frame)
    kind = reader.byte()
    if kind == WIRE_FORMAT:
        return _wire_format(reader)
    number, wants_answer = reader.integer(), reader.flag()
    match kind:
        case 30 | 32 | 33 | 34:  # done, with or without something to tell
            return Response(reader.integer())
        case 31:
            return Response(reader.integer(), _throwable(reader) or ("Exception", ""))
        case 21:
            return _dispatch(reader)
        case 10:
            return KeepAlive(wants_answer)
        case 16:
            return Trouble(_throwable(reader) or ("Exception", ""))
        case 17:
            return _consumer_control(reader, number, wants_answer)
        case 11:
            return Shutdown()
    return Other(number, wants_answer)


def _object(kind: int, body: bytes) -> bytes:
    return b"\x01" + bytes((kind,)) + body


def _wire_format(reader: Reader) -> WireFormat:
    if reader.take(len(MAGIC)) != MAGIC:
        raise Garbled("the magic is not ActiveMQ's")
    version = reader.integer()
    options = reader.octets()
    return WireFormat(version, Reader(options).properties() if options else {})


def _throwable(reader: Reader) -> tuple[str, str] | None:
    """The class of an exception, without its package, and what it says. A stack trace is never read."""
    if not reader.flag():
        return None
    name, text = reader.string() or "", reader.string() or ""
    return name.rpartition(".")[2].rpartition("$")[2] or "Exception", text


def _kind_of(reader: Reader) -> int | None:
    return reader.byte() if reader.flag() else None


def _expect(reader: Reader, kind: int) -> None:
    if _kind_of(reader) != kind:
        raise Garbled("an object is not what it should be")


def _consumer(reader: Reader) -> int:
    _expect(reader, _CONSUMER_ID)
    reader.string()
    reader.long()
    return reader.long()


def _destination(reader: Reader) -> str | None:
    kind = _kind_of(reader)
    if kind is None:
        return None
    if kind not in _SCHEMES:
        raise Garbled("a destination is not what it should be")
    return f"{_SCHEMES[kind]}://{reader.string() or ''}"


def _skip_connection_id(reader: Reader) -> None:
    if _kind_of(reader) is not None:
        reader.string()


def _skip_transaction(reader: Reader) -> None:
    kind = _kind_of(reader)
    if kind == _LOCAL_TRANSACTION:
        reader.long()
        _skip_connection_id(reader)
    elif kind == _XA_TRANSACTION:
        reader.integer()
        reader.octets()
        reader.octets()
    elif kind is not None:
        raise Garbled("a transaction is not what it should be")


def _producer(reader: Reader) -> str | None:
    kind = _kind_of(reader)
    if kind is None:
        return None
    if kind != _PRODUCER_ID:
        raise Garbled("a producer is not what it should be")
    connection, value, session = reader.string() or "", reader.long(), reader.long()
    return f"{connection}:{session}:{value}"


def _skip_brokers(reader: Reader) -> None:
    if not reader.flag():
        return
    for _ in range(int.from_bytes(reader.take(2), "big", signed=True)):
        _expect(reader, _BROKER_ID)
        reader.string()


def _dispatch(reader: Reader) -> Dispatch:
    consumer = _consumer(reader)
    _destination(reader)
    kind = _kind_of(reader)
    if kind is None:
        return Dispatch(consumer, None)
    if kind not in _KINDS:
        raise Garbled("a message is not what it should be")
    message = _message(reader, kind)
    message.redelivered = reader.integer() > 0
    return Dispatch(consumer, message)


def _message(reader: Reader, kind: int) -> Incoming:
    start = reader.at
    reader.integer()
    reader.flag()
    _producer(reader)
    destination = _destination(reader)
    _skip_transaction(reader)
    original = _destination(reader)
    at = reader.at
    message_id, broker_sequence = _message_id(reader)
    identity = reader.since(at)
    _skip_transaction(reader)
    group = reader.string()
    reader.integer()
    correlation_id = reader.string()
    persistent = reader.flag()
    expires = reader.long()
    priority = reader.byte()
    reply_to = _destination(reader)
    timestamp = reader.long()
    label = reader.string()
    content = reader.octets()
    marshalled = reader.octets()
    if _kind_of(reader) is not None:
        raise Garbled("a message carries an object of its own")
    if _kind_of(reader) is not None:
        reader.string()
        reader.long()
        reader.long()
    compressed = reader.flag()
    reader.integer()
    _skip_brokers(reader)
    reader.long()
    user = reader.string()
    reader.flag()
    reader.flag()
    _skip_brokers(reader)
    reader.take(17)
    values = _values(marshalled)
    body, told = _content(kind, content, compressed)
    return Incoming(
        body=body,
        size=max(reader.at - start, len(body) if isinstance(body, str | bytes) else 0),
        ticket=(identity, broker_sequence),
        kind=told,
        message_id=message_id,
        properties=values,
        destination=original or destination or "",
        correlation_id=correlation_id,
        reply_to=reply_to,
        type=label,
        priority=priority,
        persistent=persistent,
        timestamp=timestamp,
        expires=expires,
        group=group,
        content_type=_label(values, "contentType", "JMS_AMQP_ContentType"),
        content_encoding=_label(values, "contentEncoding", "JMS_AMQP_ContentEncoding"),
        user=user,
    )


def _message_id(reader: Reader) -> tuple[str, int]:
    _expect(reader, _MESSAGE_ID)
    shown = reader.string()
    producer = _producer(reader)
    sequence, broker_sequence = reader.long(), reader.long()
    return shown or f"{producer}:{sequence}", broker_sequence


def _values(marshalled: bytes | None) -> dict[str, Any]:
    """Its properties; none where what should be those is something else, which is no reason to lose the message."""
    try:
        return Reader(marshalled).properties() if marshalled else {}
    except Garbled:
        return {}


def _content(kind: int, content: bytes | None, compressed: bool) -> tuple[Any, Kind]:
    if content is None:
        return (b"" if kind == BYTES_MESSAGE else "" if kind == TEXT_MESSAGE else None), _KINDS[kind]
    try:
        if compressed:
            content = _inflated(content[4:] if kind == BYTES_MESSAGE else content)
        if kind == TEXT_MESSAGE:
            return text_of(content[4:]), "text"
        if kind == MAP_MESSAGE:
            return Reader(content).properties(), "map"
        if kind == STREAM_MESSAGE:
            return Reader(content).stream(), "list"
    except (Garbled, zlib.error):
        # Whoever wrote it knows what it means.
        return content, "bytes"
    return content, _KINDS[kind]


def _inflated(content: bytes) -> bytes:
    inflater = zlib.decompressobj()
    data = inflater.decompress(content, LONGEST_MESSAGE + 4)
    if inflater.unconsumed_tail:
        raise TooLong(f"a compressed message has more than {LONGEST_MESSAGE} bytes, and so many are read")
    return data


def _label(values: dict[str, Any], *names: str) -> str | None:
    return next((values[name] for name in names if isinstance(values.get(name), str)), None)


def _consumer_control(reader: Reader, number: int, wants_answer: bool) -> Command:
    _destination(reader)
    closes = reader.flag()
    if closes and _kind_of(reader) == _CONSUMER_ID:
        reader.string()
        reader.long()
        return ConsumerClosed(reader.long())
    return Other(number, wants_answer)
