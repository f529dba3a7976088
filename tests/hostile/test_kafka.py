"""Every key that librdkafka or a Java client of Kafka documents: taken, or refused by name."""

from __future__ import annotations

import ctypes
import json
from pathlib import Path
from typing import Any

import pytest

from mooring.errors import InvalidConfig, Misconfigured
from mooring.plugin.config import read_config
from mooring.plugin.connector import Context
from mooring.types.kafka.model import KafkaConfig
from mooring.types.kafka.settings import settings_of
from tests.support.plane import connection_path

DATA = json.loads(Path(__file__).with_name("kafka_keys.json").read_text())
KEYS: dict[str, dict[str, Any]] = DATA["keys"]
REFUSED = sorted(key for key, known in KEYS.items() if known["verdict"] == "refused")
TAKEN = sorted(key for key, known in KEYS.items() if known["verdict"] == "taken")
CANARY = "c4n4ry"
STRING = "org.apache.kafka.common.serialization.StringSerializer"

DANGEROUS = (
    "sasl.kerberos.kinit.cmd", "plugin.library.paths", "ssl.engine.location", "ssl.providers", "ssl.key.location", "ssl.certificate.location",
    "ssl.ca.location", "ssl.crl.location", "ssl.keystore.location", "ssl.truststore.location", "sasl.kerberos.keytab", "interceptor.classes",
    "metric.reporters", "security.providers", "ssl.engine.factory.class", "sasl.login.class", "sasl.client.callback.handler.class",
    "sasl.oauthbearer.assertion.private.key.file", "sasl.oauthbearer.assertion.file", "sasl.oauthbearer.jwks.endpoint.url", "client.rack", "debug", "opaque",
    "socket_cb", "open_cb", "connect_cb", "oauthbearer_token_refresh_cb", "error_cb", "log_cb", "stats_cb", "default_topic_conf", "builtin.features", "metadata.broker.list",
    "https.ca.location", "https.ca.pem", "sasl.oauthbearer.jwt.retriever.class", "config.providers", "config.providers.file.class", "sasl.jaas.config.file",
)  # fmt: skip

DRIVER_SETTINGS = frozenset(
    {
        "acks", "batch.size", "bootstrap.servers", "client.dns.lookup", "client.id", "compression.type", "connections.max.idle.ms", "delivery.timeout.ms",
        "enable.idempotence", "enable.metrics.push", "linger.ms", "log_level", "max.in.flight.requests.per.connection", "message.max.bytes", "metadata.max.age.ms",
        "partitioner", "queue.buffering.max.kbytes", "queue.buffering.max.messages", "reconnect.backoff.max.ms", "reconnect.backoff.ms", "request.timeout.ms", "retries",
        "retry.backoff.max.ms", "retry.backoff.ms", "sasl.mechanism", "sasl.oauthbearer.client.id", "sasl.oauthbearer.client.secret", "sasl.oauthbearer.method",
        "sasl.oauthbearer.scope", "sasl.oauthbearer.token.endpoint.url", "sasl.password", "sasl.username", "security.protocol", "socket.connection.setup.timeout.ms",
        "socket.receive.buffer.bytes", "socket.send.buffer.bytes", "ssl.ca.pem", "ssl.certificate.pem", "ssl.endpoint.identification.algorithm", "ssl.key.password", "ssl.key.pem",
    }
)  # fmt: skip
"""All that the driver may ever be told by what strangers write: no file, no command, no library, no callback."""

SPELLINGS = (str, str.upper, str.title, lambda key: f" {key}", lambda key: f"{key} ", lambda key: key.replace(".", "_"), lambda key: f"{key}\u200b", lambda key: f"topic.{key}", lambda key: f"{{topic}}.{key}")  # fmt: skip
VALUES = (
    f"/tmp/{CANARY}",
    f"touch /tmp/{CANARY}",
    "true",
    "1",
    f"com.evil.{CANARY}",
    f"https://evil.example.com/{CANARY}",
    f"{CANARY}\r\nx",
    f"${{{CANARY}}}",
    f"/tmp/{CANARY}.so;x",
)


def body(key: str, value: str, value_type: str = "STRING") -> dict[str, Any]:
    given = {"bootstrap.servers": "localhost:9092", "key.serializer": STRING, "value.serializer": STRING, key: value}
    entries = {
        name: {"value": text, "valueType": value_type if name == key else "STRING"} for name, text in given.items()
    }
    return {"topicName": "events", "propertiesMap": entries}


def refusal(key: str, value: str) -> str | None:
    """What is said about the property, or None where it is taken."""
    try:
        read_config(KafkaConfig, body(key, value))
    except InvalidConfig as exc:
        return " ".join(f"{problem.path} {problem.message}" for problem in exc.problems)
    return None


def test_the_list_is_that_of_the_library():
    """Every key of the librdkafka that is installed stands in the list."""
    import confluent_kafka

    [library] = Path(confluent_kafka.__path__[0] + ".libs").glob("librdkafka-*")
    count = ctypes.c_size_t()
    driver = ctypes.CDLL(str(library))
    driver.rd_kafka_conf_new.restype = ctypes.c_void_p
    driver.rd_kafka_conf_dump.restype = ctypes.POINTER(ctypes.c_char_p)
    driver.rd_kafka_conf_dump.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_size_t)]
    pairs = driver.rd_kafka_conf_dump(driver.rd_kafka_conf_new(), ctypes.byref(count))
    found = {pairs[number].decode() for number in range(0, count.value, 2)}

    assert len(found) > 80
    assert found - KEYS.keys() == set()


def test_every_dangerous_key_is_refused():
    """No key that runs, loads, reads or dials is taken."""
    assert set(DANGEROUS) & set(TAKEN) == set()
    assert [key for key in DANGEROUS if not (refusal(key, f"/tmp/{CANARY}") or "").count(key)] == []


@pytest.mark.parametrize("spelled", range(len(SPELLINGS)))
def test_refused_keys_are_refused_in_every_spelling(spelled):
    """A key that is not taken is refused by name, with whatever value, and the value is not repeated."""
    wrong = []
    for key in REFUSED:
        for value in VALUES:
            said = refusal(SPELLINGS[spelled](key), value)
            if said is None or key.split(".")[0].lower().split("_")[0] not in said.lower() or CANARY in said:
                wrong.append((key, value, said))

    assert wrong == []


def test_taken_keys_never_tell_the_driver_more_than_is_allowed():
    """Whatever is written into a key that is taken: it is refused without its value, or the driver is told harmless things."""
    wrong = []
    for key in TAKEN:
        # What holds a variable is read again when the variable is known, and never goes to a driver before.
        for value in (value for value in VALUES if "${" not in value):
            for value_type in ("STRING", "SECRET", "URI"):
                try:
                    settings = settings_of(
                        read_config(KafkaConfig, body(key, value, value_type)), Context("test/kafka")
                    )
                except InvalidConfig as exc:
                    said = " ".join(problem.message for problem in exc.problems)
                    if CANARY in said or key not in said + " ".join(problem.path for problem in exc.problems):
                        wrong.append((key, value, said))
                    continue
                except Misconfigured:
                    continue
                for told in (settings.client, settings.producer):
                    if told.keys() - DRIVER_SETTINGS:
                        wrong.append((key, value, sorted(told.keys() - DRIVER_SETTINGS)))
                    if any(callable(setting) for setting in told.values()):
                        wrong.append((key, value, "a callback"))

    assert wrong == []


async def test_by_the_api(http):
    """The API answers 400 for every refused key, names it, and does not repeat the value."""
    wrong = []
    for key in REFUSED:
        answer = await http.post(
            connection_path("k"), json={"type": "kafka", "name": "k", **body(key, f"/tmp/{CANARY}")}
        )
        if answer.status_code != 400 or key not in answer.text or CANARY in answer.text:
            wrong.append((key, answer.status_code, answer.text))

    assert len(REFUSED) > 150
    assert wrong == []
