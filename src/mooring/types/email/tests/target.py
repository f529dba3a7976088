"""What the suites that all types share need to know of this room."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

from tests.support.services import service, service_state, wait_for_mail
from tests.support.targets import Ends, Target
from tests.weather import peers

from mooring.errors import Misconfigured, Unreachable


def aimed(body: dict[str, Any], host: str, port: int) -> dict[str, Any]:
    """The same connection, to another address."""
    return {**body, "host": host, "port": port}


FIRST_USE: tuple[str, dict[str, Any]] = (
    "send",
    {"to": ["somebody@example.com"], "subject": "Hello", "text": "It works."},
)


def with_login(body: dict[str, Any], user: str | None, password: str | None) -> dict[str, Any]:
    """*body* with another user or password."""
    return {**body, "username": user or body["username"], "password": password or body["password"]}


@contextmanager
def _target(tls: str, **fields: Any) -> Iterator[Target]:
    mail = service("mail")
    to = f"{uuid.uuid4().hex[:12]}@example.com"
    port = mail["tls_port"] if tls == "TLS" else mail["port"]
    body = {
        "type": "email", "host": "localhost", "port": port, "auth": True, "username": mail["user"],
        "password": mail["password"], "from": "mooring@example.com", **fields,
    }  # fmt: skip
    yield Target(
        body=body,
        operation="send",
        request={"to": [to], "subject": "Işık", "text": "it works"},
        seen=lambda answer: answer["messageId"] in [message["Message-ID"] for message in wait_for_mail(mail, to=to)],
        server=f"Exim {mail['version']}",
        tls=tls,
        aimed=aimed,
        with_login=with_login,
        ends=_ends(tls),
        spoiled={} if tls == "TLS" else dict(_after_starttls(body)),
    )


def _ends(tls: str) -> dict[str, Ends | str]:
    if tls == "TLS":
        return {
            "black_hole": Ends(Unreachable, "tls"),
            "garbage": Ends(Misconfigured, "tls"),
            "endless": Ends(Misconfigured, "tls"),
        }
    return {
        "black_hole": Ends(Unreachable, "connect"),
        "garbage": Ends(Misconfigured, "connect"),
        "endless": Ends(Misconfigured, "connect"),
        **dict.fromkeys(("wrong_ca", "wrong_name", "expired"), Ends(Misconfigured, "starttls")),
    }


def _after_starttls(body: dict[str, Any]) -> Iterator[tuple[str, Callable[[], AbstractContextManager[dict[str, Any]]]]]:
    """For each certificate that is not right, a server that shows it once STARTTLS was said."""
    for weather in ("wrong_ca", "wrong_name", "expired"):
        yield weather, partial(_showing, body, weather)


@contextmanager
def _showing(body: dict[str, Any], weather: str) -> Iterator[dict[str, Any]]:
    shown = peers.showing(*peers.certificate_of(weather, service_state()["certificates"]))

    def treat(client: socket.socket) -> None:
        client.sendall(b"220 ready\r\n")
        while line := client.recv(1024):
            if line.upper().startswith(b"STARTTLS"):
                client.sendall(b"220 go ahead\r\n")
                shown(client)
                return
            client.sendall(b"250-hello\r\n250 STARTTLS\r\n")

    with peers.serving(treat) as port:
        yield aimed(body, "localhost", port)


TARGETS: dict[str, Callable[[], AbstractContextManager[Target]]] = {
    "STARTTLS": lambda: _target("STARTTLS", enableStartTls=True),
    "SMTPS": lambda: _target("TLS", useSsl=True),
}
