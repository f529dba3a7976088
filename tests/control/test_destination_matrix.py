"""Every type, every destination, every way there: what is refused keeps a secret where it was meant to go."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mooring.control.plane import Plane
from mooring.control.references import trust_watch
from mooring.errors import InvalidConfig, SecretRequired
from mooring.plugin.card import ConnectionType
from mooring.plugin.config import read_config, secret_sites
from tests.control.test_destination import (
    ACTOR,
    ASK,
    CASES,
    REGISTRY,
    bodies,
    changes,
    secrets_of,
    typed,
    without_secrets,
)
from tests.control.test_trust import EDITOR, GOOD, OTHER, replaced, stored
from tests.support.plane import DEV_PROJECT

ENCRYPTED: dict[str, dict[str, Any]] = {
    "kafka": {"enableSecure": True, "protocolTypes": ["TLS_1_2", "TLS_1_3"]},
    "ldap": {
        "useSsl": True,
        "serverAddress": "ldaps://ldap.example.com:636",
        "requireCertificateType": "REQUIRED_AN_PN",
    },
    "rabbitMq": {"useSsl": True},
    "activeMq": {"brokerURL": "ssl://broker.example.com:61617"},
    "email": {"useSsl": True},
    "elasticsearch": {"encryptCommunication": True},
}
"""What makes a type's bodies use the truststore that they name, where they do not already."""

TRUSTING = [
    pytest.param(REGISTRY.get(name), field, id=f"{name}-{field}")
    for name, fields in trust_watch(REGISTRY).fields.items()
    if secret_sites(REGISTRY.get(name).config)
    for field in sorted(fields)
]


@pytest.mark.parametrize(("card", "field"), CASES)
async def test_a_draft_takes_no_kept_secret_along(card: ConnectionType, field: str, plane: Plane) -> None:
    """Testing a draft with another destination and a kept secret is refused, and names the secret."""
    project = await plane.store.project(DEV_PROJECT)
    assert project is not None
    tried = 0
    for number, body in enumerate(bodies(card)):
        name = f"moved-{number}"
        body = {**body, "name": name}
        await plane.connections.create(ACTOR, DEV_PROJECT, name, json.dumps(body).encode(), ASK)
        before = await plane.store.connection(project.id, name)
        assert before is not None
        for changed in list(changes(card, body, field))[:3]:
            sent = without_secrets(card, changed, json.loads(before.document), field)
            with pytest.raises(InvalidConfig) as raised:
                await plane.connections.candidate(ACTOR, DEV_PROJECT, name, json.dumps(sent).encode())
            if isinstance(raised.value, SecretRequired):
                assert field in raised.value.problems[0].message
                tried += 1
        if tried >= 2:
            break

    assert tried, "no value was found that this destination field could be changed to"


def trusting(card: ConnectionType, field: str) -> dict[str, Any]:
    """A body that keeps a secret and really uses the truststore that it names in *field*."""
    for body in bodies(card):
        for more in ({}, ENCRYPTED.get(card.name, {})):
            sent = {**body, **more, field: "trust"}
            try:
                config = read_config(card.config, typed(sent))
                if config.references().get(field) == "trust" and secrets_of(card, sent):
                    return sent
            except InvalidConfig:
                continue
    pytest.fail("no body of this type uses that field")


@pytest.mark.parametrize(("card", "field"), TRUSTING)
async def test_what_is_trusted_gets_no_wider(card: ConnectionType, field: str, plane: Plane) -> None:
    """Of every type, through every field that names a truststore or a certificate."""
    await stored(plane, GOOD)
    body = {**trusting(card, field), "name": "moved"}
    await plane.connections.create(ACTOR, DEV_PROJECT, "moved", json.dumps(body).encode(), ASK)

    with pytest.raises(SecretRequired) as raised:
        await replaced(plane, OTHER, actor=EDITOR)

    assert "MyProject/moved" in raised.value.message


def test_every_reference_that_is_no_keystore_is_a_destination() -> None:
    """So that naming another truststore falls under the rule too."""
    for card in REGISTRY:
        declared = set(card.summary()["destinationFields"])
        assert trust_watch(REGISTRY).fields[card.name] <= declared, card.name
