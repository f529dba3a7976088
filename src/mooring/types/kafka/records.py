"""Records on their way between JSON and bytes."""

from __future__ import annotations

import base64
import binascii
import json
import struct
import uuid
from typing import Any, Literal

from mooring.errors import Misconfigured

Encoding = Literal["text", "base64"]

_NUMBERS = {"Integer": ">i", "Long": ">q", "Double": ">d"}
_BINARY = frozenset(chr(code) for code in (*range(9), 11, 12, *range(14, 32), 127))


def to_bytes(value: Any, encoding: Encoding, serializer: str, what: str) -> bytes | None:
    """
    *value* as the *serializer* (`String`, `Long`, ...) writes it. None is Kafka's null.

    Text is UTF-8, or what its base64 stands for; other values are written as JSON. *what* is `value` or `key`,
    for messages. Raises `Misconfigured`.
    """
    if value is None or isinstance(value, bytes):
        return value
    if encoding == "base64":
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise _unfit(what, "base64", "Send base64 text, or leave the encoding to be text.") from None
    if serializer in _NUMBERS:
        try:
            return struct.pack(_NUMBERS[serializer], _number(value, serializer))
        except (ValueError, TypeError, OverflowError, struct.error):
            raise _unfit(
                what, f"what {what}.serializer of this connection writes ({serializer})", "Send a number in its range."
            ) from None
    if serializer == "UUID":
        try:
            return str(uuid.UUID(value)).encode()
        except (ValueError, AttributeError, TypeError):
            raise _unfit(what, f"what {what}.serializer of this connection writes (UUID)", "Send a UUID.") from None
    try:
        text = (
            value
            if isinstance(value, str)
            else json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        )
        return text.encode()
    except (ValueError, TypeError):
        raise _unfit(what, "text or JSON", "Send text, JSON, or bytes in base64.") from None


def from_bytes(data: bytes | None, serializer: str = "String") -> tuple[str | None, Encoding]:
    """*data* as text where it is readable text, or what a number serializer wrote; else its base64."""
    if data is None:
        return None, "text"
    layout = _NUMBERS.get(serializer)
    if layout and len(data) == struct.calcsize(layout):
        return str(struct.unpack(layout, data)[0]), "text"
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return base64.b64encode(data).decode(), "base64"
    if _BINARY.isdisjoint(text):
        return text, "text"
    return base64.b64encode(data).decode(), "base64"


def _number(value: Any, serializer: str) -> int | float:
    if isinstance(value, bool):
        raise TypeError
    if serializer == "Double":
        return float(value)
    if isinstance(value, float) and not value.is_integer():
        raise ValueError
    return int(value)


def _unfit(what: str, wanted: str, hint: str) -> Misconfigured:
    return Misconfigured(f"the {what} is not {wanted}", hint=hint)
