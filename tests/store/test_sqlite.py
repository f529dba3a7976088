"""The store in one SQLite file: the contract, and what is special to a file."""

from __future__ import annotations

import asyncio
import os
import re
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from mooring.errors import Unavailable
from mooring.store.base import Committed, SetMeta, Store
from mooring.store.sqlite import SqliteStore
from tests.store import makers as m
from tests.store.contract import Reopened, StoreContract, together
from tests.store.materials_contract import MaterialsContract
from tests.store.seals_contract import SealsContract
from tests.store.variables_contract import VariablesContract


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """An opened store, as its own class."""
    store = SqliteStore(tmp_path / "data")
    await store.open()
    yield store
    await store.close()


@pytest.fixture(params=["sqlite"])
def store(request: pytest.FixtureRequest) -> Store:
    """Every store in turn, opened and empty."""
    return request.getfixturevalue(request.param)


@pytest.fixture
async def reopened(store: SqliteStore) -> AsyncIterator[Reopened]:
    """Closes `store` and opens its successor on the same data."""
    opened: list[SqliteStore] = []

    async def again() -> Store:
        await store.close()
        opened.append(SqliteStore(store.folder))
        await opened[-1].open()
        return opened[-1]

    yield again
    for successor in opened:
        await successor.close()


class TestContract(StoreContract):
    """The promises of every store, asked of this one."""


class TestSeals(SealsContract):
    """Every promise of data keys."""


class TestVariables(VariablesContract):
    """All of the contract about variables."""


class TestMaterials(MaterialsContract):
    """Those of keystores and certificates."""


async def test_the_folder_is_made(tmp_path: Path) -> None:
    """From nothing: folders, file and tables come with the first opening."""
    store = SqliteStore(tmp_path / "a" / "b")

    await store.open()

    assert await store.projects() == []
    await store.close()


async def test_opening_again_keeps_the_tables(sqlite: SqliteStore, reopened: Reopened) -> None:
    """Migrations are not repeated."""
    await m.with_project(sqlite)

    store = await reopened()

    assert [project.name for project in await store.projects()] == ["Shop"]


async def test_every_file_is_its_owner_s_alone(sqlite: SqliteStore) -> None:
    """The database and the files that SQLite lays beside it can be read by nobody else."""
    await m.with_project(sqlite)

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in sqlite.folder.glob("mooring.db*")}

    assert modes == {"mooring.db": 0o600, "mooring.db-wal": 0o600, "mooring.db-shm": 0o600}


async def test_commits_are_flushed(sqlite: SqliteStore) -> None:
    """The writing connection waits for the disk, and journals ahead."""
    db = sqlite._write_db
    assert db is not None

    assert (db.execute("PRAGMA synchronous").get, db.execute("PRAGMA journal_mode").get) == (2, "wal")


async def test_a_second_process_is_told_who_holds_the_folder(sqlite: SqliteStore) -> None:
    """Its start fails, naming the process, and what to do."""
    code = (
        "import asyncio, sys, pathlib\n"
        "from mooring.store.sqlite import SqliteStore\n"
        "from mooring.errors import Unavailable\n"
        "try: asyncio.run(SqliteStore(pathlib.Path(sys.argv[1])).open())\n"
        "except Unavailable as exc: print(exc.message, '/', exc.hint)\n"
    )

    said = subprocess.run([sys.executable, "-c", code, str(sqlite.folder)], capture_output=True, text=True, check=True)

    assert re.fullmatch(rf"the data directory is in use by process {os.getpid()} / .*--data-dir.*\n", said.stdout)


async def test_a_closed_store_lets_go_of_its_folder(sqlite: SqliteStore) -> None:
    """The next one may open it."""
    await sqlite.close()
    other = SqliteStore(sqlite.folder)

    await other.open()

    await other.close()


async def test_newer_data_is_refused_and_left_alone(sqlite: SqliteStore) -> None:
    """A program older than the data says so; the folder is free afterwards for the right one."""
    db = sqlite._write_db
    assert db is not None
    db.execute("PRAGMA user_version=9999")
    await sqlite.close()

    for _ in range(2):
        with pytest.raises(Unavailable, match="newer version"):
            await SqliteStore(sqlite.folder).open()


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """With a message of ours, and the file as it was."""
    (tmp_path / "mooring.db").write_text("something else entirely, long enough to be looked at " * 20)

    with pytest.raises(Unavailable):
        await SqliteStore(tmp_path).open()

    assert (tmp_path / "mooring.db").read_text().startswith("something else")


async def test_a_full_disk_loses_nothing(sqlite: SqliteStore) -> None:
    """While the disk is full every write is refused; what was acknowledged stays, and writing goes on afterwards."""
    production, shop = await m.with_environment(sqlite), await m.with_project(sqlite)
    db = sqlite._write_db
    assert db is not None
    room = db.execute("PRAGMA max_page_count").get
    db.execute(f"PRAGMA max_page_count={db.execute('PRAGMA page_count').get + 12}")
    kept = []
    refused = 0
    for n in range(40):
        made = m.connection(shop, f"c{n}", document="x" * 3000)
        results = await together(sqlite, [m.save(made, m.secret()), SetMeta(f"m{n}", "y" * 2000)])
        kept += [made.id] if isinstance(results[0], Committed) else []
        refused += sum(isinstance(result, Unavailable) and "disk is full" in result.message for result in results)

    db.execute(f"PRAGMA max_page_count={room}")
    after = await m.with_connection(sqlite, shop, "after")

    assert kept and refused
    assert await m.present(sqlite, production) == {*kept, after.id}
    assert await m.digest(sqlite, production) == await m.recomputed(sqlite, production)
    assert {len(await sqlite.secrets(found)) for found in kept} == {1}
    assert db.execute("PRAGMA integrity_check").get == "ok"


async def test_a_full_disk_is_said_and_reading_goes_on(sqlite: SqliteStore) -> None:
    """The error names the cause; reads answer as before."""
    shop = await m.with_project(sqlite)
    db = sqlite._write_db
    assert db is not None
    db.execute(f"PRAGMA max_page_count={db.execute('PRAGMA page_count').get}")

    with pytest.raises(Unavailable, match="disk is full"):
        await m.with_connection(sqlite, shop, "big", document="x" * 100_000)

    assert await sqlite.project("Shop") == shop


async def test_a_database_locked_by_another_is_said(sqlite: SqliteStore) -> None:
    """A write that cannot begin is refused, and the next one works when the other is gone."""
    db = sqlite._write_db
    assert db is not None
    db.set_busy_timeout(10)
    other = apsw.Connection(str(sqlite.folder / "mooring.db"))
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(Unavailable, match="locked by another process"):
        await sqlite.commit(SetMeta("a", "1"))
    other.execute("ROLLBACK")
    other.close()
    await sqlite.commit(SetMeta("a", "2"))

    assert await sqlite.meta("a") == "2"


async def test_what_waits_is_finished_before_closing(sqlite: SqliteStore, reopened: Reopened) -> None:
    """Changes handed in before the end are committed and answered."""
    waiting = [asyncio.ensure_future(sqlite.commit(SetMeta(f"k{n}", "v"))) for n in range(600)]
    await asyncio.sleep(0)

    store = await reopened()

    assert all(isinstance(result, Committed) for result in await asyncio.gather(*waiting))
    assert await store.meta("k599") == "v"


async def test_what_comes_after_the_end_is_refused(sqlite: SqliteStore) -> None:
    """A change handed in while the store closes, or later, fails at once and does not hang."""
    closing = asyncio.create_task(sqlite.close())
    await asyncio.sleep(0)

    with pytest.raises(Unavailable):
        await sqlite.commit(SetMeta("a", "1"))
    await closing
    with pytest.raises(Unavailable):
        await sqlite.commit(SetMeta("a", "1"))


async def test_reading_a_closed_store_is_refused(sqlite: SqliteStore) -> None:
    """With an error of ours."""
    await sqlite.close()

    with pytest.raises(Unavailable):
        await sqlite.projects()


async def test_a_damaged_read_is_an_error_of_ours(sqlite: SqliteStore) -> None:
    """What the database cannot read is said in our words."""
    db = sqlite._write_db
    assert db is not None
    db.execute("DROP TABLE meta")

    with pytest.raises(Unavailable):
        await sqlite.meta("a")


async def test_a_batch_shares_a_flush(sqlite: SqliteStore) -> None:
    """Changes that wait together are committed in few transactions."""
    db = sqlite._write_db
    assert db is not None
    commits = []
    db.set_wal_hook(lambda *seen: commits.append(seen[2]) or apsw.SQLITE_OK)

    await asyncio.gather(*(sqlite.commit(SetMeta(f"k{n}", "v")) for n in range(500)))

    assert len(commits) < 50
