"""Publishing and receiving through a real ActiveMQ, over OpenWire and AMQP 1.0, and through connections that break."""

from __future__ import annotations

import asyncio
import base64
import gc
import os
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.activemq import Frame, Relay, activemq, read, relay, stomp
from tests.support.rabbitmq import a_queue, amqp_get
from tests.support.services import Service, black_hole, closed_port, service
from tests.weather import peers

from mooring.errors import Busy, Misconfigured, Rejected, Unreachable
from mooring.plugin.materials import MaterialMissing
from mooring.testing.live import connected
from mooring.types.activemq import connector as connector_module
from mooring.types.activemq.tests import target
from mooring.types.activemq.tests.target import aimed, body_of

if TYPE_CHECKING:
    from mooring.worker.guard import Guard

__all__ = ["activemq"]

MIB = 1024 * 1024
SCHEMES = ["tcp", "amqp"]
_PORT_OF = {"tcp": "port", "amqp": "amqp_port"}


@pytest.fixture(params=SCHEMES)
def scheme(request: pytest.FixtureRequest) -> str:
    """Both protocols in turn."""
    return str(request.param)


@pytest.fixture
def name() -> str:
    """A destination that nobody else uses."""
    return f"test.{uuid.uuid4().hex}"


@pytest.fixture
def body(activemq: Service, name: str, scheme: str) -> dict[str, Any]:
    """A connection to the queue of that name."""
    return body_of(activemq, name, scheme)


@asynccontextmanager
async def relayed(body: dict[str, Any], broker: Service, **options: str) -> AsyncIterator[tuple[dict[str, Any], Relay]]:
    """The same connection by a relay, with *options* in its URL (dots as two underscores)."""
    scheme = body["brokerURL"].partition(":")[0]
    async with relay(broker, _PORT_OF[scheme]) as between:
        query = "&".join(f"{key.replace('__', '.')}={value}" for key, value in options.items())
        url = f"{scheme}://localhost:{between.port}{'?' * bool(query)}{query}"
        yield {**body, "brokerURL": url}, between


async def publish(guard: Guard, value: Any, **request: Any) -> Any:
    return await guard.use("publish", {"value": value, **request})


async def receive(guard: Guard, **request: Any) -> Any:
    return await guard.use("receive", {"timeoutSeconds": 2, **request})


async def texts(guard: Guard, **request: Any) -> list[str]:
    return [message.value for message in (await receive(guard, **request)).messages]


async def seen(broker: Service, destination: str, count: int = 1, timeout_s: float = 5.0) -> list[Frame]:
    """What STOMP reads there."""
    return await asyncio.to_thread(read, broker, destination, count, timeout_s)


async def until(fact: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait until *fact* holds."""
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, "it did not come true"
        await asyncio.sleep(0.01)


def link_of(guard: Guard) -> Any:
    """The live link that publishes."""
    return guard.connector._publishing._link


# Publishing


async def test_a_published_text_is_read_by_another_client(body, name, activemq):
    """What was published as text is a text message in the queue, with what labels it."""
    labelled = {**body, "contentType": "text/plain", "contentEncoding": "UTF-8"}
    async with connected(labelled) as guard:
        answer = await publish(
            guard, "hello", correlationId="c-1", type="order", priority=7, replyTo="queue://answers",
            timeToLive=60_000, properties={"colour": "red", "count": 3, "big": 2**40, "ratio": 1.5, "yes": True},
        )  # fmt: skip

    (frame,) = await seen(activemq, f"/queue/{name}")
    said = frame.headers
    assert frame.text == "hello" and answer.destination == f"queue://{name}" and answer.message_id
    assert (said["correlation-id"], said["type"], said["priority"], said["reply-to"]) == (
        "c-1", "order", "7", "/queue/answers",
    )  # fmt: skip
    assert (said["colour"], said["count"], said["big"], said["ratio"], said["yes"]) == (
        "red", "3", str(2**40), "1.5", "true",
    )  # fmt: skip
    assert said["persistent"] == "true"
    assert 0 < int(said["expires"]) - int(said["timestamp"]) <= 60_001
    assert "text/plain" in (said.get("contentType"), said.get("JMS_AMQP_ContentType"))
    assert "UTF-8" in (said.get("contentEncoding"), said.get("JMS_AMQP_ContentEncoding"))


@pytest.mark.parametrize("value", ["héllo ıİğşçöü", "\U0001f6a2 at sea", "", "x" * 70_000])
async def test_every_text_arrives_as_it_was(body, name, activemq, value):
    """Letters of every kind are the same on the other side."""
    async with connected(body) as guard:
        await publish(guard, value)

    (frame,) = await seen(activemq, f"/queue/{name}")
    assert frame.text == value


async def test_json_is_published_as_text(body, name, activemq):
    """A value that is no text is written as JSON."""
    async with connected(body) as guard:
        await publish(guard, {"id": 7, "ok": True})

    (frame,) = await seen(activemq, f"/queue/{name}")
    assert frame.text == '{"id":7,"ok":true}'


@pytest.mark.parametrize("value", [{"value": b"\x00\xff\x01"}, {"value": "AP8B", "encoding": "base64"}])
async def test_bytes_are_a_bytes_message(body, name, activemq, value):
    """Bytes, and base64 that says it is, are a bytes message with just these bytes."""
    async with connected(body) as guard:
        await guard.use("publish", value)

    (frame,) = await seen(activemq, f"/queue/{name}")
    assert frame.body == b"\x00\xff\x01" and frame.headers["content-length"] == "3"


async def test_a_message_may_be_fleeting(body, name, activemq):
    """`persistent: false` is told to the broker, and the priority is 4 where none is given."""
    async with connected(body) as guard:
        await publish(guard, "x", persistent=False)

    (frame,) = await seen(activemq, f"/queue/{name}")
    assert frame.headers.get("persistent", "false") == "false" and frame.headers["priority"] == "4"


async def test_a_topic_reaches_who_listens(activemq, name, scheme):
    """A message for a topic is given to a subscriber."""
    with stomp(activemq) as listener:
        listener.subscribe(f"/topic/{name}")
        async with connected(body_of(activemq, name, scheme, destinationType="TOPIC")) as guard:
            await publish(guard, "news")

        frame = await asyncio.to_thread(listener.next)
    assert frame is not None and frame.text == "news"


async def test_a_transacted_publish_is_committed(body, name, activemq):
    """With SESSION_TRANSACTED a message is there once it was answered."""
    async with connected({**body, "sessionAcknowledgement": "SESSION_TRANSACTED"}) as guard:
        await publish(guard, "committed")

    assert [frame.text for frame in await seen(activemq, f"/queue/{name}")] == ["committed"]


async def test_a_failed_transaction_is_rolled_back(body, name, activemq, monkeypatch):
    """What was sent in a transaction that did not come to its commit is never seen."""
    async with connected({**body, "sessionAcknowledgement": "SESSION_TRANSACTED"}) as guard:
        await publish(guard, "first")
        session = link_of(guard).session
        if body["activeMqConnectionProtocolType"] == "TCP":
            asked = session.wire.ask

            async def sent_and_lost(*arguments: Any) -> None:
                await asked(*arguments)
                raise ConnectionResetError

            monkeypatch.setattr(session.wire, "ask", sent_and_lost)
        else:
            transferred = session._transferred

            async def sent_and_lost(*arguments: Any) -> None:
                await transferred(*arguments)
                raise ConnectionResetError

            monkeypatch.setattr(session, "_transferred", sent_and_lost)
        with pytest.raises(Unreachable):
            await publish(guard, "never")
        monkeypatch.undo()
        await publish(guard, "last")

    assert [frame.text for frame in await seen(activemq, f"/queue/{name}", 3, 0.5)] == ["first", "last"]


async def test_a_message_that_is_too_long_is_not_sent(body):
    """16 MiB is the most; the rest is refused before anything goes out."""
    async with connected(body) as guard:
        with pytest.raises(Misconfigured, match="at most 16777216 are sent"):
            await publish(guard, b"x" * (16 * MIB + 1))
        with pytest.raises(Misconfigured, match="at most 16777216 are sent"):
            await publish(guard, "é" * (9 * MIB))
        with pytest.raises(Misconfigured, match="at most 65536 can be sent"):
            await publish(guard, "x", properties={"a": "x" * 70_000})

        assert (await publish(guard, "small")).message_id


async def test_a_long_message_goes_and_comes(body):
    """A message of 16 MiB is published and received, though an answer holds 8 MiB otherwise."""
    text = "0123456789abcdef" * (16 * MIB // 16)
    async with connected(body) as guard:
        await publish(guard, text)

        assert await texts(guard) == [text]


# Receiving


async def test_a_text_of_another_client_is_received(body, name, activemq):
    """A text message comes with its properties, and is gone from the queue."""
    with stomp(activemq) as client:
        client.send(f"/queue/{name}", "bonjour", colour="red", **{"correlation-id": "c", "type": "t", "priority": "6"})

    async with connected(body) as guard:
        batch = await receive(guard)

    (message,) = batch.messages
    assert (message.value, message.encoding, message.kind, message.redelivered) == ("bonjour", "text", "text", False)
    assert (message.correlation_id, message.type, message.priority) == ("c", "t", 6)
    assert message.properties["colour"] == "red" and message.destination == f"queue://{name}"
    assert await seen(activemq, f"/queue/{name}", 1, 0.3) == []


async def test_bytes_of_another_client_are_received_as_base64(body, name, activemq):
    """A bytes message comes in base64."""
    with stomp(activemq) as client:
        client.send(f"/queue/{name}", b"\x00\xff")

    async with connected(body) as guard:
        (message,) = (await receive(guard)).messages

    assert (message.kind, message.encoding, base64.b64decode(message.value)) == ("bytes", "base64", b"\x00\xff")


@pytest.mark.parametrize("there", SCHEMES)
async def test_both_protocols_read_each_other(activemq, name, scheme, there):
    """What one protocol publishes the other receives, labels included."""
    sender = body_of(activemq, name, scheme, contentType="application/json", contentEncoding="UTF-8")
    async with connected(sender) as one, connected(body_of(activemq, name, there)) as other:
        # Java's own UTF-8 has zeros, and letters such as the last, otherwise: here the broker reads and writes it.
        await publish(
            one,
            "a \0 ğ \U0001f6a2",
            correlationId="c",
            type="t",
            priority=8,
            group="g",
            properties={"n": 1, "ş": "\U0001f6a2"},
        )

        (message,) = (await receive(other)).messages

    assert (message.value, message.kind, message.group) == ("a \0 ğ \U0001f6a2", "text", "g")
    assert message.properties["ş"] == "\U0001f6a2"
    assert (message.content_type, message.content_encoding) == ("application/json", "UTF-8")
    assert (message.correlation_id, message.type, message.priority, message.properties["n"]) == ("c", "t", 8, 1)
    assert message.persistent and message.timestamp is not None


async def test_receiving_ends_with_the_last_message(body):
    """Nobody waits for a second message; with none, the wait ends when it was asked to."""
    async with connected(body) as guard:
        for number in range(5):
            await publish(guard, str(number))

        assert await texts(guard, maxMessages=3, timeoutSeconds=30) == ["0", "1", "2"]
        assert await texts(guard, maxMessages=3, timeoutSeconds=30) == ["3", "4"]
        assert await texts(guard, timeoutSeconds=0) == []
        assert await texts(guard, timeoutSeconds=0.2) == []


async def test_receiving_waits_for_the_first_message(body):
    """A message that comes while it waits is received at once."""
    async with connected(body) as guard:
        waiting = asyncio.create_task(texts(guard, timeoutSeconds=20))
        await until(lambda: guard.connector._receiving._link)

        await publish(guard, "late")

        assert await asyncio.wait_for(waiting, 5) == ["late"]


async def test_a_selector_picks_messages(body):
    """Only what fits the selector is received; the rest stays."""
    async with connected(body) as guard:
        for colour in ("red", "blue", "red"):
            await publish(guard, colour, properties={"colour": colour})

        assert await texts(guard, selector="colour = 'blue'") == ["blue"]
        assert await texts(guard) == ["red", "red"]


async def test_a_wrong_selector_is_misconfigured(body):
    """The broker says what is wrong with a selector."""
    async with connected(body) as guard:
        with pytest.raises(Misconfigured) as caught:
            await receive(guard, selector="colour = = 'blue'")

    assert "colour = = 'blue'" in caught.value.message and caught.value.hint == "Correct the selector."


async def test_a_topic_is_heard_while_one_listens(activemq, name, scheme):
    """Receiving from a topic collects what is published meanwhile, as many as were asked for."""
    async with connected(body_of(activemq, name, scheme, destinationType="TOPIC")) as guard:
        await publish(guard, "before")
        listening = asyncio.create_task(texts(guard, maxMessages=2, timeoutSeconds=20))
        sent = 0
        while not listening.done():
            await publish(guard, f"news {sent}")
            sent += 1
            await asyncio.sleep(0.02)

        heard = await listening

    assert len(heard) == 2 and "before" not in heard


async def test_a_durable_subscription_keeps_what_is_published_meanwhile(activemq, name, scheme):
    """The broker keeps messages for a subscription between two receives, and for other clients with the same id."""
    body = body_of(activemq, name, scheme, destinationType="TOPIC", clientID=f"client-{name}")
    async with connected(body) as guard:
        assert await texts(guard, subscription="audit", timeoutSeconds=0) == []
        await publish(guard, "kept 1")
        assert await texts(guard, subscription="audit") == ["kept 1"]
        await publish(guard, "kept 2")
    async with connected(body) as again:
        assert await texts(again, subscription="audit") == ["kept 2"]


async def test_a_durable_subscription_needs_a_topic_and_an_id(activemq, name, scheme):
    """Without clientID, or with a queue, a subscription is refused before anything is asked of the broker."""
    async with connected(body_of(activemq, name, scheme, destinationType="TOPIC")) as guard:
        with pytest.raises(Misconfigured, match="client id"):
            await receive(guard, subscription="audit")
    async with connected(body_of(activemq, name, scheme, clientID="x")) as guard:
        with pytest.raises(Misconfigured, match="only topics"):
            await receive(guard, subscription="audit")


async def test_a_client_id_is_used_by_one_at_a_time(activemq, name, scheme):
    """Who receives from a topic with the clientID of somebody else is told so; publishing and probing are not concerned."""
    body = body_of(activemq, name, scheme, destinationType="TOPIC", clientID=f"client-{name}")
    async with connected(body) as first, connected(body) as second:
        await receive(first, subscription="audit", timeoutSeconds=0)

        with pytest.raises(Misconfigured, match="client id"):
            await receive(second, subscription="audit", timeoutSeconds=0)
        await publish(second, "x")
        assert (await second.probe()).ok


async def test_an_answer_has_an_end(body):
    """Messages that do not fit into 8 MiB stay, in their order, and the answer says so."""
    async with connected(body) as guard:
        for letter in "abc":
            await publish(guard, letter * (3 * MIB))

        first, second = await receive(guard), await receive(guard)

    assert ([message.value[0] for message in first.messages], first.truncated) == (["a", "b"], True)
    assert ([message.value[0] for message in second.messages], second.truncated) == (["c"], False)


async def test_a_thousand_messages_are_received_at_once(body):
    """As many as an answer may hold come in the order of the queue."""
    async with connected(body) as guard:
        await asyncio.gather(*(publish(guard, str(number)) for number in range(1000)))

        assert sorted(map(int, await texts(guard, maxMessages=1000))) == list(range(1000))


# Acknowledgement


@pytest.mark.parametrize("mode", ["AUTO_ACKNOWLEDGE", "DUPS_OK_ACKNOWLEDGE", "SESSION_TRANSACTED"])
async def test_what_was_answered_is_gone(body, name, activemq, mode):
    """In these modes a message is done once it stands in the answer."""
    async with connected({**body, "sessionAcknowledgement": mode}) as guard:
        for number in range(3):
            await publish(guard, str(number))

        assert await texts(guard, maxMessages=2) == ["0", "1"]

    assert [frame.text for frame in await seen(activemq, f"/queue/{name}", 3, 0.5)] == ["2"]


@pytest.mark.parametrize("mode", ["AUTO_ACKNOWLEDGE", "SESSION_TRANSACTED"])
async def test_what_was_not_answered_is_given_again(body, mode, monkeypatch):
    """A receive that fails before its answer leaves the messages where they were."""
    async with connected({**body, "sessionAcknowledgement": mode}) as guard:
        for number in range(3):
            await publish(guard, str(number))

        with monkeypatch.context() as patch:
            patch.setattr(connector_module, "received", _failing)
            with pytest.raises(Unreachable):
                await receive(guard)

        assert await texts(guard) == ["0", "1", "2"]


def _failing(message: object) -> None:
    raise ConnectionResetError


async def test_a_receipt_acknowledges(body, name, activemq):
    """With CLIENT_ACKNOWLEDGE messages are gone once the receipt of their answer was given back."""
    async with connected({**body, "sessionAcknowledgement": "CLIENT_ACKNOWLEDGE"}) as guard:
        for number in range(3):
            await publish(guard, str(number))
        first = await receive(guard, maxMessages=2)

        second = await receive(guard, maxMessages=0, receipt=first.receipt)

        assert (second.acknowledged, second.messages, first.acknowledged) == (True, [], False)
    assert [frame.text for frame in await seen(activemq, f"/queue/{name}", 3, 0.5)] == ["2"]


async def test_without_a_receipt_messages_are_given_again(body):
    """What nobody acknowledged is given to somebody else once the connection rests, marked as such."""
    async with connected({**body, "sessionAcknowledgement": "CLIENT_ACKNOWLEDGE"}) as guard:
        await publish(guard, "again")
        first = await receive(guard)
        await guard.rest()

        second = await receive(guard)

        assert [message.value for message in second.messages] == ["again"]
        # Over AMQP this broker forgets what it was told of failed deliveries once the link has gone.
        assert second.messages[0].redelivered or body["activeMqConnectionProtocolType"] == "AMQP"
        with pytest.raises(Misconfigured, match="receipt is not known"):
            await receive(guard, receipt=first.receipt)


async def test_a_receipt_expires(body, monkeypatch):
    """After a minute without its receipt, an answer's messages are given again."""
    monkeypatch.setattr(connector_module, "HELD_S", 0.1)
    async with connected({**body, "sessionAcknowledgement": "CLIENT_ACKNOWLEDGE"}) as guard:
        await publish(guard, "again")
        await receive(guard)
        await until(lambda: not guard.connector._held)

        assert await texts(guard) == ["again"]


async def test_receipts_have_an_end(body):
    """Sixteen answers may wait for their acknowledgement; then receiving is refused."""
    async with connected({**body, "sessionAcknowledgement": "CLIENT_ACKNOWLEDGE"}) as guard:
        for number in range(17):
            await publish(guard, str(number))
        for _ in range(16):
            await receive(guard, maxMessages=1)

        with pytest.raises(Busy):
            await receive(guard, maxMessages=1)


async def test_a_receipt_is_refused_where_there_are_none(body):
    """In another mode a receipt says that somebody expects what will not happen."""
    async with connected(body) as guard:
        with pytest.raises(Misconfigured, match="nothing to acknowledge: sessionAcknowledgement is AUTO_ACKNOWLEDGE"):
            await receive(guard, receipt="x")


# Who, where and how safely


async def test_a_wrong_password_is_rejected(body, activemq):
    """A wrong password is the credential owner's move, and stands in no error."""
    async with connected({**body, "password": "not-the-password"}) as guard:
        with pytest.raises(Rejected) as caught:
            await publish(guard, "x")
        report = await guard.probe()

    assert f"refused the login as {activemq['user']}" in caught.value.message
    assert "not-the-password" not in f"{caught.value!r} {caught.value.hint} {report.steps}"
    assert report.failure.name == "login"


async def test_who_has_no_right_is_rejected(body, activemq):
    """A user that may not write is told so when it publishes, and by the probe at the destination."""
    onlooker = {**body, "username": activemq["onlooker"], "password": activemq["onlooker_password"]}
    async with connected(onlooker) as guard:
        with pytest.raises(Rejected):
            await publish(guard, "x")
        with pytest.raises(Rejected):
            await receive(guard)
        report = await guard.probe()

    assert (report.failure.name, report.failure.code) == ("destination", "rejected")


async def test_nobody_needs_to_log_in_where_the_broker_says_so(activemq, name, scheme):
    """Without user name the broker is met as nobody."""
    body = body_of(activemq, f"open.{name}", scheme, username=None, password=None)
    async with connected(body) as guard:
        await publish(guard, "from nobody")

        assert await texts(guard) == ["from nobody"]


async def test_a_login_may_stand_in_the_url(body, activemq):
    """User and password before the host are used where the fields are empty, and stand in no error."""
    scheme, _, place = body["brokerURL"].partition("://")
    login = f"{activemq['user']}:{activemq['password']}"
    nobody = {**body, "username": None, "password": None}
    async with connected({**nobody, "brokerURL": f"{scheme}://{login}@{place}"}) as guard:
        await publish(guard, "x")
    async with connected({**nobody, "brokerURL": f"{scheme}://{activemq['user']}:wr%6Fng-secret@{place}"}) as guard:
        with pytest.raises(Rejected) as caught:
            await publish(guard, "x")

    assert "secret" not in f"{caught.value!r} {caught.value.hint}"


@pytest.mark.parametrize("scheme", ["ssl", "nio+ssl", "amqps", "amqp+ssl"])
async def test_tls_is_spoken_by_every_scheme_that_says_so(activemq, name, scheme):
    """All schemes of TLS work, with the certificate checked."""
    async with connected(body_of(activemq, name, scheme), ca_file=activemq.ca) as guard:
        await publish(guard, "x")

        assert await texts(guard) == ["x"]


@pytest.mark.parametrize("scheme", ["ssl", "amqps"])
async def test_an_unknown_authority_is_misconfigured(activemq, name, scheme):
    """A broker whose certificate nobody trusts gets no login."""
    async with connected(body_of(activemq, name, scheme)) as guard:
        with pytest.raises(Misconfigured, match="certificate was not accepted"):
            await publish(guard, "x")


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("scheme", ["ssl", "amqps"])
async def test_the_host_name_is_compared_unless_switched_off(activemq, name, scheme, verify):
    """A certificate for another host ends at `tls`; without the comparison the next step is reached."""
    shown = peers.showing(activemq.certificates["wrong_name"], activemq.certificates["wrong_name_key"])
    with peers.serving(shown) as port:
        body = aimed(body_of(activemq, name, scheme, verifyHostname=verify), "localhost", port)
        async with connected(body, ca_file=activemq.ca) as guard:
            report = await guard.probe(1.0)

    assert report.failure.name == ("tls" if verify else "login")


@pytest.mark.parametrize("scheme", ["ssl", "amqps"])
async def test_the_broker_may_want_a_certificate(activemq, name, scheme):
    """With keyStoreName a listener that asks for a certificate lets us in; without, it is told."""
    body, stores = target.mutual_body(activemq, name, scheme), target.stores(activemq)

    class Materials:
        def store(self, name: str) -> Any:
            return stores[name]

    async with connected(body, materials=Materials()) as guard:
        await publish(guard, "x")
        assert await texts(guard) == ["x"]
    async with connected({**body, "keyStoreName": None}, materials=Materials()) as guard:
        with pytest.raises(Misconfigured, match="ended the TLS session") as caught:
            await publish(guard, "x")
    assert "keyStoreName" in caught.value.hint


async def test_a_missing_store_is_told_when_it_is_opened(activemq, name):
    """A store that does not exist is found missing before anything connects."""
    with pytest.raises(MaterialMissing):
        async with connected(target.mutual_body(activemq, name)):
            pass


async def test_enabled_protocols_are_kept_to(activemq, name):
    """`transport.enabledProtocols` chooses the TLS version, and a wrong one is refused."""
    body = body_of(activemq, name, "amqps")
    for versions, version in (("TLSv1.2", "TLSv1.2"), ("TLSv1.3", "TLSv1.3")):
        one = {**body, "brokerURL": f"{body['brokerURL']}?transport.enabledProtocols={versions}"}
        async with connected(one, ca_file=activemq.ca) as guard:
            await publish(guard, "x")
            assert link_of(guard)._wire._transport.get_extra_info("ssl_object").version() == version
    with pytest.raises(Misconfigured, match="enabledProtocols"):
        async with connected({**body, "brokerURL": f"{body['brokerURL']}?transport.enabledProtocols=SSLv3"}):
            pass


async def test_the_wrong_protocol_is_told(activemq, name):
    """OpenWire at an AMQP port, and AMQP at an OpenWire port, end with what to look at."""
    for scheme, port in (("tcp", "amqp_port"), ("amqp", "port")):
        async with connected(
            aimed(body_of(activemq, name, scheme, connectTimeout=1000), "localhost", activemq[port])
        ) as guard:
            with pytest.raises(Unreachable, match="did not answer as|hung up before|in time") as caught:
                await publish(guard, "x")

        assert caught.value.hint


# Finding a broker, and finding it again


async def test_a_lost_connection_is_made_anew(body, activemq):
    """After the connection was cut, the next use works, without a new connector."""
    async with relayed(body, activemq) as (by_relay, between), connected(by_relay) as guard:
        await publish(guard, "1")
        between.cut()
        await until(lambda: not link_of(guard).alive)

        await publish(guard, "2")

        assert await texts(guard) == ["1", "2"]


async def test_a_broker_that_is_down_for_a_while_is_found_again(body, activemq):
    """While nobody listens uses fail as unreachable; once somebody does they work."""
    async with relayed(body, activemq) as (by_relay, between), connected(by_relay) as guard:
        await publish(guard, "1")
        await between.close()
        with pytest.raises(Unreachable, match="refused the connection|was lost"):
            await publish(guard, "never")
        await between.open()

        await publish(guard, "2")

        assert await texts(guard) == ["1", "2"]


async def test_messages_in_flight_when_the_connection_is_cut_are_told_of(body, activemq):
    """A publish that was cut off may or may not have been kept, and the error says so."""
    async with relayed(body, activemq) as (by_relay, between), connected(by_relay) as guard:
        await publish(guard, "1")
        between.frozen = True
        hanging = asyncio.create_task(publish(guard, "2"))
        await asyncio.sleep(0.05)
        between.cut()

        with pytest.raises(Unreachable, match="may or may not have kept it"):
            await hanging


def failover(body: dict[str, Any], *ports: int, options: str = "") -> dict[str, Any]:
    """The same connection with a list of brokers."""
    scheme = body["brokerURL"].partition(":")[0]
    places = ",".join(f"{scheme}://localhost:{port}" for port in ports)
    return {**body, "brokerURL": f"failover:({places}){options}"}


async def test_the_next_broker_of_the_list_is_used(body, activemq):
    """A broker that is down is passed over; when the one in use goes, another takes its place."""
    port = _PORT_OF["amqp" if body["activeMqConnectionProtocolType"] == "AMQP" else "tcp"]
    async with relay(activemq, port) as one, relay(activemq, port) as two:
        listed = failover(body, closed_port(), one.port, two.port, options="?randomize=false")
        async with connected(listed) as guard:
            await publish(guard, "1")
            assert (one.connections, two.connections) == (1, 0)
            await one.close()

            await until(lambda: not link_of(guard).alive)
            await publish(guard, "2")

            assert two.connections == 1


async def test_a_list_is_begun_anywhere_unless_told_otherwise(body, activemq):
    """Without `randomize=false` the brokers share the connections."""
    port = _PORT_OF["amqp" if body["activeMqConnectionProtocolType"] == "AMQP" else "tcp"]
    async with relay(activemq, port) as one, relay(activemq, port) as two:
        for _ in range(24):
            async with connected(failover(body, one.port, two.port)) as guard:
                await publish(guard, "x")
            if one.connections and two.connections:
                break

        assert one.connections and two.connections


async def test_a_list_is_gone_through_as_often_as_it_says(body):
    """`maxReconnectAttempts` ends it, with why each broker failed."""
    listed = failover(body, closed_port(), closed_port(), options="?maxReconnectAttempts=2&initialReconnectDelay=1")
    async with connected(listed) as guard:
        with pytest.raises(Unreachable, match=r"none of 2 brokers can be used: localhost:\d+ refused"):
            await publish(guard, "x")


async def test_a_list_is_gone_through_until_a_broker_comes_back(body, activemq):
    """Without a limit a use waits for a broker to come back."""
    port = _PORT_OF["amqp" if body["activeMqConnectionProtocolType"] == "AMQP" else "tcp"]
    async with relay(activemq, port) as between:
        async with connected(failover(body, between.port, options="?maxReconnectDelay=50")) as guard:
            await publish(guard, "1")
            await between.close()
            waiting = asyncio.create_task(publish(guard, "2"))
            done, _ = await asyncio.wait([waiting], timeout=0.2)
            await between.open()

            if done and waiting.exception():
                # It was on its way when the connection went.
                await publish(guard, "2")
            else:
                await asyncio.wait_for(waiting, 10)


async def test_a_refused_login_ends_the_list(body, activemq):
    """A wrong password is not tried at the next broker: that would only lock the account sooner."""
    port = _PORT_OF["amqp" if body["activeMqConnectionProtocolType"] == "AMQP" else "tcp"]
    async with relay(activemq, port) as one, relay(activemq, port) as two:
        async with connected({**failover(body, one.port, two.port), "password": "wrong"}) as guard:
            with pytest.raises(Rejected):
                await publish(guard, "x")

        assert one.connections + two.connections == 1


# Waiting


@pytest.mark.parametrize(
    ("field", "operation", "request_body"),
    [
        ("sendTimeout", "publish", {"value": "x"}),
        ("requestTimeout", "receive", {"timeoutSeconds": 1}),
    ],
)
async def test_an_answer_is_waited_for_as_long_as_the_field_says(body, activemq, field, operation, request_body):
    """When a broker falls silent, the field that limits the wait is named."""
    async with relayed(body, activemq) as (by_relay, between), connected({**by_relay, field: 200}) as guard:
        await guard.use(operation, {**request_body, "timeoutSeconds": 0} if operation == "receive" else request_body)
        between.frozen = True

        with pytest.raises(Unreachable, match=rf"did not answer within 0.2 s \({field}\)"):
            await guard.use(operation, request_body)
        between.cut()


async def test_connecting_is_waited_for_as_long_as_the_field_says(body):
    """connectTimeout ends the wait for a broker that takes connections and says nothing."""
    with black_hole() as hole:
        async with connected({**aimed(body, hole.host, hole.port), "connectTimeout": 200}) as guard:
            began = time.monotonic()
            with pytest.raises(Unreachable, match="did not answer in time"):
                await publish(guard, "x")

    assert time.monotonic() - began < 5


async def test_closing_is_waited_for_as_long_as_the_field_says(body, activemq):
    """closeTimeout ends the goodbye to a broker that fell silent."""
    async with relayed(body, activemq) as (by_relay, between), connected({**by_relay, "closeTimeout": 100}) as guard:
        await publish(guard, "x")
        between.frozen = True
        began = time.monotonic()

        await guard.rest()

    assert time.monotonic() - began < 4


_SHORT = {
    "tcp": {"wireFormat__maxInactivityDuration": "400", "wireFormat__maxInactivityDurationInitalDelay": "100"},
    "amqp": {"amqp__idleTimeout": "400"},
}


async def test_an_idle_connection_stays(body, activemq, scheme):
    """Signs of life go both ways: a connection that nobody uses is still there much later than it was agreed to end."""
    async with relayed(body, activemq, **_SHORT[scheme]) as (by_relay, between), connected(by_relay) as guard:
        await publish(guard, "1")
        heard = len(between.heard)
        await asyncio.sleep(1.5)

        assert len(between.heard) > heard and link_of(guard).alive
        await publish(guard, "2")
        assert between.connections == 1


async def test_a_dead_broker_is_noticed(body, activemq, scheme):
    """A broker that is not heard of for longer than agreed is given up, and the next use connects anew."""
    async with relayed(body, activemq, **_SHORT[scheme]) as (by_relay, between), connected(by_relay) as guard:
        await publish(guard, "1")
        between.frozen = True

        await until(lambda: not link_of(guard).alive)

        between.frozen = False
        await publish(guard, "2")
        assert between.connections == 2


# Life


async def test_nothing_in_flight_is_lost_when_it_stops(body, name, activemq):
    """Messages that were on their way when the connection is closed are confirmed, and in the queue."""
    async with connected(body) as guard:
        await publish(guard, "first")
        flying = [asyncio.create_task(publish(guard, str(number))) for number in range(200)]
        await asyncio.sleep(0)

        await guard.connector.stop()

        assert all(answer.message_id for answer in await asyncio.gather(*flying))
    assert len(await seen(activemq, f"/queue/{name}", 201, 2.0)) == 201


async def test_it_starts_again_after_a_rest(body):
    """Stopping twice is nothing, and the next use connects anew."""
    async with connected(body) as guard:
        await publish(guard, "1")
        await guard.connector.stop()
        await guard.connector.stop()

        await publish(guard, "2")

        assert await texts(guard) == ["1", "2"]


async def test_a_thousand_uses_leave_nothing_behind(body):
    """No socket, thread or task is left of a thousand messages, published and received."""
    before = None
    async with connected(body) as guard:
        await publish(guard, "warm")
        await texts(guard)
        before = held()
        limit = asyncio.Semaphore(32)

        async def one(number: int) -> None:
            async with limit:
                await publish(guard, str(number))

        await asyncio.gather(*(one(number) for number in range(1000)))
        received = 0
        while received < 1000:
            received += len(await texts(guard, maxMessages=50))

        gc.collect()
        assert held() == before
        assert not link_of(guard).session.wire.__dict__.get("_answers") and not guard.connector._leaving


def held() -> tuple[int, int, int]:
    """How many files, threads and tasks there are."""
    return len(os.listdir("/proc/self/fd")), threading.active_count(), len(asyncio.all_tasks())


async def test_a_probe_disturbs_nobody(body, activemq):
    """A probe works before the first use and beside one, on a connection of its own, which it closes."""
    async with relayed(body, activemq) as (by_relay, between), connected({**by_relay, "clientID": "probed"}) as guard:
        report = await guard.probe()
        assert [(step.name, step.state) for step in report.steps] == [
            ("resolve", "passed"), ("connect", "passed"), ("tls", "skipped"), ("login", "passed"), ("destination", "passed"),
        ]  # fmt: skip
        await publish(guard, "x")

        assert (await guard.probe()).ok
        assert link_of(guard).alive and between.connections == 3


async def test_the_native_client_is_a_live_link(body):
    """`native` gives what connects, and the link that publishes."""
    async with connected(body) as guard:
        link = await (await guard.native())()

        assert link.alive and link.broker.address.startswith("localhost:")


async def test_amqp_is_read_back_where_the_broker_keeps_it_as_it_is(activemq, name):
    """A listener that does not translate AMQP into JMS gives back what it was given."""
    body = aimed(body_of(activemq, name, "amqp", contentType="text/plain"), "localhost", activemq["amqp_native_port"])
    async with connected(body) as guard:
        await publish(guard, "as it is", properties={"a": 1})

        (message,) = (await receive(guard)).messages

    assert (message.value, message.content_type, message.properties) == ("as it is", "text/plain", {"a": 1})


async def test_amqp_is_spoken_to_another_broker():
    """AMQP 1.0 works with RabbitMQ's plug-in too, whose addresses look otherwise, in the virtual host that is asked for."""
    broker = service("rabbitmq")
    with a_queue(broker) as queue:
        url = f"amqp://localhost:{broker['port']}?amqp.vhost=vhost:{broker['vhost']}"
        body = {
            "type": "activeMq", "activeMqConnectionProtocolType": "AMQP", "brokerURL": url, "username": broker["user"],
            "password": broker["password"], "destinationType": "QUEUE", "destinationName": f"/queue/{queue}",
        }  # fmt: skip
        async with connected(body) as guard:
            assert (await guard.probe()).ok

            await publish(guard, b"to a rabbit")

        assert b"to a rabbit" in amqp_get(broker, queue)
