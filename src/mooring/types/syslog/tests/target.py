"""What the suites that all types share need to know of this room."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from tests.support.logs import message_with
from tests.support.services import Service, service
from tests.support.targets import Ends, Target

from mooring.errors import Misconfigured, Unreachable
from mooring.plugin.materials import Store

FIRST_USE: tuple[str, dict[str, Any]] = ("send", {"text": "hello"})
EXEMPT: dict[str, str] = {
    "wrong_credential": "the only credential is a client certificate; the room's own tests refuse one",
}

_SILENCE = "a syslog server says nothing either"


def aimed(body: dict[str, Any], host: str, port: int) -> dict[str, Any]:
    """The same connection, to another address."""
    return {**body, "syslogServerHostname": host, "syslogPort": port}


@contextmanager
def _target(server: str, port: str, tls: str = "", **fields: Any) -> Iterator[Target]:
    running = service(server)
    text = f"seen {uuid.uuid4().hex}"
    encrypted = "TLS" in tls
    body = {
        "type": "syslog", "syslogServerHostname": "localhost", "syslogPort": running[port], "syslogTimeout": 2000,
        "syslogAppName": "orders", "syslogMessageHostname": "orders-1", "syslogFacility": "LOCAL3",
        "syslogSslEnabled": encrypted, **fields,
    }  # fmt: skip

    def seen(_: dict[str, Any]) -> Any:
        found = message_with(running["messages"], text)
        return found and (found["host"], found["facility"], found["app"]) == ("orders-1", "local3", "orders")

    yield Target(
        body=body,
        operation="send",
        request={"text": text, "severity": "WARNING"},
        seen=seen,
        server=f"{'rsyslog' if server == 'rsyslog' else 'syslog-ng'} {running['version']}",
        tls=tls,
        stores={"client": identity(running)} if "keyStoreName" in fields else {},
        aimed=aimed,
        ends=_ends(encrypted, fields.get("syslogProtocolType") == "UDP"),
    )


def identity(running: Service) -> Store:
    """The client certificate of the test CA."""
    return Store(
        chain=Path(running.certificates["client"]).read_text(), key=Path(running.certificates["client_key"]).read_text()
    )


def _ends(encrypted: bool, udp: bool) -> dict[str, Ends | str]:
    if udp:
        nobody = "over UDP nobody says anything, and a TCP peer hears nothing"
        return dict.fromkeys(("closed_port", "black_hole", "garbage", "endless"), nobody)
    if encrypted:
        return {
            "black_hole": Ends(Unreachable, "tls"),
            "garbage": Ends(Misconfigured, "tls"),
            "endless": Ends(Misconfigured, "tls"),
        }
    return {
        "black_hole": _SILENCE,
        "garbage": Ends(Unreachable, "connect"),
        "endless": Ends(Unreachable, "connect"),
    }


TARGETS: dict[str, Callable[[], AbstractContextManager[Target]]] = {
    "RFC 3164 UDP": lambda: _target("rsyslog", "udp", syslogProtocolType="UDP"),
    "RFC 3164 TCP": lambda: _target("rsyslog", "tcp"),
    "RFC 5424 UDP": lambda: _target("rsyslog", "udp", syslogProtocolType="UDP", syslogMessageFormat="RFC_5424"),
    "RFC 5424 TCP": lambda: _target("rsyslog", "tcp", syslogMessageFormat="RFC_5424"),
    "RFC 5424 TLS": lambda: _target("rsyslog", "tls", "TLS", syslogMessageFormat="RFC_5424"),
    "RFC 5425 TLS": lambda: _target("rsyslog", "tls", "TLS", syslogMessageFormat="RFC_5425"),
    "RFC 5425 mutual TLS": lambda: _target(
        "rsyslog", "mutual_tls", "mutual TLS", syslogMessageFormat="RFC_5425", keyStoreName="client"
    ),
    "RFC 5424 TCP syslog-ng": lambda: _target("syslog_ng", "lines", syslogMessageFormat="RFC_5424"),
    "RFC 5425 TCP syslog-ng": lambda: _target("syslog_ng", "tcp", syslogMessageFormat="RFC_5425"),
    "RFC 5425 TLS syslog-ng": lambda: _target("syslog_ng", "tls", "TLS", syslogMessageFormat="RFC_5425"),
}

SAME_WEATHER = {
    "RFC 3164 UDP": "RFC 5424 UDP",
    "RFC 5424 TCP syslog-ng": "RFC 5424 TCP",
    "RFC 5425 TCP syslog-ng": "RFC 5424 TCP",
    "RFC 5425 TLS syslog-ng": "RFC 5425 TLS",
    "RFC 3164 TCP": "RFC 5424 TCP",
    "RFC 5424 TLS": "RFC 5425 TLS",
}
