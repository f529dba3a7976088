"""A message as AMQP 1.0 has it: sections, one after another."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from mooring.types.activemq.amqp.codec import (
    Byte,
    Described,
    Symbol,
    Timestamp,
    UByte,
    UInt,
    decode,
    encode,
)
from mooring.types.activemq.faults import Garbled
from mooring.types.activemq.messages import Incoming, Kind, Outgoing

_HEADER, _MESSAGE_ANNOTATIONS, _PROPERTIES, _APPLICATION, _DATA, _SEQUENCE, _VALUE = (
    0x70, 0x72, 0x73, 0x74, 0x75, 0x76, 0x77,
)  # fmt: skip
_BYTES_MESSAGE, _TEXT_MESSAGE = 3, 5
_OBJECT_MESSAGE = 1


def write(message: Outgoing, message_id: str, to: str, is_topic: bool, now_ms: int) -> bytes:
    """*message* as it is sent."""
    ttl = UInt(message.time_to_live) if message.time_to_live else None
    is_text = isinstance(message.body, str)
    annotations = {
        Symbol("x-opt-jms-msg-type"): Byte(_TEXT_MESSAGE if is_text else _BYTES_MESSAGE),
        Symbol("x-opt-jms-dest"): Byte(is_topic),
    }
    properties = [
        message_id,
        None,
        to,
        message.type,
        message.reply_to,
        message.correlation_id,
        None if message.content_type is None else Symbol(message.content_type),
        None if message.content_encoding is None else Symbol(message.content_encoding),
        Timestamp(now_ms + message.time_to_live) if message.time_to_live else None,
        Timestamp(now_ms),
        message.group,
    ]
    parts = [
        encode(Described(_HEADER, [message.persistent, UByte(message.priority), ttl])),
        encode(Described(_MESSAGE_ANNOTATIONS, annotations)),
        encode(Described(_PROPERTIES, properties)),
    ]
    if message.properties:
        parts.append(encode(Described(_APPLICATION, message.properties)))
    parts.append(encode(Described(_VALUE if is_text else _DATA, message.body)))
    return b"".join(parts)


def read(payload: bytes, ticket: Any) -> Incoming:
    """The message in *payload*. One that makes no sense is given as its bytes: whoever wrote it knows what it means."""
    try:
        sections = _sections(payload)
    except Garbled:
        return Incoming(body=payload, size=len(payload), ticket=ticket, kind="bytes")
    header, properties = sections.get(_HEADER, Described(_HEADER, [])), sections.get(_PROPERTIES, Described(0x73, []))
    annotations = sections.get(_MESSAGE_ANNOTATIONS, Described(0x72, {})).value
    application = sections.get(_APPLICATION, Described(0x74, {})).value
    body, kind = _body(sections)
    if isinstance(annotations, dict) and annotations.get("x-opt-jms-msg-type") == _OBJECT_MESSAGE:
        kind = "object"
    durable, priority, count = header.field(0), header.field(1), header.field(4)
    return Incoming(
        body=body,
        size=len(payload),
        ticket=ticket,
        kind=kind,
        message_id=_shown(properties.field(0)),
        properties=application if isinstance(application, dict) else {},
        destination=_shown(properties.field(2)) or "",
        redelivered=isinstance(count, int) and count > 0,
        correlation_id=_shown(properties.field(5)),
        reply_to=_shown(properties.field(4)),
        type=_shown(properties.field(3)),
        priority=priority if isinstance(priority, int) else 4,
        persistent=durable is True,
        timestamp=_milliseconds(properties.field(9)),
        expires=_milliseconds(properties.field(8)),
        group=_shown(properties.field(10)),
        content_type=_shown(properties.field(6)) or _named(application, "contentType"),
        content_encoding=_shown(properties.field(7)) or _named(application, "contentEncoding"),
        user=_shown(properties.field(1)),
    )


def _sections(payload: bytes) -> dict[int, Described]:
    found: dict[int, Described] = {}
    at = 0
    while at < len(payload):
        section, at = decode(payload, at)
        if not isinstance(section, Described):
            raise Garbled("a section of a message is not one")
        known = found.get(section.code)
        if known is not None and section.code == _DATA and isinstance(known.value, list):
            known.value.append(section.value)
        elif known is not None and section.code == _DATA:
            found[_DATA] = Described(_DATA, [known.value, section.value])
        else:
            found[section.code] = section
    return found


def _body(sections: dict[int, Described]) -> tuple[Any, Kind]:
    if _DATA in sections:
        data = sections[_DATA].value
        parts = data if isinstance(data, list) else [data]
        return b"".join(part for part in parts if isinstance(part, bytes)), "bytes"
    if _SEQUENCE in sections:
        items = sections[_SEQUENCE].value
        return (items if isinstance(items, list) else [items]), "list"
    value = sections[_VALUE].value if _VALUE in sections else None
    match value:
        case None:
            return None, "empty"
        case str():
            return str(value), "text"
        case bytes():
            return value, "bytes"
        case dict():
            return value, "map"
        case list():
            return value, "list"
        case Described():
            return [value.value], "list"
    return [value], "list"


def _shown(value: Any) -> str | None:
    match value:
        case None:
            return None
        case bytes():
            return value.decode("utf-8", "replace")
    return str(value)


def _milliseconds(value: Any) -> int:
    return int(value.timestamp() * 1000) if isinstance(value, datetime) else 0


def _named(application: Any, name: str) -> str | None:
    value = application.get(name) if isinstance(application, dict) else None
    return value if isinstance(value, str) else None
