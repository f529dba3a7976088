"""The chain that audit entries hang on: whatever is done to the database, the first bad record is named."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from mooring.errors import Unavailable
from mooring.store import sqlite_audit
from mooring.store.audit_chain import EMPTY, KEY_BYTES, Chain, Head, Row, Verdict
from mooring.store.base import Record
from mooring.store.sqlite import SqliteStore
from tests.store import makers as m

KEY = b"k" * KEY_BYTES
BATCHES = (3, 1, 4, 2)
"""How many entries each transaction writes: records 1-3, 4, 5-8, 9-10."""


async def written(folder: Path, batches: tuple[int, ...] = BATCHES, *, key: bytes | None = KEY) -> Head:
    """A database with those entries; where its chain ends."""
    store = SqliteStore(folder)
    await store.open()
    if key is not None:
        store.hang_audit(key)
    number = store.audit_head().seq
    for size in batches:
        said = [m.entry("update", "connection", f"con_{number + place}", "ışık") for place in range(1, size + 1)]
        await asyncio.gather(*(store.commit(Record(each)) for each in said))
        number += size
    head = store.audit_head()
    await store.close()
    return head


def checked(folder: Path, kept: Head | None = None, key: bytes = KEY) -> Verdict:
    with closing(sqlite_audit.read_only(folder / "mooring.db")) as db:
        return sqlite_audit.verified(db, Chain(key), kept)


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """A database with ten entries on four links."""
    head = await written(tmp_path)
    assert head.seq == sum(BATCHES)
    return tmp_path


@pytest.fixture
def db(folder: Path) -> Iterator[apsw.Connection]:
    """The same, opened by somebody who can write it and has no key."""
    with closing(apsw.Connection(str(folder / "mooring.db"))) as opened:
        yield opened


async def test_what_nobody_touched_is_whole(folder: Path) -> None:
    """Every entry and every link is right."""
    verdict = checked(folder)

    assert (verdict.wrong, verdict.entries, verdict.links) == (None, 10, 4)


async def test_the_chain_goes_on_after_a_restart(folder: Path) -> None:
    """A new process hangs its entries on the last link."""
    await written(folder, (2, 2))

    assert (checked(folder).wrong, checked(folder).entries) == (None, 14)


BENT: dict[str, tuple[str, int]] = {
    "a changed field": ("UPDATE audit SET actor = 'eve' WHERE seq = 6", 6),
    "a changed instant": ("UPDATE audit SET at = at + 1 WHERE seq = 2", 2),
    "changed values": ("""UPDATE audit SET changes = '{"host":{"old":"a","new":"b"}}' WHERE seq = 4""", 4),
    "text that is bytes now": ("UPDATE audit SET name = CAST(name AS BLOB) WHERE seq = 6", 6),
    "text that is none any more": ("UPDATE audit SET name = CAST(x'ff41' AS TEXT) WHERE seq = 6", 6),
    "bytes that are no text": ("UPDATE audit SET name = x'ff' WHERE seq = 6", 6),
    "a link of other kinds": (
        "UPDATE audit_links SET tags = CAST(x'ff' AS TEXT), mac = 7, first = 'x' WHERE last = 8",
        5,
    ),
    "a removed record": ("DELETE FROM audit WHERE seq = 7", 7),
    "the first records removed": ("DELETE FROM audit WHERE seq <= 2", 1),
    "a link and its records removed": ("DELETE FROM audit WHERE seq = 4; DELETE FROM audit_links WHERE last = 4", 4),
    "the beginning cut off": ("DELETE FROM audit WHERE seq <= 3; DELETE FROM audit_links WHERE last <= 3", 1),
    "two records swapped": (
        "UPDATE audit SET seq = 100 WHERE seq = 5; UPDATE audit SET seq = 5 WHERE seq = 8; UPDATE audit SET seq = 8 WHERE seq = 100",
        5,
    ),
    "a record added at the end": (
        "INSERT INTO audit SELECT 11, at, actor, token, request_id, address, action, noun, noun_id, name, project, changed,"
        " changes FROM audit WHERE seq = 1",
        11,
    ),
    "a record added before the first": ("UPDATE audit SET seq = 0 WHERE seq = 9", 0),
    "a changed link": ("UPDATE audit_links SET mac = zeroblob(32) WHERE last = 8", 5),
    "changed tags": ("UPDATE audit_links SET tags = zeroblob(32) WHERE last = 8", 5),
    "a link's instant changed": ("UPDATE audit_links SET at = at + 1 WHERE last = 3", 1),
    "a link removed": ("DELETE FROM audit_links WHERE last = 8", 5),
    "the last link removed": ("DELETE FROM audit_links WHERE last = 10", 9),
    "two links merged": ("DELETE FROM audit_links WHERE last = 3; UPDATE audit_links SET first = 1 WHERE last = 4", 1),
}


@pytest.mark.parametrize("what", BENT)
async def test_the_first_bad_record_is_named(folder: Path, db: apsw.Connection, what: str) -> None:
    """Changed, removed, added, swapped: a check says which record is the first that is not as it was written."""
    sql, first = BENT[what]

    db.execute(sql)

    verdict = checked(folder)
    assert verdict.seq == first
    assert verdict.wrong is not None
    assert f"record {first}" in verdict.wrong


async def test_a_cut_end_shows_against_a_kept_head(folder: Path, db: apsw.Connection) -> None:
    """The database alone cannot tell; who kept the head sees from which record on it is gone."""
    head = await written(folder, ())

    db.execute("DELETE FROM audit WHERE seq > 4; DELETE FROM audit_links WHERE last > 4")

    assert checked(folder).wrong is None
    verdict = checked(folder, head)
    assert verdict.seq == 5
    assert "cut off" in str(verdict.wrong)


async def test_an_end_that_was_written_anew_shows_against_a_kept_head(folder: Path, db: apsw.Connection) -> None:
    """Cut off and grown again under the same key, by a control plane that noticed nothing: the kept head is not on it."""
    head = await written(folder, ())
    db.execute("DELETE FROM audit WHERE seq > 8; DELETE FROM audit_links WHERE last > 8")
    await written(folder, (2, 3))

    verdict = checked(folder, head)

    assert "written anew" in str(verdict.wrong)


async def test_a_head_from_before_is_found_on_a_longer_chain(folder: Path) -> None:
    """What was kept yesterday still shows that nothing before it was touched."""
    head = await written(folder, (1,))
    await written(folder, (5,))

    assert checked(folder, head).wrong is None


async def test_without_the_key_nobody_makes_a_link(folder: Path, db: apsw.Connection) -> None:
    """A chain that was computed anew under another key is wrong from the first record."""
    forged = Chain(b"f" * KEY_BYTES)
    head = Head(0, 0, b"")
    db.execute("DELETE FROM audit_links")
    for seq, row in list(sqlite_audit.records(db)):
        link = forged.link(head, [row], 1)
        db.execute("INSERT INTO audit_links VALUES (?,?,?,?,?)", (link.last, link.first, link.at, link.tags, link.mac))
        head = Head(seq, 1, link.mac)

    assert checked(folder).seq == 1


async def test_entries_of_a_version_without_a_chain_are_anchored(tmp_path: Path) -> None:
    """They hang on links from the first start on, and are as safe from then on."""
    await written(tmp_path, (3, 3), key=None)

    await written(tmp_path, (2,))

    assert (checked(tmp_path).wrong, checked(tmp_path).entries) == (None, 8)
    with closing(apsw.Connection(str(tmp_path / "mooring.db"))) as db:
        db.execute("UPDATE audit SET name = 'x' WHERE seq = 2")
    assert checked(tmp_path).seq == 2


async def test_anchoring_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that ends in the middle of it leaves no part without a link for ever; the next one anchors everything."""
    monkeypatch.setattr(sqlite_audit, "MAX_COVERED", 2)
    await written(tmp_path, (5,), key=None)
    written_so_far = []

    def broken_off(writer: sqlite_audit.Writer, db: apsw.Connection, rows: list[Row]) -> None:
        if written_so_far:
            raise apsw.IOError
        written_so_far.append(rows)
        before(writer, db, rows)

    before = sqlite_audit.Writer._write
    with monkeypatch.context() as patched:
        patched.setattr(sqlite_audit.Writer, "_write", broken_off)
        store = SqliteStore(tmp_path)
        await store.open()
        with pytest.raises(Unavailable):
            store.hang_audit(KEY)
        await store.close()

    await written(tmp_path, (1,))

    assert written_so_far
    assert (checked(tmp_path).wrong, checked(tmp_path).entries) == (None, 6)


async def test_a_number_that_somebody_else_took_stops_nobody(tmp_path: Path) -> None:
    """While it runs, a record is added from outside: writing goes on behind it, and a check names it."""
    store = SqliteStore(tmp_path)
    await store.open()
    store.hang_audit(KEY)
    await store.commit(Record(m.entry()))
    with closing(apsw.Connection(str(tmp_path / "mooring.db"))) as db:
        db.execute(BENT["a record added at the end"][0].replace("SELECT 11", "SELECT 2"))

    with pytest.raises(Unavailable):
        await store.commit(Record(m.entry()))
    await store.commit(Record(m.entry()))

    await store.close()
    assert checked(tmp_path).seq == 2


async def test_an_audit_that_was_written_anew_and_grew_is_told_from_one_that_was_cut(folder: Path) -> None:
    """No link ends where the kept head says, and the chain goes further."""
    verdict = checked(folder, Head(9, 0, b"x" * 32))

    assert verdict.seq == 9
    assert verdict.wrong is not None and "written anew" in verdict.wrong


async def test_records_that_others_added_are_not_covered_up(folder: Path, db: apsw.Connection) -> None:
    """A control plane that starts on them goes on behind them, and they stay without a link."""
    sql, _ = BENT["a record added at the end"]
    db.execute(sql)

    await written(folder, (2,))

    assert checked(folder).seq == 11


async def test_a_change_that_fails_leaves_no_gap(tmp_path: Path) -> None:
    """One change of a batch fails: its entry is not there, and the others follow one another."""
    store = SqliteStore(tmp_path)
    await store.open()
    store.hang_audit(KEY)
    project = await m.with_project(store)

    await asyncio.gather(
        *(store.commit(m.save(m.connection(project, "same"))) for _ in range(5)),
        store.commit(Record(m.entry("reveal", "connection", "con_1", "x"))),
        return_exceptions=True,
    )

    entries = await m.audit(store)
    await store.close()
    assert [entry["seq"] for entry in reversed(entries)] == list(range(1, len(entries) + 1))
    assert checked(tmp_path).wrong is None


async def test_a_batch_has_one_link(tmp_path: Path) -> None:
    """However many entries a transaction writes, one link covers them."""
    await written(tmp_path, (50,))

    with closing(sqlite_audit.read_only(tmp_path / "mooring.db")) as db:
        covered = [link.last - link.first + 1 for link in sqlite_audit.links(db)]
    assert sum(covered) == 50
    assert len(covered) <= 2


async def test_an_entry_is_found_as_soon_as_its_change_is_seen(tmp_path: Path) -> None:
    """The writer learns of a commit a moment after readers see it; who reads in between finds the entry too."""
    store = SqliteStore(tmp_path)
    await store.open()
    store.hang_audit(KEY)
    await store.commit(Record(m.entry("reveal", "connection", "con_1", "x")))

    store._audit.head = EMPTY

    assert [entry["noun_id"] for entry in await m.audit(store)] == ["con_1"]
    await store.close()
