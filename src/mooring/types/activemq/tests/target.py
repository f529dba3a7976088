"""What the suites that all rooms share need to know of this one."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.activemq import Stomp, read
from tests.support.services import Service, service
from tests.support.targets import Body, Ends, Target

from mooring.errors import Misconfigured, Unreachable
from mooring.plugin.materials import Store

FIRST_USE: tuple[str, dict[str, Any]] = ("publish", {"value": "hello"})
_ADDRESS = re.compile(r"([a-z+]+)://[^?,)/]*")
_PORTS = {
    "tcp": "port", "nio": "port", "ssl": "tls_port", "nio+ssl": "tls_port", "amqp": "amqp_port", "amqps": "amqps_port",
    "amqp+ssl": "amqps_port",
}  # fmt: skip


def aimed(body: dict[str, Any], host: str, port: int) -> dict[str, Any]:
    """The same connection, all brokers of its URL at another address."""
    return {**body, "brokerURL": _ADDRESS.sub(rf"\1://{host}:{port}", body["brokerURL"])}


def with_login(body: Body, user: str | None, password: str | None) -> Body:
    """The same connection, as somebody else."""
    changes = {"username": user, "password": password}
    return {**body, **{key: value for key, value in changes.items() if value is not None}}


def body_of(broker: Service, name: str, scheme: str = "tcp", **fields: Any) -> Body:
    """A connection to the queue *name* of *broker*."""
    return {
        "type": "activeMq", "activeMqConnectionProtocolType": "AMQP" if scheme.startswith("amqp") else "TCP",
        "brokerURL": f"{scheme}://localhost:{broker[_PORTS[scheme]]}", "username": broker["user"],
        "password": broker["password"], "destinationType": "QUEUE", "destinationName": name, **fields,
    }  # fmt: skip


def mutual_body(broker: Service, name: str, scheme: str = "ssl") -> Body:
    """The same in TLS, with a truststore and the client certificate that this listener asks for."""
    port = broker["amqps_mutual_port" if scheme.startswith("amqp") else "mutual_port"]
    body = aimed(body_of(broker, name, scheme), "localhost", port)
    return {**body, "trustStoreName": "broker-ca", "keyStoreName": "broker-client"}


def failover_body(broker: Service, name: str, scheme: str = "tcp") -> Body:
    """The same by a list of brokers."""
    one = f"{scheme}://localhost:{broker[_PORTS[scheme]]}"
    url = f"failover:({one},{one})?maxReconnectAttempts=2&initialReconnectDelay=10"
    return body_of(broker, name, scheme, brokerURL=url)


def transacted_body(broker: Service, name: str, scheme: str = "tcp") -> Body:
    """The same with transactions."""
    return body_of(broker, name, scheme, sessionAcknowledgement="SESSION_TRANSACTED")


def stores(broker: Service) -> dict[str, Store]:
    """The materials that `mutual_body` names."""
    text = {name: Path(broker.certificates[name]).read_text() for name in ("client", "client_key")}
    return {
        "broker-ca": Store(trusted=Path(broker.ca).read_text()),
        "broker-client": Store(chain=text["client"], key=text["client_key"]),
    }


@contextmanager
def _target(made: Callable[[Service, str], Body], tls: str = "", with_stores: bool = False) -> Iterator[Target]:
    broker = service("activemq")
    name, text = f"target.{uuid.uuid4().hex}", f"published {uuid.uuid4().hex}"
    yield Target(
        body=made(broker, name),
        operation="publish",
        request={"value": text},
        seen=lambda answer: text in [frame.text for frame in read(broker, f"/queue/{name}")],
        server=f"ActiveMQ {broker['version']}",
        tls=tls,
        stores=stores(broker) if with_stores else {},
        aimed=aimed,
        with_login=with_login,
        ends=_IN_TLS if tls else {},
    )


@contextmanager
def _topic(scheme: str) -> Iterator[Target]:
    broker = service("activemq")
    name, text = f"target.{uuid.uuid4().hex}", f"published {uuid.uuid4().hex}"
    listener = Stomp(broker, timeout_s=5.0)
    try:
        listener.subscribe(f"/topic/{name}")
        yield Target(
            body=body_of(broker, name, scheme, destinationType="TOPIC"),
            operation="publish",
            request={"value": text},
            seen=lambda answer: (frame := listener.next()) is not None and frame.text == text,
            server=f"ActiveMQ {broker['version']}",
            aimed=aimed,
            with_login=with_login,
        )
    finally:
        listener.close()


_IN_TLS = {
    "black_hole": Ends(Unreachable, "tls"),
    "garbage": Ends(Misconfigured, "tls"),
    "endless": Ends(Misconfigured, "tls"),
}

TARGETS: Mapping[str, Callable[[], AbstractContextManager[Target]]] = {
    "OpenWire": partial(_target, body_of),
    "OpenWire TLS": partial(_target, partial(body_of, scheme="ssl"), "TLS"),
    "OpenWire mutual TLS": partial(_target, mutual_body, "mutual TLS", True),
    "OpenWire topic": partial(_topic, "tcp"),
    "OpenWire transacted": partial(_target, transacted_body),
    "OpenWire failover": partial(_target, failover_body),
    "AMQP 1.0": partial(_target, partial(body_of, scheme="amqp")),
    "AMQP 1.0 TLS": partial(_target, partial(body_of, scheme="amqps"), "TLS"),
    "AMQP 1.0 mutual TLS": partial(_target, partial(mutual_body, scheme="amqps"), "mutual TLS", True),
    "AMQP 1.0 topic": partial(_topic, "amqp"),
    "AMQP 1.0 transacted": partial(_target, partial(transacted_body, scheme="amqp")),
    "AMQP 1.0 failover": partial(_target, partial(failover_body, scheme="amqp")),
}

SAME_WEATHER = {
    f"{protocol} {what}": protocol
    for protocol in ("OpenWire", "AMQP 1.0")
    for what in ("topic", "transacted", "failover")
}
