"""A GELF message: what may be sent, how GELF spells it, and how it is cut for UDP."""

from __future__ import annotations

import gzip
import json
import os
import re
import time
import zlib
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, Field, StrictFloat, StrictInt, StringConstraints

from mooring.errors import Misconfigured
from mooring.plugin.connector import Request
from mooring.types.graylog.model import LEVELS

MAX_TEXT = 32_768
MAX_FULL_TEXT = 1_000_000
MAX_FIELDS = 200
MAX_MESSAGE = 1024 * 1024
"""What Graylog takes, in bytes before compression."""
MAX_CHUNKS = 128
SMALL_DATAGRAM, LARGE_DATAGRAM = 1420, 8192
"""One that passes any network whole, and the largest that GELF allows."""
CHUNK_HEADER = 12
_MAGIC = b"\x1e\x0f"

RESERVED = frozenset(
    {"id", "message", "short_message", "full_message", "source", "host", "timestamp", "level", "version", "streams"}
)
"""Names that GELF or Graylog give a meaning of their own: a field called so would pass for something else."""
_FIELD = re.compile(r"_?[A-Za-z0-9][A-Za-z0-9_.-]*")
_NUMBER_BITS = 63


def _named(fields: dict[str, Any]) -> dict[str, Any]:
    named = {}
    for name, value in fields.items():
        if not _FIELD.fullmatch(name):
            raise ValueError("a field's name is made of letters, digits, '_', '.' and '-'")
        plain = name.removeprefix("_")
        if plain.lower() in RESERVED or plain.lower().startswith("gl2_"):
            raise ValueError("id, message, source, timestamp, level and other names of Graylog's own cannot be fields")
        if plain in named:
            raise ValueError("a field is given twice, once with '_' before its name")
        if isinstance(value, int) and value.bit_length() > _NUMBER_BITS:
            raise ValueError("a number has at most 63 bits; send it as text")
        named[plain] = value
    return named


FieldName = Annotated[str, StringConstraints(min_length=1, max_length=128)]
FieldText = Annotated[str, StringConstraints(max_length=32_766)]
FieldNumber = StrictInt | Annotated[StrictFloat, Field(allow_inf_nan=False)]
Level = Literal["EMERGENCY", "ALERT", "CRITICAL", "ERROR", "WARNING", "NOTICE", "INFO", "DEBUG"]


class Entry(Request):
    """A message to send. What is left out, the connection says."""

    text: str = Field(min_length=1, max_length=MAX_TEXT, description="The message (`short_message`).")
    level: Level | None = Field(None, description="Its level, where it is not the connection's.")
    fields: Annotated[dict[FieldName, FieldText | FieldNumber], AfterValidator(_named)] = Field(
        default_factory=dict,
        max_length=MAX_FIELDS,
        description="What is known of it: names with texts or numbers. The `_` that GELF puts before a name may be left out.",
    )
    full_text: str | None = Field(None, max_length=MAX_FULL_TEXT, description="The long form, such as a stack trace.")
    host: str | None = Field(
        None, min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$",
        description="Where it comes from; left out, the worker's host name.",
    )  # fmt: skip
    timestamp: AwareDatetime | None = Field(
        None, description="When it happened, with its offset: `2026-01-31T12:00:00+01:00`; now, if left out."
    )


def spelled(entry: Entry, *, host: str, level: str, in_fields: bool, in_text: bool) -> bytes:
    """*entry* as GELF 1.1, with its fields where *in_fields* and *in_text* say. Raises `Misconfigured`."""
    full_text = entry.full_text
    if in_text and entry.fields:
        full_text = "\n".join(
            (full_text or entry.text, *(f"{name}={_on_one_line(value)}" for name, value in entry.fields.items()))
        )
    message: dict[str, Any] = {
        "version": "1.1",
        "host": entry.host or host,
        "short_message": entry.text,
        "timestamp": round(entry.timestamp.timestamp() if entry.timestamp else time.time(), 6),
        "level": LEVELS[entry.level or level],
    }
    if full_text:
        message["full_message"] = full_text
    if in_fields:
        message |= {f"_{name}": value for name, value in entry.fields.items()}
    # JSON writes a NUL, which ends a message over TCP, as six other characters.
    raw = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
    if len(raw) > MAX_MESSAGE:
        raise Misconfigured(f"the message has {len(raw)} bytes, and Graylog takes {MAX_MESSAGE}", hint="Send less.")
    return raw


def compressed(raw: bytes, how: str) -> bytes:
    """*raw* as `compressionType` says."""
    if how == "GZIP":
        return gzip.compress(raw, 6, mtime=0)
    return zlib.compress(raw) if how == "ZLIB" else raw


def datagrams(message: bytes) -> list[bytes]:
    """*message* whole, or in chunks where it is long. Raises `Misconfigured`."""
    if len(message) <= SMALL_DATAGRAM:
        return [message]
    fits = len(message) <= MAX_CHUNKS * (SMALL_DATAGRAM - CHUNK_HEADER)
    size = (SMALL_DATAGRAM if fits else LARGE_DATAGRAM) - CHUNK_HEADER
    count = -(-len(message) // size)
    if count > MAX_CHUNKS:
        raise Misconfigured(
            f"the message has {len(message)} bytes, and GELF over UDP carries {MAX_CHUNKS * size}",
            hint="Send less, set compressionType, or use TCP.",
        )
    head = _MAGIC + os.urandom(8)
    return [head + bytes((n, count)) + message[n * size : (n + 1) * size] for n in range(count)]


def _on_one_line(value: object) -> str:
    return " ".join(str(value).splitlines())
