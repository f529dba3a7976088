"""What each change means in SQL, inside a transaction that somebody else begins and ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import apsw
from pydantic_core import to_json

from mooring.domain.digest import EMPTY, add, term
from mooring.domain.names import ADMIN_PROJECT, name_key
from mooring.domain.records import AuditEntry, Connection, Deployment, Environment, Material
from mooring.errors import Conflict
from mooring.kit.ids import new_id
from mooring.kit.record import record
from mooring.store import sqlite_access, sqlite_audit, sqlite_materials, sqlite_people, sqlite_seals, sqlite_trust
from mooring.store.base import (
    Change,
    Committed,
    CreateProject,
    DeleteConnection,
    DeleteEnvironment,
    DeleteProject,
    FinishIdempotency,
    Forget,
    Idempotency,
    IdempotencyRecord,
    NameTaken,
    NoteRequest,
    Record,
    SaveConnection,
    SaveEnvironment,
    SaveEnvironmentKey,
    SetMeta,
    Stale,
    StartEpoch,
)

_ROWS = {
    "secrets": "connection, key, sealed, key_id, fingerprint, updated_at",
    "desired": "environment, connection, revision, generation, present, hash, changed_at",
    "deployments": "id, environment, connection, generation, revision, request_id, created_at",
    "audit": "seq, " + ", ".join(sqlite_audit.COLUMNS),
}
"""Tables whose new rows are put off to the end of the transaction, and their columns."""


@record
class _Head:
    """Where an environment's desired state stands in this transaction."""

    revision: int
    digest: bytes


class Transaction:
    """
    One transaction's worth of changes.

    Head revisions and digests are kept here while it lasts, and written once by `flush`: a batch takes a range
    of revisions.
    """

    def __init__(self, db: apsw.Connection, audit: sqlite_audit.Writer, gone_keys: set[str]) -> None:
        self.db = db
        self._audit = audit
        self.gone_keys = gone_keys  # data keys that were destroyed while this process runs
        self._heads: dict[str, _Head] = {}
        self._dirty: set[str] = set()
        self._targets: dict[str, list[str]] = {}
        self._waiting: dict[str, list[tuple[Any, ...]]] = {table: [] for table in _ROWS}
        self._known_projects: set[str] = set()
        self._put_off: set[str] = set()

    @property
    def heads(self) -> dict[str, int]:
        """The environments that moved, and their new head revisions."""
        return {environment: self._heads[environment].revision for environment in self._dirty}

    def mark(self) -> tuple[dict[str, _Head], set[str]]:
        """What to go back to if the next change fails; no rows are waiting then."""
        return dict(self._heads), set(self._dirty)

    def back_to(self, mark: tuple[dict[str, _Head], set[str]]) -> None:
        self._heads, self._dirty = mark
        self._put_off.clear()
        for rows in self._waiting.values():
            rows.clear()

    def make(self, change: Change) -> Committed:
        """Write *change*."""
        if self.gone_keys:
            sqlite_seals.refuse_gone(change, self.gone_keys)
        return self._makers[type(change)](self, change)

    def flush_rows(self) -> None:
        """Write the rows that were put off: many to a statement."""
        for table, rows in self._waiting.items():
            if rows:
                _insert(self.db, table, self._audit.numbered(rows) if table == "audit" else rows)
                rows.clear()
        self._put_off.clear()

    def flush(self) -> None:
        """Write what was put off, the heads that moved, and the link that the audit entries hang on."""
        self.flush_rows()
        self._audit.flush(self.db)
        for environment in self._dirty:
            head = self._heads[environment]
            self.db.execute(
                "UPDATE environments SET head_revision = ?, digest = ? WHERE id = ?",
                (head.revision, head.digest, environment),
            )

    # connections

    def _save_connection(self, change: SaveConnection) -> Committed:
        replayed = self.replayed(change.idempotency)
        if replayed:
            return Committed(replayed=replayed)
        connection = change.connection
        self._write_put_off(connection.id)
        if change.expected_generation is None:
            self._insert_connection(connection)
        else:
            self._update_connection(connection, change.expected_generation)
        for key in (*change.dropped, *(secret.key for secret in change.secrets if change.expected_generation)):
            self.db.execute("DELETE FROM secrets WHERE connection = ? AND key = ?", (connection.id, key))
        self._waiting["secrets"] += [
            (connection.id, secret.key, secret.sealed, secret.key_id, secret.fingerprint, secret.updated_at)
            for secret in change.secrets
        ]
        self._put_off.add(connection.id)
        if connection.references or change.expected_generation is not None:
            sqlite_materials.write_references(self.db, connection.id, connection.references)
        deployments: tuple[Deployment, ...] = ()
        if connection.deploy or change.was_deployed:
            deployments = self.desire(connection, connection.deploy, change.audit, change.expected_generation is None)
        self.write_audit(change.audit)
        self.remember(change.idempotency, connection, deployments)
        return Committed(deployments)

    def _write_put_off(self, connection: str) -> None:
        """Before a connection that changed in this very transaction changes again, its rows must be where SQL sees them."""
        if connection in self._put_off:
            self.flush_rows()

    def _insert_connection(self, c: Connection) -> None:
        if c.project not in self._known_projects:
            if not self.db.execute("SELECT 1 FROM projects WHERE id = ?", (c.project,)).get:
                raise Stale("the project is gone")
            self._known_projects.add(c.project)
        try:
            self.db.execute(
                "INSERT INTO connections (id, project, name, name_key, type, enabled, deploy, generation, document, hash,"
                " created_at, updated_at, refers) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
                (c.id, c.project, c.name, c.name_key, c.type, c.enabled, c.deploy, c.generation, c.document, c.hash,
                 c.created_at, c.updated_at, sqlite_materials.refers_of(c.references) if c.references else None),
            )  # fmt: skip
        except apsw.ConstraintError:
            raise NameTaken("the name is taken") from None

    def _update_connection(self, c: Connection, expected_generation: int) -> None:
        try:
            self.db.execute(
                "UPDATE connections SET name = ?, name_key = ?, enabled = ?, deploy = ?, generation = ?, document = ?,"
                " hash = ?, updated_at = ?, refers = ? WHERE id = ? AND generation = ?",
                (c.name, c.name_key, c.enabled, c.deploy, c.generation, c.document, c.hash, c.updated_at,
                 sqlite_materials.refers_of(c.references), c.id, expected_generation),
            )  # fmt: skip
        except apsw.ConstraintError:
            raise NameTaken("the name is taken") from None
        if self.db.changes() != 1:
            raise Stale("the connection changed meanwhile")

    def _delete_connection(self, change: DeleteConnection) -> Committed:
        replayed = self.replayed(change.idempotency)
        if replayed:
            return Committed(replayed=replayed)
        connection = change.connection
        self._write_put_off(connection.id)
        self.db.execute(
            "DELETE FROM connections WHERE id = ? AND generation = ?", (connection.id, connection.generation)
        )
        if self.db.changes() != 1:
            raise Stale("the connection changed meanwhile")
        self.db.execute("DELETE FROM secrets WHERE connection = ?", (connection.id,))
        self.db.execute("DELETE FROM shares WHERE connection = ?", (connection.id,))
        if connection.references:
            sqlite_materials.write_references(self.db, connection.id, ())
        gone = replace(connection, generation=connection.generation + 1)
        deployments = self.desire(gone, False, change.audit, False)
        self.write_audit(change.audit)
        self.remember(change.idempotency, gone, deployments)
        return Committed(deployments)

    # desired state

    def desire(self, c: Connection, present: bool, audit: AuditEntry, is_new: bool) -> tuple[Deployment, ...]:
        """Every environment that may use the connection shall hold it, or let go of it."""
        deployments = []
        for environment in self.targets_of(c.project):
            if not present and not self._holds(environment, c.id):
                continue
            content = self.content_in(environment, c) if c.references and present else c.hash
            revision = self.desire_in(environment, c.id, c.generation, present, content, audit.at, is_new)
            deployments.append(self.deploy(environment, c, revision, audit))
        return tuple(deployments)

    def deploy(self, environment: str, c: Connection, revision: int, audit: AuditEntry) -> Deployment:
        """A deployment of *c* that begins now, with the *revision* of the environment that tells of it."""
        deployment = Deployment(new_id("dep"), environment, c.id, c.generation, revision, audit.request_id, audit.at)
        self._waiting["deployments"].append(
            (deployment.id, environment, c.id, c.generation, revision, audit.request_id, audit.at)
        )
        return deployment

    def content_in(self, environment: str, c: Connection) -> bytes:
        """The hash of what workers of *environment* hold of *c*: also of the materials that it uses there."""
        return sqlite_materials.content_in(self.db, environment, c.project, c.hash, c.references)

    def desire_in(
        self, environment: str, connection: str, generation: int, present: bool, content: bytes, at: int, is_new: bool
    ) -> int:
        """The environment's next revision says that its workers hold this, or let go of it; that revision."""
        head = self._head(environment)
        change = term(connection, generation, content) if present else 0
        if not is_new:
            before = self.db.execute(
                "SELECT generation, present, hash FROM desired WHERE environment = ? AND connection = ?",
                (environment, connection),
            ).get
            if before and before[1]:
                change -= term(connection, before[0], before[2])
        head = _Head(head.revision + 1, add(head.digest, change))
        self._heads[environment] = head
        self._dirty.add(environment)
        row = (environment, connection, head.revision, generation, present, content if present else b"", at)
        if is_new:
            self._waiting["desired"].append(row)
        else:
            self.db.execute(
                "INSERT INTO desired (environment, connection, revision, generation, present, hash, changed_at)"
                " VALUES (?,?,?,?,?,?,?) ON CONFLICT (environment, connection) DO UPDATE SET revision = excluded.revision,"
                " generation = excluded.generation, present = excluded.present, hash = excluded.hash,"
                " changed_at = excluded.changed_at",
                row,
            )
        return head.revision

    def _holds(self, environment: str, connection: str) -> bool:
        return bool(
            self.db.execute(
                "SELECT present FROM desired WHERE environment = ? AND connection = ?", (environment, connection)
            ).get
        )

    def _head(self, environment: str) -> _Head:
        head = self._heads.get(environment)
        if head is None:
            row = self.db.execute("SELECT head_revision, digest FROM environments WHERE id = ?", (environment,)).get
            head = self._heads[environment] = _Head(*row)
        return head

    def targets_of(self, project: str) -> list[str]:
        """The published environments that *project* may use, in ascending id."""
        found = self._targets.get(project)
        if found is None:
            found = self._targets[project] = [
                environment
                for (environment,) in self.db.execute(
                    "SELECT id FROM environments e WHERE status <> 'UNPUBLISHED' AND ("
                    " NOT EXISTS (SELECT 1 FROM environment_projects p WHERE p.environment = e.id)"
                    " OR EXISTS (SELECT 1 FROM environment_projects p WHERE p.environment = e.id AND p.project = ?)"
                    " OR EXISTS (SELECT 1 FROM projects WHERE id = ? AND name = ?))"
                    " ORDER BY id",
                    (project, project, ADMIN_PROJECT),
                )
            ]
        return found

    # projects and environments

    def _create_project(self, change: CreateProject) -> Committed:
        p = change.project
        try:
            self.db.execute(
                "INSERT INTO projects (id, name, description, created_at) VALUES (?,?,?,?)",
                (p.id, p.name, p.description, p.created_at),
            )
        except apsw.ConstraintError:
            raise NameTaken("the name is taken") from None
        self.write_audit(change.audit)
        return Committed()

    def _delete_project(self, change: DeleteProject) -> Committed:
        if self.db.execute("SELECT 1 FROM connections WHERE project = ? LIMIT 1", (change.project.id,)).get:
            raise Conflict("its connections")
        if self.db.execute("SELECT 1 FROM materials WHERE project = ? LIMIT 1", (change.project.id,)).get:
            raise Conflict("its keystores, certificates and variables")
        if self.db.execute(
            "SELECT 1 FROM environment_projects p WHERE project = ? AND NOT EXISTS (SELECT 1 FROM environment_projects o"
            " WHERE o.environment = p.environment AND o.project <> p.project) LIMIT 1",
            (change.project.id,),
        ).get:
            # Without it nothing would be bound to them, and that would open them to every project.
            raise Conflict("an environment that is bound to it alone")
        self.db.execute("DELETE FROM projects WHERE id = ?", (change.project.id,))
        self.db.execute("DELETE FROM environment_projects WHERE project = ?", (change.project.id,))
        self.db.execute("DELETE FROM memberships WHERE project = ?", (change.project.id,))
        self._targets.clear()
        self._known_projects.clear()
        self.write_audit(change.audit)
        return Committed()

    def _save_environment(self, change: SaveEnvironment) -> Committed:
        e = change.environment
        gains = sqlite_trust.Gains(self, change.watch) if change.watch and not change.is_new else None
        try:
            if change.is_new:
                self.db.execute(
                    "INSERT INTO environments (id, name, name_key, description, type, status, access_url, epoch,"
                    " head_revision, compact_revision, digest, created_at) VALUES (?,?,?,?,?,?,?,?,0,0,?,?)",
                    (
                        e.id,
                        e.name,
                        name_key(e.name),
                        e.description,
                        e.type,
                        e.status,
                        e.access_url,
                        e.epoch,
                        EMPTY,
                        e.created_at,
                    ),
                )
            else:
                self.db.execute(
                    "UPDATE environments SET name = ?, name_key = ?, description = ?, type = ?, status = ?, access_url = ?"
                    " WHERE id = ?",
                    (e.name, name_key(e.name), e.description, e.type, e.status, e.access_url, e.id),
                )
                if self.db.changes() != 1:
                    raise Stale("the environment is gone")
        except apsw.ConstraintError:
            raise NameTaken("the name is taken") from None
        self.db.execute("DELETE FROM environment_projects WHERE environment = ?", (e.id,))
        self.db.executemany(
            "INSERT INTO environment_projects (environment, project) VALUES (?, ?)",
            [(e.id, project) for project in e.projects],
        )
        self._targets.clear()
        if gains:
            gains.check(e.id)
        self._fit_desired(e, change.audit.at)
        self.write_audit(change.audit)
        return Committed()

    def _fit_desired(self, e: Environment, at: int) -> None:
        """Make the environment's desired state what its status and its projects say."""
        wanted = (
            ""
            if not e.projects
            else f" AND (project IN ({','.join('?' * len(e.projects))}) OR project = (SELECT id FROM projects WHERE name = '{ADMIN_PROJECT}'))"
        )
        should = {}
        if e.status != "UNPUBLISHED":
            rows: Any = self.db.execute(
                f"SELECT id, generation, hash, project, refers FROM connections WHERE deploy{wanted}", e.projects
            )
            should = {connection: (generation, *what) for connection, generation, *what in rows}
        held: Any = self.db.execute(
            "SELECT connection, generation FROM desired WHERE environment = ? AND present", (e.id,)
        ).fetchall()
        has = dict(held)
        for connection, (generation, content, project, refers) in should.items():
            if connection not in has:
                if refers:
                    references = sqlite_materials.references_of(refers)
                    content = sqlite_materials.content_in(self.db, e.id, project, content, references)
                self.desire_in(e.id, connection, generation, True, content, at, False)
        for connection, generation in has.items():
            if connection not in should:
                self.desire_in(e.id, connection, generation, False, b"", at, False)

    def _delete_environment(self, change: DeleteEnvironment) -> Committed:
        environment = change.environment.id
        for table in (
            "desired", "environment_projects", "environment_keys", "workers", "enrolments", "deployments",
            "material_contents", "material_secrets",
        ):  # fmt: skip
            self.db.execute(f"DELETE FROM {table} WHERE environment = ?", (environment,))
        self.db.execute("DELETE FROM environments WHERE id = ?", (environment,))
        self._heads.pop(environment, None)
        self._dirty.discard(environment)
        self._targets.clear()
        self.write_audit(change.audit)
        return Committed()

    def _start_epoch(self, change: StartEpoch) -> Committed:
        self.db.execute("UPDATE environments SET epoch = ? WHERE id = ?", (change.epoch, change.environment))
        return Committed()

    # keys, bookkeeping

    def _save_environment_key(self, change: SaveEnvironmentKey) -> Committed:
        self.db.execute(
            "INSERT OR IGNORE INTO environment_keys (environment, id, sealed, key_id) VALUES (?,?,?,?)",
            (change.environment, change.id, change.sealed, change.key_id),
        )
        return Committed()

    def _record(self, change: Record) -> Committed:
        self.write_audit(change.audit)
        return Committed()

    def _set_meta(self, change: SetMeta) -> Committed:
        self.db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?,?)", (change.key, change.value))
        return Committed()

    def _forget(self, change: Forget) -> Committed:
        self.db.execute("DELETE FROM idempotency WHERE at < ?", (change.idempotency_before,))
        self.db.execute("DELETE FROM deployments WHERE created_at < ?", (change.deployments_before,))
        return Committed()

    def replayed(self, idempotency: Idempotency | None) -> IdempotencyRecord | None:
        """What was committed under that key before, if anything."""
        if idempotency is None:
            return None
        row = self.db.execute(
            "SELECT request_hash, deployments, connection, generation, body FROM idempotency WHERE token = ? AND key = ?",
            (idempotency.token, idempotency.key),
        ).get
        return IdempotencyRecord(row[0], tuple(json.loads(row[1])), *row[2:]) if row else None

    def remember(
        self, idempotency: Idempotency | None, c: Connection | Material, deployments: tuple[Deployment, ...]
    ) -> None:
        """Note what is committed now under that key."""
        if idempotency is None:
            return
        self.db.execute(
            "INSERT INTO idempotency (token, key, request_hash, at, connection, generation, deployments) VALUES (?,?,?,?,?,?,?)",
            (idempotency.token, idempotency.key, idempotency.request_hash, idempotency.at, c.id, c.generation,
             json.dumps([deployment.id for deployment in deployments])),
        )  # fmt: skip

    def _note_request(self, change: NoteRequest) -> Committed:
        replayed = self.replayed(change.idempotency)
        if not replayed:
            self.remember(change.idempotency, change.connection, tuple(change.deployments))
        return Committed(replayed=replayed)

    def _finish_idempotency(self, change: FinishIdempotency) -> Committed:
        self.db.execute(
            "UPDATE idempotency SET body = ? WHERE token = ? AND key = ?", (change.body, change.token, change.key)
        )
        return Committed()

    def write_audit(self, entry: AuditEntry) -> None:
        """The entry of a change, at the end of the transaction."""
        self._waiting["audit"].append(
            (entry.at, entry.actor, entry.token, entry.request_id, entry.address, entry.action, entry.noun, entry.noun_id,
             entry.name, entry.project, to_json(entry.changed).decode() if entry.changed else "[]", entry.changes)
        )  # fmt: skip

    _makers: ClassVar[dict[type, Callable[[Transaction, Any], Committed]]] = {
        **sqlite_access.MAKERS,
        **sqlite_people.MAKERS,
        **sqlite_materials.MAKERS,
        **sqlite_seals.MAKERS,
        SaveConnection: _save_connection,
        DeleteConnection: _delete_connection,
        NoteRequest: _note_request,
        FinishIdempotency: _finish_idempotency,
        CreateProject: _create_project,
        DeleteProject: _delete_project,
        SaveEnvironment: _save_environment,
        DeleteEnvironment: _delete_environment,
        StartEpoch: _start_epoch,
        SaveEnvironmentKey: _save_environment_key,
        Record: _record,
        SetMeta: _set_meta,
        Forget: _forget,
    }


def _insert(db: apsw.Connection, table: str, rows: list[tuple[Any, ...]]) -> None:
    """
    Insert *rows*, a power of two of them to a statement, so that there are few statements to prepare.

    One statement for many rows also means that the interpreter's lock changes hands once for them, and not once
    each: the thread that answers requests is not held up.
    """
    columns = _ROWS[table]
    one = f"({','.join('?' * (columns.count(',') + 1))})"
    done = 0
    while done < len(rows):
        size = min(64, 1 << ((len(rows) - done).bit_length() - 1))
        values = [value for row in rows[done : done + size] for value in row]
        db.execute(f"INSERT INTO {table} ({columns}) VALUES {','.join([one] * size)}", values)
        done += size
