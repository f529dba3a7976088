"""
Whoever writes the database and lacks the key changes nothing without being seen, and stops nobody else.

10,000 bit flips, truncations and swaps between rows, fields, projects, environments and tables. Each is opened as the
control plane opens it; some of them (with MOORING_TESTS_FULL=1, all) are written into the database, and what workers
would be sent is made of it.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import apsw
import httpx2
import pytest

from mooring.control.parcels import Parcels
from mooring.control.plane import Plane
from mooring.control.tokens import system_actor
from mooring.domain.records import DesiredRow
from mooring.domain.sealed_places import SEALED_PLACES, SealedPlace
from mooring.errors import KeyUnavailable, SealError, Tampered, UnknownSeal
from mooring.kit.record import record
from mooring.plugin.registry import Registry
from mooring.store.base import SealedRow
from tests.api.answers import done
from tests.support.keystores import authority, keystore, keystores_path
from tests.support.plane import Opened, client_of, connection_path, email, opened_here, webhook

TAMPERS = 10_000
WRITTEN = TAMPERS if os.environ.get("MOORING_TESTS_FULL") else 100
PROJECTS = ("MyProject", "Other")
Found = tuple[SealedPlace, SealedRow]


@record
class Tampering:
    """What was done to which row: its value is this now."""

    kind: str
    place: SealedPlace
    before: SealedRow
    after: SealedRow

    @property
    def bound(self) -> dict[str, str]:
        return self.place.bound_to(dict(zip(self.place.keys, self.before.keys, strict=True)))


@pytest.fixture
async def full(tmp_path: Path) -> AsyncIterator[Opened]:
    """Two projects with a connection of every type, a keystore that one uses; two environments."""
    async with opened_here(tmp_path) as opened, client_of(opened.plane, opened.token) as http:
        actor = system_actor()
        await opened.plane.projects.create(actor, "Other", None)
        await opened.plane.environments.create(actor, "production", description=None, type_name="PRODUCTION")
        certificate = authority().pem()
        for project in PROJECTS:
            body = keystore("mine", certificate)
            entries = body["keyStoreEnvironmentList"]
            entries.append({**entries[0], "environmentName": "production"})
            done(await http.post(keystores_path(project=project), json=body))
            for card in Registry(""):
                body = {**card.example, "name": f"every-{card.name}"}
                answer = await http.post(connection_path(body["name"], project), json=body)
                assert answer.status_code == 200, answer.text
            for number in range(5):
                body = email(f"mail-{number}", auth=True, username=f"user-{number}", password=f"password-{number}")
                done(await http.post(connection_path(body["name"], project), json=body))
            done(await http.post(connection_path("uses", project), json=webhook("uses", keyStoreName="mine")))
        for environment in await opened.plane.store.environments():
            await opened.plane.parcels.content_key(environment.id)
        yield opened


async def every_sealed(plane: Plane) -> list[Found]:
    return [
        (place, row) for place in SEALED_PLACES for row in await plane.store.sealed_rows(place, but="", limit=10_000)
    ]


def tampered(chance: random.Random, rows: Sequence[Found]) -> Tampering:
    """One row, changed in one of the ways that a writer of the database has."""
    kind = chance.choice(("flip", "flip", "cut", "swap", "swap", "key"))
    place, row = chance.choice(rows)
    _, other = chance.choice([each for each in rows if each[1] is not row])
    if kind == "flip":
        sealed = bytearray(row.sealed)
        bit = chance.randrange(len(sealed) * 8)
        sealed[bit // 8] ^= 1 << (bit % 8)
        return Tampering(kind, place, row, replace(row, sealed=bytes(sealed)))
    if kind == "cut":
        return Tampering(kind, place, row, replace(row, sealed=row.sealed[: chance.randrange(len(row.sealed))]))
    if kind == "swap":
        return Tampering(kind, place, row, replace(row, sealed=other.sealed, key_id=other.key_id))
    return Tampering(kind, place, row, replace(row, key_id=f"key_{chance.randrange(10**6)}"))


async def test_every_change_of_a_sealed_value_is_seen(full: Opened) -> None:
    """None opens; the error names the connection, keystore or environment and the field."""
    rows = await every_sealed(full.plane)
    chance, seen, ring = random.Random(4), Counter[tuple[str, type]](), full.plane.ring
    assert len(rows) > 50 and {place.table for place, _ in rows} == {place.table for place in SEALED_PLACES}
    opened = 0

    for _ in range(TAMPERS):
        done_to = tampered(chance, rows)
        try:
            ring.unseal(done_to.after.sealed, key_id=done_to.after.key_id, **done_to.bound)
            opened += 1
        except SealError as exc:
            seen[done_to.kind, type(exc)] += 1
            assert done_to.bound["connection"] in exc.message and done_to.bound["key"] in exc.message

    assert opened == 0 and seen.total() == TAMPERS
    # What is no longer of a form we know, or names a key that is not there, is called that; the rest is tampering.
    assert {kind for kind, why in seen if why is Tampered} == {"flip", "cut", "swap"}
    assert {kind for kind, why in seen if why is UnknownSeal} <= {"flip", "cut"}
    assert {kind for kind, why in seen if why is KeyUnavailable} == {"key"}


async def test_the_others_are_deployed_all_the_same(full: Opened, capsys: pytest.CaptureFixture[str]) -> None:
    """Of all frames that workers are sent, exactly those say unreadable that need the value; the log names it."""
    plane, chance = full.plane, random.Random(5)
    rows = await every_sealed(plane)
    db = apsw.Connection(str(full.data_dir / "mooring.db"))
    db.set_busy_timeout(5000)
    deltas = {each.id: (await plane.store.delta(each.id, 0, 1000))[1] for each in await plane.store.environments()}
    per_environment = {len(each) for each in deltas.values()}
    assert per_environment == {len(PROJECTS) * (15 + 5 + 1)}
    capsys.readouterr()

    for _ in range(WRITTEN):
        done_to = tampered(chance, rows)
        _write(db, done_to.place, done_to.before, done_to.after)
        owner = done_to.bound["connection"]
        for environment, desired in deltas.items():
            broken = await _broken(Parcels(plane.store, plane.ring), environment, desired)
            if done_to.place.table == "secrets":
                assert broken == {owner}, done_to.kind
            elif done_to.place.table == "environment_keys":
                assert broken == set(), "another content key took its place"
            else:
                used = done_to.bound["key"] == f"{environment}/opened"
                assert len(broken) == used, (done_to.kind, done_to.bound)
            if broken:
                assert owner in capsys.readouterr().err
        if done_to.place.table == "environment_keys":
            rows = [each for each in rows if each[0] is not done_to.place]
        else:
            _write(db, done_to.place, done_to.after, done_to.before)
    db.close()


def _write(db: apsw.Connection, place: SealedPlace, before: SealedRow, after: SealedRow) -> None:
    where = " AND ".join(f"{column} = ?" for column in place.keys)
    db.execute(
        f"UPDATE {place.table} SET sealed = ?, key_id = ? WHERE {where}", (after.sealed, after.key_id, *before.keys)
    )
    assert db.changes() == 1


async def _broken(parcels: Parcels, environment: str, desired: Sequence[DesiredRow]) -> set[str]:
    """The connections of whose frames a part says that it cannot be read."""
    broken = set()
    for row in desired:
        parcel = await parcels.frame(environment, row)
        assert parcel is not None, "every connection gets its frame"
        texts = [await parcels.material(environment, content) for content in parcel.materials]
        if any(json.loads(text)["sealed"] == "AAAA" for text in (parcel.text, *texts) if text):
            broken.add(row.connection)
    return broken


async def test_what_was_tampered_with_is_repaired_by_sending_it_again(http: httpx2.AsyncClient, opened: Opened) -> None:
    """A PUT that keeps the secret is refused and says why; one with the secret makes a new generation."""
    body = email("mail", auth=True, username="u", password="pass-word")
    done(await http.post(connection_path("mail"), json=body))
    db = apsw.Connection(str(opened.data_dir / "mooring.db"))
    db.set_busy_timeout(5000)
    db.execute("UPDATE secrets SET sealed = x'01' || zeroblob(40)")
    db.close()

    keeping = await http.put(connection_path("mail"), json={**body, "password": None})
    sending = await http.put(connection_path("mail"), json=body)

    assert keeping.status_code == 503 and "password" in keeping.json()["error_description"]
    assert done(sending)["deploymentResult"]["generation"] == 2
    done(await http.put(connection_path("mail"), json={**body, "password": None, "description": "kept"}))
