"""A syslog message: what may be sent, and how RFC 3164 and RFC 5424 spell it."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints

from mooring.errors import Misconfigured
from mooring.plugin.connector import Request
from mooring.types.syslog.model import FACILITIES, SEVERITIES

MAX_TEXT = 65_536
MAX_ELEMENTS = 32
MAX_APP_NAME = 48
MAX_TAG = 32
MAX_HOST_NAME = 255
NIL = "-"
BOM = "\ufeff"

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_NOT_PRINTABLE = re.compile(r"[^!-~]")
_NOT_IN_TAG = re.compile(r"[^!-~]|[:\[\]]")
# Line ends of every sort, because a reader that splits at one of them would see two messages.
_LINE_END = re.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_ESCAPED = re.compile(r'(["\\\]])')


def _of_our_days(moment: datetime) -> datetime:
    if not 1970 <= moment.year <= 9000:
        raise ValueError("the year must be between 1970 and 9000")
    return moment


def _element_id(name: str) -> str:
    if "@" in name and not re.fullmatch(r"[^@]+@[0-9][0-9.]*", name):
        raise ValueError("after the @ stands an enterprise number")
    return name


Moment = Annotated[AwareDatetime, AfterValidator(_of_our_days)]
SdName = Annotated[str, StringConstraints(pattern=r"^[!#-<>-\\^-~]{1,32}$")]
"""A name in structured data: printable ASCII without blanks, `=`, `]` and `"`."""
SdId = Annotated[SdName, AfterValidator(_element_id)]
SdValue = Annotated[str, StringConstraints(max_length=8192)]
Severity = Literal["EMERGENCY", "ALERT", "CRITICAL", "ERROR", "WARNING", "NOTICE", "INFORMATIONAL", "DEBUG"]
Facility = Literal[
    "KERN", "USER", "MAIL", "DAEMON", "AUTH", "SYSLOG", "LPR", "NEWS", "UUCP", "CRON", "AUTHPRIV", "FTP", "NTP", "AUDIT",
    "ALERT", "CLOCK", "LOCAL0", "LOCAL1", "LOCAL2", "LOCAL3", "LOCAL4", "LOCAL5", "LOCAL6", "LOCAL7",
]  # fmt: skip


class Entry(Request):
    """A message to send. What is left out, the connection says."""

    text: str = Field(max_length=MAX_TEXT, description="The message. Line ends become blanks.")
    severity: Severity | None = Field(None, description="Its severity, where it is not the connection's.")
    structured_data: dict[SdId, dict[SdName, SdValue]] = Field(
        default_factory=dict,
        description="Elements by id (`origin`, `audit@32473`), each with its parameters; RFC 5424.",
    )
    message_id: str | None = Field(
        None, min_length=1, max_length=32, pattern=r"^[!-~]+$", description="MSGID, the sort of message; RFC 5424."
    )
    app_name: str | None = Field(
        None, min_length=1, max_length=MAX_APP_NAME, pattern=r"^[!-~]+$",
        description="APP-NAME or tag, where it is not the connection's.",
    )  # fmt: skip
    process_id: str | None = Field(
        None,
        min_length=1,
        max_length=128,
        pattern=r"^[!-Z^-~]+$",
        description="PROCID, or what stands in brackets after the tag.",
    )
    facility: Facility | None = Field(None, description="Its facility, where it is not the connection's.")
    timestamp: Moment | None = Field(
        None, description="When it happened, with its offset: `2026-01-31T12:00:00+01:00`; now, if left out."
    )


class Label:
    """What a connection says about every message."""

    def __init__(self, app_name: str, host_name: str, facility: str, severity: str) -> None:
        self.app_name = _printable(app_name)[:MAX_APP_NAME] or NIL
        self.host_name = _printable(host_name)[:MAX_HOST_NAME] or NIL
        self.facility, self.severity = facility, severity

    def rfc3164(self, entry: Entry) -> bytes:
        """*entry* as BSD syslog has it: local time without a year, and a tag. Raises `Misconfigured`."""
        if entry.structured_data or entry.message_id:
            raise Misconfigured(
                "RFC 3164 knows neither structuredData nor messageId; nothing was sent",
                hint="Leave them out, or set syslogMessageFormat to RFC_5424 or RFC_5425.",
            )
        when = entry.timestamp.astimezone() if entry.timestamp else None
        local = when.timetuple() if when else time.localtime()
        stamp = (
            f"{_MONTHS[local.tm_mon - 1]} {local.tm_mday:2d} {local.tm_hour:02d}:{local.tm_min:02d}:{local.tm_sec:02d}"
        )
        tag = _NOT_IN_TAG.sub("_", entry.app_name or self.app_name)[:MAX_TAG]
        process = f"[{entry.process_id}]" if entry.process_id else ""
        return f"<{self._priority(entry)}>{stamp} {self.host_name} {tag}{process}: {one_line(entry.text)}".encode()

    def rfc5424(self, entry: Entry) -> bytes:
        """*entry* as RFC 5424 has it."""
        text = one_line(entry.text)
        if not text.isascii():
            text = BOM + text
        header = " ".join(
            (
                f"<{self._priority(entry)}>1", _stamp(entry.timestamp), self.host_name, entry.app_name or self.app_name,
                entry.process_id or NIL, entry.message_id or NIL,
            )
        )  # fmt: skip
        return f"{header} {_elements(entry.structured_data)} {text}".encode()

    def _priority(self, entry: Entry) -> int:
        return FACILITIES[entry.facility or self.facility] * 8 + SEVERITIES[entry.severity or self.severity]


def one_line(text: str) -> str:
    """*text* on one line: a line end becomes a blank, any other control character but the tab a question mark."""
    return _CONTROL.sub("?", _LINE_END.sub(" ", text))


def octet_counted(message: bytes) -> bytes:
    """*message* with its length before it (RFC 6587 and 5425)."""
    return b"%d %s" % (len(message), message)


def newline_ended(message: bytes) -> bytes:
    """*message* with a line end after it (RFC 6587, non-transparent framing)."""
    return message + b"\n"


def _printable(text: str) -> str:
    return _NOT_PRINTABLE.sub("_", text)


def _stamp(moment: datetime | None) -> str:
    return (moment or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _elements(data: Mapping[str, Mapping[str, str]]) -> str:
    elements = []
    for name, parameters in data.items():
        told = "".join(f' {key}="{_escaped(value)}"' for key, value in parameters.items())
        elements.append(f"[{name}{told}]")
    return "".join(elements) or NIL


def _escaped(value: str) -> str:
    return _ESCAPED.sub(r"\\\1", one_line(value))
