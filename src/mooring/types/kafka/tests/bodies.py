"""Bodies for tests, made from few words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mooring.plugin.config import read_config
from mooring.testing.live import COMMON_KEYS
from mooring.types.kafka.model import KafkaConfig

STRING = "org.apache.kafka.common.serialization.StringSerializer"
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
EXAMPLE: dict[str, Any] = json.loads((Path(__file__).parents[1] / "example.json").read_text())


def entry(value: Any, value_type: str = "STRING") -> dict[str, Any]:
    return {"value": value, "valueType": value_type}


def body(
    servers: str = "localhost:9092", topic: str = "events", properties: dict[str, Any] | None = None, **fields: Any
) -> dict[str, Any]:
    """A body with the three properties that must be there, and *properties* as text or as whole entries."""
    given = {"bootstrap.servers": servers, "key.serializer": STRING, "value.serializer": STRING, **(properties or {})}
    entries = {
        key: value if isinstance(value, dict) else entry(value) for key, value in given.items() if value is not None
    }
    return {"type": "kafka", "name": "k", "topicName": topic, "propertiesMap": entries, **fields}


def login(
    user: str = "orders", password: str = "canary-7f3a", mechanism: str = "SCRAM-SHA-512", *, tls: bool = False
) -> dict[str, str]:
    """The properties of a SASL login."""
    module = PLAIN if mechanism == "PLAIN" else SCRAM
    return {
        "security.protocol": "SASL_SSL" if tls else "SASL_PLAINTEXT",
        "sasl.mechanism": mechanism,
        "sasl.jaas.config": f'{module} required username="{user}" password="{password}";',
    }


def read(sent: dict[str, Any]) -> KafkaConfig:
    return read_config(KafkaConfig, {key: value for key, value in sent.items() if key not in COMMON_KEYS})
