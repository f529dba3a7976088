"""The connector against a real Kafka, and what it wrote read back with Kafka's own console consumer."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)
from cryptography import x509
from tests.support.services import console_consume, service

from mooring.errors import Misconfigured, Rejected
from mooring.plugin.materials import MaterialMissing, Store
from mooring.testing.live import connected
from mooring.types.kafka.tests.bodies import body, login

MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
TLS = {
    "enableSecure": True,
    "protocolTypes": ["TLS_1_2", "TLS_1_3"],
    "keyStoreName": "client",
    "trustStoreName": "brokers",
}


class Stores:
    """The stores that the tests name."""

    def __init__(self, kafka) -> None:
        self._kafka = kafka

    def store(self, name: str) -> Store:
        files = self._kafka.certificates
        if name == "brokers":
            return Store(trusted=Path(self._kafka.ca).read_text())
        if name == "client":
            return Store(chain=Path(files["client"]).read_text(), key=Path(files["client_key"]).read_text())
        raise MaterialMissing(f"no {name}")


@pytest.fixture(scope="module")
def kafka():
    return service("kafka")


@pytest.fixture(scope="module")
def admin(kafka):
    return AdminClient({"bootstrap.servers": kafka["plaintext"], "log_level": 0})


@pytest.fixture
def topic(request):
    name = request.node.name.translate(str.maketrans("[]", "..", "/ '\"(){}:,="))
    return f"{name}.{time.time_ns()}"


def over(
    kafka, listener: str, topic: str, mechanism: str | None = None, *, password: str | None = None, **properties: str
):
    """A body for one of the broker's listeners."""
    tls = listener.endswith("ssl") or listener == "wrong_name"
    given = {"max.block.ms": "5000", **properties}
    if mechanism:
        given |= login("mooring", password or kafka["users"]["mooring"], mechanism, tls=tls)
    return body(kafka[listener], topic, given, **(TLS if tls else {}))


@asynccontextmanager
async def forbidden(admin, kind, name: str, whom: str = "User:mooring"):
    """While inside, the broker forbids everything about *name* to *whom*."""
    rule = (kind, name, ResourcePatternType.LITERAL, whom, "*", AclOperation.ALL, AclPermissionType.DENY)
    await asyncio.to_thread(next(iter(admin.create_acls([AclBinding(*rule)]).values())).result, 10)
    await asyncio.sleep(0.5)
    try:
        yield
    finally:
        await asyncio.to_thread(next(iter(admin.delete_acls([AclBindingFilter(*rule)]).values())).result, 10)


async def test_records_arrive_over_every_listener(kafka, topic):
    """What is published over plain, TLS and every login arrives, as Kafka's own consumer sees it."""
    ways = [("plaintext", None), ("ssl", None)] + [
        (name, way) for name in ("sasl_plaintext", "sasl_ssl") for way in MECHANISMS
    ]
    for listener, mechanism in ways:
        async with connected(over(kafka, listener, topic, mechanism), materials=Stores(kafka)) as guard:
            await guard.use(
                "publish", {"value": f"{listener} {mechanism}", "key": listener, "headers": {"way": str(mechanism)}}
            )

    records = await asyncio.to_thread(console_consume, kafka, topic, len(ways))
    assert [(record.value, record.key, record.headers) for record in records] == [
        (f"{listener} {mechanism}", listener, (("way", str(mechanism)),)) for listener, mechanism in ways
    ]


async def test_values_and_nulls_arrive_as_kafka_sees_them(kafka, topic):
    """JSON, letters of all sorts, tombstones and headers without a value are what Kafka's own consumer prints."""
    async with connected(over(kafka, "plaintext", topic)) as guard:
        await guard.use("publish", {"value": {"şehir": "İzmir"}, "key": "ü", "headers": {"a": "1", "b": None}})
        await guard.use("publish", {"key": "ü"})

    first, second = await asyncio.to_thread(console_consume, kafka, topic, 2)
    assert (first.value, first.key, first.headers) == ('{"şehir":"İzmir"}', "ü", (("a", "1"), ("b", None)))
    assert (second.value, second.key) == (None, "ü")


async def test_published_records_have_the_brokers_place_and_time(kafka, admin, topic):
    """Partition, offset and time of the answer are those of the record."""
    admin.create_topics([NewTopic(topic, 3, 1)])[topic].result(10)
    async with connected(over(kafka, "plaintext", topic)) as guard:
        answer = await guard.use("publish", {"value": "x", "partition": 2})
        received = await guard.use("receive", {"maxMessages": 1, "fromBeginning": True})

    (record,) = received.messages
    assert (answer.partition, answer.offset) == (record.partition, record.offset) == (2, 0)
    assert answer.timestamp == record.timestamp
    assert abs(answer.timestamp.timestamp() - time.time()) < 60


@pytest.mark.parametrize(
    ("listener", "mechanism"), [("ssl", None), ("sasl_ssl", "SCRAM-SHA-512"), ("sasl_plaintext", "PLAIN")]
)
async def test_receive_works_over_every_listener(kafka, topic, listener, mechanism):
    """Reading uses the same TLS and login as writing."""
    async with connected(over(kafka, listener, topic, mechanism), materials=Stores(kafka)) as guard:
        await guard.use("publish", {"value": "x"})
        received = await guard.use("receive", {"maxMessages": 1, "fromBeginning": True})

    assert [record.value for record in received.messages] == ["x"]


async def test_a_group_remembers_its_place(kafka, topic):
    """With a group named, records are handed out once; without one, every time."""
    async with connected(over(kafka, "plaintext", topic)) as guard:
        for text in ("one", "two", "three"):
            await guard.use("publish", {"value": text})
        asked = {"maxMessages": 2, "fromBeginning": True, "group": topic, "timeoutSeconds": 10}
        handed_out = [record.value for _ in range(2) for record in (await guard.use("receive", asked)).messages]
        again = await guard.use("receive", {"maxMessages": 3, "fromBeginning": True})

    assert handed_out == ["one", "two", "three"]
    assert [record.value for record in again.messages] == handed_out


async def test_a_full_answer_says_so_and_loses_nothing(kafka, topic):
    """An answer holds 8 MiB at most; a group gets the rest with the next."""
    asked = {"maxMessages": 100, "fromBeginning": True, "group": topic, "timeoutSeconds": 10}
    async with connected(over(kafka, "plaintext", topic)) as guard:
        for _ in range(10):
            await guard.use("publish", {"value": "x" * 1_000_000})
        first, second = [await guard.use("receive", asked) for _ in range(2)]

    assert (len(first.messages), first.truncated) == (8, True)
    assert (len(second.messages), second.truncated) == (2, False)


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("operation", ["publish", "receive"])
async def test_wrong_password_is_rejected(kafka, topic, mechanism, operation):
    """A wrong password is told as such within a moment, and appears nowhere."""
    sent = over(kafka, "sasl_ssl", topic, mechanism, password="canary-7f3a9c")
    began = time.monotonic()

    async with connected(sent, materials=Stores(kafka)) as guard:
        with pytest.raises(Rejected) as caught:
            await guard.use(operation, {})
        report = await guard.probe()

    assert time.monotonic() - began < 5
    assert (report.failure.name, report.failure.code) == ("sasl", "rejected")
    assert "canary" not in f"{caught.value} {caught.value.hint} {caught.value.__cause__} {report}"


@pytest.mark.parametrize("operation", ["publish", "receive"])
async def test_wrong_tls_name_says_so(kafka, topic, operation):
    """A certificate for another name is told in the words of TLS, not as a time-out."""
    async with connected(over(kafka, "wrong_name", topic), materials=Stores(kafka)) as guard:
        with pytest.raises(Misconfigured, match="not valid for"):
            await guard.use(operation, {})
        report = await guard.probe()

    assert report.failure.name == "tls"
    assert "not valid for" in report.failure.message


async def test_wrong_tls_name_passes_where_the_check_is_off(kafka, topic):
    """An empty ssl.endpoint.identification.algorithm compares no names, as in Kafka's own client."""
    sent = over(kafka, "wrong_name", topic, **{"ssl.endpoint.identification.algorithm": ""})

    async with connected(sent, materials=Stores(kafka)) as guard:
        assert (await guard.probe()).failure is None


async def test_worker_authorities_are_trusted_without_a_truststore(kafka, topic):
    """Where no truststore is named, the worker's own authorities count."""
    sent = {**over(kafka, "ssl", topic), "trustStoreName": None}

    async with connected(sent, materials=Stores(kafka), ca_file=kafka.ca) as guard:
        await guard.use("publish", {"value": "x"})
        assert (await guard.probe()).failure is None


async def test_unknown_authority_says_so(kafka, topic):
    """A broker whose certificate nobody here knows is told as such."""
    sent = {**over(kafka, "ssl", topic), "trustStoreName": None}

    async with connected(sent, materials=Stores(kafka)) as guard:
        with pytest.raises(Misconfigured, match="certificate was not accepted"):
            await guard.use("publish", {"value": "x"})


async def test_stores_may_stand_in_the_map_as_pem(kafka, topic):
    """Kafka's own PEM properties work, without enableSecure and without stores."""
    files = kafka.certificates
    properties = {
        "security.protocol": "SSL",
        "ssl.truststore.certificates": Path(kafka.ca).read_text(),
        "ssl.keystore.certificate.chain": Path(files["client"]).read_text(),
        "ssl.keystore.key": Path(files["client_key"]).read_text(),
    }

    async with connected(body(kafka["ssl"], topic, properties)) as guard:
        await guard.use("publish", {"value": "x"})
        assert (await guard.probe()).failure is None


async def test_client_certificate_is_really_presented(kafka, admin, topic):
    """The broker knows the client by its certificate: what is forbidden to that name is forbidden."""
    certificate = x509.load_pem_x509_certificate(Path(kafka.certificates["client"]).read_bytes())
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(10)

    async with forbidden(admin, ResourceType.TOPIC, topic, f"User:{certificate.subject.rfc4514_string()}"):
        async with connected(over(kafka, "ssl", topic), materials=Stores(kafka)) as guard:
            with pytest.raises(Rejected):
                await guard.use("publish", {"value": "x"})


@pytest.mark.parametrize(("listener", "tls"), [("plaintext", True), ("ssl", False), ("sasl_plaintext", False)])
async def test_wrong_protocol_is_told_quickly(kafka, topic, listener, tls):
    """TLS to a plain port, or no TLS or login where one is asked for, ends at once with a hint at the protocol."""
    sent = body(kafka[listener], topic, {"max.block.ms": "5000"}, **(TLS if tls else {}))
    began = time.monotonic()

    async with connected(sent, materials=Stores(kafka)) as guard:
        with pytest.raises((Misconfigured,) if tls else Exception, match=kafka[listener]):
            await guard.use("publish", {"value": "x"})

    assert time.monotonic() - began < 4


async def test_forbidden_topic_is_rejected(kafka, admin, topic):
    """A topic that this user may not use is told as such by publish, receive and probe."""
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(10)
    async with forbidden(admin, ResourceType.TOPIC, topic):
        async with connected(over(kafka, "sasl_plaintext", topic, "PLAIN")) as guard:
            for operation in ("publish", "receive"):
                with pytest.raises(Rejected, match=topic):
                    await guard.use(operation, {})
            report = await guard.probe()

    assert (report.failure.name, report.failure.code) == ("topic", "rejected")


async def test_reading_without_a_group_needs_no_right_to_groups(kafka, admin, topic):
    """Who may read the topic and no group at all can still receive without one."""
    async with forbidden(admin, ResourceType.GROUP, "*"):
        async with connected(over(kafka, "sasl_plaintext", topic, "PLAIN")) as guard:
            await guard.use("publish", {"value": "x"})
            received = await guard.use("receive", {"maxMessages": 1, "fromBeginning": True})
            with pytest.raises(Rejected, match="group"):
                await guard.use("receive", {"group": "mine", "timeoutSeconds": 5})

    assert [record.value for record in received.messages] == ["x"]


@pytest.mark.parametrize(("listener", "mechanism"), [("plaintext", None), ("ssl", None), ("sasl_ssl", "SCRAM-SHA-256")])
async def test_probe_passes_over_every_listener(kafka, admin, topic, listener, mechanism):
    """A probe passes every step that applies."""
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(10)

    async with connected(over(kafka, listener, topic, mechanism), materials=Stores(kafka)) as guard:
        states = {step.name: step.state for step in (await guard.probe()).steps}

    assert states == {
        "resolve": "passed", "bootstrap": "passed", "tls": "passed" if listener.endswith("ssl") else "skipped",
        "sasl": "passed" if mechanism else "skipped", "topic": "passed",
    }  # fmt: skip


async def test_probe_creates_no_topic(kafka, admin, topic):
    """A topic that is not there yet ends unknown, says that the brokers create it, and is not created."""
    async with connected(over(kafka, "plaintext", topic)) as guard:
        report = await guard.probe()

    assert report.steps[-1].state == "unknown"
    assert "create it on first use" in report.steps[-1].message
    assert topic not in admin.list_topics(timeout=5).topics


async def test_a_changed_property_under_load_loses_nothing(kafka, topic):
    """The connector is replaced with another linger.ms while publishers go on; Kafka's own consumer finds every record."""
    sent: list[str] = []
    stop = asyncio.Event()
    current = connected(over(kafka, "sasl_ssl", topic, "SCRAM-SHA-512", **{"linger.ms": "5"}), materials=Stores(kafka))
    guard = await current.__aenter__()

    async def publish() -> None:
        while not stop.is_set():
            text = f"r-{len(sent)}"
            sent.append(text)
            await guard.use("publish", {"value": text})

    publishing = [asyncio.create_task(publish()) for _ in range(5)]
    for linger in ("0", "25"):
        await asyncio.sleep(0.5)
        old, current = (
            current,
            connected(
                over(kafka, "sasl_ssl", topic, "SCRAM-SHA-512", **{"linger.ms": linger}), materials=Stores(kafka)
            ),
        )
        guard = await current.__aenter__()
        await old.__aexit__(None, None, None)
    await asyncio.sleep(0.5)
    stop.set()
    await asyncio.gather(*publishing)
    await current.__aexit__(None, None, None)

    records = await asyncio.to_thread(console_consume, kafka, topic, len(sent))
    assert sorted(record.value for record in records) == sorted(sent)
