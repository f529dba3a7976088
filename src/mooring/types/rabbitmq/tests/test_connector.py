"""Publishing and receiving through a real RabbitMQ, through cut and held up connections, and past servers that are none."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aio_pika
import pamqp.frame
import pytest
from pamqp import commands
from tests.support.rabbitmq import (
    a_queue,
    close_connections,
    connections,
    consumers,
    put,
    rabbitmq,
    second_client,
    take,
    waiting,
)
from tests.support.services import Service, black_hole, closed_port
from tests.weather import peers

from mooring.errors import ConnectorError, InvalidConfig, Misconfigured, Rejected, Unreachable
from mooring.plugin.materials import MaterialMissing, Store
from mooring.testing.live import connected
from mooring.types.rabbitmq import link
from mooring.types.rabbitmq.tests import target
from mooring.types.rabbitmq.tests.proxy import Proxy, proxy_to

if TYPE_CHECKING:
    from mooring.worker.guard import Guard

__all__ = ["rabbitmq"]

MIB = 1024 * 1024


@pytest.fixture
def queue(rabbitmq: Service) -> Iterator[str]:
    """An empty queue."""
    with a_queue(rabbitmq) as name:
        yield name


@pytest.fixture
def body(rabbitmq: Service, queue: str) -> dict[str, Any]:
    """A connection that publishes to the queue, and reads it."""
    return {**target.plain_body(rabbitmq, queue), "name": queue}


class Materials:
    """The stores of a test."""

    def __init__(self, stores: dict[str, Store]) -> None:
        self.stores = stores

    def store(self, name: str) -> Store:
        if name not in self.stores:
            raise MaterialMissing(f"no {name}")
        return self.stores[name]


@asynccontextmanager
async def behind_proxy(body: dict[str, Any], broker: Service) -> AsyncIterator[tuple[Guard, Proxy]]:
    async with (
        proxy_to(broker["host"], broker["port"]) as proxy,
        connected(target.aimed(body, "127.0.0.1", proxy.port)) as guard,
    ):
        yield guard, proxy


async def failure(
    body: dict[str, Any], operation: str = "publish", request: dict[str, Any] | None = None, timeout_s: float = 10.0
) -> ConnectorError:
    async with connected(body) as guard:
        return await failed(guard.use(operation, {"value": "x"} if request is None else request, timeout_s))


async def failed(use: Awaitable[Any]) -> ConnectorError:
    with pytest.raises(ConnectorError) as caught:
        await use
    assert caught.value.hint
    return caught.value


async def until(condition: Callable[[], Any], within_s: float = 10.0) -> Any:
    end = time.monotonic() + within_s
    while not (found := condition()) and time.monotonic() < end:
        await asyncio.sleep(0.02)
    return found


async def publish(guard: Guard, *values: str) -> None:
    await asyncio.gather(*(guard.use("publish", {"value": value}) for value in values))


def values(answer: Any) -> list[str]:
    return [message.value for message in answer.messages]


# Publishing


async def test_a_message_has_every_property_of_the_connection(rabbitmq, queue, body):
    """Another client reads the value, and each of the documented basic properties."""
    fields = {
        "basicPropertiesAppId": "orders", "basicPropertiesContentType": "text/plain",
        "basicPropertiesContentEncoding": "UTF-8", "basicPropertiesDeliveryMode": 2, "basicPropertiesPriority": 5,
        "basicPropertiesReplyTo": "replies", "basicPropertiesExpiration": "60000", "basicPropertiesType": "created",
        "basicPropertiesUserId": rabbitmq["user"], "basicPropertiesClusterId": "eu",
    }  # fmt: skip

    async with connected({**body, **fields}) as guard:
        published = await guard.use("publish", {"value": "değişti"})

    (seen,) = take(rabbitmq, queue)
    it = seen.properties
    assert seen.body == "değişti".encode()
    assert (it.app_id, it.content_type, it.content_encoding, it.delivery_mode) == ("orders", "text/plain", "UTF-8", 2)
    assert (it.priority, it.reply_to, it.expiration, it.type) == (5, "replies", "60000", "created")
    assert (it.user_id, it.cluster_id, it.message_id) == (rabbitmq["user"], "eu", published.message_id)


async def test_what_is_not_set_is_not_sent(rabbitmq, queue, body):
    """Of the properties only the two with a default, and a message id, are sent by themselves."""
    async with connected(body) as guard:
        await guard.use("publish", {"value": "x"})

    (seen,) = take(rabbitmq, queue)
    sent = {name for name, value in vars(seen.properties).items() if value is not None and value != {}}
    assert sent - {"headers"} == {"app_id", "content_type", "message_id"}


async def test_a_message_may_differ_from_its_connection(rabbitmq, queue, body):
    """Properties given with the message win over those of the connection."""
    own = {
        "messageId": "m-1", "correlationId": "c-1", "replyTo": "r", "type": "t", "priority": 9, "expiration": 90000,
        "deliveryMode": 1, "contentType": "a/b", "contentEncoding": "gzip", "timestamp": "2026-01-02T03:04:05+03:00",
    }  # fmt: skip

    async with connected({**body, "basicPropertiesPriority": 1, "basicPropertiesDeliveryMode": 2}) as guard:
        await guard.use("publish", {"value": "x", **own})
        received = (await guard.use("receive", {})).messages[0].model_dump(by_alias=True, mode="json")

    assert received["timestamp"] == "2026-01-02T00:04:05Z"
    assert {key: received[key] for key in own if key not in ("timestamp", "expiration")} == {
        key: own[key] for key in own if key not in ("timestamp", "expiration")
    }
    assert received["expiration"] == "90000"


async def test_headers_of_every_kind(rabbitmq, queue, body):
    """Headers are texts, numbers of any size, flags, nulls, lists and tables, for another client too."""
    headers = {
        "text": "ışık", "small": -7, "wide": 2**31 + 5, "large": -(2**40), "yes": True, "none": None,
        "list": ["a", 1, None], "table": {"inner": {"deep": "x"}},
    }  # fmt: skip

    async with connected(body) as guard:
        await guard.use("publish", {"value": "x", "headers": headers})

    assert take(rabbitmq, queue)[0].properties.headers == headers


async def test_fractions_in_headers(body):
    """Numbers with a fraction come back as they were."""
    # The other client of these tests cuts them off.
    async with connected(body) as guard:
        await guard.use("publish", {"value": "x", "headers": {"half": 0.5, "list": [1.25]}})
        received = await guard.use("receive", {})

    assert received.messages[0].headers == {"half": 0.5, "list": [1.25]}


@pytest.mark.parametrize(
    "headers",
    [{"n" * 129: 1}, {"a": [{"n" * 129: 1}]}, {"a": 2**80}, {"a": object()}],
    ids=["name", "inner name", "number", "object"],
)
async def test_headers_that_cannot_be_sent(rabbitmq, queue, body, headers):
    """A header that AMQP cannot hold is told, and nothing is sent."""
    error = await failure(body, "publish", {"value": "x", "headers": headers})

    assert isinstance(error, Misconfigured)
    assert waiting(rabbitmq, queue) == 0


async def test_headers_have_a_size(body):
    """More headers than fit one frame would end the connection for everybody, so they are refused."""
    error = await failure(body, "publish", {"value": "x", "headers": {"a": "x" * 70_000}})

    assert isinstance(error, Misconfigured)
    assert "65536" in error.message


async def test_headers_have_room_in_a_small_frame_or_are_told(rabbitmq, queue, body):
    """Headers that do not fit the agreed frame are refused, and the connection serves on."""
    async with connected({**body, "connectionFactoryRequestedFrameMax": 4096}) as guard:
        error = await failed(guard.use("publish", {"value": "x", "headers": {"a": "x" * 4500}}))
        await guard.use("publish", {"value": "x", "headers": {"a": "x" * 3900}})

    assert isinstance(error, Misconfigured)
    assert waiting(rabbitmq, queue) == 1


async def test_values_are_text_json_or_bytes(rabbitmq, queue, body):
    """Text is sent as it is, other JSON as JSON, base64 as what it stands for."""
    async with connected(body) as guard:
        await guard.use("publish", {"value": {"ad": "ı", "n": [1, None]}})
        await guard.use("publish", {"value": base64.b64encode(b"\0\xff").decode(), "encoding": "base64"})
        await guard.use("publish", {"value": ""})

    assert [seen.body for seen in take(rabbitmq, queue)] == ['{"ad":"ı","n":[1,null]}'.encode(), b"\0\xff", b""]


async def test_broken_base64_is_told(body):
    """A value that is not the base64 it claims to be is refused."""
    assert isinstance(await failure(body, "publish", {"value": "%%", "encoding": "base64"}), Misconfigured)


async def test_a_message_goes_to_the_exchange(rabbitmq, queue, body):
    """With channelExchange the message goes there, and the routing key chooses the queue."""
    exchange = f"{queue}-exchange"
    with second_client(rabbitmq) as channel:
        channel.exchange_declare(exchange, "topic", auto_delete=True)
        channel.queue_bind(queue, exchange, "order.#")

    async with connected({**body, "channelExchange": exchange, "channelRoutingKey": "order.new"}) as guard:
        first = await guard.use("publish", {"value": "1"})
        second = await guard.use("publish", {"value": "2", "routingKey": "order.old"})
        received = await guard.use("receive", {"queue": queue})

    assert (first.exchange, first.routing_key, second.routing_key) == (exchange, "order.new", "order.old")
    assert [(message.exchange, message.routing_key) for message in received.messages] == [
        (exchange, "order.new"),
        (exchange, "order.old"),
    ]


async def test_a_message_that_no_queue_wants(body):
    """A message that leads to no queue is an error that says so, and the next one works."""
    async with connected(body) as guard:
        error = await failed(guard.use("publish", {"value": "x", "routingKey": "nowhere"}))
        await guard.use("publish", {"value": "x"})

    assert isinstance(error, Misconfigured)
    assert "NO_ROUTE" in error.message and "nowhere" in error.message


async def test_a_message_that_a_full_queue_refuses(rabbitmq, body):
    """A queue that refuses makes the broker say no, and that is an error to retry."""
    with a_queue(rabbitmq, x_max_length=1, x_overflow="reject-publish") as small:
        async with connected({**body, "channelRoutingKey": small}) as guard:
            await guard.use("publish", {"value": "fits"})
            errors = [await failed(guard.use("publish", {"value": "x"})) for _ in range(2)]

    assert isinstance(errors[-1], Unreachable)
    assert "did not take the message" in errors[-1].message


async def test_the_placeholder_routing_key_is_none(body):
    """`<queue-name>` is no queue: without a routing key a message has nowhere to go."""
    error = await failure({**body, "channelRoutingKey": "<queue-name>"})

    assert isinstance(error, Misconfigured)
    assert "routingKey" in error.hint


async def test_a_message_has_a_size(body):
    """More than 16 MiB is refused before anything is sent."""
    error = await failure(body, "publish", {"value": "x" * (16 * MIB + 1)})

    assert isinstance(error, Misconfigured)


async def test_a_large_message_in_small_frames(rabbitmq, queue, body):
    """A message longer than a frame is cut into several, and put together again."""
    text = os.urandom(150_000).hex()

    async with connected({**body, "connectionFactoryRequestedFrameMax": 5000}) as guard:
        await guard.use("publish", {"value": text})
        received = await guard.use("receive", {})

    assert values(received) == [text]


# Mistakes that must stay alone


async def test_a_mistake_disturbs_nobody_else(rabbitmq, queue, body):
    """A message for which the broker closes the channel fails alone; those in flight beside it arrive, once each."""
    bad = {"value": "bad", "headers": {"CC": "not a list"}}

    async with connected(body) as guard:
        uses = [guard.use("publish", bad if number % 10 == 5 else {"value": str(number)}) for number in range(200)]
        outcomes = await asyncio.gather(*uses, return_exceptions=True)

    wrong = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert len(wrong) == 20 and all(isinstance(error, Misconfigured) for error in wrong)
    assert "PRECONDITION_FAILED" in wrong[0].message
    assert sorted(seen.body for seen in take(rabbitmq, queue)) == sorted(
        str(number).encode() for number in range(200) if number % 10 != 5
    )


async def test_a_missing_queue_disturbs_no_other_reader(rabbitmq, queue, body):
    """Whoever asks for a queue that does not exist fails alone; who waits in another one gets its message."""
    async with connected(body) as guard:
        reading = asyncio.create_task(guard.use("receive", {"timeoutSeconds": 10}))
        errors = [await failed(guard.use("receive", {"queue": "no-such-queue"})) for _ in range(5)]
        put(rabbitmq, queue, b"x")
        received = await reading

    assert all(isinstance(error, Misconfigured) and "NOT_FOUND" in error.message for error in errors)
    assert values(received) == ["x"]


@pytest.mark.parametrize(
    ("changes", "kind", "word"),
    [
        ({"channelExchange": "no-such-exchange"}, Misconfigured, "NOT_FOUND"),
        ({"basicPropertiesUserId": "somebody-else"}, Misconfigured, "user_id"),
        ({"basicPropertiesExpiration": "99999999999999"}, Misconfigured, "expiration"),
        ({"connectionFactoryVirtualHost": "no-such-host"}, Misconfigured, "not found"),
    ],
    ids=["exchange", "user id", "expiration", "virtual host"],
)
async def test_what_the_broker_does_not_accept(body, changes, kind, word):
    """A refusal carries the broker's own words, and says whose move it is."""
    error = await failure({**body, **changes})

    assert type(error) is kind
    assert word in error.message


async def test_a_wrong_password_is_rejected(body):
    """A wrong password is the credential owner's move, and is not repeated in the message."""
    async with connected({**body, "connectionFactoryPassword": "wrong-canary"}) as guard:
        with pytest.raises(Rejected) as caught:
            await guard.use("publish", {"value": "x"})

    assert "refused the login as mooring" in caught.value.message
    assert "wrong-canary" not in caught.value.message


@pytest.mark.parametrize(("who", "word"), [("stranger", "virtual host"), ("onlooker", "access to exchange")])
async def test_a_user_without_permission_is_rejected(rabbitmq, body, who, word):
    """Who may not use the virtual host, or not write in it, is rejected with the broker's words."""
    error = await failure(target.with_login(body, rabbitmq[who], rabbitmq[f"{who}_password"]))

    assert isinstance(error, Rejected)
    assert word in error.message


async def test_a_user_who_may_not_read_is_rejected(rabbitmq, queue, body):
    """Reading without permission is the credential owner's move too."""
    login = target.with_login(body, rabbitmq["onlooker"], rabbitmq["onlooker_password"])

    assert isinstance(await failure(login, "receive", {"timeoutSeconds": 0}), Rejected)


# Receiving


async def test_messages_come_in_order_and_are_gone(rabbitmq, queue, body):
    """Messages are answered in the order of the queue, as many as asked for, and are then out of it."""
    put(rabbitmq, queue, *(str(number).encode() for number in range(25)))

    async with connected(body) as guard:
        first = await guard.use("receive", {"maxMessages": 20})
        left = waiting(rabbitmq, queue)
        second = await guard.use("receive", {"maxMessages": 20})

    assert values(first) + values(second) == [str(number) for number in range(25)]
    assert (left, waiting(rabbitmq, queue)) == (5, 0)


async def test_what_another_client_sent_survives_json(rabbitmq, queue, body):
    """Bytes stand as base64, dates as ISO text, whatever the sender put into the message."""
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    put(rabbitmq, queue, b"\0\xfe", headers={"raw": b"\xff\0", "when": moment, "in": {"deep": [b"\1"]}}, timestamp=5)

    async with connected(body) as guard:
        answer = (await guard.use("receive", {})).model_dump(by_alias=True, mode="json")

    (message,) = answer["messages"]
    assert (message["value"], message["encoding"]) == (base64.b64encode(b"\0\xfe").decode(), "base64")
    assert message["headers"]["raw"] == {"base64": base64.b64encode(b"\xff\0").decode()}
    assert message["headers"]["when"].startswith("2026-01-02T03:04:05")
    assert message["timestamp"] == "1970-01-01T00:00:05Z"


async def test_a_receive_waits_for_the_first_message(rabbitmq, queue, body):
    """In an empty queue it waits; when something comes, it ends at once."""
    async with connected(body) as guard:
        reading = asyncio.create_task(guard.use("receive", {"timeoutSeconds": 20}))
        await until(lambda: consumers(rabbitmq, queue))
        put(rabbitmq, queue, b"here")
        async with asyncio.timeout(10):
            received = await reading

    assert values(received) == ["here"]
    assert waiting(rabbitmq, queue) == 0


async def test_a_queue_that_is_deleted_meanwhile(rabbitmq, queue, body):
    """Whoever waits in a queue that somebody deletes hears of it at once."""
    async with connected(body) as guard:
        reading = asyncio.create_task(guard.use("receive", {"timeoutSeconds": 20}))
        await until(lambda: consumers(rabbitmq, queue))
        with second_client(rabbitmq) as channel:
            channel.queue_delete(queue)
        async with asyncio.timeout(10):
            error = await failed(reading)

    assert isinstance(error, Misconfigured)
    assert "NOT_FOUND" in error.message


async def test_an_empty_queue_is_no_error(body):
    """Where nothing comes the answer is empty."""
    async with connected(body) as guard:
        received = [await guard.use("receive", {"timeoutSeconds": seconds}) for seconds in (0, 0.2)]

    assert [values(answer) for answer in received] == [[], []]


async def test_an_interrupted_receive_takes_nothing(rabbitmq, queue, body):
    """A receive that its caller gave up leaves no reader behind that would take later messages."""
    async with connected(body) as guard:
        await failed(guard.use("receive", {"timeoutSeconds": 20}, 0.3))
        put(rabbitmq, queue, b"later")
        received = await guard.use("receive", {"timeoutSeconds": 5})

    assert values(received) == ["later"]


async def test_messages_that_did_not_reach_the_answer_come_again(rabbitmq, queue, body):
    """What was taken when the connection broke was not acknowledged: the broker delivers it again, and says so."""
    put(rabbitmq, queue, *(b"x" * MIB for _ in range(7)))

    async with behind_proxy(body, rabbitmq) as (guard, proxy):
        reading = asyncio.create_task(guard.use("receive", {"maxMessages": 10}))
        await until(lambda: waiting(rabbitmq, queue) < 6)
        proxy.cut()
        error = await failed(reading)
        await until(lambda: waiting(rabbitmq, queue) == 7)

    assert isinstance(error, Unreachable)
    assert "which it keeps" in error.message
    seen = take(rabbitmq, queue)
    assert len(seen) == 7 and seen[0].redelivered


async def test_an_answer_has_a_size(rabbitmq, queue, body):
    """At 8 MiB the answer is full, says so, and the rest stays in its place in the queue."""
    put(rabbitmq, queue, *(bytes([65 + number]) * (3 * MIB) for number in range(4)))

    async with connected(body) as guard:
        first = await guard.use("receive", {})
        second = await guard.use("receive", {})

    assert [value[0] for value in values(first)] == ["A", "B"] and first.truncated
    assert [value[0] for value in values(second)] == ["C", "D"] and not second.truncated


@pytest.mark.parametrize("size", [9 * MIB, 17 * MIB])
async def test_a_message_too_long_for_an_answer_stays(rabbitmq, queue, body, size):
    """A single message that no answer can hold is told, and stays in the queue."""
    put(rabbitmq, queue, b"x" * size)

    error = await failure(body, "receive", {})

    assert isinstance(error, Misconfigured)
    assert str(size) in error.message
    assert await until(lambda: waiting(rabbitmq, queue)) == 1


async def test_a_receive_must_know_its_queue(body):
    """With an exchange, or nothing, in the connection the request has to name the queue."""
    for changes in ({"channelExchange": "amq.topic"}, {"channelRoutingKey": "<queue-name>"}):
        error = await failure({**body, **changes}, "receive", {})

        assert isinstance(error, Misconfigured)
        assert "which queue" in error.message


async def test_requests_are_checked(body):
    """Odd requests are refused before anything is sent."""
    async with connected(body) as guard:
        for operation, request in (
            ("publish", {}), ("publish", {"value": "x", "routingKey": "ş" * 200}), ("publish", {"value": "x", "x": 1}),
            ("publish", {"value": "x", "priority": 256}), ("receive", {"maxMessages": 0}), ("receive", {"queue": ""}),
        ):  # fmt: skip
            with pytest.raises(InvalidConfig):
                await guard.use(operation, request)


# Connecting


async def test_the_broker_sees_what_the_connection_says(rabbitmq, queue, body):
    """TLS versions, certificate, limits, heartbeat and announced properties are those of the config."""
    limits = {
        "connectionFactoryRequestedChannelMax": 9, "connectionFactoryRequestedFrameMax": 8192,
        "connectionFactoryRequestedHeartbeat": 17,
        "connectionFactoryClientProperties": {"product": "orders", "capabilities": {"x": True}},
    }  # fmt: skip
    named = f"test/{queue}"
    bodies = [
        {**body, **limits},
        {**target.tls_body(rabbitmq, queue), "name": queue, "connectionFactoryRequestedHeartbeat": 0},
        {**target.certificate_body(rabbitmq, queue), "name": queue},
    ]

    async with contextlib.AsyncExitStack() as stack:
        for one in bodies:
            stores = Materials(target.stores(rabbitmq))
            guard = await stack.enter_async_context(connected(one, ca_file=rabbitmq.ca, materials=stores))
            await guard.use("publish", {"value": "x"})
        seen = await asyncio.to_thread(connections, rabbitmq, named)

    plain, tls, certificate = sorted(seen, key=lambda row: (row["ssl"], row["ssl_protocol"]))
    assert (plain["channel_max"], plain["frame_max"], plain["timeout"]) == (9, 8192, 17)
    assert "orders" in str(plain["client_properties"])
    assert (tls["ssl_protocol"], tls["timeout"], tls["auth_mechanism"]) == ("tlsv1.2", 0, "PLAIN")
    assert (tls["channel_max"], tls["frame_max"]) == (2047, 131072)
    assert (certificate["ssl_protocol"], certificate["auth_mechanism"]) == ("tlsv1.3", "EXTERNAL")
    assert certificate["user"] == rabbitmq["certificate_user"]
    assert "mooring-client" in certificate["peer_cert_subject"]


async def test_without_a_login_it_is_the_guest(body):
    """Where authenticationEnabled is off, the broker's guest logs in."""
    async with connected({**body, "authenticationEnabled": False}) as guard:
        await guard.use("publish", {"value": "x"})


async def test_odd_names_reach_the_broker_unchanged(rabbitmq):
    """User, password and virtual host may hold what means something in a URL."""
    odd = {
        **target.with_login(target.plain_body(rabbitmq, "no-queue"), rabbitmq["odd_user"], rabbitmq["odd_password"]),
        "connectionFactoryVirtualHost": rabbitmq["odd_vhost"],
    }

    error = await failure(odd)

    assert "NO_ROUTE" in error.message


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
async def test_an_unknown_client_certificate(rabbitmq, queue, version):
    """A client certificate that the broker does not trust is told as such."""
    read = {name: Path(rabbitmq.certificates[name]).read_text() for name in ("unknown_client", "unknown_client_key")}
    known = target.stores(rabbitmq)
    known["broker-client"] = Store(chain=read["unknown_client"], key=read["unknown_client_key"])
    body = {**target.certificate_body(rabbitmq, queue), "connectionFactorySslProtocol": version}

    async with connected(body, materials=Materials(known)) as guard:
        error = await failed(guard.use("publish", {"value": "x"}))

    # In TLS 1.3 the broker says so after the handshake, and its word may get lost when it hangs up.
    assert "TLS" in error.message or "client certificate" in error.hint


async def test_the_name_in_the_certificate_need_not_be_compared(rabbitmq, queue):
    """With verifyHostname off a certificate for another host passes the step `tls`."""
    wrong = rabbitmq.certificates["wrong_name"], rabbitmq.certificates["wrong_name_key"]
    with peers.serving(peers.showing(*wrong)) as port:
        body = {**target.aimed(target.tls_body(rabbitmq, queue), "localhost", port), "verifyHostname": False}
        async with connected(body, ca_file=rabbitmq.ca) as guard:
            report = await guard.probe(0.5)

    assert [step.state for step in report.steps if step.name == "tls"] == ["passed"]
    assert report.failure.name == "login"


async def test_stores_must_exist_and_fit(rabbitmq, queue):
    """A missing store, and one that holds nothing of use, are told when the connection is opened."""
    body = target.certificate_body(rabbitmq, queue)
    for stores in ({}, {"broker-ca": Store(), "broker-client": Store()}, {"broker-ca": Store(trusted="no PEM")}):
        with pytest.raises(Misconfigured):
            async with connected(body, materials=Materials(stores)):
                pass


async def test_another_broker_takes_over(rabbitmq, queue, body):
    """Of several brokers the first that can be had is used."""
    hosts = [{"host": "localhost", "port": closed_port()}, *body["hostPortList"]]

    async with connected({**body, "hostPortList": hosts}) as guard:
        await guard.use("publish", {"value": "x"})

    assert waiting(rabbitmq, queue) == 1


async def test_a_silent_broker_is_passed_over(rabbitmq, queue, body, monkeypatch):
    """A broker that says nothing is given some seconds while there is another one."""
    monkeypatch.setattr(link, "NEXT_BROKER_S", 0.2)
    with black_hole() as hole:
        hosts = [{"host": hole.host, "port": hole.port}, *body["hostPortList"]]
        async with connected({**body, "hostPortList": hosts}) as guard:
            await guard.use("publish", {"value": "x"}, 10)

    assert waiting(rabbitmq, queue) == 1


async def test_the_brokers_take_turns_as_they_come_and_go(rabbitmq, queue, body):
    """When the broker in use goes away, the next use finds another; the order counts again afterwards."""
    async with (
        proxy_to(rabbitmq["host"], rabbitmq["port"]) as first,
        proxy_to(rabbitmq["host"], rabbitmq["port"]) as second,
    ):
        hosts = [{"host": "127.0.0.1", "port": proxy.port} for proxy in (first, second)]
        async with connected({**body, "hostPortList": hosts}) as guard:
            await guard.use("publish", {"value": "1"})
            await first.stop()
            await until(lambda: not first.open)
            await works_again(guard)
            came = second.accepted

    assert (first.accepted, came) == (1, 1)


async def test_all_brokers_are_named_when_none_can_be_had(body):
    """The error says of each broker why it cannot be used."""
    ports = [closed_port(), closed_port()]

    error = await failure({**body, "hostPortList": [{"host": "localhost", "port": port} for port in ports]})

    assert isinstance(error, Unreachable)
    assert all(f"localhost:{port} refused" in error.message for port in ports)


async def test_a_wrong_password_is_tried_once(rabbitmq, body):
    """The next broker of the cluster is not asked with the same wrong password."""
    async with (
        proxy_to(rabbitmq["host"], rabbitmq["port"]) as first,
        proxy_to(rabbitmq["host"], rabbitmq["port"]) as second,
    ):
        hosts = [{"host": "127.0.0.1", "port": proxy.port} for proxy in (first, second)]
        await failure({**body, "hostPortList": hosts, "connectionFactoryPassword": "wrong"})

    assert (first.accepted, second.accepted) == (1, 0)


async def test_connecting_has_a_limit(body):
    """connectionFactoryConnectionTimeout ends an attempt to connect."""
    with black_hole() as hole:
        aimed = target.aimed(body, hole.host, hole.port)
        error = await failure({**aimed, "connectionFactoryConnectionTimeout": 200}, timeout_s=20)

    assert isinstance(error, Unreachable)
    assert "did not answer in time" in error.message


async def test_the_tls_port_without_tls(rabbitmq, body):
    """Plain AMQP to a port that speaks TLS is told with the switch to turn."""
    error = await failure(target.aimed(body, "localhost", rabbitmq["tls_port"]))

    assert isinstance(error, Unreachable)
    assert "connectionFactoryUseSslProtocol" in error.hint


@pytest.mark.parametrize(
    "greeting",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"AMQP\x00\x01\x00\x00",
        b"\x01\x00\x00\xff\xff\xff\xff" + b"x" * 1000,
        pamqp.frame.marshal(commands.Connection.Tune(0, 0, 0), 0),
        pamqp.frame.marshal(commands.Connection.Start(0, 9, {}, "CRAM", "en"), 0),
        b"",
    ],
    ids=["http", "amqp 1.0", "endless frame", "wrong order", "other login", "nothing"],
)
async def test_other_servers_are_told_from_a_broker(body, greeting):
    """Whatever answers there, the error is one of ours and comes at once."""

    def fake_server(client: Any) -> None:
        client.recv(64)
        client.sendall(greeting)

    with peers.serving(fake_server) as port:
        error = await failure(target.aimed(body, "127.0.0.1", port), timeout_s=20)

    assert isinstance(error, Unreachable | Misconfigured)
    assert "no answer" not in error.message


# Losing the connection


async def works_again(guard: Guard) -> None:
    """A use may still meet the lost connection; those after it must not."""
    with contextlib.suppress(Unreachable):
        await guard.use("publish", {"value": "again"})
    await guard.use("publish", {"value": "again"})


async def test_a_cut_connection_is_made_anew(rabbitmq, queue, body):
    """After the connection was cut, publishing and receiving go on with the same connector."""
    async with behind_proxy(body, rabbitmq) as (guard, proxy):
        for number in range(3):
            await guard.use("publish", {"value": str(number)})
            assert values(await guard.use("receive", {})) == [str(number)]
            proxy.cut()
            assert await until(lambda: proxy.open == 0)
            await asyncio.sleep(0.05)

    assert proxy.accepted == 6


async def test_a_broker_that_restarts_is_found_again(rabbitmq, queue, body):
    """While the broker is away uses fail at once, and work as soon as it is back."""
    async with behind_proxy(body, rabbitmq) as (guard, proxy):
        await guard.use("publish", {"value": "1"})
        await proxy.stop()
        errors = [await failed(guard.use("publish", {"value": "x"})) for _ in range(3)]
        await proxy.start()
        await guard.use("publish", {"value": "2"})

    assert all(isinstance(error, Unreachable) for error in errors)
    assert [seen.body for seen in take(rabbitmq, queue)] == [b"1", b"2"]


async def test_a_connection_that_the_broker_closes_is_made_anew(rabbitmq, queue, body):
    """When an operator closes the connection, who is waiting hears the reason, and the next use makes another one."""
    async with connected(body) as guard:
        reading = asyncio.create_task(guard.use("receive", {"timeoutSeconds": 20}))
        await until(lambda: consumers(rabbitmq, queue))

        await asyncio.to_thread(close_connections, rabbitmq, f"test/{queue}", "maintenance")
        error = await failed(reading)
        await guard.use("publish", {"value": "x"})
        received = await guard.use("receive", {})

    assert isinstance(error, Unreachable)
    assert "CONNECTION_FORCED" in error.message and "maintenance" in error.message
    assert values(received) == ["x"]


@pytest.mark.parametrize(
    ("kind", "outcome"), [("quorum", "x"), ("stream", "not supported by stream queues")], ids=["quorum", "stream"]
)
async def test_queues_of_other_types(rabbitmq, body, kind, outcome):
    """A quorum queue is read like any other; a stream is told to be none, and publishing to it works."""
    with a_queue(rabbitmq, durable=True, x_queue_type=kind) as name:
        async with connected({**body, "channelRoutingKey": name}) as guard:
            await guard.use("publish", {"value": "x"})
            use = guard.use("receive", {})
            found = (await failed(use)).message if kind == "stream" else values(await use)[0]

    assert outcome in found


async def test_a_confirm_that_never_comes(rabbitmq, queue, body):
    """Where the connection breaks before the confirm, the error says that nobody knows."""
    async with behind_proxy(body, rabbitmq) as (guard, proxy):
        await guard.use("publish", {"value": "1"})
        proxy.hold()
        publishing = asyncio.create_task(guard.use("publish", {"value": "2"}))
        await until(lambda: waiting(rabbitmq, queue) == 2)
        proxy.cut()
        error = await failed(publishing)

    assert isinstance(error, Unreachable)
    assert "may or may not have kept it" in error.message


async def test_a_broker_that_fell_silent_is_left(rabbitmq, queue, body, monkeypatch):
    """When a confirm does not come in time, and not even the channel can be closed, the connection is made anew."""
    monkeypatch.setattr("mooring.types.rabbitmq.line.GOODBYE_S", 0.2)
    async with behind_proxy(body, rabbitmq) as (guard, proxy):
        await guard.use("publish", {"value": "1"})
        proxy.hold()
        error = await failed(guard.use("publish", {"value": "2"}, 0.3))
        await until(lambda: proxy.open == 0)
        proxy._flowing.set()
        await works_again(guard)

    assert isinstance(error, Unreachable)
    assert proxy.accepted == 2


async def test_a_broker_short_of_memory_is_told(rabbitmq, body):
    """Once the broker said that it takes nothing, publishing fails at once; when it takes messages again, it works."""
    blocked = pamqp.frame.marshal(commands.Connection.Blocked("low on memory"), 0)
    unblocked = pamqp.frame.marshal(commands.Connection.Unblocked(), 0)
    async with behind_proxy(body, rabbitmq) as (guard, proxy):
        await guard.use("publish", {"value": "1"})
        proxy.say(blocked)
        await until(lambda: not guard.connector._publishing._session.link.takes_messages())
        error = await failed(guard.use("publish", {"value": "2"}))
        proxy.say(unblocked)
        await until(guard.connector._publishing._session.link.takes_messages)
        await guard.use("publish", {"value": "3"})

    assert isinstance(error, Unreachable)
    assert "short of memory" in error.message


# Many, and the end


async def test_channels_are_bounded_and_shared(rabbitmq, queue, body):
    """With three channels granted, a hundred publishes wait for each other and arrive; the broker sees no fourth."""
    async with connected({**body, "connectionFactoryRequestedChannelMax": 3}) as guard:
        await publish(guard, *(str(number) for number in range(100)))
        (seen,) = await asyncio.to_thread(connections, rabbitmq, f"test/{queue}")

    assert seen["channels"] == 3
    assert waiting(rabbitmq, queue) == 100


async def test_one_channel_is_enough(rabbitmq, queue, body):
    """A single channel survives mistakes and interruptions."""
    async with connected({**body, "connectionFactoryRequestedChannelMax": 1}) as guard:
        for _ in range(3):
            await failed(guard.use("publish", {"value": "x", "headers": {"CC": "no list"}}))
            await failed(guard.use("receive", {}, 0.1))
            await failed(guard.use("publish", {"value": "x"}, 0.0001))
            await guard.use("publish", {"value": "x"})
            assert values(await guard.use("receive", {})) == ["x"]


async def test_a_thousand_uses_leave_nothing_behind(body):
    """After a thousand uses no socket, thread or task is left, and during them two connections were enough."""
    before = held()

    async with connected(body) as guard:
        for _ in range(10):
            await publish(guard, *(["x"] * 50))
            for _ in range(10):
                await guard.use("receive", {"maxMessages": 5})
        for _ in range(100):
            await failed(guard.use("publish", {"value": "x", "routingKey": "nowhere"}))
            await failed(guard.use("publish", {"value": "x", "headers": {"CC": 1}}))
            await failed(guard.use("receive", {"queue": "nowhere"}))
        during = held()

    assert during["sockets"] - before["sockets"] <= 2
    assert await until(lambda: held() == before), (before, held())


async def test_stopped_it_starts_again(rabbitmq, queue, body):
    """Idle connections are given back, and the next use makes them anew."""
    async with connected(body) as guard:
        await guard.use("publish", {"value": "1"})
        assert await guard.rest()
        gone = await until(lambda: not connections(rabbitmq, f"test/{queue}"))
        await guard.use("publish", {"value": "2"})
        received = await guard.use("receive", {})

    assert gone
    assert values(received) == ["1", "2"]


async def test_the_end_waits_for_what_is_in_flight(rabbitmq, queue, body):
    """Closing lets running publishes finish; each that was answered is in the queue."""
    async with connected(body) as guard:
        await guard.use("publish", {"value": "first"})
        publishing = [asyncio.create_task(guard.use("publish", {"value": str(number)})) for number in range(300)]
        await asyncio.wait(publishing, return_when=asyncio.FIRST_COMPLETED)
        await guard.close(grace_s=10)
        outcomes = await asyncio.gather(*publishing, return_exceptions=True)

    assert not [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert waiting(rabbitmq, queue) == 301


async def test_an_end_without_patience_says_so(rabbitmq, queue, body):
    """A reader that is still waiting when the connection is closed ends with an error, and soon."""
    async with connected(body) as guard:
        reading = asyncio.create_task(guard.use("receive", {"timeoutSeconds": 20}))
        await until(lambda: consumers(rabbitmq, queue))
        await guard.close(grace_s=0.05)
        error = await failed(reading)

    assert isinstance(error, Unreachable)


async def test_the_native_client_is_the_drivers(rabbitmq, queue, body):
    """`native` gives a function; what it gives is a live `aio_pika.Connection`, again after the connection was lost."""
    async with behind_proxy(body, rabbitmq) as (guard, proxy):
        client = await guard.native()
        for text in (b"1", b"2"):
            connection = await client()
            async with connection.channel() as channel:
                await channel.default_exchange.publish(aio_pika.Message(text), queue)
            proxy.cut()
            await until(lambda lost=connection: not lost.connected.is_set())

    assert isinstance(connection, aio_pika.Connection)
    assert [seen.body for seen in take(rabbitmq, queue)] == [b"1", b"2"]


# The probe


async def test_a_probe_passes_every_step(rabbitmq, queue):
    """With all in order every step passes, before the first use, and the broker keeps no connection of it."""
    async with connected({**target.tls_body(rabbitmq, queue), "name": queue}, ca_file=rabbitmq.ca) as guard:
        report = await guard.probe()

    assert [(step.name, step.state) for step in report.steps] == [
        (name, "passed") for name in ("resolve", "connect", "tls", "login", "vhost", "queue")
    ]
    assert await until(lambda: not connections(rabbitmq, f"test/{queue}"))


@pytest.mark.parametrize(
    ("changes", "step", "code"),
    [
        ({"hostPortList": [{"host": "no-such-host.invalid"}]}, "resolve", "unreachable"),
        ({"connectionFactoryPassword": "wrong"}, "login", "rejected"),
        ({"connectionFactoryVirtualHost": "no-such-host"}, "vhost", "misconfigured"),
        ({"channelExchange": "no-such-exchange"}, "exchange", "misconfigured"),
        ({"channelRoutingKey": "no-such-queue"}, "queue", "misconfigured"),
    ],
    ids=["resolve", "login", "vhost", "exchange", "queue"],
)
async def test_a_probe_stops_where_it_failed(body, changes, step, code):
    """The report names the step that failed, and what to do."""
    async with connected({**body, **changes}) as guard:
        report = await guard.probe()

    assert (report.failure.name, report.failure.code) == (step, code)
    assert report.failure.remedy


async def test_a_probe_finds_the_broker_that_answers(body):
    """As in use, a broker that is away does not matter while another one is there."""
    hosts = [
        {"host": "no-such-host.invalid"}, {"host": "localhost", "port": closed_port()}, *body["hostPortList"],
    ]  # fmt: skip
    async with connected({**body, "hostPortList": hosts}) as guard:
        report = await guard.probe()

    assert report.ok


async def test_a_probe_passes_over_a_silent_broker(body, monkeypatch):
    """A broker that says nothing is given some seconds by a probe too, while there is another one."""
    monkeypatch.setattr(link, "NEXT_BROKER_S", 0.2)
    with black_hole() as silent, black_hole(connects=False) as gone:
        hosts = [{"host": hole.host, "port": hole.port} for hole in (gone, silent)]
        async with connected({**body, "hostPortList": [*hosts, *body["hostPortList"]]}) as guard:
            report = await guard.probe()

    assert report.ok


async def test_a_probe_without_a_target_skips_it(body):
    """Where each message names its own queue there is none to look for."""
    async with connected({**body, "channelRoutingKey": "<queue-name>"}) as guard:
        report = await guard.probe()

    assert [(step.name, step.state) for step in report.steps][-1] == ("queue", "skipped")


def held() -> dict[str, int]:
    """What this process holds."""
    gc.collect()
    links = [entry.readlink() for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    return {
        "sockets": sum(str(found).startswith("socket:") for found in links),
        "threads": sum(not thread.name.startswith("asyncio_") for thread in threading.enumerate()),
        "tasks": len(asyncio.all_tasks()),
    }
