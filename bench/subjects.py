"""
What is used: for each system the connection, one operation on it, and the same with the client library alone.

The library is called as its own documentation has it, every delivery awaited; what the connection sets, it sets too.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

PAYLOAD = "x" * 1024
_STRING = "org.apache.kafka.common.serialization.StringSerializer"

Use = Callable[[], Awaitable[Any]]
State = Mapping[str, Any]


@dataclass(frozen=True)
class Subject:
    """
    One system under load.

    Attributes:
        server: Its name in `tools.services`.
        body: What POST accepts, without the name, from what the state file says of the server.
        operation, request: What is done, once.
        direct: The same with the library alone: a context that yields a function which does it once.
        attach, local, batch: The least ratio to direct that is wanted; None where there is none to want.
    """

    name: str
    server: str
    body: Callable[[State], dict[str, Any]]
    operation: str
    request: dict[str, Any]
    direct: Callable[[State], AbstractAsyncContextManager[Use]]
    attach: float = 0.85
    local: float | None = None
    batch: float | None = None


# Kafka


def _kafka_body(state: State) -> dict[str, Any]:
    properties = {"bootstrap.servers": state["plaintext"], "key.serializer": _STRING, "value.serializer": _STRING}
    return {
        "type": "kafka", "topicName": "bench",
        "propertiesMap": {key: {"value": value, "valueType": "STRING"} for key, value in properties.items()},
    }  # fmt: skip


@asynccontextmanager
async def _kafka(state: State) -> AsyncIterator[Use]:
    from confluent_kafka import KafkaException, Producer

    loop, value, ending = asyncio.get_running_loop(), PAYLOAD.encode(), threading.Event()
    producer = Producer({"bootstrap.servers": state["plaintext"], "linger.ms": 0})

    def poll() -> None:
        while not ending.is_set():
            producer.poll(0.1)

    def settle(future: asyncio.Future[Any], error: Any, message: Any) -> None:
        if error is not None:
            future.set_exception(KafkaException(error))
        else:
            future.set_result(message)

    async def use() -> None:
        future: asyncio.Future[Any] = loop.create_future()
        producer.produce(
            "bench",
            value,
            on_delivery=lambda error, message: loop.call_soon_threadsafe(settle, future, error, message),
        )
        await future

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        yield use
    finally:
        ending.set()
        thread.join()
        producer.flush(5)


# RabbitMQ


def _rabbit_body(state: State) -> dict[str, Any]:
    return {
        "type": "rabbitMq", "hostPortList": [{"host": state["host"], "port": state["port"]}],
        "connectionFactoryVirtualHost": state["vhost"], "authenticationEnabled": True,
        "connectionFactoryUsername": state["user"], "connectionFactoryPassword": state["password"],
        "channelRoutingKey": "bench", "basicPropertiesDeliveryMode": 2,
    }  # fmt: skip


@asynccontextmanager
async def _rabbit(state: State) -> AsyncIterator[Use]:
    import aio_pika

    connection = await aio_pika.connect_robust(
        host=state["host"], port=state["port"], login=state["user"], password=state["password"],
        virtualhost=state["vhost"],
    )  # fmt: skip
    async with connection:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        # A bounded queue, that both sides of the comparison fill alike.
        await channel.declare_queue("bench", durable=True, arguments={"x-max-length": 10_000})
        body = PAYLOAD.encode()

        async def use() -> None:
            message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await channel.default_exchange.publish(message, routing_key="bench")

        yield use


# PostgreSQL


def _postgres_body(state: State) -> dict[str, Any]:
    url = f"jdbc:postgresql://{state['host']}:{state['port']}/{state['database']}?sslmode=disable"
    return {
        "type": "database", "jdbcUrl": url, "username": state["user"], "password": state["password"], "maxPoolSize": 10,
    }  # fmt: skip


POINT = "select word from bench_point where id = "


@asynccontextmanager
async def _postgres(state: State) -> AsyncIterator[Use]:
    import asyncpg

    async with asyncpg.create_pool(
        host=state["host"], port=state["port"], database=state["database"], user=state["user"],
        password=state["password"], ssl=False, max_size=10,
    ) as pool:  # fmt: skip

        async def use() -> None:
            await pool.fetch(f"{POINT}$1", 500)

        yield use


# Mail


def _mail_body(state: State) -> dict[str, Any]:
    return {
        "type": "email", "host": "localhost", "port": state["port"], "enableStartTls": True, "auth": True,
        "username": state["user"], "password": state["password"], "from": "bench@example.com",
    }  # fmt: skip


_MAIL = {"to": ["bench@example.com"], "subject": "measured", "text": PAYLOAD}


@asynccontextmanager
async def _mail(state: State) -> AsyncIterator[Use]:
    import ssl
    from email.message import EmailMessage

    import aiosmtplib

    context = ssl.create_default_context(cafile=state["ca"])
    free: asyncio.Queue[aiosmtplib.SMTP] = asyncio.Queue()
    clients = [
        aiosmtplib.SMTP(
            hostname="localhost", port=state["port"], start_tls=True, tls_context=context, username=state["user"],
            password=state["password"],
        )
        for _ in range(8)
    ]  # fmt: skip
    for client in clients:
        free.put_nowait(client)

    async def use() -> None:
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = "bench@example.com", "bench@example.com", "measured"
        message.set_content(PAYLOAD)
        client = await free.get()
        try:
            if not client.is_connected:
                await client.connect()
            try:
                await client.send_message(message)
            except aiosmtplib.SMTPServerDisconnected:  # it takes so many messages and no more
                await client.connect()
                await client.send_message(message)
        finally:
            free.put_nowait(client)

    try:
        yield use
    finally:
        for client in clients:
            client.close()


SUBJECTS = {
    subject.name: subject
    for subject in (
        Subject("kafka", "kafka", _kafka_body, "publish", {"value": PAYLOAD}, _kafka, local=0.3, batch=0.7),
        Subject(
            "rabbitMq", "rabbitmq", _rabbit_body, "publish", {"value": PAYLOAD}, _rabbit, local=0.3, batch=0.7
        ),
        Subject(
            "database (PostgreSQL, point query)", "postgres", _postgres_body, "query",
            {"sql": f"{POINT}?", "parameters": [500]}, _postgres, local=0.3,
        ),
        Subject("email", "mail", _mail_body, "send", _MAIL, _mail),
    )
}  # fmt: skip
