"""Sending to real syslog servers, and to one that misbehaves."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from tests.support.logs import FakeLogServer, held, matching, until, wait_for
from tests.support.services import Service, black_hole, closed_port, service

from mooring.errors import ConnectorError, InvalidConfig, Misconfigured, Rejected, Unreachable
from mooring.plugin.materials import Store
from mooring.plugin.oneway import outbox
from mooring.testing.live import connected
from mooring.types.syslog.model import FACILITIES, SEVERITIES
from mooring.types.syslog.tests.target import identity

TOKEN = "customer-token-canary-77"


@pytest.fixture
def rsyslog() -> Service:
    """A real rsyslog."""
    return service("rsyslog")


@pytest.fixture
def syslog_ng() -> Service:
    """A real syslog-ng."""
    return service("syslog_ng")


class Materials:
    """The stores of a test."""

    def __init__(self, **stores: Store) -> None:
        self.stores = stores

    def store(self, name: str) -> Store:
        return self.stores[name]


def body(port: int, **fields: Any) -> dict[str, Any]:
    return {
        "type": "syslog", "name": "audit", "syslogServerHostname": "localhost", "syslogPort": port,
        "syslogTimeout": 2000, "syslogAppName": "orders", "syslogMessageHostname": TOKEN, **fields,
    }  # fmt: skip


def tls(port: int, **fields: Any) -> dict[str, Any]:
    return body(port, syslogMessageFormat="RFC_5425", syslogSslEnabled=True, **fields)


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


async def test_every_facility_arrives_under_its_name(rsyslog):
    """All 24 facilities are those that rsyslog reads."""
    text = mark()

    async with connected(body(rsyslog["tcp"])) as guard:
        for facility in FACILITIES:
            await guard.use("send", {"text": f"{text} {facility}", "facility": facility})

    found = {each["text"].split()[1]: each["facility"] for each in wait_for(rsyslog["messages"], text, 24)}
    assert found == {facility: facility.lower() for facility in FACILITIES}


async def test_every_severity_arrives_under_its_name(rsyslog):
    """All eight severities are those that rsyslog reads."""
    text = mark()

    async with connected(body(rsyslog["tcp"])) as guard:
        for severity in SEVERITIES:
            await guard.use("send", {"text": f"{text} {severity}", "severity": severity})

    found = [each["severity"] for each in wait_for(rsyslog["messages"], text, 8)]
    assert found == ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"]


async def test_the_connection_labels_its_messages(rsyslog):
    """Facility, severity, application and host name of the connection stand in a message that has none of its own."""
    text = mark()
    config = body(rsyslog["tcp"], syslogFacility="LOCAL5", syslogSeverity="NOTICE")

    async with connected(config) as guard:
        await guard.use("send", {"text": text})

    (found,) = wait_for(rsyslog["messages"], text)
    assert (found["facility"], found["severity"], found["app"], found["host"]) == ("local5", "notice", "orders", TOKEN)


@pytest.mark.parametrize("port", ["tcp", "udp"])
async def test_rfc_3164_is_read_back(rsyslog, port):
    """A BSD message has its tag, process and text; letters of all languages pass."""
    text = f"{mark()} Grüße, 世界"
    transport = {"syslogProtocolType": "UDP"} if port == "udp" else {}

    async with connected(body(rsyslog[port], **transport)) as guard:
        await guard.use("send", {"text": text, "processId": "77", "appName": "billing"})

    (found,) = wait_for(rsyslog["messages"], text)
    assert (found["app"], found["process"], found["text"], found["input"]) == ("billing", "77", text, port)


async def test_rfc_5424_is_read_back_whole(rsyslog):
    """Every part of an RFC 5424 message is what was asked for."""
    text = f"{mark()} Grüße"
    request = {
        "text": text, "messageId": "ORDER", "processId": "p1", "timestamp": "2026-03-04T05:06:07.250+02:00",
        "structuredData": {"order@32473": {"id": "42", "note": 'a "b" \\ ]c'}, "origin": {"ip": "192.0.2.1"}},
    }  # fmt: skip

    async with connected(body(rsyslog["tcp"], syslogMessageFormat="RFC_5424")) as guard:
        await guard.use("send", request)

    (found,) = wait_for(rsyslog["messages"], text)
    assert (found["id"], found["process"], found["time"]) == ("ORDER", "p1", "2026-03-04T03:06:07.250000Z")
    assert found["data"] == r'[order@32473 id="42" note="a \"b\" \\ \]c"][origin ip="192.0.2.1"]'


async def test_a_second_reader_understands_structured_data(syslog_ng):
    """syslog-ng takes the values apart and finds them as they were."""
    text = mark()
    value = 'say "hi" \\ and ] then'

    async with connected(body(syslog_ng["tcp"], syslogMessageFormat="RFC_5425")) as guard:
        await guard.use("send", {"text": text, "structuredData": {"order@32473": {"note": value, "id": "42"}}})

    (found,) = wait_for(syslog_ng["messages"], text)
    assert r'note="say \"hi\" \\ and \] then"' in found["data"] and 'id="42"' in found["data"]


async def test_a_long_message_arrives_whole(rsyslog):
    """60,000 characters arrive over TLS as one message."""
    text = mark() + "x" * 60_000

    async with connected(tls(rsyslog["tls"]), ca_file=rsyslog.ca) as guard:
        answer = await guard.use("send", {"text": text})

    (found,) = wait_for(rsyslog["messages"], text)
    assert found["text"] == text
    assert answer.size > 60_000 and answer.proof == "acknowledged"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\0", "\x0b", "\x85", "\u2028", "\n<0>Jan  1 00:00:00 evil su: "])
@pytest.mark.parametrize("form", ["RFC_3164", "RFC_5424"])
async def test_a_message_cannot_become_two(rsyslog, form, end):
    """A line end or NUL in a text, or in a value, does not begin another message."""
    text = mark()

    async with connected(body(rsyslog["tcp"], syslogMessageFormat=form)) as guard:
        data = {"structuredData": {"x@1": {"a": f"b{end}c"}}} if form == "RFC_5424" else {}
        await guard.use("send", {"text": f"{text} first{end}{text} second", **data})
        await guard.use("send", {"text": f"{text} last"})

    wait_for(rsyslog["messages"], f"{text} last")
    found = matching(rsyslog["messages"], text)
    assert len(found) == 2
    assert found[0]["app"] == "orders" and "\n" not in found[0]["text"]


async def test_header_words_cannot_hold_blanks():
    """What a message's header cannot hold is refused before anything is sent."""
    for field in ("appName", "messageId", "processId"):
        async with connected(body(closed_port())) as guard:
            with pytest.raises(InvalidConfig):
                await guard.use("send", {"text": "x", field: "a b"})


async def test_a_connections_own_words_are_made_to_fit(rsyslog):
    """Characters that a header cannot hold are replaced in the connection's host name and application."""
    text = mark()
    config = body(rsyslog["tcp"], syslogAppName="my app:[x]", syslogMessageHostname="höst 1")

    async with connected(config) as guard:
        await guard.use("send", {"text": text})

    (found,) = wait_for(rsyslog["messages"], text)
    assert (found["app"], found["host"]) == ("my_app__x_", "h_st_1")


async def test_rfc_3164_refuses_what_it_cannot_say():
    """Structured data in an RFC 3164 connection is an error, not silence."""
    error = await failure(body(closed_port()), request={"text": "x", "structuredData": {"a@1": {"b": "c"}}})

    assert isinstance(error, Misconfigured)
    assert "RFC 3164" in error.message


# TLS


async def test_a_truststore_stands_in_for_the_workers_cas(rsyslog):
    """With trustStoreName only its certificates count."""
    text = mark()
    stores = Materials(ours=Store(trusted=Path(rsyslog.ca).read_text()))

    async with connected(tls(rsyslog["tls"], trustStoreName="ours"), materials=stores) as guard:
        await guard.use("send", {"text": text})

    assert wait_for(rsyslog["messages"], text)[0]["input"] == "tls"


async def test_an_unknown_issuer_is_refused(rsyslog):
    """A server whose certificate nobody vouches for gets no message."""
    config = tls(rsyslog["tls"])

    error = await failure(config)

    assert isinstance(error, Misconfigured)
    assert "certificate" in error.message
    assert await stopped_at(config) == "tls"


async def test_verify_hostname_off_accepts_another_name(rsyslog):
    """verifyHostname false takes a certificate for another name; on, it does not."""
    config = tls(rsyslog["tls"], syslogServerHostname="127.0.0.2")
    stores = Materials(ours=Store(trusted=Path(rsyslog.ca).read_text()))
    listener = await asyncio.start_server(_forward(rsyslog["tls"]), "127.0.0.2", 0)
    config["syslogPort"] = listener.sockets[0].getsockname()[1]

    async with listener:
        error = await failure({**config, "trustStoreName": "ours"}, materials=stores)
        async with connected({**config, "trustStoreName": "ours", "verifyHostname": False}, materials=stores) as guard:
            answer = await guard.use("send", {"text": mark()})

    assert isinstance(error, Misconfigured)
    assert answer.proof == "acknowledged"


async def test_a_client_certificate_is_shown(rsyslog):
    """A server that wants a client certificate gets the keystore's."""
    text = mark()
    stores = Materials(client=identity(rsyslog))

    async with connected(
        tls(rsyslog["mutual_tls"], keyStoreName="client"), ca_file=rsyslog.ca, materials=stores
    ) as guard:
        await guard.use("send", {"text": text})

    assert wait_for(rsyslog["messages"], text)[0]["input"] == "mutual_tls"


async def test_without_its_certificate_a_client_is_rejected(rsyslog):
    """With TLS 1.3 the server refuses after our part of the handshake: that is noticed, and nothing counts as sent."""
    config = tls(rsyslog["mutual_tls"])
    async with connected(config, ca_file=rsyslog.ca) as guard:
        with pytest.raises(Rejected) as caught:
            await guard.use("send", {"text": "hello"})

    assert "keyStoreName" in (caught.value.hint or "")
    assert await stopped_at(config, ca_file=rsyslog.ca) == "tls"


def _forward(port: int) -> Any:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                target.write(data)
            target.close()

        await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer), return_exceptions=True)

    return serve


# a connection and its end


async def test_many_senders_share_one_connection(rsyslog):
    """1,000 messages of 32 senders arrive, on one socket, and leave no task or thread behind."""
    text = mark()
    before, tasks = held(), len(asyncio.all_tasks())

    async with connected(body(rsyslog["tcp"])) as guard:
        places = asyncio.Semaphore(32)

        async def one(number: int) -> None:
            async with places:
                await guard.use("send", {"text": f"{text} {number}"})

        await asyncio.gather(*(one(number) for number in range(1000)))
        assert held()["sockets"] == before["sockets"] + 1
        assert len(asyncio.all_tasks()) == tasks

    found = wait_for(rsyslog["messages"], text, 1000)
    assert sorted(int(each["text"].split()[1]) for each in found) == list(range(1000))
    assert held() == before


async def test_messages_keep_their_order(rsyslog):
    """What one sender sent first arrives first."""
    text = mark()

    async with connected(tls(rsyslog["tls"]), ca_file=rsyslog.ca) as guard:
        await asyncio.gather(*(guard.use("send", {"text": f"{text} {number}"}) for number in range(200)))

    found = [int(each["text"].split()[1]) for each in wait_for(rsyslog["messages"], text, 200)]
    assert found == list(range(200))


async def test_nothing_in_flight_is_lost_on_close(rsyslog):
    """Messages that were handed over before the connection closed arrive."""
    text = mark()
    async with connected(body(rsyslog["tcp"])) as guard:
        await guard.use("send", {"text": "hello"})
        running = [asyncio.create_task(guard.use("send", {"text": f"{text} {number}"})) for number in range(300)]
        await asyncio.sleep(0)

    await asyncio.gather(*running)

    assert len(wait_for(rsyslog["messages"], text, 300)) == 300


async def test_it_works_again_after_stop(rsyslog):
    """A connection that gave back its socket opens another when it is used again."""
    text = mark()
    async with connected(body(rsyslog["tcp"])) as guard:
        await guard.use("send", {"text": f"{text} before"})
        assert await guard.rest()

        await guard.use("send", {"text": f"{text} after"})

    assert len(wait_for(rsyslog["messages"], text, 2)) == 2


async def test_an_unused_connector_holds_nothing(rsyslog):
    """Opened and not used, it has no socket and no thread."""
    before = held()

    async with connected(tls(rsyslog["tls"]), ca_file=rsyslog.ca):
        assert held() == before


async def test_a_half_closed_connection_counts_as_gone():
    """A server that ended its side gets the next message on a new connection, and the message is not lost."""
    async with FakeLogServer(ends_after=1) as fake, connected(body(fake.port)) as guard:
        await guard.use("send", {"text": "first"})
        await fake.ended.wait()
        await guard.use("send", {"text": "second"})

        assert await asyncio.to_thread(until, lambda: b"second" in fake.got)
    assert fake.connections == 2


@pytest.mark.parametrize("reset", [False, True])
async def test_a_restarted_server_is_found_again(reset):
    """After the server went and came back, messages reach it without a new connector; meanwhile they fail."""
    async with FakeLogServer() as fake, connected(body(fake.port)) as guard:
        await guard.use("send", {"text": "first"})
        await fake.stop(reset=reset)
        await asyncio.sleep(0.05)

        with pytest.raises(Unreachable):
            await guard.use("send", {"text": "meanwhile"})
        await fake.start()
        await guard.use("send", {"text": "second"})

        assert await asyncio.to_thread(until, lambda: b"second" in fake.got)
        assert b"meanwhile" not in fake.got


async def test_no_send_hangs_while_connections_are_cut():
    """However often the connection is cut under load, every send ends: it went out, or its error says that it may not have."""
    async with FakeLogServer() as fake, connected(body(fake.port)) as guard:
        outcomes: list[str] = []

        async def sender() -> None:
            for number in range(40):
                try:
                    await guard.use("send", {"text": f"{number} {'x' * 500}"}, 10.0)
                    outcomes.append("sent")
                except Unreachable as exc:
                    outcomes.append("may or may not" if "may or may not" in exc.message else exc.message)

        senders = asyncio.gather(*(sender() for _ in range(16)))
        for round_ in range(6):
            await asyncio.sleep(0.05)
            fake.cut(reset=bool(round_ % 2))
        await senders

    assert len(outcomes) == 640
    assert outcomes.count("sent") > 300
    assert not any("no answer within" in outcome for outcome in outcomes)


async def test_a_server_that_takes_nothing_is_given_up(monkeypatch):
    """When the other side stops reading, the writer gives up after a while, and says that some may have arrived."""
    monkeypatch.setattr(outbox, "WRITE_S", 0.3)
    async with FakeLogServer(reads=False) as fake, connected(body(fake.port)) as guard:
        with pytest.raises(Unreachable) as caught:
            await asyncio.gather(*(guard.use("send", {"text": "x" * 60_000}, 20) for _ in range(60)))

    assert "may or may not" in caught.value.message


async def test_a_service_that_talks_is_no_syslog_server():
    """A port where something greets is a mistake that is told."""
    async with FakeLogServer(greeting=b"220 mail.example.com ESMTP\r\n") as fake:
        error = await failure(body(fake.port))

        assert isinstance(error, Unreachable)
        assert "which no syslog server does" in error.message
        assert await stopped_at(body(fake.port)) == "connect"


async def test_a_caller_that_gives_up_stops_nobody_else():
    """A cancelled send leaves the messages of others in peace."""
    async with FakeLogServer() as fake, connected(body(fake.port)) as guard:
        impatient = asyncio.create_task(guard.use("send", {"text": "impatient"}))
        patient = asyncio.create_task(guard.use("send", {"text": "patient"}))
        await asyncio.sleep(0)
        impatient.cancel()

        await patient

        assert await asyncio.to_thread(until, lambda: b"patient" in fake.got.replace(b"impatient", b""))


# bad weather


async def test_a_closed_port_is_told():
    """Nobody listens: the address is named, and the probe stops at connect."""
    config = body(closed_port())

    error = await failure(config)

    assert isinstance(error, Unreachable)
    assert f"localhost:{config['syslogPort']}" in error.message
    assert await stopped_at(config) == "connect"


async def test_syslog_timeout_bounds_connecting():
    """Connecting to nowhere ends after syslogTimeout, and not with the caller's deadline."""
    with black_hole(connects=False) as hole:
        error = await failure(body(hole.port, syslogServerHostname=hole.host, syslogTimeout=100), 10.0)

    assert isinstance(error, Unreachable)
    assert "in time" in error.message


async def test_udp_says_that_it_knows_nothing(rsyslog):
    """A datagram has no proof, and a probe says unknown."""
    async with connected(body(rsyslog["udp"], syslogProtocolType="UDP")) as guard:
        answer = await guard.use("send", {"text": "hello"})
        report = await guard.probe()

    assert answer.proof == "none"
    assert [(step.name, step.state) for step in report.steps] == [
        ("resolve", "passed"), ("connect", "unknown"), ("tls", "skipped"),
    ]  # fmt: skip


async def test_udp_hears_of_a_closed_port_on_this_machine():
    """Where the machine answers that nobody listens, that is an error."""
    error = await failure(body(closed_port(), syslogProtocolType="UDP"))

    assert isinstance(error, Unreachable)


async def test_a_message_too_long_for_a_datagram_is_refused(rsyslog):
    """It is neither cut nor lost, and the next one works."""
    async with connected(body(rsyslog["udp"], syslogProtocolType="UDP")) as guard:
        with pytest.raises(Misconfigured) as caught:
            await guard.use("send", {"text": "ü" * 40_000})
        await guard.use("send", {"text": "short"})

    assert "datagram" in caught.value.message


async def test_the_token_in_the_host_name_is_kept_out_of_errors():
    """What some services take for a key is a secret value of the connection."""
    async with connected(body(closed_port(), syslogServerHostname=f"{TOKEN}.invalid")) as guard:
        with pytest.raises(Unreachable) as caught:
            await guard.use("send", {"text": "x"})

        assert guard.connector.secret_values() == {TOKEN}
    assert TOKEN not in caught.value.message
