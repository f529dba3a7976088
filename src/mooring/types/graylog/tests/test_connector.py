"""Sending to Graylog's own inputs, and to one that misbehaves."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from tests.support.logs import FakeLogServer, held, matching, until, wait_for
from tests.support.services import Service, black_hole, closed_port, service

from mooring.errors import Busy, ConnectorError, InvalidConfig, Misconfigured, Rejected, Unreachable
from mooring.plugin.materials import Store
from mooring.testing.live import connected
from mooring.types.graylog.message import datagrams
from mooring.types.graylog.model import LEVELS
from mooring.types.graylog.tests.target import ca_of, identity


@pytest.fixture
def graylog() -> Service:
    """Graylog's own GELF inputs."""
    return service("graylog")


class Materials:
    """The stores of a test."""

    def __init__(self, **stores: Store) -> None:
        self.stores = stores

    def store(self, name: str) -> Store:
        return self.stores[name]


def body(port: int, **fields: Any) -> dict[str, Any]:
    return {"type": "graylog", "name": "logs", "hostname": "localhost", "port": port, **fields}


def checked(graylog: Service, port: str = "tls", **fields: Any) -> dict[str, Any]:
    chain = {"tlsEnabled": True, "tlsCertVerificationEnabled": True, "tlsTrustCertChainFile": ca_of(graylog)}
    return body(graylog[port], **{**chain, **fields})


def mark() -> str:
    return f"mark-{os.urandom(6).hex()}"


async def failure(config: dict[str, Any], timeout_s: float = 5.0, **options: Any) -> ConnectorError:
    request = options.pop("request", {"text": "hello"})
    async with connected(config, **options) as guard:
        with pytest.raises(ConnectorError) as caught:
            await guard.use("send", request, timeout_s)
    return caught.value


async def stopped_at(config: dict[str, Any], **options: Any) -> str:
    async with connected(config, **options) as guard:
        report = await guard.probe(3.0)
    return report.failure.name if report.failure else "nowhere"


# what arrives


async def test_every_part_of_a_message_arrives(graylog):
    """Text, long text, level, source, time and fields are those that Graylog decodes."""
    text = f"{mark()} Grüße, 世界"
    request = {
        "text": text, "level": "ERROR", "fields": {"order": 42, "_user": "ada", "ratio": 0.5}, "fullText": "line\nline",
        "host": "orders-1", "timestamp": "2026-03-04T05:06:07.250+02:00",
    }  # fmt: skip

    async with connected(body(graylog["tcp"], appendToMessage=False)) as guard:
        answer = await guard.use("send", request)

    (found,) = wait_for(graylog["messages"], text)
    assert (found["message"], found["full_message"], found["level"]) == (text, "line\nline", 3)
    assert (found["order"], found["user"], found["ratio"]) == (42, "ada", 0.5)
    assert (found["source"], found["timestamp"]) == ("orders-1", "2026-03-04T03:06:07.250Z")
    assert answer.proof == "acknowledged"


async def test_every_level_arrives_as_its_number(graylog):
    """All eight levels are the numbers of GELF; the connection's stands in where a message has none."""
    text = mark()

    async with connected(body(graylog["tcp"], gelfMessageLevel="NOTICE")) as guard:
        for level in LEVELS:
            await guard.use("send", {"text": f"{text} {level}", "level": level})
        await guard.use("send", {"text": f"{text} none"})

    found = {each["text"].split()[1]: each["level"] for each in wait_for(graylog["messages"], text, 9)}
    assert found == {**LEVELS, "none": 5}


@pytest.mark.parametrize("compression", ["NONE", "GZIP", "ZLIB"])
@pytest.mark.parametrize("size", [100, 100_000])
async def test_udp_carries_every_compression_and_many_chunks(graylog, compression, size):
    """A message arrives over UDP whole, compressed or not, in one datagram or in many."""
    text = mark()
    random_text = base64.b64encode(os.urandom(size)).decode()
    config = body(graylog["udp"], transportType="UDP", compressionType=compression)

    async with connected(config) as guard:
        answer = await guard.use("send", {"text": text, "fullText": random_text})

    (found,) = wait_for(graylog["messages"], text)
    assert found["full_message"] == random_text
    assert answer.proof == "none" and (answer.chunks > 50) == (size > 1000)


async def test_compression_makes_datagrams_fewer(graylog):
    """compressionType has its effect over UDP."""
    request = {"text": mark(), "fullText": "again and " * 5000}

    sizes = {}
    for compression in ("NONE", "GZIP", "ZLIB"):
        config = body(graylog["udp"], transportType="UDP", compressionType=compression)
        async with connected(config) as guard:
            sizes[compression] = (await guard.use("send", request)).chunks

    assert sizes["NONE"] > 30 and sizes["GZIP"] == sizes["ZLIB"] == 1


async def test_over_tcp_nothing_is_compressed(graylog):
    """GELF over TCP has no compression, whatever compressionType says."""
    text = mark()

    async with connected(body(graylog["tcp"], compressionType="ZLIB")) as guard:
        await guard.use("send", {"text": text})

    assert len(wait_for(graylog["messages"], text)) == 1


async def test_a_megabyte_arrives_over_tls(graylog):
    """A message of nearly a megabyte arrives whole."""
    text, long = mark(), "x" * 900_000

    async with connected(checked(graylog)) as guard:
        await guard.use("send", {"text": text, "fullText": long})

    assert wait_for(graylog["messages"], text)[0]["full_message"] == long


async def test_a_message_over_the_limit_is_refused():
    """What Graylog would not take is refused here, with the limit."""
    error = await failure(body(closed_port()), request={"text": "x", "fullText": "€" * 400_000})

    assert isinstance(error, Misconfigured)
    assert "1048576" in error.message


def test_a_message_that_chunks_cannot_hold_is_refused():
    """GELF has 128 chunks at most: more is an error that says what to do."""
    with pytest.raises(Misconfigured) as caught:
        datagrams(os.urandom(1_100_000))

    assert "use TCP" in (caught.value.hint or "")


def test_chunks_grow_only_where_small_ones_do_not_suffice():
    """Chunks that pass any network whole are used as long as 128 of them hold the message."""
    small, large = datagrams(os.urandom(180_000)), datagrams(os.urandom(181_000))

    assert len(small) <= 128 and max(map(len, small)) == 1420
    assert len(large) <= 128 and max(map(len, large)) == 8192


@pytest.mark.parametrize("attributes", [True, False])
@pytest.mark.parametrize("message", [True, False])
async def test_fields_go_where_the_connection_says(graylog, attributes, message):
    """appendToAttributes makes them fields, appendToMessage lines of the long text."""
    text = mark()

    async with connected(body(graylog["tcp"], appendToAttributes=attributes, appendToMessage=message)) as guard:
        await guard.use("send", {"text": text, "fields": {"order": 42, "note": "a\nb"}})

    (found,) = wait_for(graylog["messages"], text)
    assert ("order" in found) == attributes
    assert found.get("full_message") == (f"{text}\norder=42\nnote=a b" if message else None)


@pytest.mark.parametrize("text", ["a\0b", "a\r\nb", 'a","level":0,"x":"b', "a\x1e\x0fb"])
async def test_a_message_cannot_become_another(graylog, text):
    """A NUL, a line end or a quote in a text stays part of that text."""
    name = mark()

    async with connected(body(graylog["tcp"])) as guard:
        await guard.use("send", {"text": f"{name} {text}", "level": "INFO", "fields": {"note": text}})
        await guard.use("send", {"text": f"{name} last"})

    wait_for(graylog["messages"], f"{name} last")
    found = matching(graylog["messages"], name)
    assert len(found) == 2
    assert (found[0]["message"].strip(), found[0]["level"]) == (f"{name} {text}".strip(), 6)
    assert found[0]["note"].strip() == text.strip()


@pytest.mark.parametrize(
    "name", ["id", "_id", "source", "_timestamp", "gl2_source_node", "a b", "a\n", "", "_", "x" * 129]
)
async def test_a_field_cannot_pass_for_something_else(name):
    """Names of GELF's or Graylog's own, and names that are none, are refused before anything is sent."""
    async with connected(body(closed_port())) as guard:
        with pytest.raises(InvalidConfig):
            await guard.use("send", {"text": "x", "fields": {name: "v"}})


@pytest.mark.parametrize("value", [True, None, [1], {"a": 1}, float("nan"), float("inf"), 2**64])
async def test_a_field_is_a_text_or_a_number(value):
    """GELF knows no other values."""
    async with connected(body(closed_port())) as guard:
        with pytest.raises(InvalidConfig):
            await guard.use("send", {"text": "x", "fields": {"a": value}})


# TLS


async def test_without_verification_any_certificate_does(graylog):
    """tlsCertVerificationEnabled is off by default, and then nothing is checked."""
    text = mark()

    async with connected(body(graylog["tls"], tlsEnabled=True)) as guard:
        await guard.use("send", {"text": text})

    assert wait_for(graylog["messages"], text)


async def test_verification_wants_the_issuer_in_the_file(graylog):
    """With it on, the certificates of tlsTrustCertChainFile count, and no others."""
    other = base64.b64encode(Path(graylog.certificates["unknown_ca"]).read_bytes()).decode()
    config = checked(graylog, tlsTrustCertChainFile=other)

    error = await failure(config, ca_file=graylog.ca)

    assert isinstance(error, Misconfigured)
    assert "certificate" in error.message
    assert await stopped_at(config) == "tls"


async def test_a_truststore_stands_in_for_the_file(graylog):
    """trustStoreName is taken before the file."""
    text = mark()
    stores = Materials(ours=Store(trusted=Path(graylog.ca).read_text()))

    async with connected(
        checked(graylog, tlsTrustCertChainFile=None, trustStoreName="ours"), materials=stores
    ) as guard:
        await guard.use("send", {"text": text})

    assert wait_for(graylog["messages"], text)


@pytest.mark.parametrize("text", ["bm90LWEtcmVhbC1jZXJ0aWZpY2F0ZQ==", "*not base64*", "////"])
async def test_a_file_that_holds_no_certificates_is_refused(graylog, text):
    """It is told when the client is built, without what it holds."""
    with pytest.raises(Misconfigured) as caught:
        async with connected(checked(graylog, tlsTrustCertChainFile=text)):
            pass

    assert "tlsTrustCertChainFile" in f"{caught.value.message} {caught.value.hint}"
    assert text not in caught.value.message


async def test_a_client_certificate_is_shown(graylog):
    """A server that wants a client certificate gets the keystore's."""
    text = mark()
    config = checked(graylog, "mutual_tls", keyStoreName="client")

    async with connected(config, materials=Materials(client=identity(graylog))) as guard:
        await guard.use("send", {"text": text})

    assert wait_for(graylog["messages"], text)


@pytest.mark.parametrize("name", [None, "unknown_client"])
async def test_a_missing_or_wrong_client_certificate_is_rejected(graylog, name):
    """With TLS 1.3 the server refuses after our part of the handshake: that is noticed, and nothing counts as sent."""
    stores = Materials(client=identity(graylog, name)) if name else Materials()
    config = checked(graylog, "mutual_tls", **({"keyStoreName": "client"} if name else {}))

    async with connected(config, materials=stores) as guard:
        with pytest.raises(Rejected):
            await guard.use("send", {"text": "hello"})

    assert await stopped_at(config, materials=stores) == "tls"


# a connection and its end


async def test_many_senders_share_one_connection(graylog):
    """1,000 messages of 32 senders arrive, on one socket, and leave no task or thread behind."""
    text = mark()
    before, tasks = held(), len(asyncio.all_tasks())

    async with connected(checked(graylog)) as guard:
        places = asyncio.Semaphore(32)

        async def one(number: int) -> None:
            async with places:
                await guard.use("send", {"text": f"{text} {number}"})

        await asyncio.gather(*(one(number) for number in range(1000)))
        assert held()["sockets"] == before["sockets"] + 1
        assert len(asyncio.all_tasks()) == tasks

    found = wait_for(graylog["messages"], text, 1000)
    assert sorted(int(each["text"].split()[1]) for each in found) == list(range(1000))
    assert held() == before


async def test_nothing_in_flight_is_lost_on_close(graylog):
    """Messages that were handed over before the connection closed arrive."""
    text = mark()
    async with connected(body(graylog["tcp"])) as guard:
        await guard.use("send", {"text": "hello"})
        running = [asyncio.create_task(guard.use("send", {"text": f"{text} {number}"})) for number in range(300)]
        await asyncio.sleep(0)

    await asyncio.gather(*running)

    assert len(wait_for(graylog["messages"], text, 300)) == 300


async def test_it_works_again_after_stop(graylog):
    """A connection that gave back its socket opens another when it is used again, over UDP too."""
    text = mark()
    for config in (body(graylog["tcp"]), body(graylog["udp"], transportType="UDP")):
        async with connected(config) as guard:
            await guard.use("send", {"text": f"{text} before"})
            assert await guard.rest()
            await guard.use("send", {"text": f"{text} after"})

    assert len(wait_for(graylog["messages"], text, 4)) == 4


async def test_an_unused_connector_holds_nothing(graylog):
    """Opened and not used, it has no socket and no thread."""
    before = held()

    async with connected(checked(graylog)):
        assert held() == before


async def test_queue_size_bounds_what_waits():
    """More messages than queueSize do not wait: the rest is told that it is too much."""
    async with FakeLogServer() as fake, connected(body(fake.port, queueSize=3)) as guard:
        outcomes = await asyncio.gather(
            *(guard.use("send", {"text": str(number)}) for number in range(10)), return_exceptions=True
        )

    busy = [outcome for outcome in outcomes if isinstance(outcome, Busy)]
    assert len(busy) == 7


async def test_max_inflight_sends_bounds_what_is_on_its_way():
    """With maxInflightSends 1 each message is written, and acknowledged, before the next one is."""
    async with FakeLogServer() as fake, connected(body(fake.port, maxInflightSends=1)) as guard:
        await guard.use("send", {"text": "first"})
        written: list[bytes] = []
        stream = guard.connector._outbox.stream
        whole = stream.write
        stream.write = lambda data: written.append(data) or whole(data)

        await asyncio.gather(*(guard.use("send", {"text": str(number)}) for number in range(5)))

    assert [data.count(b"\0") for data in written] == [1] * 5


async def test_reconnect_delay_is_waited_for(monkeypatch):
    """After a lost connection the next one is made reconnectDelay later, and what waits meanwhile is sent on it."""
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def noted(delay: float, *result: Any) -> Any:
        pauses.append(delay)
        return await sleep(min(delay, 0.01), *result)

    async with FakeLogServer() as fake, connected(body(fake.port, reconnectDelay=60_000)) as guard:
        await guard.use("send", {"text": "first"})
        fake.cut()
        monkeypatch.setattr(asyncio, "sleep", noted)

        await guard.use("send", {"text": "second"})

        assert await asyncio.to_thread(until, lambda: b"second" in fake.got)
    assert any(59 < pause <= 60 for pause in pauses)


async def test_socket_options_are_set():
    """tcpNoDelay, tcpKeepAlive and sendBufferSize are those of the socket."""
    async with FakeLogServer() as fake:
        found = []
        for fields in (
            {"tcpNoDelay": True, "tcpKeepAlive": True, "sendBufferSize": 8192},
            {"tcpNoDelay": False, "tcpKeepAlive": False},
        ):
            async with connected(body(fake.port, **fields)) as guard:
                await guard.use("send", {"text": "x"})
                option = guard.connector._outbox.stream.option
                found.append(
                    (
                        bool(option(socket.IPPROTO_TCP, socket.TCP_NODELAY)),
                        bool(option(socket.SOL_SOCKET, socket.SO_KEEPALIVE)),
                        option(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * 8192,  # the system doubles it
                    )
                )

    assert found == [(True, True, True), (False, False, False)]


@pytest.mark.parametrize("reset", [False, True])
async def test_a_restarted_server_is_found_again(reset):
    """After the server went and came back, messages reach it without a new connector; meanwhile they fail."""
    async with FakeLogServer() as fake, connected(body(fake.port, reconnectDelay=20)) as guard:
        await guard.use("send", {"text": "first"})
        await asyncio.to_thread(until, lambda: b"first" in fake.got)
        await fake.stop(reset=reset)
        await asyncio.sleep(0.05)

        with pytest.raises(Unreachable):
            await guard.use("send", {"text": "meanwhile"})
        await fake.start()
        await guard.use("send", {"text": "second"})

        assert await asyncio.to_thread(until, lambda: b"second" in fake.got)
    assert [json.loads(each)["short_message"] for each in fake.got.rstrip(b"\0").split(b"\0")] == ["first", "second"]


# bad weather


async def test_a_closed_port_is_told():
    """Nobody listens: the address is named, and the probe stops at connect."""
    config = body(closed_port())

    error = await failure(config)

    assert isinstance(error, Unreachable)
    assert f"localhost:{config['port']}" in error.message
    assert await stopped_at(config) == "connect"


async def test_connect_timeout_bounds_connecting():
    """Connecting to nowhere ends after connectTimeout, and not with the caller's deadline."""
    with black_hole(connects=False) as hole:
        error = await failure(body(hole.port, hostname=hole.host, connectTimeout=100), 10.0)

    assert isinstance(error, Unreachable)
    assert "in time" in error.message


async def test_udp_says_that_it_knows_nothing(graylog):
    """A probe over UDP says unknown."""
    async with connected(body(graylog["udp"], transportType="UDP")) as guard:
        report = await guard.probe()

    assert [(step.name, step.state) for step in report.steps] == [
        ("resolve", "passed"), ("connect", "unknown"), ("tls", "skipped"),
    ]  # fmt: skip
