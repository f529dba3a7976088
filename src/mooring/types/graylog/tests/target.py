"""What the suites that all types share need to know of this room."""

from __future__ import annotations

import base64
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


def aimed(body: dict[str, Any], host: str, port: int) -> dict[str, Any]:
    """The same connection, to another address."""
    return {**body, "hostname": host, "port": port}


@contextmanager
def _target(port: str, tls: str = "", **fields: Any) -> Iterator[Target]:
    running = service("graylog")
    text = f"seen {uuid.uuid4().hex}"
    udp = fields.get("transportType") == "UDP"
    body = {"type": "graylog", "hostname": "localhost", "port": running[port], **fields}
    if tls:
        body |= {"tlsEnabled": True, "tlsCertVerificationEnabled": True, "tlsTrustCertChainFile": ca_of(running)}

    def seen(_: dict[str, Any]) -> Any:
        found = message_with(running["messages"], text)
        return found and (found["level"], found["order"], found["source"]) == (4, 42, "orders-1")

    yield Target(
        body=body,
        operation="send",
        request={"text": text, "level": "WARNING", "fields": {"order": 42}, "host": "orders-1"},
        seen=seen,
        server=f"Graylog {running['version']} (its inputs and decoder)",
        tls=tls,
        stores={"client": identity(running)} if "keyStoreName" in fields else {},
        aimed=aimed,
        ends=_ends(bool(tls), udp),
    )


def ca_of(running: Service) -> str:
    """The test CA's certificate as the field takes it."""
    return base64.b64encode(Path(running.ca).read_bytes()).decode()


def identity(running: Service, name: str = "client") -> Store:
    """A client certificate: `client` is of the test CA."""
    return Store(
        chain=Path(running.certificates[name]).read_text(), key=Path(running.certificates[f"{name}_key"]).read_text()
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
        "black_hole": "a GELF input says nothing either",
        "garbage": Ends(Unreachable, "connect"),
        "endless": Ends(Unreachable, "connect"),
    }


TARGETS: dict[str, Callable[[], AbstractContextManager[Target]]] = {
    "UDP": lambda: _target("udp", transportType="UDP"),
    "UDP GZIP": lambda: _target("udp", transportType="UDP", compressionType="GZIP"),
    "UDP ZLIB": lambda: _target("udp", transportType="UDP", compressionType="ZLIB"),
    "TCP": lambda: _target("tcp"),
    "TLS": lambda: _target("tls", "TLS"),
    "mutual TLS": lambda: _target("mutual_tls", "mutual TLS", keyStoreName="client"),
}

SAME_WEATHER = {"UDP GZIP": "UDP", "UDP ZLIB": "UDP"}
