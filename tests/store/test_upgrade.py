"""Data of an earlier version, opened by this one: it is brought up to date in place, and nothing is lost."""

from __future__ import annotations

import json
from pathlib import Path

import apsw

from mooring.control.tokens import system_actor
from mooring.domain.rights import ALL_BUT_REVEAL
from mooring.store.migrations import migrations
from tests.api.answers import done, one
from tests.support.keystores import authority, keystore, keystores_path
from tests.support.plane import DEV_PROJECT, client_of, connection_path, opened_here, webhook


def make_older(path: Path) -> None:
    """The database at *path* as the version before keystores left it."""
    db = apsw.Connection(str(path))
    stored: list[tuple[str, str]] = db.execute("SELECT id, document FROM connections").fetchall()  # type: ignore[assignment]
    for connection, text in stored:
        document = json.loads(text)
        if document.pop("uses", None):
            document["warnings"].append({"path": "/keyStoreName", "code": "reference_missing", "message": "old"})
        db.execute("UPDATE connections SET document = ? WHERE id = ?", (json.dumps(document), connection))
    db.execute("UPDATE desired SET hash = (SELECT hash FROM connections c WHERE c.id = connection) WHERE present")
    for table in (
        "materials",
        "material_contents",
        "material_secrets",
        "connection_references",
        "users",
        "memberships",
        "shares",
    ):
        db.execute(f"DROP TABLE {table}")
    db.execute("DROP INDEX tokens_by_user")
    db.execute("ALTER TABLE tokens DROP COLUMN user_id")
    db.execute("ALTER TABLE connections DROP COLUMN refers")
    db.execute("DROP TABLE audit_links")
    db.execute("ALTER TABLE audit DROP COLUMN changes")
    db.execute("DELETE FROM meta WHERE key LIKE '% indexed'")
    db.execute("DELETE FROM data_keys WHERE is_root")
    for column in ("retired_at", "is_root"):
        db.execute(f"ALTER TABLE data_keys DROP COLUMN {column}")
    db.execute("PRAGMA user_version = 1")
    db.close()


async def test_an_older_data_directory_is_upgraded_in_place(tmp_path: Path) -> None:
    """Connections are as they were, and a keystore that is made now is followed by those that named it before."""
    async with opened_here(tmp_path) as opened, client_of(opened.plane, opened.token) as http:
        await http.post(connection_path("uses"), json=webhook("uses", keyStoreName="mine"))
        await http.post(connection_path("plain"), json=webhook("plain"))
        before = {name: one(await http.get(connection_path(name))) for name in ("uses", "plain")}
    make_older(tmp_path / "mooring.db")

    async with opened_here(tmp_path) as opened, client_of(opened.plane, opened.token) as http:
        after = {name: one(await http.get(connection_path(name))) for name in ("uses", "plain")}
        project = await opened.plane.store.project(DEV_PROJECT)
        assert project is not None
        user = await opened.plane.store.connection(project.id, "uses")
        made = done(await http.post(keystores_path(), json=keystore("mine", authority().pem())))

        assert after == before
        assert user is not None and [each.name for each in user.references] == ["mine"]
        assert "1 connection" in made["deploymentResult"]["environmentResults"][0]["message"]
        assert one(await http.get(connection_path("uses")))["warnings"] == []


async def test_an_administrator_s_token_keeps_every_grant(tmp_path: Path) -> None:
    """Also those that came later; a token with fewer grants gets only what they mean by now."""
    async with opened_here(tmp_path) as opened:
        reader, _ = await opened.plane.tokens.create(system_actor(), "reader", grants=["connections:view"])
        administrator = opened.token.split("_")[2]
    make_older(tmp_path / "mooring.db")
    db = apsw.Connection(str(tmp_path / "mooring.db"))
    old = "connections:attach connections:manage connections:test connections:use connections:view environments:manage environments:view projects:manage tokens:manage workers:manage workers:view"
    db.execute("UPDATE tokens SET grants = ? WHERE id = ?", (old, administrator))
    db.close()

    async with opened_here(tmp_path) as opened:
        found = {token.id: token.grants for token in await opened.plane.store.tokens()}

    assert found == {administrator: ALL_BUT_REVEAL, reader.id: {"connections:view", "certificates:view"}}


async def test_variables_that_were_named_before_are_followed(tmp_path: Path) -> None:
    """Also where they stand in a secret, which has to be opened to see them."""
    async with opened_here(tmp_path) as opened, client_of(opened.plane, opened.token) as http:
        headers = [{"name": "Authorization", "value": "Bearer ${KEY}"}]
        await http.post(connection_path("uses"), json=webhook("uses", fullUrl="https://${HOST}/", headerList=headers))
    make_older(tmp_path / "mooring.db")

    async with opened_here(tmp_path) as opened, client_of(opened.plane, opened.token) as http:
        used = one(await http.get(connection_path("uses")))["uses"]

    assert {(each["kind"], each["name"]) for each in used} == {("variable", "HOST"), ("variable", "KEY")}


async def test_it_is_upgraded_once(tmp_path: Path) -> None:
    """The next start finds nothing left to do, and desires nothing anew."""
    async with opened_here(tmp_path) as opened, client_of(opened.plane, opened.token) as http:
        await http.post(connection_path("uses"), json=webhook("uses", keyStoreName="mine"))
    make_older(tmp_path / "mooring.db")
    heads = []

    for _ in range(2):
        async with opened_here(tmp_path) as opened:
            (environment,) = await opened.plane.store.environments()
            heads.append(environment.head_revision)

    assert heads[0] == heads[1]


def test_steps_have_a_number_each() -> None:
    """A step that is there stays what it is: what comes later has a number of its own."""
    numbers = [number for number, _ in migrations("sqlite")]

    assert numbers == sorted(set(numbers))
