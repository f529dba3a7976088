"""What is published and received, on its way between JSON and AMQP."""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import pamqp.encode
from aiormq.abc import DeliveredMessage
from annotated_types import Ge, Le, MinLen
from pamqp.commands import Basic
from pydantic import AfterValidator, Field, StringConstraints

from mooring.errors import Misconfigured
from mooring.plugin.connector import Answer, Request
from mooring.plugin.fields import NO_CONTROL
from mooring.types.rabbitmq.model import RabbitMqConfig, short

Encoding = Literal["text", "base64"]
LONGEST_NAME = 128
LONGEST_HEADERS = 64 * 1024
_AROUND_PROPERTIES = 16
_BINARY = frozenset(chr(code) for code in (*range(9), 11, 12, *range(14, 32), 127))
_Short = Annotated[str, StringConstraints(pattern=NO_CONTROL, max_length=255), AfterValidator(short)]


class Message(Request):
    """One message; what is left out is as the connection says."""

    value: Any = Field(description="Text, or any JSON, which is written as JSON.")
    routing_key: _Short | None = Field(default=None, description="Another routing key than the connection's.")
    headers: dict[str, Any] = Field(default={}, description="Headers of the message, by name; 64 KiB at most.")
    encoding: Encoding = Field(default="text", description="`base64` where the value is base64 of the bytes to send.")
    message_id: _Short | None = Field(default=None, description="Its id; absent, one is made.")
    correlation_id: _Short | None = Field(default=None, description="What it is an answer to.")
    reply_to: _Short | None = Field(default=None, description="Queue that the reply is expected in.")
    type: _Short | None = Field(default=None, description="Message type label.")
    priority: Annotated[int, Ge(0), Le(255)] | None = Field(default=None, description="Priority.")
    expiration: Annotated[int, Ge(0), Le(2**32 - 1)] | None = Field(
        default=None, description="How many milliseconds it lives in a queue."
    )
    delivery_mode: Annotated[int, Ge(1), Le(2)] | None = Field(
        default=None, description="1 keeps it in memory, 2 on disk."
    )
    content_type: _Short | None = Field(default=None, description="Media type of the value.")
    content_encoding: _Short | None = Field(default=None, description="Encoding of the value.")
    timestamp: datetime | None = Field(default=None, description="The moment it is about; whole seconds.")


class Published(Answer):
    """The broker confirmed the message: it is in every queue that the routing key leads to."""

    message_id: str = Field(description="The id that the message carries.")
    exchange: str = Field(description="The exchange; empty is the default exchange.")
    routing_key: str = Field(description="The routing key.")


class ReceiveRequest(Request):
    """How much, how long, and from where."""

    max_messages: Annotated[int, Ge(1), Le(1000)] = Field(default=10, description="End when so many are there.")
    timeout_seconds: Annotated[float, Ge(0), Le(300)] = Field(
        default=5.0, description="How long to wait for the first message; 0 only looks. Nobody waits for a second one."
    )
    queue: Annotated[_Short, MinLen(1)] | None = Field(
        default=None, description="The queue; absent, the one that the connection publishes to by the default exchange."
    )


class Received(Answer):
    """A message that was taken from the queue."""

    value: str = Field(description="The value.")
    encoding: Encoding = Field(default="text", description="How `value` stands for bytes.")
    message_id: str | None = Field(default=None, description="Its id.")
    routing_key: str = Field(description="The routing key it was published with.")
    exchange: str = Field(description="The exchange it was published to.")
    redelivered: bool = Field(description="It was given to somebody before, who did not acknowledge it.")
    headers: dict[str, Any] = Field(
        default={}, description='Its headers; bytes stand as `{"base64": "..."}`, dates as ISO text.'
    )
    correlation_id: str | None = Field(default=None, description="What it is an answer to.")
    reply_to: str | None = Field(default=None, description="Queue that the reply is expected in.")
    type: str | None = Field(default=None, description="Message type label.")
    content_type: str | None = Field(default=None, description="Media type of the value.")
    content_encoding: str | None = Field(default=None, description="Encoding of the value.")
    delivery_mode: int | None = Field(default=None, description="1 was kept in memory, 2 on disk.")
    priority: int | None = Field(default=None, description="Priority.")
    expiration: str | None = Field(default=None, description="How many milliseconds it was to live, as digits.")
    timestamp: datetime | None = Field(default=None, description="The moment it is about.")
    user_id: str | None = Field(default=None, description="The user that published it, as the broker checked.")
    app_id: str | None = Field(default=None, description="The application that published it.")
    cluster_id: str | None = Field(default=None, description="Cluster label.")


class Batch(Answer):
    """Messages in the order of the queue. They are gone from it: each was acknowledged once it stood here."""

    messages: list[Received] = Field(description="The messages.")
    truncated: bool = Field(
        default=False,
        description="The answer was full (8 MiB) before `maxMessages` were there; receive again for more.",
    )


_NO_PROPERTIES = frozenset({"value", "encoding", "routing_key"})


class Properties:
    """The properties that a connection gives to each message."""

    def __init__(self, config: RabbitMqConfig) -> None:
        mode, priority = config.basic_properties_delivery_mode, config.basic_properties_priority
        self._usual: dict[str, Any] = {
            "content_type": config.basic_properties_content_type or None,
            "content_encoding": config.basic_properties_content_encoding or None,
            "delivery_mode": None if mode is None else int(mode),
            "priority": None if priority is None else int(priority),
            "reply_to": config.basic_properties_reply_to or None,
            "expiration": config.basic_properties_expiration or None,
            "message_type": config.basic_properties_type or None,
            "user_id": config.basic_properties_user_id or None,
            "app_id": config.basic_properties_app_id or None,
        }
        self._cluster = config.basic_properties_cluster_id

    def of(self, message: Message) -> Basic.Properties:
        """Those of *message*. Raises `Misconfigured` where a header cannot be sent."""
        if message.model_fields_set <= _NO_PROPERTIES:
            return self._finished(Basic.Properties(**self._usual))
        own: dict[str, Any] = {
            "headers": message.headers,
            "message_id": message.message_id,
            "correlation_id": message.correlation_id,
            "reply_to": message.reply_to,
            "message_type": message.type,
            "priority": message.priority,
            "expiration": None if message.expiration is None else str(message.expiration),
            "delivery_mode": message.delivery_mode,
            "content_type": message.content_type,
            "content_encoding": message.content_encoding,
            "timestamp": None if message.timestamp is None else _utc(message.timestamp),
        }
        if message.headers:
            _check_headers(message.headers)
        given = {name: value for name, value in own.items() if value is not None}
        return self._finished(Basic.Properties(**{**self._usual, **given}))

    def _finished(self, properties: Basic.Properties) -> Basic.Properties:
        if self._cluster:
            # AMQP 0-9-1 keeps its place and no longer says what it is for; the driver would refuse it as an argument.
            properties.cluster_id = self._cluster
        return properties


def to_bytes(value: Any, encoding: Encoding) -> bytes:
    """*value* as it is sent. Raises `Misconfigured`."""
    if isinstance(value, bytes):
        return value
    if encoding == "base64":
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise Misconfigured(
                "the value is not base64", hint="Send base64 text, or leave the encoding to be text."
            ) from None
    try:
        if isinstance(value, str):
            return value.encode()
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except (ValueError, TypeError):
        raise Misconfigured("the value is not text or JSON", hint="Send text, JSON, or bytes in base64.") from None


def check_room(properties: Basic.Properties, room: int) -> None:
    """Whether *properties* fit a frame of *room* bytes; one that does not would end the connection. Raises `Misconfigured`."""
    size = len(properties.marshal()) + _AROUND_PROPERTIES
    if size > room:
        raise Misconfigured(
            f"the headers and properties have {size} bytes, and a frame has room for {room}",
            hint="Put less into the headers, or raise connectionFactoryRequestedFrameMax.",
        )


def from_delivered(message: DeliveredMessage) -> Received:
    """A message as the answer has it."""
    properties = message.header.properties
    value, encoding = _text(message.body)
    return Received(
        value=value,
        encoding=encoding,
        message_id=properties.message_id,
        routing_key=message.routing_key or "",
        exchange=message.exchange or "",
        redelivered=bool(message.redelivered),
        headers={str(name): _plain(item) for name, item in (properties.headers or {}).items()},
        correlation_id=properties.correlation_id,
        reply_to=properties.reply_to,
        type=properties.message_type,
        content_type=properties.content_type,
        content_encoding=properties.content_encoding,
        delivery_mode=properties.delivery_mode,
        priority=properties.priority,
        expiration=properties.expiration,
        timestamp=properties.timestamp,
        user_id=properties.user_id,
        app_id=properties.app_id,
        cluster_id=properties.cluster_id or None,
    )


def _check_headers(headers: dict[str, Any]) -> None:
    try:
        if not all(len(name.encode()) <= LONGEST_NAME for name in _names(headers)):
            # The driver would cut it off.
            raise ValueError
        size = len(pamqp.encode.field_table(headers))
    except (TypeError, ValueError, OverflowError, RecursionError, struct.error):
        raise Misconfigured(
            "a header cannot be sent",
            hint="Names have 128 bytes at most; values are texts, whole numbers of 64 bits, numbers, true, false,"
            " null, and lists and tables of these.",
        ) from None
    if size > LONGEST_HEADERS:
        raise Misconfigured(
            f"the headers have {size} bytes, and at most {LONGEST_HEADERS} can be sent", hint="Put it into the value."
        )


def _names(item: Any) -> Iterator[str]:
    if isinstance(item, dict):
        yield from item
    inner = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
    for one in inner:
        yield from _names(one)


def _text(data: bytes) -> tuple[str, Encoding]:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return base64.b64encode(data).decode(), "base64"
    if _BINARY.isdisjoint(text):
        return text, "text"
    return base64.b64encode(data).decode(), "base64"


def _plain(item: Any) -> Any:
    match item:
        case dict():
            return {str(name): _plain(inner) for name, inner in item.items()}
        case list():
            return [_plain(inner) for inner in item]
        case bytes() | bytearray():
            return {"base64": base64.b64encode(item).decode()}
        case datetime():
            return item.isoformat()
        case Decimal():
            return str(item)
        case str() | int() | float() | bool() | None:
            return item
    return str(item)


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
