"""What a truststore trusts belongs to where secrets go: it gets no wider under a stored secret."""

from __future__ import annotations

import base64
import datetime
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from mooring.control.connections import Ask
from mooring.control.plane import Plane
from mooring.control.tokens import system_actor
from mooring.domain.records import Actor
from mooring.errors import InUse, SecretRequired
from tests.support.keystores import Identity, authority, keystore
from tests.support.plane import DEV_PROJECT

REVEALING: Actor = system_actor()
EDITOR = replace(REVEALING, grants=REVEALING.grants - {"secrets:reveal"})
ASK = Ask(0)
GOOD, OTHER = authority("Good"), authority("Other")


def renewed(of: Identity) -> Identity:
    """The same subject and key in a new certificate."""
    old, now = of.certificate, datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(old.subject).issuer_name(old.issuer)
    builder = builder.public_key(of.key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=900))
    return Identity(of.key, builder.sign(of.key, hashes.SHA256()))


def pem(*trusted: Identity) -> bytes:
    return "".join(each.certificate_pem for each in trusted).encode()


async def connected(plane: Plane, name: str = "hook", project: str = DEV_PROJECT, **more: Any) -> None:
    """A connection that keeps a secret and trusts what `trust` does."""
    body = {
        "type": "webhook", "name": name, "httpMethod": "POST", "fullUrl": "https://u:secret@hooks.example.com/in",
        "trustStoreName": "trust", "verifyHostname": True, "deployToWorker": False, **more,
    }  # fmt: skip
    await plane.connections.create(REVEALING, project, name, json.dumps(body).encode(), ASK)


async def stored(
    plane: Plane, *trusted: Identity, name: str = "trust", project: str = DEV_PROJECT, actor: Actor = EDITOR
) -> None:
    await plane.keystores.create(actor, project, keystore(name, pem(*trusted)), ASK)


async def replaced(
    plane: Plane,
    *trusted: Identity,
    name: str = "trust",
    project: str = DEV_PROJECT,
    actor: Actor = EDITOR,
    **more: Any,
) -> None:
    await plane.keystores.update(actor, project, name, {**keystore(name, pem(*trusted)), **more}, ASK)


async def trusted_now(plane: Plane, project_name: str = DEV_PROJECT) -> bytes:
    """What stands behind `trust`, as it was uploaded."""
    project = await plane.store.project(project_name)
    assert project is not None
    material = await plane.store.material(project.id, "keystore", "trust")
    assert material is not None
    (content,) = await plane.store.material_contents(material.id)
    sealed = next(each for each in await plane.store.material_secrets(material.id) if each.key == "file")
    place = f"{content.environment}/file"
    return base64.b64decode(plane.ring.unseal(sealed.sealed, key_id=sealed.key_id, connection=material.id, key=place))


@pytest.mark.parametrize("after", [(OTHER,), (GOOD, OTHER)], ids=["another", "one-more"])
async def test_another_authority_is_wider(plane: Plane, after: tuple[Identity, ...]) -> None:
    """It is 400 with the connection, its secret and what to do; nothing changes."""
    await stored(plane, GOOD)
    await connected(plane)

    with pytest.raises(SecretRequired) as raised:
        await replaced(plane, *after)

    (problem,) = raised.value.problems
    assert problem.path == "/keyStoreEnvironmentList" and problem.code == "secret_required"
    assert f"{DEV_PROJECT}/hook would keep what is stored (fullUrl" in problem.message
    assert "secrets:reveal" in problem.message
    assert await trusted_now(plane) == pem(GOOD)


async def test_who_may_read_the_secret_may_widen(plane: Plane) -> None:
    """The grant `secrets:reveal` in the projects of these connections."""
    await stored(plane, GOOD)
    await connected(plane)

    await replaced(plane, OTHER, actor=REVEALING)

    assert await trusted_now(plane) == pem(OTHER)


async def test_a_renewal_is_not_wider(plane: Plane) -> None:
    """The same subject and the same key."""
    again = renewed(GOOD)
    await stored(plane, GOOD)
    await connected(plane)

    await replaced(plane, again)

    assert await trusted_now(plane) == pem(again)


async def test_removal_is_not_wider(plane: Plane) -> None:
    """And putting back what was removed is."""
    await stored(plane, GOOD, OTHER)
    await connected(plane)

    await replaced(plane, GOOD)

    with pytest.raises(SecretRequired):
        await replaced(plane, GOOD, OTHER)


async def test_without_a_stored_secret_nothing_is_in_the_way(plane: Plane) -> None:
    """A connection that keeps none has nothing that could follow."""
    await stored(plane, GOOD)
    await connected(plane, fullUrl="https://hooks.example.com/in")

    await replaced(plane, OTHER)


async def test_an_identity_may_always_be_replaced(plane: Plane) -> None:
    """A keystore says who we are, not whom we believe."""
    await plane.keystores.create(EDITOR, DEV_PROJECT, keystore("mine", GOOD.pem()), ASK)
    await connected(plane, trustStoreName=None, keyStoreName="mine")

    await plane.keystores.update(EDITOR, DEV_PROJECT, "mine", keystore("mine", OTHER.pem()), ASK)


async def test_what_is_in_use_is_neither_deleted_nor_renamed(plane: Plane) -> None:
    """So deleting and making anew, or renaming away and another one into its place, lead nowhere."""
    await stored(plane, GOOD)
    await stored(plane, OTHER, name="evil")
    await connected(plane)

    with pytest.raises(InUse, match="in use by: hook"):
        await plane.keystores.delete(EDITOR, DEV_PROJECT, "trust", ASK)
    with pytest.raises(InUse, match="in use by: hook"):
        await plane.keystores.update(EDITOR, DEV_PROJECT, "trust", {"name": "away"}, ASK)


async def shadow_made(plane: Plane) -> None:
    await stored(plane, OTHER)


async def shadow_renamed(plane: Plane) -> None:
    await stored(plane, OTHER, name="evil")
    await plane.keystores.update(EDITOR, DEV_PROJECT, "evil", {"name": "trust"}, ASK)


@pytest.mark.parametrize("shadow", [shadow_made, shadow_renamed])
async def test_an_own_one_that_hides_that_of_admin_is_wider(
    plane: Plane, shadow: Callable[[Plane], Awaitable[None]]
) -> None:
    """Made under its name, or renamed to it."""
    await plane.projects.create(REVEALING, "admin", None)
    await stored(plane, GOOD, project="admin")
    await connected(plane)

    with pytest.raises(SecretRequired):
        await shadow(plane)


async def test_one_of_admin_is_asked_about_in_every_project(plane: Plane) -> None:
    """Whoever keeps it and may not see those connections learns how many they are, and no name."""
    admin = await plane.projects.create(REVEALING, "admin", None)
    await stored(plane, GOOD, project="admin")
    await connected(plane)
    keeper = replace(REVEALING, project=(await plane.store.project("admin")).id)  # type: ignore[union-attr]  # made above
    assert admin is not None

    with pytest.raises(SecretRequired) as raised:
        await replaced(plane, OTHER, project="admin", actor=keeper)

    assert "1 more would keep what is stored" in raised.value.message
    assert "hook" not in raised.value.message and "fullUrl" not in raised.value.message


async def test_a_pinned_certificate_is_trust_too(plane: Plane) -> None:
    """Replacing it by another is wider, and so is a keystore that comes before it."""
    body = {
        "certificateName": "trust",
        "alias": "a",
        "environmentList": ["development"],
        "pemEncodedFile": GOOD.certificate_pem,
    }
    await plane.certificates.create(EDITOR, DEV_PROJECT, body, ASK)
    await connected(plane)

    with pytest.raises(SecretRequired) as raised:
        await plane.certificates.update(EDITOR, DEV_PROJECT, "trust", {"pemEncodedFile": OTHER.certificate_pem}, ASK)
    with pytest.raises(SecretRequired):
        await stored(plane, OTHER)

    assert raised.value.problems[0].path == "/pemEncodedFile"


async def test_another_environment_is_measured_by_those_before(plane: Plane) -> None:
    """A truststore that is given something for one more environment trusts there what it trusts elsewhere, or is asked about."""
    await plane.environments.create(REVEALING, "staging")
    await stored(plane, GOOD)
    await connected(plane)

    def both(second: Identity) -> dict[str, Any]:
        first, other = (
            keystore("trust", pem(each), environment=name)
            for name, each in (("development", GOOD), ("staging", second))
        )
        return {"keyStoreEnvironmentList": first["keyStoreEnvironmentList"] + other["keyStoreEnvironmentList"]}

    with pytest.raises(SecretRequired):
        await plane.keystores.update(EDITOR, DEV_PROJECT, "trust", both(OTHER), ASK)
    await plane.keystores.update(EDITOR, DEV_PROJECT, "trust", both(GOOD), ASK)


async def test_an_environment_that_is_opened_to_a_project_brings_nothing_wider(plane: Plane) -> None:
    """Bound to the project, or published: what stands there for it must be trusted elsewhere already."""
    await plane.projects.create(REVEALING, "Other", None)
    await plane.environments.create(REVEALING, "staging")
    first = keystore("trust", pem(GOOD))
    second = keystore("trust", pem(OTHER), environment="staging")
    first["keyStoreEnvironmentList"] += second["keyStoreEnvironmentList"]
    await plane.keystores.create(EDITOR, DEV_PROJECT, first, ASK)
    same: Mapping[str, Any] = {"name": None, "description": None, "type_name": None, "access_url": None}
    await plane.environments.update(EDITOR, "staging", **same, status=None, projects=["Other"])
    await connected(plane)

    with pytest.raises(SecretRequired) as raised:
        await plane.environments.update(EDITOR, "staging", **same, status=None, projects=["Other", DEV_PROJECT])
    await plane.environments.update(EDITOR, "staging", **same, status="UNPUBLISHED", projects=["Other", DEV_PROJECT])
    with pytest.raises(SecretRequired):
        await plane.environments.update(EDITOR, "staging", **same, status="PUBLISHED", projects=None)

    assert raised.value.problems[0].path == "/projects" and "hook" in raised.value.message
    await plane.environments.update(REVEALING, "staging", **same, status="PUBLISHED", projects=None)


async def test_a_name_that_leads_nowhere_yet_may_be_filled(plane: Plane) -> None:
    """Whoever stored the secret named what was still to come; from then on it gets no wider."""
    await connected(plane)

    await stored(plane, GOOD)

    with pytest.raises(SecretRequired):
        await replaced(plane, OTHER)


async def test_a_name_with_a_variable_in_it_is_followed(plane: Plane) -> None:
    """What a truststore trusts is found also where a connection names it by way of a variable."""
    variable = {"name": "WHERE", "global": True, "globalValue": "st"}
    await plane.variables.create(EDITOR, DEV_PROJECT, "WHERE", variable, ASK)
    await stored(plane, GOOD)
    await connected(plane, trustStoreName="tru${WHERE}")

    with pytest.raises(SecretRequired):
        await replaced(plane, OTHER)
