"""A kept secret never follows a changed destination: every type, every destination field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from mooring.control.connections import Ask
from mooring.control.plane import Plane
from mooring.control.tokens import system_actor
from mooring.domain.records import Actor
from mooring.errors import InvalidConfig, SecretRequired
from mooring.plugin.card import ConnectionType
from mooring.plugin.config import ConnectionConfig, read_config, secret_fields, secret_sites, split
from mooring.plugin.registry import Registry
from mooring.wire.body import COMMON_KEYS
from tests.support.plane import DEV_PROJECT

REGISTRY = Registry()
ACTOR: Actor = system_actor()
ASK = Ask(0)
NO_SECRETS = ["logback", "syslog"]
"""Types that keep no secret at all, and so have nothing that could follow anywhere."""

SECRET_ITSELF = {"graylog": {"tlsTrustCertChainFile"}}
"""Destination fields that are their type's only secret: whoever changes one sends it."""


def typed(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key not in COMMON_KEYS}


def secrets_of(card: ConnectionType, body: dict[str, Any]) -> dict[str, str]:
    return split(card.config, read_config(card.config, typed(body)).wire())[1]


def candidates(schema: dict[str, Any], now: Any) -> Iterator[Any]:
    """Values that a field might be changed to."""
    for option in schema.get("anyOf", [schema]):
        yield from (value for value in option.get("enum", ()))
        if "const" in option:
            yield option["const"]
        match option.get("type"):
            case "boolean":
                yield from (True, False)
            case "integer":
                yield from (option.get("minimum", 0) + 1, option.get("minimum", 0), 4711, 2, 1)
            case "array":
                if isinstance(now, list) and now:
                    yield now[:-1]
                    yield from ([*now[:-1], changed] for changed in _changed_entries(now[-1]))
                yield ["other.example.net:9999"]
            case "object" if isinstance(now, dict):
                yield from ({**now, key: changed} for key, value in now.items() for changed in _texts(value))
            case "string":
                yield from _texts(now)
    yield from schema.get("examples", ())


def _changed_entries(entry: Any) -> Iterator[Any]:
    if isinstance(entry, str):
        yield from _texts(entry)
    if isinstance(entry, dict):
        for key, value in entry.items():
            yield from ({**entry, key: changed} for changed in _texts(value))


def _texts(now: Any) -> Iterator[str]:
    if isinstance(now, str) and now:
        yield now.replace("example.com", "example.net")
        yield now.replace("localhost", "other.example.net")
        yield now.replace("example", "elsewhere")
        yield now + "x"
        yield now[:-1]
    yield from (
        "other.example.net", "other.example.net:9999", "https://other.example.net/x", "ldap://other.example.net:389",
        "other", "/other", "1.2.3", "4711", "amqp://other.example.net", "tcp://other.example.net:61616",
        "jdbc:postgresql://other.example.net:5432/other", "udp:other.example.net/162", "dc=other,dc=example", "US", "EU",
    )  # fmt: skip


def changes(card: ConnectionType, body: dict[str, Any], field: str) -> Iterator[dict[str, Any]]:
    """Bodies that are right and differ from *body* in the destination *field*."""
    stored = read_config(card.config, typed(body))
    for value in candidates(card.schema["properties"][field], stored.wire()[field]):
        changed = {**body, field: value}
        try:
            config = read_config(card.config, typed(changed))
        except InvalidConfig:
            continue
        if config.destination()[field] != stored.destination()[field]:
            yield changed


def destination_fields(card: ConnectionType) -> list[str]:
    return [str(name) for name in card.summary()["destinationFields"]]


def bodies(card: ConnectionType) -> list[dict[str, Any]]:
    """The type's example, and what its tests accept: those that hold a secret."""
    found = [dict(card.example)]
    path = card.folder / "tests" / "bodies.json"
    if path.exists():
        found += [body for body in json.loads(path.read_text())["accepted"] if isinstance(body, dict)]
    kept = []
    for body in found:
        try:
            if secrets_of(card, body):
                kept.append({**body, "type": card.name, "name": "moved", "deployToWorker": False})
        except InvalidConfig:
            continue
    return kept


CASES = [
    pytest.param(card, field, id=f"{card.name}-{field}")
    for card in REGISTRY
    if secret_sites(card.config)
    for field in destination_fields(card)
    if field not in SECRET_ITSELF.get(card.name, ())
]


def without_secrets(card: ConnectionType, body: dict[str, Any], stored: dict[str, Any], field: str) -> dict[str, Any]:
    """
    *body* as a client sends it that has read the connection and knows no secret: holes as they were read, *field* changed.

    Where the field is itself a secret (a truststore's content), the new one is sent; the others are kept.
    """
    public = {key: value for key, value in stored.items() if key in typed(stored)}
    lifted, _ = split(card.config, read_config(card.config, typed(body)).wire())
    return {
        **{key: body[key] for key in body if key in COMMON_KEYS},
        **typed(public),
        field: body[field] if field in secret_fields(card.config) else lifted[field],
    }


@pytest.mark.parametrize(("card", "field"), CASES)
async def test_a_kept_secret_does_not_follow(card: ConnectionType, field: str, plane: Plane) -> None:
    """A PUT that changes the destination field and would keep a secret names the secret to send again, and changes nothing."""
    store = plane.store
    project = await store.project(DEV_PROJECT)
    assert project is not None
    tried = 0
    for number, body in enumerate(bodies(card)):
        name = f"moved-{number}"
        body = {**body, "name": name}
        await plane.connections.create(ACTOR, DEV_PROJECT, name, json.dumps(body).encode(), ASK)
        before = await store.connection(project.id, name)
        assert before is not None
        for changed in list(changes(card, body, field))[:3]:
            sent = without_secrets(card, changed, json.loads(before.document), field)
            with pytest.raises(InvalidConfig) as raised:
                await plane.connections.update(ACTOR, DEV_PROJECT, name, json.dumps(sent).encode(), ASK)
            if isinstance(raised.value, SecretRequired):
                kept = {secret.key for secret in await store.secrets(before.id)}
                named = {problem.path[1:] for problem in raised.value.problems}
                assert named and named <= kept and field in raised.value.problems[0].message
                tried += 1
            assert await store.connection(project.id, name) == before
            # With its secrets sent again, the same change is fine.
            await plane.connections.update(ACTOR, DEV_PROJECT, name, json.dumps(changed).encode(), ASK)
            await plane.connections.update(ACTOR, DEV_PROJECT, name, json.dumps(body).encode(), ASK)
            before = await store.connection(project.id, name)
            assert before is not None
        if tried >= 2:
            break

    assert tried, "no value was found that this destination field could be changed to"


def test_types_without_secrets_are_these() -> None:
    """All others are looked at above."""
    assert [card.name for card in REGISTRY if not secret_sites(card.config)] == NO_SECRETS


@pytest.mark.parametrize("card", [pytest.param(card, id=card.name) for card in REGISTRY if secret_sites(card.config)])
def test_every_type_with_secrets_has_a_destination(card: ConnectionType) -> None:
    """And a body with a secret to show it with."""
    assert destination_fields(card) and bodies(card)


async def test_a_changed_destination_with_the_secret_is_fine(plane: Plane) -> None:
    """As is one without any secret kept."""
    body = {
        "type": "email",
        "name": "m",
        "host": "a.example.com",
        "username": "u",
        "password": "p",
        "auth": True,
        "deployToWorker": False,
    }
    await plane.connections.create(ACTOR, DEV_PROJECT, "m", json.dumps(body).encode(), ASK)

    for sent in ({**body, "host": "b.example.com"}, {**body, "host": "c.example.com", "password": "", "auth": False}):
        await plane.connections.update(ACTOR, DEV_PROJECT, "m", json.dumps(sent).encode(), ASK)


async def test_without_a_changed_destination_secrets_are_kept(plane: Plane) -> None:
    """Absent and null alike."""
    body = {
        "type": "email",
        "name": "m",
        "host": "a.example.com",
        "username": "u",
        "password": "p",
        "auth": True,
        "deployToWorker": False,
    }
    await plane.connections.create(ACTOR, DEV_PROJECT, "m", json.dumps(body).encode(), ASK)
    project = await plane.store.project(DEV_PROJECT)
    assert project is not None
    connection = await plane.store.connection(project.id, "m")
    assert connection is not None
    before = await plane.store.secrets(connection.id)

    for password in ({}, {"password": None}):
        sent = {**{key: value for key, value in body.items() if key != "password"}, **password, "from": "x@example.com"}
        await plane.connections.update(ACTOR, DEV_PROJECT, "m", json.dumps(sent).encode(), ASK)

    assert await plane.store.secrets(connection.id) == before


def test_a_destination_is_told_apart_by_value() -> None:
    """Written otherwise and meaning the same, it has not changed."""
    card = REGISTRY.get("email")
    one, other = [read_config(card.config, {"host": "h", "port": port}) for port in (587, "587")]

    assert isinstance(one, ConnectionConfig) and one.destination() == other.destination()
