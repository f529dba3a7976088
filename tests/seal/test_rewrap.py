"""Another master key: every secret opens as before, the old key opens nothing."""

from __future__ import annotations

import asyncio
import base64
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mooring import serve
from mooring.cli.main import app
from mooring.errors import MooringError
from mooring.kit.aead import new_key
from mooring.kit.settings import Settings
from mooring.serve import opened_plane
from tests.api.answers import done, one
from tests.support.fake_kms import fake_kms
from tests.support.plane import client_of, connection_path, opened_here, webhook


async def stored(data_dir: Path, **settings: Any) -> tuple[str, Any]:
    """A connection with a secret, an Idempotency-Key that was used; the token, and the connection as it reads."""
    async with opened_here(data_dir, **settings) as opened, client_of(opened.plane, opened.token) as http:
        once = {"Idempotency-Key": "k"}
        done(await http.post(connection_path("hook"), json=webhook("hook"), headers=once))
        return opened.token, one(await http.get(connection_path("hook")))


async def reads_as(data_dir: Path, token: str, before: Any, **settings: Any) -> None:
    """Fingerprints, hashes of requests and secrets are what they were."""
    async with opened_plane(Settings(data_dir=data_dir, **settings)) as (plane, _), client_of(plane, token) as http:
        assert plane.ring.locked is None, plane.ring.locked
        again = await http.post(connection_path("hook"), json=webhook("hook"), headers={"Idempotency-Key": "k"})
        assert again.status_code == 200, again.text
        assert one(await http.get(connection_path("hook"))) == before
        done(await http.put(connection_path("hook"), json=webhook("hook")))
        assert one(await http.get(connection_path("hook")))["generation"] == 1


async def test_a_new_key_in_the_same_file(tmp_path: Path) -> None:
    """The file holds another key afterwards, and with the one it held before the data stays sealed."""
    token, before = await stored(tmp_path)
    old = (tmp_path / "master.key").read_text()

    told = await serve.rewrap(Settings(data_dir=tmp_path), file=None, kms=None, environment=False)

    assert told == "" and (tmp_path / "master.key").read_text() != old
    assert not (tmp_path / "master.key.next").exists()
    await reads_as(tmp_path, token, before)
    async with opened_plane(Settings(data_dir=tmp_path, master_key=old.strip())) as (plane, _):
        assert plane.ring.locked is not None


async def test_the_audit_stays_whole(tmp_path: Path) -> None:
    """The change itself hangs on the chain, whose key survives it."""
    await stored(tmp_path)

    await serve.rewrap(Settings(data_dir=tmp_path), file=None, kms=None, environment=False)
    async with opened_here(tmp_path) as opened, client_of(opened.plane, opened.token) as http:
        actions = [each["action"] for each in (await http.get("/apiops/audit/")).json()["resultList"]]
    verdict = await serve.check_audit(Settings(data_dir=tmp_path), None, None)

    assert verdict.wrong is None and "rewrap" in actions


async def test_it_may_end_between_the_database_and_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next start finds the key that the database is wrapped by, and puts it in its place."""
    token, before = await stored(tmp_path)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("mooring.seal.keys.FileKey.advance", _interrupted)
        await serve.rewrap(Settings(data_dir=tmp_path), file=None, kms=None, environment=False)

    await reads_as(tmp_path, token, before)

    assert not (tmp_path / "master.key.next").exists()


def _interrupted(_: object) -> None:
    raise KeyboardInterrupt


async def test_from_file_to_environment_to_service_to_file(tmp_path: Path) -> None:
    """Every provider takes over from every other."""
    data, key = tmp_path / "data", base64.b64encode(new_key()).decode()
    token, before = await stored(data)

    await serve.rewrap(Settings(data_dir=data, new_master_key=key), file=None, kms=None, environment=True)
    await reads_as(data, token, before, master_key=key)
    with fake_kms() as kms:
        service = kms.settings
        await serve.rewrap(
            Settings(data_dir=data, **{**service, "key_provider": "auto", "master_key": key}),
            file=None, kms="alias/mooring", environment=False,
        )  # fmt: skip
        await reads_as(data, token, before, **service)
        await serve.rewrap(Settings(data_dir=data, **service), file=tmp_path / "other.key", kms=None, environment=False)

    await reads_as(data, token, before, key_provider="file", key_file=tmp_path / "other.key")
    assert (tmp_path / "other.key").stat().st_mode & 0o777 == 0o600


async def test_under_a_wrong_key_nothing_is_rewrapped(tmp_path: Path) -> None:
    """The old key must open everything first."""
    token, before = await stored(tmp_path)
    wrong = Settings(
        data_dir=tmp_path,
        master_key=base64.b64encode(new_key()).decode(),
        new_master_key=base64.b64encode(new_key()).decode(),
    )

    with pytest.raises(MooringError, match="not the one"):
        await serve.rewrap(wrong, file=None, kms=None, environment=True)

    await reads_as(tmp_path, token, before)


async def test_a_store_of_before_the_root_keeps_its_fingerprints(tmp_path: Path) -> None:
    """What was derived from the master key then is kept as the root, and outlives that key."""
    import apsw

    async with opened_here(tmp_path):
        pass
    db = apsw.Connection(str(tmp_path / "mooring.db"))
    db.execute("DELETE FROM data_keys WHERE is_root")
    db.close()
    token, before = await stored(tmp_path)

    await serve.rewrap(Settings(data_dir=tmp_path), file=None, kms=None, environment=False)

    await reads_as(tmp_path, token, before)


def test_the_command_says_what_comes_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the settings must change, it says which; the key itself it does not show."""
    for name in [name for name in os.environ if name.startswith("MOORING_")]:
        monkeypatch.delenv(name)
    asyncio.run(stored(tmp_path / "data"))

    result = CliRunner().invoke(
        app, ["keys", "rewrap", "--data-dir", str(tmp_path / "data"), "--to-file", str(tmp_path / "far.key")]
    )

    assert result.exit_code == 0, result.output
    assert "MOORING_KEY_FILE=" in result.output and (tmp_path / "far.key").read_text().strip() not in result.output
