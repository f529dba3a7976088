"""What a syslog connection is made of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import StringConstraints

from mooring.errors import Problem
from mooring.plugin.config import ConnectionConfig
from mooring.plugin.fields import NO_CONTROL, Flag, Milliseconds, OrReference, Port, Text, field, has_reference
from mooring.plugin.problems import explain_pattern, invalid

HOST = explain_pattern(r"^[^\s/@\\\x00-\x1f\x7f-\x9f]+$", "must be a host name or address, without scheme or path")
MAX_APP_NAME = 48
_HEADER_WORD = re.compile(r"[!-~]*")
"""What RFC 5424 allows in a header: printable ASCII without blanks."""

FACILITIES: dict[str, int] = {
    "KERN": 0, "USER": 1, "MAIL": 2, "DAEMON": 3, "AUTH": 4, "SYSLOG": 5, "LPR": 6, "NEWS": 7, "UUCP": 8, "CRON": 9,
    "AUTHPRIV": 10, "FTP": 11, "NTP": 12, "AUDIT": 13, "ALERT": 14, "CLOCK": 15, "LOCAL0": 16, "LOCAL1": 17,
    "LOCAL2": 18, "LOCAL3": 19, "LOCAL4": 20, "LOCAL5": 21, "LOCAL6": 22, "LOCAL7": 23,
}  # fmt: skip
"""The number of each facility on the wire."""
SEVERITIES: dict[str, int] = {
    "EMERGENCY": 0, "ALERT": 1, "CRITICAL": 2, "ERROR": 3, "WARNING": 4, "NOTICE": 5, "INFORMATIONAL": 6, "DEBUG": 7,
}  # fmt: skip
"""The number of each severity on the wire."""

Host = Annotated[str, StringConstraints(pattern=HOST, min_length=1, max_length=255), OrReference]
HeaderText = Annotated[str, StringConstraints(pattern=NO_CONTROL, max_length=255), OrReference]
Transport = Annotated[Literal["TCP", "UDP"], OrReference]
Format = Annotated[Literal["RFC_3164", "RFC_5424", "RFC_5425"], OrReference]
Facility = Annotated[
    Literal[
        "KERN", "USER", "MAIL", "DAEMON", "AUTH", "SYSLOG", "LPR", "NEWS", "UUCP", "CRON", "AUTHPRIV", "FTP", "NTP", "AUDIT",
        "ALERT", "CLOCK", "LOCAL0", "LOCAL1", "LOCAL2", "LOCAL3", "LOCAL4", "LOCAL5", "LOCAL6", "LOCAL7",
    ],
    OrReference,
]  # fmt: skip
Severity = Annotated[
    Literal["EMERGENCY", "ALERT", "CRITICAL", "ERROR", "WARNING", "NOTICE", "INFORMATIONAL", "DEBUG"], OrReference
]


class SyslogConfig(ConnectionConfig):
    """Sends log messages to a syslog server."""

    syslog_protocol_type: Transport = field(
        "TCP", description="Transport: TCP or UDP.", example="TCP", group="Server", destination=True
    )
    syslog_message_hostname: HeaderText | None = field(
        None,
        description="Host name written into each message; some services expect a token here, so it is kept out of logs.",
        example="orders-1",
        group="Message",
    )
    syslog_server_hostname: Host = field(
        description="Server name or address.", example="syslog.example.com", group="Server", destination=True
    )
    syslog_port: Port = field(
        514, description="Server port; 6514 is usual with TLS.", example=514, group="Server", destination=True
    )
    syslog_timeout: Milliseconds = field(
        500, description="How long connecting over TCP may take.", group="Server", unit="ms"
    )
    syslog_message_format: Format = field(
        "RFC_3164", description="Format of the messages.", example="RFC_5424", group="Message"
    )
    syslog_app_name: HeaderText = field(
        "Apinizer", description="Application named in each message.", example="orders", group="Message"
    )
    syslog_facility: Facility = field(
        "AUDIT", description="Facility of each message.", example="LOCAL0", group="Message"
    )
    syslog_severity: Severity = field(
        "INFORMATIONAL", description="Severity of each message.", example="WARNING", group="Message"
    )
    syslog_ssl_enabled: Flag = field(
        False, description="Speak TLS with the server; TCP only.", group="Security", destination=True
    )
    trust_store_name: Text | None = field(
        None,
        description="Truststore for the server's certificate, by name.",
        group="Security",
        destination=True,
        reference="truststore",
    )
    key_store_name: Text | None = field(
        None,
        description="Keystore with a client certificate, by name.",
        group="Security",
        destination=True,
        reference="keystore",
    )
    verify_hostname: Flag = field(
        True, description="Compare the server's certificate with its host name.", group="Security", destination=True
    )

    @property
    def uses_tls(self) -> bool:
        """Whether messages go over TLS: it is asked for, and the transport is not UDP."""
        return self.syslog_ssl_enabled and self.syslog_protocol_type != "UDP"

    def warnings(self) -> Iterator[Problem]:
        transport, form = self.syslog_protocol_type, self.syslog_message_format
        if self.syslog_ssl_enabled and transport == "UDP":
            yield invalid(
                "syslogSslEnabled",
                "syslogProtocolType is UDP, which has no TLS here; messages go in the clear",
                "ssl_needs_tcp",
            )
        if form == "RFC_5425" and (transport == "UDP" or not self.syslog_ssl_enabled):
            yield invalid(
                "syslogMessageFormat",
                "RFC_5425 is meant for syslogProtocolType TCP with syslogSslEnabled true",
                "rfc5425_tls",
            )
        if self.uses_tls and not self.verify_hostname:
            yield invalid(
                "verifyHostname", "the server's certificate is not compared with its host name", "hostname_not_verified"
            )
        yield from _header_word("syslogMessageHostname", self.syslog_message_hostname)
        yield from _header_word("syslogAppName", self.syslog_app_name)
        if len(self.syslog_app_name) > MAX_APP_NAME and not has_reference(self.syslog_app_name):
            yield invalid(
                "syslogAppName", f"it has more than {MAX_APP_NAME} characters; servers may cut it", "app_name_length"
            )

    def references(self) -> dict[str, str]:
        return super().references() if self.uses_tls else {}


def _header_word(name: str, value: str | None) -> Iterator[Problem]:
    if value and not has_reference(value) and not _HEADER_WORD.fullmatch(value):
        yield invalid(
            name, "a message header holds no blanks and ASCII letters only; others are replaced", "header_word"
        )
