"""What the suites that all rooms share need to know of this one."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.rabbitmq import a_queue, amqp_get
from tests.support.services import Service, service
from tests.support.targets import Body, Ends, Target

from mooring.errors import Misconfigured, Unreachable
from mooring.plugin.materials import Store

FIRST_USE: tuple[str, dict[str, Any]] = ("publish", {"value": "hello"})


def aimed(body: dict[str, Any], host: str, port: int) -> dict[str, Any]:
    """The same connection, to another address."""
    return {**body, "hostPortList": [{"host": host, "port": port}]}


def with_login(body: Body, user: str | None, password: str | None) -> Body:
    """The same connection, as somebody else."""
    changes = {"connectionFactoryUsername": user, "connectionFactoryPassword": password}
    return {**body, **{key: value for key, value in changes.items() if value is not None}}


def plain_body(broker: Service, queue: str) -> Body:
    """A connection to *broker* that publishes to *queue*."""
    return {
        "type": "rabbitMq", "hostPortList": [{"host": "localhost", "port": broker["port"]}],
        "connectionFactoryVirtualHost": broker["vhost"], "authenticationEnabled": True,
        "connectionFactoryUsername": broker["user"], "connectionFactoryPassword": broker["password"],
        "channelRoutingKey": queue,
    }  # fmt: skip


def tls_body(broker: Service, queue: str, version: str = "TLSv1.2") -> Body:
    """The same in TLS."""
    body = aimed(plain_body(broker, queue), "localhost", broker["tls_port"])
    return {**body, "connectionFactoryUseSslProtocol": True, "connectionFactorySslProtocol": version}


def certificate_body(broker: Service, queue: str) -> Body:
    """The same in TLS, with the client's certificate for a login, and a truststore."""
    body = {**tls_body(broker, queue, "TLSv1.3"), "trustStoreName": "broker-ca", "keyStoreName": "broker-client"}
    return {
        **body,
        "authenticationEnabled": False,
        "connectionFactoryUsername": None,
        "connectionFactoryPassword": None,
    }


def stores(broker: Service) -> dict[str, Store]:
    """The materials that `certificate_body` names."""
    read = {name: Path(broker.certificates[name]).read_text() for name in ("client", "client_key")}
    return {
        "broker-ca": Store(trusted=Path(broker.ca).read_text()),
        "broker-client": Store(chain=read["client"], key=read["client_key"]),
    }


@contextmanager
def _target(
    made: Callable[[Service, str], Body], tls: str, by_login: bool = True, with_stores: bool = False
) -> Iterator[Target]:
    broker = service("rabbitmq")
    with a_queue(broker) as queue:
        text = f"published {uuid.uuid4().hex}"
        yield Target(
            body=made(broker, queue),
            operation="publish",
            request={"value": text},
            seen=lambda answer: amqp_get(broker, queue) == text.encode(),
            server=f"RabbitMQ {broker['version']}",
            tls=tls,
            stores=stores(broker) if with_stores else {},
            aimed=aimed,
            with_login=with_login if by_login else None,
            ends=_IN_TLS if tls else {},
        )


_IN_TLS = {
    "black_hole": Ends(Unreachable, "tls"),
    "garbage": Ends(Misconfigured, "tls"),
    "endless": Ends(Misconfigured, "tls"),
}

TARGETS: Mapping[str, Callable[[], AbstractContextManager[Target]]] = {
    "plain": partial(_target, plain_body, ""),
    "TLS 1.2": partial(_target, tls_body, "TLS 1.2"),
    "TLS 1.3": partial(_target, partial(tls_body, version="TLSv1.3"), "TLS 1.3"),
    "client certificate": partial(_target, certificate_body, "mutual TLS", False, True),
}
