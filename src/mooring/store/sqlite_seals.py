"""
Data keys in SQL, and the values that are sealed with them, wherever they lie.

What `mooring.domain.sealed_places` names is all there is: the tables and columns in these statements come from there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any

import apsw

from mooring.domain.records import DataKey
from mooring.domain.sealed_places import SEALED_PLACES, SealedPlace
from mooring.errors import Conflict
from mooring.store.base import (
    Committed,
    DestroyDataKey,
    ForgetEnvironmentKey,
    KeyGone,
    Reseal,
    RewrapDataKeys,
    RotateDataKey,
    SaveDataKey,
    SealedRow,
)

if TYPE_CHECKING:
    from mooring.store.sqlite_changes import Transaction

_KEY = "id, wrapped, created_at, retired_at, is_root"


def data_keys(db: apsw.Connection) -> list[DataKey]:
    """Every data key, oldest first."""
    rows: Any = db.execute(f"SELECT {_KEY} FROM data_keys ORDER BY created_at, id").fetchall()
    return [DataKey(key, wrapped, created, retired, bool(root)) for key, wrapped, created, retired, root in rows]


def sealed_rows(
    db: apsw.Connection, place: SealedPlace, *, but: str, after: tuple[str, ...], limit: int
) -> list[SealedRow]:
    """Rows of *place* beyond the key *after* whose values are sealed with another key than *but*."""
    keys = ", ".join(place.keys)
    beyond = f" AND ({keys}) > ({', '.join('?' * len(after))})" if after else ""
    rows: Any = db.execute(
        f"SELECT {keys}, sealed, key_id FROM {place.table} WHERE key_id <> ?{beyond} ORDER BY {keys} LIMIT ?",
        (but, *after, limit),
    ).fetchall()
    return [SealedRow(tuple(row[:-2]), row[-2], row[-1]) for row in rows]


def seal_counts(db: apsw.Connection) -> dict[str, int]:
    """How many values are sealed with each data key."""
    counts: Counter[str] = Counter()
    for place in SEALED_PLACES:
        rows: Any = db.execute(f"SELECT key_id, count(*) FROM {place.table} GROUP BY key_id").fetchall()
        counts.update(dict(rows))
    return dict(counts)


def refuse_gone(change: Any, gone: Collection[str]) -> None:
    """Raises `KeyGone` where *change* holds a value that was sealed with one of the keys that are *gone*."""
    if any(key_id in gone for key_id in _sealed_with(change)):
        raise KeyGone("the key that sealed it was destroyed meanwhile")


def _sealed_with(change: Any) -> Iterator[str]:
    """The data keys of the sealed values in *change*, which stand in `key_id` or in the `key_id` of its parts."""
    for name in change.__slots__:
        value = getattr(change, name)
        if name == "key_id":
            yield value
        elif isinstance(value, list | tuple):
            for part in value:
                key_id = getattr(part, "key_id", None)
                if key_id is not None:
                    yield key_id


# changes


def _forget_environment_key(t: Transaction, change: ForgetEnvironmentKey) -> Committed:
    t.db.execute("DELETE FROM environment_keys WHERE environment = ? AND id = ?", (change.environment, change.id))
    return Committed()


def _save(t: Transaction, change: SaveDataKey) -> Committed:
    key = change.key
    t.db.execute(
        f"INSERT INTO data_keys ({_KEY}) VALUES (?,?,?,?,?)",
        (key.id, key.wrapped, key.created_at, key.retired_at, key.is_root),
    )
    return Committed()


def _rotate(t: Transaction, change: RotateDataKey) -> Committed:
    t.db.execute(
        "UPDATE data_keys SET retired_at = ? WHERE retired_at IS NULL AND NOT is_root", (change.key.created_at,)
    )
    _save(t, SaveDataKey(change.key))
    t.write_audit(change.audit)
    return Committed()


def _reseal(t: Transaction, change: Reseal) -> Committed:
    where = " AND ".join(f"{column} = ?" for column in change.place.keys)
    t.db.executemany(
        f"UPDATE {change.place.table} SET sealed = ?, key_id = ? WHERE {where} AND key_id = ? AND sealed = ?",
        [(now.sealed, now.key_id, *now.keys, before.key_id, before.sealed) for before, now in change.rows],
    )
    return Committed()


def _destroy(t: Transaction, change: DestroyDataKey) -> Committed:
    for place in SEALED_PLACES:
        if t.db.execute(f"SELECT 1 FROM {place.table} WHERE key_id = ? LIMIT 1", (change.id,)).get:
            raise Conflict(f"values in {place.table} are sealed with it")
    # First over its bytes, so that they do not stay behind in a page that is free.
    t.db.execute(
        "UPDATE data_keys SET wrapped = zeroblob(length(wrapped)) WHERE id = ? AND retired_at IS NOT NULL", (change.id,)
    )
    if t.db.changes() != 1:
        raise Conflict("it is not a retired key")
    t.db.execute("DELETE FROM data_keys WHERE id = ?", (change.id,))
    t.gone_keys.add(change.id)
    t.write_audit(change.audit)
    return Committed()


def _rewrap(t: Transaction, change: RewrapDataKeys) -> Committed:
    for key_id, wrapped in change.wrapped.items():
        t.db.execute("UPDATE data_keys SET wrapped = ? WHERE id = ?", (wrapped, key_id))
        if t.db.changes() != 1:
            raise Conflict("a data key is gone")
    if t.db.execute("SELECT count(*) FROM data_keys").get != len(change.wrapped):
        raise Conflict("there is another data key now")
    t.write_audit(change.audit)
    return Committed()


MAKERS: dict[type, Callable[[Transaction, Any], Committed]] = {
    SaveDataKey: _save,
    RotateDataKey: _rotate,
    Reseal: _reseal,
    DestroyDataKey: _destroy,
    ForgetEnvironmentKey: _forget_environment_key,
    RewrapDataKeys: _rewrap,
}
