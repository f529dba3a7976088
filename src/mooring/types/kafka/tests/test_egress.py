"""Brokers that the first one tells of, and that the worker may not connect to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from mooring.errors import EgressDenied
from mooring.kit.egress import Egress
from mooring.plugin.connector import Allowed
from mooring.plugin.network import Network
from mooring.testing.live import connected
from mooring.types.kafka import connector as kafka_connector
from mooring.types.kafka.brokers import judge_told
from mooring.types.kafka.tests.bodies import body
from mooring.types.kafka.tests.cluster import mock_cluster

HERE, THERE = "127.0.0.1", "127.0.0.2"


class Liar:
    """In front of a broker: what it says of its own address is changed, once `lies`."""

    def __init__(self, real_port: int, told_port: int) -> None:
        self._true = HERE.encode() + real_port.to_bytes(4, "big")
        self._false = THERE.encode() + told_port.to_bytes(4, "big")
        self._here = b""
        self._real_port = real_port
        self.lies = True
        self.touched = 0

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._relay, HERE, 0)
        port = server.sockets[0].getsockname()[1]
        self._here = HERE.encode() + port.to_bytes(4, "big")
        async with server:
            yield port

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(HERE, self._real_port)
        with contextlib.suppress(OSError):
            await asyncio.gather(self._pass(reader, far_writer, False), self._pass(far_reader, writer, True))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: bool) -> None:
        while data := await reader.read(65536):
            writer.write(data.replace(self._true, self._false if self.lies else self._here) if answers else data)
        writer.close()


@contextlib.asynccontextmanager
async def lied_to(topic: str) -> AsyncIterator[tuple[dict, Liar]]:
    """A body for a cluster that lies, and the liar."""
    touched: list[asyncio.StreamWriter] = []

    def touch(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        touched.append(writer)
        writer.close()

    async with await asyncio.start_server(touch, THERE, 0) as there:
        with mock_cluster() as cluster:
            cluster.create(topic)
            address = cluster.address.split(",")[0]
            liar = Liar(int(address.rpartition(":")[2]), there.sockets[0].getsockname()[1])
            async with liar.listening() as port:
                yield body(f"{HERE}:{port}", topic), liar
                await asyncio.sleep(0.2)
                liar.touched = len(touched)


ALLOWED = Allowed(egress=Egress.read("", THERE, loopback=True))


@pytest.mark.parametrize(
    ("operation", "request_"), [("publish", {"value": "v"}), ("receive", {"fromBeginning": True, "timeoutSeconds": 3})]
)
async def test_an_advertised_broker_that_is_denied_is_not_used(operation, request_):
    """The use ends with the policy's error, and nobody connected there."""
    async with lied_to("told") as (lie, liar), connected(lie, allowed=ALLOWED) as guard:
        with pytest.raises(EgressDenied):
            await guard.use(operation, request_, 10)

    assert liar.touched == 0


async def test_a_probe_says_that_an_advertised_broker_is_denied():
    """The probe stops with the policy's code, and nobody connected there."""
    async with lied_to("told") as (lie, liar), connected(lie, allowed=ALLOWED) as guard:
        report = await guard.probe(10)

    assert (report.failure.code, liar.touched) == ("egress_denied", 0)


async def test_a_refused_use_can_be_tried_again():
    """After a denial the next use judges anew, and works once the cluster tells of allowed brokers alone."""
    async with lied_to("told") as (lie, liar), connected(lie, allowed=ALLOWED) as guard:
        for _ in range(2):
            with pytest.raises(EgressDenied):
                await guard.use("publish", {"value": "v"}, 10)
        liar.lies = False

        assert (await guard.use("publish", {"value": "v"}, 10)).topic == "told"


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00\x00\x00\x08" + b"\x7f" * 8, b"\x7f\xff\xff\xff"],
    ids=["nothing", "http", "many", "large"],
)
async def test_what_is_no_answer_of_a_broker_is_left_to_the_driver(answer):
    """Odd bytes in the place of the list of brokers say nothing about the policy, and cost little."""

    async def odd(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(odd, HERE, 0) as server:
        port = server.sockets[0].getsockname()[1]

        assert await judge_told(Network(ALLOWED.egress), [(HERE, port)], None) is False


async def test_brokers_are_judged_again_while_the_connection_is_used(monkeypatch):
    """A cluster that moves to a denied address later is noticed at the next look, and used again once it is back."""
    monkeypatch.setattr(kafka_connector, "JUDGED_S", 0.0)
    async with lied_to("told") as (lie, liar), connected(lie, allowed=ALLOWED) as guard:
        liar.lies = False
        await guard.use("publish", {"value": "v"}, 10)
        liar.lies = True

        with pytest.raises(EgressDenied):
            for _ in range(20):
                await guard.use("publish", {"value": "v"}, 10)
                await asyncio.sleep(0.1)

        liar.lies = False
        await guard.use("publish", {"value": "v"}, 10)
