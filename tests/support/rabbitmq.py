"""A real RabbitMQ: queues to use, and what a second client and `rabbitmqctl` see there."""

from __future__ import annotations

import contextlib
import json
import subprocess
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel
from tools.services.servers.rabbitmq import control

from tests.support.services import Service, service

_COLUMNS = (
    "user", "vhost", "auth_mechanism", "ssl", "ssl_protocol", "peer_cert_subject", "channel_max", "frame_max", "timeout",
    "channels", "client_properties",
)  # fmt: skip


class Seen(NamedTuple):
    """A message as another client reads it."""

    body: bytes
    properties: pika.BasicProperties
    redelivered: bool


@pytest.fixture(scope="session")
def rabbitmq() -> Service:
    """A real RabbitMQ."""
    return service("rabbitmq")


@contextlib.contextmanager
def second_client(broker: Service) -> Iterator[BlockingChannel]:
    """A channel of another client, in the virtual host of the tests."""
    login = pika.PlainCredentials(broker["user"], broker["password"])
    connection = pika.BlockingConnection(
        pika.ConnectionParameters(broker["host"], broker["port"], broker["vhost"], login)
    )
    try:
        yield connection.channel()
    finally:
        connection.close()


@contextlib.contextmanager
def a_queue(broker: Service, *, durable: bool = False, **arguments: Any) -> Iterator[str]:
    """The name of a new, empty queue, which is gone afterwards; *arguments* are such as `x-max-length`."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    with second_client(broker) as channel:
        given = {key.replace("_", "-"): value for key, value in arguments.items()}
        channel.queue_declare(name, durable=durable, arguments=given)
    try:
        yield name
    finally:
        with second_client(broker) as channel:
            channel.queue_delete(name)


def waiting(broker: Service, queue: str) -> int:
    """How many messages are in *queue* and given to nobody."""
    with second_client(broker) as channel:
        found: int = channel.queue_declare(queue, passive=True).method.message_count
        return found


def consumers(broker: Service, queue: str) -> int:
    """How many clients wait for messages of *queue*."""
    with second_client(broker) as channel:
        found: int = channel.queue_declare(queue, passive=True).method.consumer_count
        return found


def put(broker: Service, queue: str, *bodies: bytes, **properties: Any) -> None:
    """Put messages into *queue* by another client."""
    with second_client(broker) as channel:
        for body in bodies:
            channel.basic_publish("", queue, body, pika.BasicProperties(**properties))


def take(broker: Service, queue: str) -> list[Seen]:
    """All messages of *queue*, taken out of it by another client."""
    found = []
    with second_client(broker) as channel:
        while True:
            method, properties, body = channel.basic_get(queue, auto_ack=True)
            if method is None:
                return found
            found.append(Seen(body, properties, method.redelivered))


def amqp_get(broker: Service, queue: str) -> bytes | None:
    """The next message of *queue*, taken out of it by the program `amqp-get`."""
    command = ["amqp-get", "--server", f"{broker['host']}:{broker['port']}", "--vhost", broker["vhost"], "-q", queue,
               "--username", broker["user"], "--password", broker["password"]]  # fmt: skip
    done = subprocess.run(command, capture_output=True, timeout=20, check=False)
    return done.stdout if done.returncode == 0 else None


def connections(broker: Service, name: str) -> list[dict[str, Any]]:
    """What `rabbitmqctl` knows of the open connections that call themselves *name*."""
    rows = json.loads(control(broker, "list_connections", "--formatter", "json", *_COLUMNS))
    return [row for row in rows if _announced(row, "connection_name") == name]


def close_connections(broker: Service, name: str, reason: str) -> None:
    """Let the broker close every connection that calls itself *name*."""
    # Only its text form writes an id as it wants to read it.
    for line in control(broker, "list_connections", "--no-table-headers", "pid", "client_properties").splitlines():
        process, _, properties = line.partition("\t")
        if f'"{name}"' in properties:
            control(broker, "close_connection", process, reason)


def _announced(row: dict[str, Any], wanted: str) -> str | None:
    properties = row["client_properties"]
    if isinstance(properties, dict):
        return properties.get(wanted)
    if isinstance(properties, str):
        return None  # one that is only just being opened, or closed, has told nothing
    return next((value for key, _, value in properties if key == wanted), None)
