"""From references to what they mean: one pass, and then the same model and rules, strictly."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mooring.errors import InvalidConfig
from mooring.plugin.config import ConnectionConfig, split
from mooring.plugin.registry import Registry
from mooring.plugin.resolution import NoValue, Unresolved, resolve, split_resolved
from mooring.wire.body import COMMON_KEYS

REGISTRY = Registry()
TEXT = "org.apache.kafka.common.serialization.StringSerializer"
LARGE = ("activeMq", "graylog", "syslog", "kafka")
"""Types with many required fields: what a test leaves out is as in their example."""


def config(type_name: str, fields: dict[str, Any], **variables: str) -> ConnectionConfig:
    """The resolved config of what would be stored for *fields*."""
    model = REGISTRY.get(type_name).config

    def value_of(name: str) -> str:
        if name not in variables:
            raise NoValue(f"the variable {name} has no value in this environment")
        return variables[name]

    example = json.loads((REGISTRY.get(type_name).folder / "example.json").read_text())
    written = {key: value for key, value in example.items() if key not in COMMON_KEYS} if type_name in LARGE else {}
    try:
        stored = model.from_wire({**written, **fields})
    except InvalidConfig as exc:
        raise AssertionError(f"it could not be stored: {[problem.path for problem in exc.problems]}") from exc
    return resolve(model, *split(model, stored.wire()), value_of)


def database(url: str, **more: Any) -> dict[str, Any]:
    return {"dbType": "POSTGRES", "jdbcUrl": url, "username": "ada", "password": "secret", **more}


def test_texts_and_numbers_are_resolved() -> None:
    """Also inside of a longer text, several times."""
    found = config("email", {"host": "${A}.${B}.example.com", "port": "${PORT}"}, A="mx", B="eu", PORT="587")

    assert (found.wire()["host"], found.wire()["port"]) == ("mx.eu.example.com", 587)


def test_one_pass() -> None:
    """What a variable says is a text: a reference in it leads nowhere, and `$${` is a literal."""
    found = config("webhook", {"fullUrl": "https://h/?a=${A}&b=$${B}", "httpMethod": "POST", "headerList": [
        {"name": "X-Note", "value": "${A} $${B}"}]}, A="$B", B="never")  # fmt: skip
    twice = config(
        "activeMq", {"brokerURL": "tcp://mq:61616", "username": "u", "password": "p${A}"}, A="${B}", B="never"
    )

    assert found.wire()["headerList"][0]["value"] == "$B ${B}"
    assert split_resolved(twice)[1]["password"] == "p${B}"


def test_what_is_missing_is_named_with_its_field() -> None:
    """Every field of them."""
    with pytest.raises(Unresolved) as caught:
        config("email", {"host": "${HOST}", "port": "${PORT}"}, PORT="1")

    assert str(caught.value) == "host: the variable HOST has no value in this environment"


@pytest.mark.parametrize(
    ("type_name", "fields", "variables", "path"),
    [
        ("database", database("${X}"), {"X": "jdbc:postgresql://h/d?socketFactory=evil.Factory"}, "/jdbcUrl"),
        ("database", database("${X}"), {"X": "jdbc:mysql://h/d?allowLoadLocalInfile=true"}, "/jdbcUrl"),
        ("database", database("${X}"), {"X": "${X}"}, "/jdbcUrl"),
        ("database", database("jdbc:postgresql://${X}/d"), {"X": "${h}"}, "/jdbcUrl"),
        ("database", database("jdbc:postgresql://h/d?sslmode=${X}"), {"X": "${y}"}, "/jdbcUrl"),
        ("email", {"host": "${X}", "port": 25}, {"X": "mx\r\nRSET"}, "/host"),
        ("email", {"host": "mx", "port": "${X}"}, {"X": "70000"}, "/port"),
        ("email", {"host": "mx", "port": "${X}"}, {"X": "${Y}"}, "/port"),
        ("webhook", {"fullUrl": "https://h/", "httpMethod": "${X}"}, {"X": "ALL"}, "/httpMethod"),
        ("webhook", {"fullUrl": "https://h/", "httpMethod": "${X}"}, {"X": "${Y}"}, "/httpMethod"),
        ("webhook", {"fullUrl": "${X}", "httpMethod": "POST"}, {"X": "file:///etc/passwd"}, "/fullUrl"),
        ("activeMq", {"brokerURL": "${X}"}, {"X": "vm://localhost?brokerConfig=xbean:http://evil/"}, "/brokerURL"),
        ("activeMq", {"brokerURL": "${X}"}, {"X": "${X}"}, "/brokerURL"),
        ("graylog", {"transportType": "${X}"}, {"X": "SCTP"}, "/transportType"),
        ("syslog", {"syslogServerHostname": "${X}"}, {"X": "a b"}, "/syslogServerHostname"),
    ],
)  # fmt: skip
def test_a_variable_gets_nobody_around_a_rule(
    type_name: str, fields: dict[str, Any], variables: dict[str, str], path: str
) -> None:
    """What it says is checked as if it had been written there, and what looks like a reference is none."""
    with pytest.raises(InvalidConfig) as caught:
        config(type_name, fields, **variables)

    assert path in {problem.path for problem in caught.value.problems}
    assert not any(value in problem.message for problem in caught.value.problems for value in variables.values())


def test_a_kafka_property_is_checked() -> None:
    """Its value comes from a variable, and is refused like a written one."""
    fields = {"topicName": "t", "propertiesMap": {"bootstrap.servers": {"value": "k:9092"}, "acks": {"value": "${X}"},
              "key.serializer": {"value": TEXT}, "value.serializer": {"value": TEXT}}}  # fmt: skip

    with pytest.raises(InvalidConfig):
        config("kafka", fields, X="many")


def test_a_secret_in_a_resolved_url_is_one() -> None:
    """It is found as where it was written, so it is scrubbed from what people see."""
    found = config(
        "database",
        {"dbType": "POSTGRES", "jdbcUrl": "${X}", "useCredentials": False},
        X="jdbc:postgresql://h/d?user=u&password=hush",
    )

    assert "hush" in split_resolved(found)[1].values()
    assert "hush" not in str(split_resolved(found)[0])


@pytest.mark.parametrize(
    ("type_name", "fields", "value"),
    [
        ("webhook", {"fullUrl": "https://ada:${X}@hooks.example.com/", "httpMethod": "POST"}, "x@evil.example.com/"),
        ("webhook", {"fullUrl": "https://h/?token=${X}", "httpMethod": "POST"}, "x&admin=true"),
        ("database", {"dbType": "POSTGRES", "useCredentials": False, "jdbcUrl": "jdbc:postgresql://h/d?user=u&password=${X}"}, "x&sslmode=disable"),
    ],
)  # fmt: skip
def test_a_value_stays_in_its_place(type_name: str, fields: dict[str, Any], value: str) -> None:
    """A secret inside of a longer text does not become a host, or another parameter."""
    with pytest.raises(InvalidConfig, match="does not fit in its place"):
        config(type_name, fields, X=value)
