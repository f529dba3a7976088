"""Where sealed values lie is declared once, and nothing is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw

from mooring.domain.sealed_places import SEALED_PLACES
from mooring.store.sqlite import SqliteStore

NOT_SEALED = {
    ("data_keys", "wrapped"): "wrapped by the master key",
    ("environments", "digest"): "a sum of hashes",
    ("connections", "hash"): "a keyed hash",
    ("desired", "hash"): "a hash of keyed hashes",
    ("material_contents", "hash"): "a keyed hash",
    ("workers", "public_key"): "public",
    ("workers", "secret_hash"): "of 256 random bits",
    ("enrolments", "secret_hash"): "of 256 random bits",
    ("tokens", "secret_hash"): "of 256 random bits",
    ("idempotency", "request_hash"): "a keyed hash",
    ("audit_links", "tags"): "short keyed hashes of audit entries",
    ("audit_links", "mac"): "a keyed hash of a link",
}
"""Columns of bytes that are not sealed values, and what they are."""


async def schema(folder: Path) -> dict[str, list[Any]]:
    """The columns of every table of a new store."""
    store = SqliteStore(folder)
    await store.open()
    await store.close()
    db = apsw.Connection(str(folder / "mooring.db"))
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    found = {table: db.execute(f"PRAGMA table_info({table})").fetchall() for table in tables}
    db.close()
    return found


async def test_every_column_of_bytes_is_a_sealed_place_or_known_to_be_none(tmp_path: Path) -> None:
    """A table that holds sealed values cannot be forgotten: a column that nobody declared fails here."""
    columns = {
        (table, column[1])
        for table, found in (await schema(tmp_path)).items()
        for column in found
        if column[2] == "BLOB" or column[1] == "key_id"
    }

    declared = {(place.table, column) for place in SEALED_PLACES for column in ("sealed", "key_id")}

    assert columns == declared | NOT_SEALED.keys()


async def test_a_place_names_the_primary_key_of_its_table(tmp_path: Path) -> None:
    """So that a row is found again, and what it is bound to stands in its key."""
    tables = await schema(tmp_path)

    for place in SEALED_PLACES:
        primary = [column[1] for column in sorted(tables[place.table], key=lambda column: column[5]) if column[5]]
        assert primary == list(place.keys), place.table
        place.bound_to(dict.fromkeys(place.keys, "x"))
