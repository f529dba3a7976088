"""The audit in SQLite: writing entries with their chain, and reading both."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw

from mooring.domain.records import AuditFilter
from mooring.kit.clock import now_ms
from mooring.store.audit_chain import COLUMNS, EMPTY, MAX_COVERED, Chain, Head, Link, Row, Verdict

Error = apsw.Error
__all__ = ["COLUMNS", "Error", "Writer", "found", "linked", "links", "read_only", "records", "verified"]

WINDOW = 20_000
"""How many numbers one search looks at: others get their turn in between."""
PAGE = 1_000
LINKS = 100
"""How many links one look takes; each covers at most a batch, or a piece of what was anchored."""

_FIELDS = f"seq, {', '.join(COLUMNS)}"
_LINK = "first, last, at, tags, mac"
_FILTERS = {
    "project": "project = ?", "actor": "actor = ?", "action": "action = ?", "noun": "noun = ?", "name": "name = ?",
    "noun_id": "noun_id = ?", "request_id": "request_id = ?", "since": "at >= ?", "until": "at < ?",
}  # fmt: skip


class Writer:
    """
    Numbers entries, and makes the link of each transaction; on the thread that writes.

    What happens in a transaction counts from `committed` on. Before `hang` there are numbers and no links.
    """

    def __init__(self) -> None:
        self.head = EMPTY
        self._chain: Chain | None = None
        self._is_hanging = False
        self._rows: list[Row] = []

    def load(self, db: apsw.Connection) -> None:
        """Go on where *db* ends."""
        row: Any = db.execute(f"SELECT {_LINK} FROM audit_links ORDER BY last DESC LIMIT 1").get
        last: Any = db.execute("SELECT max(seq) FROM audit").get
        self._is_hanging = bool(row)
        self.head = Head(row[1], row[2], row[4]) if row else EMPTY
        if (last or 0) > self.head.seq:
            # Of a version without a chain; or somebody added them, and a check names the first that has no link.
            self.head = Head(last, self.head.at, self.head.mac)

    def hang(self, db: apsw.Connection, key: bytes) -> None:
        """From now on entries hang on a chain under *key*; those of a version that had none are anchored first."""
        self._chain = Chain(key)
        if self._is_hanging:
            return
        self._is_hanging, self.head = True, EMPTY
        with db:  # all or nothing: what an interrupted start left over would never get a link
            waiting: list[Row] = []
            for _, row in records(db):
                waiting.append(row)
                if len(waiting) == MAX_COVERED:
                    self._write(db, waiting)
                    waiting = []
            if waiting:
                self._write(db, waiting)

    def numbered(self, rows: Sequence[Row]) -> list[tuple[Any, ...]]:
        """*rows* with the numbers that come next."""
        first = self.head.seq + len(self._rows) + 1
        self._rows += rows
        return [(seq, *row) for seq, row in enumerate(rows, first)]

    def flush(self, db: apsw.Connection) -> None:
        """Write the link of this transaction."""
        if self._rows and self._chain is not None:
            self._insert(db, self._chain.link(self.head, self._rows, now_ms()))

    def committed(self) -> None:
        """The transaction is durable."""
        if self._rows:
            self.head = self._after
            self._rows = []

    def rolled_back(self, db: apsw.Connection) -> None:
        """The transaction never was. Where somebody else wrote a record with the number that was next, go on behind it."""
        self._rows = []
        with contextlib.suppress(apsw.Error):  # whoever asked hears of what went wrong first
            last: Any = db.execute("SELECT max(seq) FROM audit").get
            if (last or 0) > self.head.seq:
                self.head = Head(last, self.head.at, self.head.mac)

    def _write(self, db: apsw.Connection, rows: list[Row]) -> None:
        assert self._chain is not None
        self._rows = rows
        self.flush(db)
        self.committed()

    def _insert(self, db: apsw.Connection, link: Link) -> None:
        db.execute(
            "INSERT INTO audit_links (first, last, at, tags, mac) VALUES (?,?,?,?,?)",
            (link.first, link.last, link.at, link.tags, link.mac),
        )
        self._link = link

    @property
    def _after(self) -> Head:
        last = self.head.seq + len(self._rows)
        return Head(last, self._link.at, self._link.mac) if self._chain is not None else Head(last, 0, b"")


def records(db: apsw.Connection, after: int = 0) -> Iterator[tuple[int, Row]]:
    """Every record beyond number *after*, in order; one whose text is none any more comes as bytes."""
    last = after if after else -(2**62)
    while True:
        numbers: Any = db.execute("SELECT seq FROM audit WHERE seq > ? ORDER BY seq LIMIT ?", (last, PAGE)).fetchall()
        if not numbers:
            return
        span = (last, numbers[-1][0])
        try:
            rows: Any = db.execute(
                f"SELECT {_FIELDS} FROM audit WHERE seq > ? AND seq <= ? ORDER BY seq", span
            ).fetchall()
        except UnicodeDecodeError:
            rows = [_row_of(db, seq) for (seq,) in numbers]
        for seq, *row in rows:
            yield seq, row
        last = span[1]


def _row_of(db: apsw.Connection, seq: int) -> Any:
    try:
        return db.execute(f"SELECT {_FIELDS} FROM audit WHERE seq = ?", (seq,)).get
    except UnicodeDecodeError:
        return (seq, *[b""] * len(COLUMNS))


def links(db: apsw.Connection, after: int = 0) -> Iterator[Link]:
    """Every link that ends beyond record *after*, in order."""
    last = after if after else -(2**62)
    while True:
        rows: Any = db.execute(
            # Cast: in a database that others write, there may be anything in any column.
            "SELECT CAST(first AS INTEGER), last, CAST(at AS INTEGER), CAST(tags AS BLOB), CAST(mac AS BLOB)"
            " FROM audit_links WHERE last > ? ORDER BY last LIMIT ?",
            (last, PAGE),
        ).fetchall()
        for row in rows:
            yield Link(*row)
        if len(rows) < PAGE:
            return
        last = rows[-1][1]


def found(db: apsw.Connection, wanted: AuditFilter, before: int, limit: int) -> tuple[list[dict[str, Any]], int]:
    """
    The newest entries under number *before* that *wanted* describes, at most *limit*; and the number to go on under.

    It looks at a window of numbers only, so it may find few; 0 says that there is nothing further.
    """
    least = max(0, before - WINDOW)
    conditions, values = _conditions(wanted)
    rows: Any = db.execute(
        f"SELECT {_FIELDS} FROM audit WHERE seq < ? AND seq >= ?{conditions} ORDER BY seq DESC LIMIT ?",
        (before, least, *values, limit),
    ).fetchall()
    entries = [as_entry(seq, row) for seq, *row in rows]
    return entries, (entries[-1]["seq"] if len(entries) == limit else least if least > 1 else 0)


def linked(db: apsw.Connection, wanted: AuditFilter, after: int) -> list[tuple[Link, list[dict[str, Any]]]]:
    """Some links beyond record *after*, each with those of its records that *wanted* describes; none at the end."""
    rows: Any = db.execute(
        f"SELECT {_LINK} FROM audit_links WHERE last > ? ORDER BY last LIMIT ?", (after, LINKS)
    ).fetchall()
    if not rows:
        return []
    rows = [rows[0], *(row for row in rows[1:] if row[1] - after <= MAX_COVERED)]  # in bounded memory
    conditions, values = _conditions(wanted)
    entries: Any = db.execute(
        f"SELECT {_FIELDS} FROM audit WHERE seq > ? AND seq <= ?{conditions} ORDER BY seq",
        (after, rows[-1][1], *values),
    ).fetchall()
    found, place = [], 0
    for row in rows:
        own = []
        while place < len(entries) and entries[place][0] <= row[1]:
            own.append(as_entry(entries[place][0], entries[place][1:]))
            place += 1
        found.append((Link(*row), own))
    return found


def _conditions(wanted: AuditFilter) -> tuple[str, list[Any]]:
    given = [(name, value) for name in _FILTERS if (value := getattr(wanted, name)) is not None]
    return "".join(f" AND {_FILTERS[name]}" for name, _ in given), [value for _, value in given]


def as_entry(seq: int, row: Row) -> dict[str, Any]:
    """A record with the names of its columns, and what is JSON in it read."""
    entry = {"seq": seq, **dict(zip(COLUMNS, row, strict=True))}
    entry["changed"] = json.loads(entry["changed"])
    entry["changes"] = json.loads(entry["changes"]) if entry["changes"] else {}
    return entry


def read_only(path: Path) -> apsw.Connection:
    """The database *path*, for reading, also while a control plane has it open. Raises `Error`."""
    return apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)


def verified(db: apsw.Connection, chain: Chain, kept: Head | None) -> Verdict:
    """What *chain* finds in *db*, in one snapshot."""
    db.execute("BEGIN")
    try:
        return chain.verify(links(db), records(db), kept)
    finally:
        db.execute("ROLLBACK")
