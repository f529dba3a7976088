"""The store in one SQLite file: one thread writes, with group commit; reads run where they are asked."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import apsw

from mooring.domain.records import (
    AuditFilter,
    Connection,
    DataKey,
    Deployment,
    DesiredRow,
    Environment,
    FoundMaterial,
    FoundVariable,
    Material,
    MaterialContent,
    MaterialSecret,
    Membership,
    Project,
    Reference,
    SealedSecret,
    Share,
    Standing,
    Token,
    User,
    Worker,
)
from mooring.domain.sealed_places import SealedPlace
from mooring.errors import Conflict, MooringError, Unavailable
from mooring.kit.log import log
from mooring.store import sqlite_audit, sqlite_materials, sqlite_people, sqlite_seals, sqlite_variables
from mooring.store.audit_chain import Head, Link
from mooring.store.base import (
    Change,
    Committed,
    DeleteConnection,
    FinishIdempotency,
    Forget,
    HeadsMoved,
    IdempotencyRecord,
    NoteRequest,
    Record,
    SaveConnection,
    SealedRow,
    SeeWorkers,
    TouchTokens,
)
from mooring.store.migrations import migrations
from mooring.store.sqlite_changes import Transaction
from mooring.store.writer import GroupWriter

T = TypeVar("T")
P = ParamSpec("P")

PAGE = 500
MAX_REMEMBERED = 10_000
_FAIL_FIRST = frozenset({SaveConnection, DeleteConnection})
_LEAVES_CACHES = frozenset(
    {SaveConnection, DeleteConnection, NoteRequest, FinishIdempotency, SeeWorkers, TouchTokens, Record, Forget}
)
_EVERYBODYS = (
    apsw.FullError, apsw.BusyError, apsw.LockedError, apsw.IOError, apsw.CantOpenError, apsw.CorruptError,
    apsw.NotADBError, apsw.ReadOnlyError, apsw.NoMemError,
)  # fmt: skip
"""What fails for every change alike: trying them one by one would not help."""

_CONNECTION = sqlite_materials.CONNECTION
_TOKEN = (
    "id, name, owner, project, grants, created_at, expires_at, revoked_at, last_used_at, secret_hash, parent, user_id"
)
_WORKER = (
    "id, environment, name, public_key, secret_hash, incarnation, version, observed_epoch, observed_revision,"
    " lease_until, created_at"
)
_ENVIRONMENT = (
    "id, name, description, type, status, access_url, epoch, head_revision, compact_revision, digest, created_at"
)
_DEPLOYMENT = "id, environment, connection, generation, revision, request_id, created_at"
_ORDERS = {"name": "name_key", "type": "type", "createdAt": "created_at", "updatedAt": "updated_at"}


class SqliteStore:
    """A `mooring.store.base.Store` in *folder*, which one process at a time may hold."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock_file: Any = None
        self._write_db: apsw.Connection | None = None
        self._read_db: apsw.Connection | None = None
        self._writer = GroupWriter(self._apply, self._told, "mooring-sqlite-writer")
        self._audit = sqlite_audit.Writer()
        self._moved: list[HeadsMoved] = []
        self._refusal: Unavailable | None = None
        self._gone_keys: set[str] = set()
        self._tokens: dict[str, Token] = {}
        self._standings: dict[str, Standing] = {}
        self._projects: dict[str, Project] = {}
        self._environment_names: dict[str, str] = {}

    @property
    def _read(self) -> apsw.Connection:
        if self._read_db is None:
            raise Unavailable("the store is closed")
        return self._read_db

    def _one(self, sql: str, values: tuple[Any, ...] = ()) -> Any:
        """The only row, its only column where it has one, or None."""
        try:
            return self._read.execute(sql, values).get
        except apsw.Error as exc:
            raise _unavailable(exc) from exc

    def _all(self, sql: str, values: tuple[Any, ...] = ()) -> list[Any]:
        """Every row."""
        try:
            return self._read.execute(sql, values).fetchall()
        except apsw.Error as exc:
            raise _unavailable(exc) from exc

    def _asked(self, question: Callable[Concatenate[apsw.Connection, P], T], *args: P.args, **named: P.kwargs) -> T:
        """What *question* finds, all of it in one snapshot."""
        try:
            with self._read:
                answer = question(self._read, *args, **named)
        except apsw.Error as exc:
            raise _unavailable(exc) from exc
        return answer

    async def open(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock_file = _hold(self.folder / "lock")
        path = self.folder / "mooring.db"
        try:
            # Before anything is in it: the files beside it (-wal, -shm) take their mode from it.
            path.touch(0o600)
            path.chmod(0o600)
            self._write_db = _connect(str(path))
            _migrate(self._write_db)
            self._audit.load(self._write_db)
            self._read_db = _connect(str(path))
            self._read_db.execute("PRAGMA query_only=ON")
        except BaseException as exc:
            self._let_go()
            if isinstance(exc, apsw.Error):
                raise _unavailable(exc) from exc
            raise
        self._writer.start()

    async def close(self) -> None:
        await self._writer.stop()
        self._let_go()

    def _let_go(self) -> None:
        for db in (self._read_db, self._write_db):
            if db is not None:
                db.close()
        self._read_db = self._write_db = None
        if self._lock_file is not None:
            self._lock_file.close()
            self._lock_file = None

    def subscribe(self, moved: HeadsMoved) -> None:
        self._moved.append(moved)

    def refuse_writes(self, reason: Unavailable | None) -> None:
        self._refusal = reason

    async def commit(self, change: Change) -> Committed:
        if self._refusal is not None:
            raise self._refusal
        return await self._writer.submit(change)  # type: ignore[no-any-return]  # the writer carries results of every kind

    def _told(self, changes: Sequence[Change], heads: Mapping[str, int] | None) -> None:
        """On the event loop, after a batch: also where whoever asked for a change has gone away meanwhile."""
        if any(type(change) not in _LEAVES_CACHES for change in changes):
            # This process is the only writer, so what it remembers is exact.
            self._tokens.clear()
            self._standings.clear()
            self._projects.clear()
            self._environment_names.clear()
        if heads:
            for moved in self._moved:
                moved(heads)

    def _apply(self, changes: Sequence[Change]) -> tuple[list[Any], dict[str, int]]:
        """On the writer's thread: all of *changes* in one transaction; one by one where something unforeseen spoils that."""
        try:
            return self._transact(changes)
        except Exception as exc:
            log.error("commit_failed", error=type(exc).__name__, changes=len(changes))
            failure = exc
        if isinstance(failure, _EVERYBODYS) or len(changes) == 1:
            raise _unavailable(failure) from failure
        results: list[Any] = []
        heads: dict[str, int] = {}
        for change in changes:
            try:
                result, moved = self._transact([change])
            except Exception as exc:
                log.error("change_failed", change=type(change).__name__, error=type(exc).__name__)
                results.append(_unavailable(exc))
            else:
                results += result
                heads |= moved
        return results, heads

    def _transact(self, changes: Sequence[Change]) -> tuple[list[Any], dict[str, int]]:
        """All of *changes* in one transaction, or, where this raises, none."""
        db = self._write_db
        assert db is not None
        results: list[Any] = []
        transaction = Transaction(db, self._audit, self._gone_keys)
        try:
            db.execute("BEGIN IMMEDIATE")
            for change in changes:
                results.append(_attempt(db, transaction, change))
            transaction.flush()
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            self._audit.rolled_back(db)
            raise
        self._audit.committed()
        return results, transaction.heads

    async def meta(self, key: str) -> str | None:
        return cast("str | None", self._one("SELECT value FROM meta WHERE key = ?", (key,)))

    async def data_keys(self) -> list[DataKey]:
        return self._asked(sqlite_seals.data_keys)

    async def sealed_rows(
        self, place: SealedPlace, *, but: str, after: tuple[str, ...] = (), limit: int
    ) -> list[SealedRow]:
        return self._asked(sqlite_seals.sealed_rows, place, but=but, after=after, limit=limit)

    async def seal_counts(self) -> dict[str, int]:
        return self._asked(sqlite_seals.seal_counts)

    async def environment_key(self, environment: str) -> tuple[str, bytes, str] | None:
        found: tuple[str, bytes, str] | None = self._one(
            "SELECT id, sealed, key_id FROM environment_keys WHERE environment = ?", (environment,)
        )
        return found

    async def token(self, token_id: str) -> Token | None:
        found = self._tokens.get(token_id)
        if found is None:
            row = self._one(f"SELECT {_TOKEN} FROM tokens WHERE id = ?", (token_id,))
            if row is None:
                return None
            found = _remember(self._tokens, token_id, _token(row))
        return found

    async def tokens(self) -> list[Token]:
        return [_token(row) for row in self._all(f"SELECT {_TOKEN} FROM tokens ORDER BY created_at, id")]

    async def standing(self, token: Token) -> Standing | None:
        found = self._standings.get(token.id)
        if found is None:
            asked = self._asked(sqlite_people.standing, token)
            found = None if asked is None else _remember(self._standings, token.id, asked)
        return found

    async def users(self) -> list[User]:
        return self._asked(sqlite_people.users)

    async def user(self, name_key: str) -> User | None:
        return self._asked(sqlite_people.user, name_key)

    async def memberships(self, user_id: str) -> list[Membership]:
        return self._asked(sqlite_people.memberships, user_id)

    async def shares(self, connection_id: str) -> list[Share]:
        return self._asked(sqlite_people.shares, connection_id)

    async def project(self, name: str) -> Project | None:
        found = self._projects.get(name)
        if found is None:
            row = self._one("SELECT id, name, description, created_at FROM projects WHERE name = ?", (name,))
            if row is None:
                return None
            found = _remember(self._projects, name, Project(*row))
        return found

    async def projects(self) -> list[Project]:
        return [
            Project(*row) for row in self._all("SELECT id, name, description, created_at FROM projects ORDER BY name")
        ]

    async def environments(self) -> list[Environment]:
        rows = self._all(f"SELECT {_ENVIRONMENT} FROM environments ORDER BY name_key")
        bound: dict[str, list[str]] = {}
        for environment, project in self._all("SELECT environment, project FROM environment_projects"):
            bound.setdefault(environment, []).append(project)
        return [replace(Environment(*row), projects=tuple(bound.get(row[0], ()))) for row in rows]

    async def environment(self, environment_id: str) -> Environment | None:
        row = self._one(f"SELECT {_ENVIRONMENT} FROM environments WHERE id = ?", (environment_id,))
        if row is None:
            return None
        bound = self._all("SELECT project FROM environment_projects WHERE environment = ?", (environment_id,))
        return replace(Environment(*row), projects=tuple(project for (project,) in bound))

    async def environment_names(self) -> Mapping[str, str]:
        if not self._environment_names:
            self._environment_names = dict(self._all("SELECT id, name FROM environments"))
        return self._environment_names

    async def workers(self) -> list[Worker]:
        return [Worker(*row) for row in self._all(f"SELECT {_WORKER} FROM workers ORDER BY name, id")]

    async def worker(self, worker_id: str) -> Worker | None:
        row = self._one(f"SELECT {_WORKER} FROM workers WHERE id = ?", (worker_id,))
        return Worker(*row) if row else None

    async def connection(self, project_id: str, name_key: str) -> Connection | None:
        row = self._one(
            f"SELECT {_CONNECTION} FROM connections WHERE project = ? AND name_key = ?", (project_id, name_key)
        )
        return sqlite_materials.connection_of(row) if row else None

    async def connection_by_id(self, connection_id: str) -> Connection | None:
        row = self._one(f"SELECT {_CONNECTION} FROM connections WHERE id = ?", (connection_id,))
        return sqlite_materials.connection_of(row) if row else None

    async def document(self, project_id: str, name_key: str) -> tuple[str, int] | None:
        found: tuple[str, int] | None = self._one(
            "SELECT document, generation FROM connections WHERE project = ? AND name_key = ?", (project_id, name_key)
        )
        return found

    async def secrets(self, connection_id: str) -> list[SealedSecret]:
        rows = self._all(
            "SELECT key, sealed, key_id, fingerprint, updated_at FROM secrets WHERE connection = ?", (connection_id,)
        )
        return [SealedSecret(*row) for row in rows]

    async def documents(
        self, project_id: str, type_name: str | None = None, after: str | None = None, limit: int | None = None
    ) -> AsyncIterator[tuple[str, str]]:
        last = after if after is not None else ""
        left = limit
        while left is None or left > 0:
            size = PAGE if left is None else min(PAGE, left)
            rows = self._all(
                "SELECT name_key, document FROM connections WHERE project = ? AND name_key > ?"
                + (" AND type = ?" if type_name else "")
                + " ORDER BY name_key LIMIT ?",
                (project_id, last, type_name, size) if type_name else (project_id, last, size),
            )
            for row in rows:
                yield row
            if len(rows) < size:
                return
            last = rows[-1][0]
            if left is not None:
                left -= size

    async def page(
        self, project_id: str, type_name: str | None, order: str, descending: bool, offset: int, limit: int
    ) -> list[str]:
        direction = "DESC" if descending else "ASC"
        rows = self._all(
            "SELECT document FROM connections WHERE project = ?"
            + (" AND type = ?" if type_name else "")
            + f" ORDER BY {_ORDERS[order]} {direction}, name_key LIMIT ? OFFSET ?",
            (project_id, *([type_name] if type_name else []), limit, offset),
        )
        return [document for (document,) in rows]

    async def material(self, project_id: str, noun: str, name_key: str) -> Material | None:
        return self._asked(sqlite_materials.material, project_id, noun, name_key)

    async def materials(self, project_id: str, noun: str) -> list[tuple[Material, list[MaterialContent]]]:
        return self._asked(sqlite_materials.materials, project_id, noun)

    async def material_contents(self, material_id: str) -> list[MaterialContent]:
        return self._asked(sqlite_materials.contents, material_id)

    async def material_secrets(self, material_id: str) -> list[MaterialSecret]:
        return self._asked(sqlite_materials.secrets, material_id)

    async def sealed_material(self, environment: str, content: bytes) -> tuple[str, MaterialSecret] | None:
        return self._asked(sqlite_materials.sealed, environment, content)

    async def found_materials(
        self, project_id: str, environment: str, references: Sequence[Reference]
    ) -> list[FoundMaterial | None]:
        return self._asked(sqlite_materials.found, project_id, environment, references)

    async def variables(self, project_id: str, environment: str, names: Sequence[str]) -> list[FoundVariable | None]:
        return self._asked(sqlite_variables.values, project_id, environment, names)

    async def variable_namers(self, name_keys: Sequence[str]) -> list[tuple[Connection, str]]:
        return self._asked(sqlite_materials.variable_namers, name_keys)

    async def material_users(self, material: Material) -> list[tuple[Connection, str]]:
        return self._asked(sqlite_materials.users, material)

    async def delta(self, environment: str, after: int, limit: int) -> tuple[Environment, list[DesiredRow]]:
        with self._read:  # one snapshot for both
            found = self._one(f"SELECT {_ENVIRONMENT} FROM environments WHERE id = ?", (environment,))
            if found is None:
                raise Conflict("the environment is gone")
            rows = self._all(
                "SELECT connection, revision, generation, present, hash FROM desired"
                " WHERE environment = ? AND revision > ? ORDER BY revision LIMIT ?",
                (environment, after, limit),
            )
        return Environment(*found), [DesiredRow(c, r, g, bool(p), h) for c, r, g, p, h in rows]

    async def deployments(self, connection_id: str, limit: int) -> list[Deployment]:
        rows = self._all(
            f"SELECT {_DEPLOYMENT} FROM deployments WHERE connection = ? ORDER BY id DESC LIMIT ?",
            (connection_id, limit),
        )
        return [Deployment(*row) for row in rows]

    async def deployment(self, deployment_id: str) -> Deployment | None:
        row = self._one(f"SELECT {_DEPLOYMENT} FROM deployments WHERE id = ?", (deployment_id,))
        return Deployment(*row) if row else None

    async def idempotency(self, token: str, key: str) -> IdempotencyRecord | None:
        row = self._one(
            "SELECT request_hash, deployments, connection, generation, body FROM idempotency WHERE token = ? AND key = ?",
            (token, key),
        )
        return IdempotencyRecord(row[0], tuple(json.loads(row[1])), *row[2:]) if row else None

    def hang_audit(self, key: bytes) -> None:
        assert self._write_db is not None
        try:
            self._audit.hang(self._write_db, key)
        except apsw.Error as exc:
            raise _unavailable(exc) from exc

    def audit_head(self) -> Head:
        return self._audit.head

    async def audit(self, wanted: AuditFilter, before: int | None = None) -> AsyncIterator[dict[str, Any]]:
        # From the database, and not from what the writer knows: it learns of a commit a moment after readers see it.
        following = (self._one("SELECT max(seq) FROM audit") or 0) + 1
        if before is not None:
            following = min(before, following)
        while following:
            rows, following = self._asked(sqlite_audit.found, wanted, following, PAGE)
            for row in rows:
                yield row
            await asyncio.sleep(0)  # a search through many must not keep everybody waiting

    async def audit_records(self, wanted: AuditFilter) -> AsyncIterator[tuple[Link, list[dict[str, Any]]]]:
        after = 0
        while True:
            part = self._asked(sqlite_audit.linked, wanted, after)
            for link, rows in part:
                yield link, rows
            if not part:
                return
            after = part[-1][0].last
            await asyncio.sleep(0)


def _remember(cache: dict[str, T], key: str, value: T) -> T:
    if len(cache) >= MAX_REMEMBERED:
        cache.clear()
    cache[key] = value
    return value


def _attempt(db: apsw.Connection, transaction: Transaction, change: Change) -> Committed | Exception:
    """
    One change under a savepoint: its failure is its own.

    Changes of connections need none: what they can fail of, they fail of before they have written anything.
    """
    if type(change) in _FAIL_FIRST:
        try:
            return transaction.make(change)
        except MooringError as exc:
            return exc
    # Rows that were put off before it must not be undone with it.
    transaction.flush_rows()
    before = transaction.mark()
    db.execute("SAVEPOINT change")
    try:
        committed = transaction.make(change)
    except (MooringError, apsw.ConstraintError) as exc:
        db.execute("ROLLBACK TO change")
        db.execute("RELEASE change")
        transaction.back_to(before)
        return exc if isinstance(exc, MooringError) else Conflict("another record has that key")
    db.execute("RELEASE change")
    return committed


def _connect(path: str) -> apsw.Connection:
    db = apsw.Connection(path)
    db.set_busy_timeout(5000)
    # FULL: a commit that was acknowledged survives a power cut. The WAL is copied back every 1,000 pages.
    db.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=OFF; PRAGMA cache_size=-16000")
    return db


def _migrate(db: apsw.Connection) -> None:
    current = db.execute("PRAGMA user_version").get
    steps = migrations("sqlite")
    if current > steps[-1][0]:
        raise Unavailable(
            "the data was written by a newer version of Mooring",
            hint="Start that version, or restore a backup of this one.",
        )
    for number, sql in steps:
        if number > current:
            with db:
                db.execute(sql)
                db.execute(f"PRAGMA user_version={number}")
            log.info("migrated", step=number)


def _hold(path: Path) -> Any:
    """Take the lock that says one process holds this folder. Raises `Unavailable` naming the holder."""
    handle = path.open("a+")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        handle.seek(0)
        holder = handle.read().strip() or "another process"
        handle.close()
        raise Unavailable(
            f"the data directory is in use by {holder}",
            hint="Stop that one, or start this one with another --data-dir.",
        ) from None
    handle.truncate(0)
    handle.write(f"process {os.getpid()}")
    handle.flush()
    return handle


def _unavailable(exc: Exception) -> Unavailable:
    if isinstance(exc, apsw.FullError):
        return Unavailable("the disk is full", hint="Free some space; nothing that was acknowledged is lost.")
    if isinstance(exc, apsw.BusyError | apsw.LockedError):
        return Unavailable("the database is locked by another process", hint="Find who has the file open.")
    return Unavailable(f"the database cannot be used ({type(exc).__name__})", hint="Look at the log and the disk.")


def _token(row: Any) -> Token:
    values = list(row)
    values[4] = frozenset(row[4].split())
    return Token(*values)
