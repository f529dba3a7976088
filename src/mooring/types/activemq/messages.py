"""What is published and received, as JSON has it and as both protocols take it."""

from __future__ import annotations

import base64
import binascii
import json
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import Field, StringConstraints

from mooring.errors import Misconfigured
from mooring.plugin.connector import Answer, Request
from mooring.plugin.fields import NO_CONTROL
from mooring.types.activemq.model import ActiveMqConfig
from mooring.types.activemq.wire import LONGEST_MESSAGE

Encoding = Literal["text", "base64"]
Kind = Literal["text", "bytes", "map", "list", "object", "empty"]
Value = str | int | float | bool | None
"""What a property of a message may be."""

LONGEST_PROPERTIES = 64 * 1024
LARGEST = 2**63
_Label = Annotated[str, StringConstraints(pattern=NO_CONTROL, max_length=255)]
_Name = Annotated[str, StringConstraints(pattern=NO_CONTROL, min_length=1, max_length=255)]


class Message(Request):
    """One message."""

    value: Any = Field(description="Text, or any JSON, which is written as JSON: a text message.")
    properties: dict[_Name, Value] = Field(
        default={}, description="Properties of the message, by name.", max_length=1000
    )
    encoding: Encoding = Field(
        default="text", description="`base64` where the value is base64 of bytes: then it is a bytes message."
    )
    correlation_id: _Label | None = Field(default=None, description="What it is an answer to.")
    reply_to: _Label | None = Field(
        default=None,
        description="Where the reply is expected: `queue://NAME`, `topic://NAME`; a name alone is a queue.",
    )
    type: _Label | None = Field(default=None, description="Message type label (JMSType).")
    priority: Annotated[int, Ge(0), Le(9)] = Field(default=4, description="Priority, 9 is the highest.")
    time_to_live: Annotated[int, Ge(0), Le(2**32 - 1)] = Field(
        default=0, description="How many milliseconds it may wait for a reader; 0 is for ever."
    )
    persistent: bool = Field(default=True, description="Whether the broker keeps it on disk.")
    group: _Label | None = Field(
        default=None, description="Message group (JMSXGroupID), which one reader at a time gets in order."
    )
    content_type: _Label | None = Field(default=None, description="Another media type than the connection's.")
    content_encoding: _Label | None = Field(default=None, description="Another character set label.")


class Published(Answer):
    """The broker has the message."""

    message_id: str = Field(description="The id that the message carries.")
    destination: str = Field(description="Where it went: `queue://NAME` or `topic://NAME`.")


class ReceiveRequest(Request):
    """How much, how long, and for whom."""

    max_messages: Annotated[int, Ge(0), Le(1000)] = Field(
        default=10, description="End when so many are there; 0 only acknowledges `receipt`."
    )
    timeout_seconds: Annotated[float, Ge(0), Le(300)] = Field(
        default=5.0,
        description="How long to wait: on a queue, or for a subscription, for the first message, and nobody waits for a"
        " second one; on a topic for as many as were asked for. 0 only looks.",
    )
    selector: Annotated[str, StringConstraints(pattern=NO_CONTROL), MinLen(1), MaxLen(4096)] | None = Field(
        default=None, description="Only messages whose properties fit, such as `colour = 'red'`."
    )
    subscription: _Name | None = Field(
        default=None,
        description="Durable subscription of a topic, by name: it begins with its first use, and the broker keeps for it"
        " what is published meanwhile. Needs clientID in the connection.",
    )
    receipt: Annotated[str, MaxLen(64)] | None = Field(
        default=None,
        description="With CLIENT_ACKNOWLEDGE: the receipt of an earlier answer, whose messages are acknowledged first.",
    )


class Received(Answer):
    """A message."""

    value: str = Field(description="The value: the text; bytes in base64; a map or list as JSON.")
    encoding: Encoding = Field(default="text", description="How `value` stands for bytes.")
    kind: Kind = Field(description="What sort of message it is; `object` is a serialized Java object, as bytes.")
    message_id: str | None = Field(default=None, description="Its id.")
    properties: dict[str, Any] = Field(
        default={}, description='Its properties; bytes stand as `{"base64": "..."}`, dates as ISO text.'
    )
    destination: str = Field(default="", description="Where it was published to.")
    redelivered: bool = Field(default=False, description="It was given to somebody before, who did not acknowledge it.")
    correlation_id: str | None = Field(default=None, description="What it is an answer to.")
    reply_to: str | None = Field(default=None, description="Where the reply is expected.")
    type: str | None = Field(default=None, description="Message type label.")
    priority: int = Field(default=4, description="Priority.")
    persistent: bool = Field(default=True, description="Whether the broker kept it on disk.")
    timestamp: datetime | None = Field(default=None, description="When it was sent.")
    expires: datetime | None = Field(default=None, description="When it would have been thrown away.")
    group: str | None = Field(default=None, description="Message group.")
    content_type: str | None = Field(default=None, description="Media type label.")
    content_encoding: str | None = Field(default=None, description="Character set label.")
    user: str | None = Field(default=None, description="Who sent it, where the broker says so.")


class Batch(Answer):
    """Messages in the order of the destination."""

    messages: list[Received] = Field(description="The messages.")
    truncated: bool = Field(
        default=False,
        description="The answer was full (8 MiB) before `maxMessages` were there; receive again for more.",
    )
    receipt: str | None = Field(
        default=None,
        description="With CLIENT_ACKNOWLEDGE: what acknowledges these messages, given to the next `receive` within a"
        " minute. Otherwise they are given to somebody again.",
    )
    acknowledged: bool = Field(
        default=False, description="The `receipt` of the request was good: the broker took those messages out."
    )


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message on its way out: a text message where the body is text."""

    body: str | bytes
    properties: dict[str, Value] = field(default_factory=dict)
    correlation_id: str | None = None
    reply_to: str | None = None
    type: str | None = None
    priority: int = 4
    time_to_live: int = 0
    persistent: bool = True
    group: str | None = None
    content_type: str | None = None
    content_encoding: str | None = None


@dataclass(slots=True)
class Incoming:
    """A message that came in. `size` is about what it takes in memory; `ticket` is for who acknowledges it."""

    body: str | bytes | dict[str, Any] | list[Any] | None
    size: int
    ticket: Any
    kind: Kind = "text"
    message_id: str | None = None
    properties: dict[str, Any] = field(default_factory=dict)
    destination: str = ""
    redelivered: bool = False
    correlation_id: str | None = None
    reply_to: str | None = None
    type: str | None = None
    priority: int = 4
    persistent: bool = True
    timestamp: int = 0
    expires: int = 0
    group: str | None = None
    content_type: str | None = None
    content_encoding: str | None = None
    user: str | None = None


def outgoing(message: Message, config: ActiveMqConfig) -> Outgoing:
    """*message* with what the connection gives to each. Raises `Misconfigured` where it cannot be sent."""
    for name, value in message.properties.items():
        if isinstance(value, int) and not -LARGEST <= value < LARGEST:
            raise Misconfigured(f"the property {name} is a number of more than 64 bits", hint="Send it as text.")
    size = sum(len(name) + (len(value) if isinstance(value, str) else 9) for name, value in message.properties.items())
    if size > LONGEST_PROPERTIES:
        raise Misconfigured(
            f"the properties have {size} characters, and at most {LONGEST_PROPERTIES} can be sent",
            hint="Put it into the value.",
        )
    return Outgoing(
        _body(message.value, message.encoding),
        message.properties,
        message.correlation_id,
        message.reply_to,
        message.type,
        message.priority,
        message.time_to_live,
        message.persistent,
        message.group,
        message.content_type or config.content_type or None,
        message.content_encoding or config.content_encoding or None,
    )


def received(message: Incoming) -> Received:
    """*message* as the answer has it."""
    value, encoding = _text(message.body)
    return Received(
        value=value,
        encoding=encoding,
        kind=message.kind,
        message_id=message.message_id,
        properties={name: plain(item) for name, item in message.properties.items()},
        destination=message.destination,
        redelivered=message.redelivered,
        correlation_id=message.correlation_id,
        reply_to=message.reply_to,
        type=message.type,
        priority=message.priority,
        persistent=message.persistent,
        timestamp=_moment(message.timestamp),
        expires=_moment(message.expires),
        group=message.group,
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        user=message.user,
    )


def plain(item: Any) -> Any:
    """*item* as JSON can have it."""
    match item:
        case dict():
            return {str(name): plain(inner) for name, inner in item.items()}
        case list() | tuple():
            return [plain(inner) for inner in item]
        case bytes() | bytearray():
            return {"base64": base64.b64encode(item).decode()}
        case datetime():
            return item.isoformat()
        case float() if not math.isfinite(item):
            return str(item)
        case str():
            return str(item)
        case bool() | int() | float() | None:
            return item
    return str(item)


def _body(value: Any, encoding: Encoding) -> str | bytes:
    if isinstance(value, bytes):
        body: str | bytes = value
    elif encoding == "base64":
        try:
            body = base64.b64decode(value, validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise Misconfigured(
                "the value is not base64", hint="Send base64 text, or leave the encoding to be text."
            ) from None
    elif isinstance(value, str):
        body = value
    else:
        try:
            body = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        except (ValueError, TypeError):
            raise Misconfigured("the value is not text or JSON", hint="Send text, JSON, or bytes in base64.") from None
    if len(body) > LONGEST_MESSAGE:
        raise too_long(len(body))
    return body


def too_long(size: int) -> Misconfigured:
    """A message has *size* bytes, and that is too many."""
    return Misconfigured(
        f"the message has {size} bytes, and at most {LONGEST_MESSAGE} are sent",
        hint="Put it elsewhere, and publish where it is.",
    )


def _text(body: str | bytes | dict[str, Any] | list[Any] | None) -> tuple[str, Encoding]:
    match body:
        case None:
            return "", "text"
        case str():
            return body, "text"
        case bytes():
            return base64.b64encode(body).decode(), "base64"
    return json.dumps(plain(body), ensure_ascii=False, separators=(",", ":")), "text"


def _moment(milliseconds: int) -> datetime | None:
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds > 0 else None
    except (OverflowError, ValueError, OSError):
        return None
