"""The connector against librdkafka's mock cluster: real protocol, injected weather."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import ssl
import threading
import time

import pytest
import trustme
from confluent_kafka import KafkaError
from tests.support.services import black_hole, closed_port

from mooring.errors import Busy, InvalidConfig, Misconfigured, Rejected, Unreachable
from mooring.plugin.materials import MaterialMissing
from mooring.testing.live import connected
from mooring.types.kafka import connector
from mooring.types.kafka.faults import Troubles
from mooring.types.kafka.tests.bodies import EXAMPLE, STRING, body, login
from mooring.types.kafka.tests.cluster import METADATA, PRODUCE, everything, mock_cluster
from mooring.types.kafka.tests.target import FIRST_USE, aimed

SERIALIZERS = STRING.removesuffix("StringSerializer")


@pytest.fixture(scope="module")
def shared():
    with mock_cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(shared):
    shared.up()
    shared.slow(0)
    return shared


@pytest.fixture
def topic(cluster, request):
    name = request.node.name.translate(str.maketrans("[]", "..", "/ '\"(){}:,="))[-200:]
    cluster.create(name)
    return name


def native_threads() -> int:
    return len(os.listdir("/proc/self/task"))


async def settles_at(count, expected, within_s: float = 3) -> bool:
    """Whether *count* comes down to *expected*: a thread that has done its work needs a moment to be gone."""
    until = time.monotonic() + within_s
    while count() > expected and time.monotonic() < until:
        await asyncio.sleep(0.02)
    return count() <= expected


def threads_of_ours() -> int:
    return sum(thread.name.startswith("kafka") for thread in threading.enumerate())


def files_open() -> int:
    return len(os.listdir("/proc/self/fd"))


async def read_all(guard, count: int, **options):
    answer = await guard.use("receive", {"maxMessages": count, "fromBeginning": True, **options})
    return answer.messages


async def test_publish_answers_where_the_record_stands(cluster, topic):
    """A published record has a partition, and an offset that counts up."""
    async with connected(body(cluster.address, topic)) as guard:
        first = await guard.use("publish", {"value": "one"})
        second = await guard.use("publish", {"value": "two"})

    assert (first.topic, first.partition, first.offset, second.offset) == (topic, 0, 0, 1)


async def test_receive_gives_back_what_was_published(cluster, topic):
    """Value, key, headers and partition come back as they were sent."""
    async with connected(body(cluster.address, topic)) as guard:
        await guard.use(
            "publish", {"value": "ğüş 1", "key": "k", "headers": {"trace": "7", "none": None}, "partition": 0}
        )
        (record,) = await read_all(guard, 1)

    assert (record.value, record.key, record.partition, record.encoding) == ("ğüş 1", "k", 0, "text")
    assert [(header.name, header.value) for header in record.headers] == [("trace", "7"), ("none", None)]


@pytest.mark.parametrize(
    ("sent", "encoding", "value", "shown"),
    [
        ({"id": 7, "name": "ü"}, "text", '{"id":7,"name":"ü"}', "text"),
        ([1, None, True], "text", "[1,null,true]", "text"),
        ("AP8=", "base64", "AP8=", "base64"),
        ("aGk=", "base64", "hi", "text"),
        (None, "text", None, "text"),
        ("", "text", "", "text"),
        (b"\xff", "text", "/w==", "base64"),
    ],
)
async def test_values_survive(cluster, topic, sent, encoding, value, shown):
    """Text, JSON, bytes and null arrive as themselves; bytes that are no text come back as base64 and say so."""
    async with connected(body(cluster.address, topic)) as guard:
        await guard.use("publish", {"value": sent, "encoding": encoding})
        (record,) = await read_all(guard, 1)

    assert (record.value, record.encoding) == (value, shown)


@pytest.mark.parametrize(
    ("serializer", "sent", "back"),
    [
        ("Integer", 5, "5"),
        ("Long", "9007199254740993", "9007199254740993"),
        ("Double", 0.5, "0.5"),
        ("UUID", "C0FFEE00-0000-4000-8000-000000000000", "c0ffee00-0000-4000-8000-000000000000"),
        ("ByteArray", "x", "x"),
    ],
)
async def test_serializers_of_the_java_client_are_understood(cluster, topic, serializer, sent, back):
    """Values are written the way the named Java serializer writes them, and numbers read back as such."""
    properties = {"value.serializer": f"{SERIALIZERS}{serializer}Serializer"}

    async with connected(body(cluster.address, topic, properties)) as guard:
        await guard.use("publish", {"value": sent})
        (record,) = await read_all(guard, 1)

    assert record.value == back


@pytest.mark.parametrize(
    ("serializer", "request_"),
    [
        ("Integer", {"value": "canary-7f3a"}),
        ("Integer", {"value": 2**31}),
        ("UUID", {"value": "canary-7f3a"}),
        ("String", {"value": "canary-7f3a!", "encoding": "base64"}),
    ],
)
async def test_values_that_do_not_fit_are_refused(cluster, topic, serializer, request_):
    """A value that the serializer cannot write is refused before anything is sent, and not repeated."""
    async with connected(
        body(cluster.address, topic, {"value.serializer": f"{SERIALIZERS}{serializer}Serializer"})
    ) as guard:
        with pytest.raises(Misconfigured) as caught:
            await guard.use("publish", request_)

    assert "canary" not in str(caught.value)


async def test_answers_survive_json(cluster, topic):
    """Every answer can be written as JSON, in camelCase."""
    async with connected(body(cluster.address, topic)) as guard:
        await guard.use("publish", {"value": b"\xff\x00"})
        answer = await guard.use("receive", {"fromBeginning": True, "maxMessages": 1})

    assert json.loads(answer.model_dump_json(by_alias=True))["messages"][0]["keyEncoding"] == "text"


async def test_topic_is_the_configured_one(cluster, topic):
    """No request can name another topic."""
    async with connected(body(cluster.address, topic)) as guard:
        with pytest.raises(InvalidConfig):
            await guard.use("publish", {"value": "x", "topic": "other"})


async def test_keys_go_to_the_partition_of_the_java_client(cluster):
    """A key lands in the partition that Kafka's own client chooses (murmur2)."""
    cluster.create("murmur", 10)
    async with connected(body(cluster.address, "murmur")) as guard:
        partitions = [(await guard.use("publish", {"value": "x", "key": key})).partition for key in ("a", "b", "kafka")]

    # From Kafka's Utils.murmur2, masked to positive, modulo 10.
    assert partitions == [_java_partition(key, 10) for key in (b"a", b"b", b"kafka")]


async def test_receive_waits_for_what_comes(cluster, topic):
    """Without fromBeginning, the records that come while waiting are answered."""
    async with connected(body(cluster.address, topic)) as guard:
        await guard.use("publish", {"value": "old"})
        waiting = asyncio.create_task(guard.use("receive", {"maxMessages": 1, "timeoutSeconds": 10}))
        await asyncio.sleep(1)
        await guard.use("publish", {"value": "new"})

        assert [record.value for record in (await waiting).messages] == ["new"]


async def test_receive_ends_in_time(cluster, topic):
    """With nothing to receive the answer is empty, after the time that was asked for."""
    async with connected(body(cluster.address, topic)) as guard:
        began = time.monotonic()
        answer = await guard.use("receive", {"timeoutSeconds": 0.5})

    assert answer.messages == []
    assert 0.4 < time.monotonic() - began < 2


@pytest.mark.parametrize(
    "request_",
    [{"maxMessages": 0}, {"maxMessages": 1001}, {"timeoutSeconds": 0}, {"timeoutSeconds": 301}, {"group": ""}],
)
async def test_receive_has_bounds(cluster, request_):
    """Counts, times and groups out of bounds are refused; the driver would abort the process over an empty group."""
    async with connected(body(cluster.address)) as guard:
        with pytest.raises(InvalidConfig):
            await guard.use("receive", request_)


async def test_long_values_are_cut_and_say_so(cluster, topic):
    """A value of more than 1 MiB is cut off there."""
    async with connected(body(cluster.address, topic, {"max.request.size": "3000000"})) as guard:
        await guard.use("publish", {"value": "x" * 2_000_000})
        (record,) = await read_all(guard, 1)

    assert (len(record.value), record.truncated) == (1024 * 1024, True)


async def test_too_many_receives_are_busy(cluster, topic):
    """Four can receive at a time; the next is told to wait."""
    async with connected(body(cluster.address, topic)) as guard:
        running = [asyncio.create_task(guard.use("receive", {"timeoutSeconds": 3})) for _ in range(4)]
        await asyncio.sleep(0.2)

        with pytest.raises(Busy):
            await guard.use("receive", {})
        await asyncio.gather(*running)


async def test_a_full_queue_is_busy(cluster, topic):
    """Where the queue stays full for max.block.ms, publishing says so instead of growing."""
    properties = {"buffer.memory": "102400", "max.block.ms": "200", "linger.ms": "0"}
    async with connected(body(cluster.address, topic, properties)) as guard:
        await guard.use("publish", {"value": "first"})
        cluster.slow(2000)
        waiting = [asyncio.create_task(guard.use("publish", {"value": "x" * 60_000})) for _ in range(8)]

        outcomes = await asyncio.gather(*waiting, return_exceptions=True)

    assert any(isinstance(outcome, Busy) for outcome in outcomes)
    assert not [outcome for outcome in outcomes if isinstance(outcome, Exception) and not isinstance(outcome, Busy)]


async def test_acks_of_none_has_no_offset(cluster, topic):
    """With acks=0 nobody knows the offset, and the answer says null."""
    async with connected(body(cluster.address, topic, {"acks": "0"})) as guard:
        assert (await guard.use("publish", {"value": "x"})).offset is None


@pytest.mark.parametrize(
    ("code", "expected"),
    [(29, Rejected), (31, Rejected), (10, Misconfigured), (87, Misconfigured), (44, Misconfigured)],
)
async def test_refusals_of_the_broker_are_translated(cluster, topic, code, expected):
    """What the broker refuses is told as the move of whoever can help."""
    async with connected(body(cluster.address, topic)) as guard:
        await guard.use("publish", {"value": "x"})
        cluster.answer_next_with(PRODUCE, code)

        with pytest.raises(expected):
            await guard.use("publish", {"value": "x"})
        assert (await guard.use("publish", {"value": "x"})).offset is not None


async def test_passing_trouble_is_retried(cluster, topic):
    """A leader that moves is followed without anybody noticing."""
    async with connected(body(cluster.address, topic)) as guard:
        await guard.use("publish", {"value": "x"})
        cluster.answer_next_with(PRODUCE, 6, 6)

        assert (await guard.use("publish", {"value": "y"})).offset == 1


@pytest.mark.parametrize(("code", "expected"), [(29, Rejected), (3, Misconfigured), (17, Misconfigured)])
async def test_topics_that_cannot_be_used_are_told(cluster, code, expected):
    """A forbidden, missing or impossible topic is told before anything is sent."""
    name = f"broken-{code}"
    cluster.create(name)
    cluster.answer_topic_with(name, code)

    async with connected(body(cluster.address, name)) as guard:
        for operation, request_ in (("publish", {"value": "x"}), ("receive", {"timeoutSeconds": 5})):
            with pytest.raises(expected) as caught:
                await guard.use(operation, request_)
            assert name in str(caught.value)


async def test_a_lost_broker_heals(cluster, topic):
    """The broker goes and comes back, and the same connector works on."""
    async with connected(
        body(cluster.address, topic, {"delivery.timeout.ms": "2000", "max.block.ms": "2000"})
    ) as guard:
        await guard.use("publish", {"value": "before"})
        cluster.down()
        with pytest.raises(Unreachable):
            await guard.use("publish", {"value": "lost"})
        cluster.up()
        until = time.monotonic() + 10
        while time.monotonic() < until:
            try:
                await guard.use("publish", {"value": "after"})
                break
            except Unreachable:
                continue
        values = [record.value for record in await read_all(guard, 10)]

    assert values[0] == "before"
    assert values[-1] == "after"


async def test_delivery_timeout_is_honoured(cluster, topic):
    """A broker that does not acknowledge within delivery.timeout.ms is unreachable, and the outcome open."""
    async with connected(body(cluster.address, topic, {"delivery.timeout.ms": "600"})) as guard:
        await guard.use("publish", {"value": "x"})
        cluster.slow(5000)
        began = time.monotonic()

        with pytest.raises(Unreachable):
            await guard.use("publish", {"value": "y"})

    assert time.monotonic() - began < 4


@pytest.mark.parametrize("operation", ["publish", "receive"])
async def test_closed_port_is_unreachable_quickly(operation):
    """A port that nobody listens on is told at once, with its address."""
    port = closed_port()
    began = time.monotonic()

    async with connected(body(f"127.0.0.1:{port}")) as guard:
        with pytest.raises(Unreachable, match=str(port)):
            await guard.use(operation, {})

    assert time.monotonic() - began < 3


async def test_one_broker_of_several_is_enough(cluster, topic):
    """Bootstrap brokers that are down do not matter while one is up."""
    async with connected(body(f"127.0.0.1:{closed_port()},{cluster.address}", topic)) as guard:
        await guard.use("publish", {"value": "x"})

        assert (await guard.probe()).ok


@pytest.mark.parametrize("properties", [{}, login(), {"security.protocol": "SSL"}])
async def test_black_hole_ends_by_max_block(properties):
    """A host that accepts and says nothing is unreachable after max.block.ms, and its threads are gone."""
    with black_hole() as hole:
        before = native_threads()
        async with connected(
            body(f"{hole.host}:{hole.port}", properties={"max.block.ms": "700", **properties})
        ) as guard:
            began = time.monotonic()
            with pytest.raises(Unreachable, match="answered within"):
                await guard.use("publish", {"value": "x"})
            assert time.monotonic() - began < 3
        assert await settles_at(native_threads, before)


async def test_black_hole_ends_a_probe_by_its_deadline():
    """A probe of a silent host ends when its deadline does, and leaves no thread for long."""
    with black_hole() as hole:
        async with connected(body(f"{hole.host}:{hole.port}")) as guard:
            report = await guard.probe(timeout_s=1)
            assert report.failure.code == "unreachable"
        assert await settles_at(threads_of_ours, 0)


async def test_unknown_host_is_unreachable():
    """A name that does not resolve is told as such."""
    async with connected(body("no-such-host.invalid:9092")) as guard:
        with pytest.raises(Unreachable, match="resolve"):
            await guard.use("publish", {"value": "x"})


async def test_two_hundred_open_connectors_cost_nothing():
    """Opened and not used, connectors have no threads and no sockets."""
    threads, files = native_threads(), len(os.listdir("/proc/self/fd"))
    connections = [connected(body("127.0.0.1:9")) for _ in range(200)]

    for connection in connections:
        await connection.__aenter__()

    assert (native_threads(), len(os.listdir("/proc/self/fd"))) == (threads, files)
    for connection in connections:
        await connection.__aexit__(None, None, None)


async def test_a_started_connector_has_one_thread_of_ours(cluster, topic):
    """Use costs one Python thread, however much is published."""
    async with connected(body(cluster.address, topic)) as guard:
        await asyncio.gather(*[guard.use("publish", {"value": str(number)}) for number in range(200)])

        assert [thread.name for thread in threading.enumerate() if thread.name.startswith("kafka")] == ["kafka-poll"]


async def test_two_hundred_operations_leak_nothing(cluster, topic):
    """After many operations and a close there are as many threads, sockets and tasks as before."""
    async with connected(body(cluster.address, topic)) as guard:
        await guard.use("publish", {"value": "warm"})
    gc.collect()
    threads, files = native_threads(), files_open()

    async with connected(body(cluster.address, topic)) as guard:
        for number in range(190):
            await guard.use("publish", {"value": str(number)})
        for _ in range(10):
            await read_all(guard, 5)

    assert await settles_at(native_threads, threads)
    assert await settles_at(files_open, files)
    assert await settles_at(lambda: len(asyncio.all_tasks()), 1)


async def test_rest_gives_threads_back_and_use_begins_anew(cluster, topic):
    """An idle connector gives its thread back, and works again when it is used again."""
    async with connected(body(cluster.address, topic)) as guard:
        await guard.use("publish", {"value": "one"})
        assert await guard.rest()
        assert await settles_at(threads_of_ours, 0)

        assert (await guard.use("publish", {"value": "two"})).offset == 1


async def test_stop_and_close_are_safe_at_any_time(cluster, topic):
    """Stopping twice, before a start, and after one that failed does no harm."""
    async with connected(body(cluster.address, topic)) as guard:
        await guard.connector.stop()
        await guard.use("publish", {"value": "one"})
        await guard.connector.stop()
        await guard.connector.stop()
        await guard.connector.close()
        await guard.connector.close()


async def test_stopping_delivers_what_is_on_its_way(cluster, topic):
    """A record in the queue when the connector is stopped still arrives."""
    async with connected(body(cluster.address, topic, {"linger.ms": "2000", "max.block.ms": "3000"})) as guard:
        await guard.native()
        sending = asyncio.create_task(guard.use("publish", {"value": "late"}))
        await asyncio.sleep(0.5)
        await guard.connector.stop()
        await sending

        assert [record.value for record in await read_all(guard, 1)] == ["late"]


async def test_replacing_the_connector_under_load_loses_nothing(cluster, topic):
    """A changed property means a new connector; publishers that go on all the while lose no record."""
    sent: list[str] = []
    current = connected(body(cluster.address, topic, {"linger.ms": "5"}))
    guard = await current.__aenter__()
    stop = asyncio.Event()

    async def publish() -> None:
        while not stop.is_set():
            text = f"r-{len(sent)}"
            sent.append(text)
            await guard.use("publish", {"value": text})

    publishing = [asyncio.create_task(publish()) for _ in range(5)]
    for linger in ("0", "20", "1"):
        await asyncio.sleep(0.3)
        old, current = current, connected(body(cluster.address, topic, {"linger.ms": linger}))
        guard = await current.__aenter__()
        await old.__aexit__(None, None, None)
    stop.set()
    await asyncio.gather(*publishing)
    await current.__aexit__(None, None, None)

    received = await asyncio.to_thread(everything, cluster.address, topic, len(sent))
    assert sorted(received) == sorted(sent)


async def test_a_dead_producer_is_replaced(cluster, topic):
    """After an error that the driver calls fatal, the next use gets a new producer."""
    async with connected(body(cluster.address, topic)) as guard:
        await guard.use("publish", {"value": "one"})
        dead = guard.connector.native()
        guard.connector._troubles.note(KafkaError(KafkaError._FATAL, "fatal", True))

        assert (await guard.use("publish", {"value": "two"})).offset == 1
        assert guard.connector.native() is not dead


async def test_native_is_the_live_producer(cluster, topic):
    """The driver's own producer can be used beside ours, and its reports are served."""
    heard = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with connected(body(cluster.address, topic)) as guard:
        producer = await guard.native()
        producer.produce(topic, b"native", on_delivery=lambda error, message: loop.call_soon_threadsafe(heard.set))

        await asyncio.wait_for(heard.wait(), 5)


async def test_probe_goes_step_by_step(cluster, topic):
    """A probe passes each step that applies, and says why the others do not."""
    async with connected(body(cluster.address, topic)) as guard:
        report = await guard.probe()

        assert [(step.name, step.state) for step in report.steps] == [
            ("resolve", "passed"), ("bootstrap", "passed"), ("tls", "skipped"), ("sasl", "skipped"), ("topic", "passed"),
        ]  # fmt: skip
        assert not guard.started


@pytest.mark.parametrize(
    ("servers", "step"),
    [("no-such-host.invalid:1", "resolve"), (f"127.0.0.1:{closed_port()}", "bootstrap")],
    ids=["unknown host", "closed port"],
)
async def test_probe_stops_where_it_fails(servers, step):
    """A probe ends at the step that failed."""
    async with connected(body(servers)) as guard:
        report = await guard.probe()

    assert report.failure.name == step
    assert report.steps[-1] is report.failure


async def test_probe_does_not_know_of_topics_that_may_be_created(cluster):
    """A missing topic, where nobody tells whether the brokers create topics, ends unknown and is not created."""
    cluster.answer_topic_with("nobody-made-this", 3)
    async with connected(body(cluster.address, "nobody-made-this")) as guard:
        report = await guard.probe()

    assert report.steps[-1].state == "unknown"


async def test_probe_knows_of_topics_that_are_not_created(cluster, monkeypatch):
    """A missing topic is the author's to correct where the brokers do not create topics."""
    cluster.answer_topic_with("nobody-makes-this", 3)
    monkeypatch.setattr(connector._ProbeVisit, "_brokers_create_topics", lambda self, client, broker: False)
    async with connected(body(cluster.address, "nobody-makes-this")) as guard:
        report = await guard.probe()

    assert (report.failure.name, report.failure.code) == ("topic", "misconfigured")


async def test_open_needs_the_stores_it_uses():
    """A store that TLS needs and that is not there is missing at once, without any network."""
    with pytest.raises(MaterialMissing, match="kafka-client"):
        async with connected(EXAMPLE):
            pass


async def test_open_does_not_need_the_stores_it_does_not_use():
    """Stores named while TLS is off are not looked up."""
    async with connected(body(keyStoreName="nowhere", trustStoreName="nowhere")):
        pass


@pytest.mark.parametrize("versions", [["SSL_3_0"], ["TLS_1_0", "TLS_1_1"]])
async def test_broken_tls_versions_alone_are_explained(versions):
    """Where only versions are allowed that nobody should speak, opening says so."""
    with pytest.raises(Misconfigured, match=versions[0]):
        async with connected(body(enableSecure=True, protocolTypes=versions, keyStoreName="ks")):
            pass


@pytest.mark.parametrize(
    ("properties", "what"),
    [
        ({**login(), "sasl.mechanism": None}, "sasl.mechanism"),
        ({**login(), "sasl.jaas.config": None}, "sasl.jaas.config"),
        ({**login(), "sasl.mechanism": "PLAIN"}, "login module"),
        (
            {
                "security.protocol": "SSL",
                "ssl.truststore.certificates": "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----",
            },
            "certificates",
        ),
    ],
)
async def test_open_explains_what_cannot_be_built(properties, what):
    """A login or TLS that cannot be built is explained when the connection is opened."""
    with pytest.raises(Misconfigured, match=what):
        async with connected(body(properties=properties)):
            pass


async def test_probe_refuses_a_tls_version_that_is_not_allowed():
    """The handshake of a probe is limited to protocolTypes: a server of another version fails it."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    properties = {"security.protocol": "SSL", "ssl.truststore.certificates": authority.cert_pem.bytes().decode()}
    sent = body(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", "t", properties)

    async with server:
        async with connected({**sent, "protocolTypes": ["TLS_1_3"]}) as guard:
            report = await guard.probe()

    assert report.failure.name == "tls"


async def test_conformance_target_keeps_the_login_and_leads_elsewhere():
    """The conformance suite's body goes to the address it names, and shows no password on the way."""
    port = closed_port()
    async with connected(aimed(EXAMPLE, "127.0.0.1", port)) as guard:
        with pytest.raises(Unreachable, match=str(port)) as caught:
            await guard.use(*FIRST_USE)

    assert "not-a-real-password" not in f"{caught.value} {caught.value.__cause__!r} {guard.connector.__dict__!r}"


async def test_token_login_is_taken_by_the_driver():
    """Client credentials for OAUTHBEARER become settings that the driver accepts; a dead token server is told."""
    module = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"
    properties = {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "OAUTHBEARER",
        "sasl.jaas.config": f'{module} required clientId="orders" clientSecret="canary-7f3a" scope="kafka";',
        "sasl.oauthbearer.token.endpoint.url": f"https://127.0.0.1:{closed_port()}/token",
        "max.block.ms": "2000",
    }
    async with connected(body("127.0.0.1:9", properties=properties)) as guard:
        with pytest.raises(Unreachable, match="token") as caught:
            await guard.use("publish", {"value": "x"})

    assert "canary" not in str(caught.value)


async def test_metadata_errors_are_waited_out(cluster, topic):
    """A broker that does not know a leader yet is asked again."""
    cluster.answer_next_with(METADATA, 5, 5)

    async with connected(body(cluster.address, topic)) as guard:
        assert (await guard.use("publish", {"value": "x"})).offset == 0


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (KafkaError._AUTHENTICATION, "sasl_ssl://b:9093/1: SASL authentication error: Authentication failed (after 3ms in state AUTH_REQ)", Rejected),
        (KafkaError._AUTHENTICATION, "sasl_ssl://b:9093/1: SASL PLAIN mechanism handshake failed: Broker: Unsupported SASL mechanism: broker's supported mechanisms: SCRAM-SHA-512", Misconfigured),
        (KafkaError._SSL, "ssl://b:9093/bootstrap: SSL handshake failed: certificate verify failed: broker certificate could not be verified", Misconfigured),
        (KafkaError._TRANSPORT, "ssl://b:9093/bootstrap: error:0A000086:SSL routines::certificate verify failed", Misconfigured),
        (KafkaError._TRANSPORT, "ssl://b:9093/bootstrap: Disconnected: SSL connection closed by peer", Misconfigured),
        (KafkaError._TRANSPORT, "ssl://b:9093/1: Disconnected: SSL connection closed by peer (after 900ms in state UP)", Unreachable),
        (KafkaError._RESOLVE, "b:9093/bootstrap: Failed to resolve 'b:9093': Name or service not known", Unreachable),
        (KafkaError._TRANSPORT, "b:9093/1: Connect to ipv4#10.0.0.1:9093 failed: Connection refused (after 0ms in state CONNECT, 1 identical error(s) suppressed)", Unreachable),
        (KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down", Unreachable),
    ],
)  # fmt: skip
def test_reasons_are_remembered_for_what_times_out_later(code, text, expected):
    """What the driver tells in passing is the reason of what fails afterwards, with its address and without noise."""
    troubles = Troubles("b:9093")

    troubles.note(KafkaError(code, text))

    assert type(troubles.reason) is expected
    assert "b:9093" in str(troubles.reason)
    assert "in state" not in str(troubles.reason)


def _java_partition(key: bytes, partitions: int) -> int:
    """Kafka's own rule, written anew from its description: 32-bit murmur2 with its fixed seed."""
    mask, multiplier, length = 0xFFFFFFFF, 0x5BD1E995, len(key)
    value = 0x9747B28C ^ length
    for at in range(0, length - 3, 4):
        part = int.from_bytes(key[at : at + 4], "little") * multiplier & mask
        part = (part ^ part >> 24) * multiplier & mask
        value = value * multiplier & mask ^ part
    rest = key[length & ~3 :]
    if rest:
        value = (value ^ int.from_bytes(rest, "little")) * multiplier & mask
    value = (value ^ value >> 13) * multiplier & mask
    return ((value ^ value >> 15) & 0x7FFFFFFF) % partitions
