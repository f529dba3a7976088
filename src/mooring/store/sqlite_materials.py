"""
Keystores and certificates in SQL: what changes of them mean, and what stands behind a reference.

Looking behind references happens in one function, so that what is desired, what is sent and what people are told
cannot disagree.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import apsw

from mooring.domain.digest import with_materials
from mooring.domain.names import ADMIN_PROJECT, name_key
from mooring.domain.records import (
    Connection,
    Deployment,
    FoundMaterial,
    Material,
    MaterialContent,
    MaterialSecret,
    Reference,
)
from mooring.store import sqlite_trust, sqlite_variables
from mooring.store.base import (
    AliasTaken,
    Committed,
    DeleteMaterial,
    IndexReferences,
    NameTaken,
    SaveMaterial,
    Stale,
    Used,
)

if TYPE_CHECKING:
    from mooring.store.sqlite_changes import Transaction

CONNECTION = (
    "id, project, name, name_key, type, enabled, deploy, generation, document, hash, created_at, updated_at, refers"
)
_MATERIAL = "id, project, noun, name, name_key, description, generation, created_at, updated_at"
_CONTENT = "environment, type, alias, entries, hash"


# references


def refers_of(references: Sequence[Reference]) -> str | None:
    """*references* as the column `refers` holds them."""
    return json.dumps([[each.field, each.noun, each.name] for each in references]) if references else None


def references_of(refers: str | None) -> tuple[Reference, ...]:
    """What the column `refers` holds."""
    return tuple(Reference(*each) for each in json.loads(refers)) if refers else ()


def connection_of(row: Any) -> Connection:
    """The connection in a row of `CONNECTION`."""
    values = list(row)
    values[5:7] = bool(row[5]), bool(row[6])
    values[12] = references_of(row[12])
    return Connection(*values)


def write_references(db: apsw.Connection, connection: str, references: Iterable[Reference]) -> None:
    """The names that *connection* uses are these, from now on."""
    db.execute("DELETE FROM connection_references WHERE connection = ?", (connection,))
    for key in {sqlite_variables.indexed_under(each) for each in references}:
        db.execute("INSERT INTO connection_references (connection, name_key) VALUES (?, ?)", (connection, key))


def found(
    db: apsw.Connection, project: str, environment: str, references: Iterable[Reference]
) -> list[FoundMaterial | None]:
    """What stands behind each of *references*; see `mooring.store.base.Store.found_materials`."""
    return [_found(db, project, environment, reference) for reference in references]


def _found(db: apsw.Connection, project: str, environment: str, reference: Reference) -> FoundMaterial | None:
    if reference.noun == sqlite_variables.VARIABLE:
        return sqlite_variables.found(db, project, environment, reference.name)
    name = sqlite_variables.material_name(db, project, environment, reference.name)
    if name is None:
        return None
    row = db.execute(
        "SELECT m.id, m.noun, m.name, c.hash, c.entries FROM materials m"
        " LEFT JOIN material_contents c ON c.material = m.id AND c.environment = ?"
        " WHERE m.noun <> 'variable' AND m.name_key = ? AND (m.project = ? OR m.project = (SELECT id FROM projects WHERE name = ?))"
        " ORDER BY m.project <> ?, m.noun <> ? LIMIT 1",
        (environment, name_key(name), project, ADMIN_PROJECT, project, reference.noun),
    ).get
    return FoundMaterial(*row) if row else None


def content_in(
    db: apsw.Connection, environment: str, project: str, content: bytes, references: Sequence[Reference]
) -> bytes:
    """The hash of a connection with what stands behind its *references* in *environment*."""
    if not references:
        return content
    behind = found(db, project, environment, references)
    return with_materials(content, [(r.field, m.hash if m else None) for r, m in zip(references, behind, strict=True)])


# reading


def material(db: apsw.Connection, project: str, noun: str, key: str) -> Material | None:
    """The material of that name."""
    row = db.execute(
        f"SELECT {_MATERIAL} FROM materials WHERE project = ? AND noun = ? AND name_key = ?", (project, noun, key)
    ).get
    return Material(*row) if row else None


def materials(db: apsw.Connection, project: str, noun: str) -> list[tuple[Material, list[MaterialContent]]]:
    """All of a project, with what they have."""
    kept: Any = db.execute(
        f"SELECT {_MATERIAL} FROM materials WHERE project = ? AND noun = ? ORDER BY name_key", (project, noun)
    ).fetchall()
    return [(Material(*row), contents(db, row[0])) for row in kept]


def contents(db: apsw.Connection, material_id: str) -> list[MaterialContent]:
    """What a material has."""
    rows: Any = db.execute(
        f"SELECT {_CONTENT} FROM material_contents WHERE material = ? ORDER BY environment", (material_id,)
    )
    return [MaterialContent(*row) for row in rows]


def secrets(db: apsw.Connection, material_id: str) -> list[MaterialSecret]:
    """The sealed parts of a material."""
    rows: Any = db.execute(
        "SELECT environment, key, sealed, key_id FROM material_secrets WHERE material = ?", (material_id,)
    )
    return [MaterialSecret(*row) for row in rows]


def sealed(db: apsw.Connection, environment: str, content: bytes) -> tuple[str, MaterialSecret] | None:
    """Who has that content in that environment, and the content."""
    row = db.execute(
        "SELECT s.material, s.environment, s.key, s.sealed, s.key_id FROM material_contents c"
        " JOIN material_secrets s ON s.material = c.material AND s.environment = c.environment AND s.key = 'opened'"
        " WHERE c.hash = ? AND c.environment = ? LIMIT 1",
        (content, environment),
    ).get
    return (row[0], MaterialSecret(*row[1:])) if row else None


def users(db: apsw.Connection, of: Material) -> list[tuple[Connection, str]]:
    """The connections whose references find *of*, with the names of their projects."""
    found_here = []
    for connection, project_name in _namers(db, _keys(of, [of.name_key])):
        if of.noun == sqlite_variables.VARIABLE:
            is_used = sqlite_variables.uses(db, connection, of)
        else:
            is_used = any(
                each is not None and each.material == of.id
                for environment in _environments(db, connection)
                for each in found(db, connection.project, environment, connection.references)
            )
        if is_used:
            found_here.append((connection, project_name))
    return found_here


def variable_namers(db: apsw.Connection, keys: Sequence[str]) -> list[tuple[Connection, str]]:
    """The connections that name a variable of one of those keys."""
    return [
        (connection, project_name)
        for connection, project_name in _namers(db, keys)
        if any(r.noun == sqlite_variables.VARIABLE and name_key(r.name) in keys for r in connection.references)
    ]


def _keys(of: Material, keys: Iterable[str]) -> set[str]:
    """The name keys to look for users of *of* under: also that of those who name it by way of a variable."""
    return {*keys} if of.noun == sqlite_variables.VARIABLE else {*keys, sqlite_variables.VARYING}


def _environments(db: apsw.Connection, connection: Connection) -> list[str]:
    """Where the references of *connection* may find different materials; one place stands for all, where they cannot."""
    if not any(sqlite_variables.indexed_under(each) == sqlite_variables.VARYING for each in connection.references):
        return [""]
    found: Any = db.execute("SELECT id FROM environments").fetchall()
    return [environment for (environment,) in found]


def _namers(db: apsw.Connection, keys: Iterable[str]) -> list[tuple[Connection, str]]:
    """The connections that use one of those names, whoever's material that may be."""
    wanted = sorted(set(keys))
    marks = ",".join("?" * len(wanted))
    named = f"c.id IN (SELECT connection FROM connection_references WHERE name_key IN ({marks}))"
    return _with_projects(db, named, wanted)


def connections_with_references(db: apsw.Connection, project: str) -> list[tuple[Connection, str]]:
    """The connections of a project that use any material."""
    return _with_projects(db, "c.refers IS NOT NULL AND c.project = ?", [project])


def _with_projects(db: apsw.Connection, which: str, values: Sequence[str]) -> list[tuple[Connection, str]]:
    """Connections with the names of their projects, in the order of both."""
    columns = ", ".join(f"c.{column}" for column in CONNECTION.split(", "))
    rows: Any = db.execute(
        f"SELECT {columns}, p.name FROM connections c JOIN projects p ON p.id = c.project WHERE {which}"
        " ORDER BY p.name, c.name_key",
        values,
    )
    return [(connection_of(row[:-1]), row[-1]) for row in rows]


# changes


def save(transaction: Transaction, change: SaveMaterial) -> Committed:
    replayed = transaction.replayed(change.idempotency)
    if replayed:
        return Committed(replayed=replayed)
    m, db = change.material, transaction.db
    keys = {m.name_key}
    if change.expected_generation is not None:
        keys.add(_name_before(db, m, change.expected_generation))
    watch = change.watch
    namers = _namers(db, _keys(m, keys)) if watch else []
    connections, environments = [each for each, _ in namers], sqlite_trust.every_environment(db)
    before = sqlite_trust.picture(db, connections, watch, environments, _keys(m, keys)) if watch else {}
    if change.expected_generation is None:
        _insert(db, m)
    else:
        _update(db, m)
    _write_contents(db, m, change)
    if watch:
        after = sqlite_trust.picture(db, connections, watch, environments, _keys(m, keys))
        sqlite_trust.check(db, namers, before, after, watch)
    deployments = _follow(transaction, keys, change)
    transaction.write_audit(change.audit)
    transaction.remember(change.idempotency, m, deployments)
    return Committed(deployments)


def _insert(db: apsw.Connection, m: Material) -> None:
    if not db.execute("SELECT 1 FROM projects WHERE id = ?", (m.project,)).get:
        raise Stale("the project is gone")
    try:
        db.execute(
            f"INSERT INTO materials ({_MATERIAL}) VALUES (?,?,?,?,?,?,?,?,?)",
            (m.id, m.project, m.noun, m.name, m.name_key, m.description, m.generation, m.created_at, m.updated_at),
        )
    except apsw.ConstraintError:
        raise NameTaken("the name is taken") from None


def _name_before(db: apsw.Connection, m: Material, expected_generation: int) -> str:
    """The name key that the material has now. Raises `Stale`, and `Used` where connections use it and *m* leaves it."""
    row = db.execute(f"SELECT {_MATERIAL} FROM materials WHERE id = ?", (m.id,)).get
    before = Material(*row) if row else None
    if before is None or before.generation != expected_generation:
        raise Stale("it changed meanwhile")
    if before.name_key != m.name_key and (found := users(db, before)):
        raise Used(found)
    return before.name_key


def _update(db: apsw.Connection, m: Material) -> None:
    try:
        db.execute(
            "UPDATE materials SET name = ?, name_key = ?, description = ?, generation = ?, updated_at = ? WHERE id = ?",
            (m.name, m.name_key, m.description, m.generation, m.updated_at, m.id),
        )
    except apsw.ConstraintError:
        raise NameTaken("the name is taken") from None


def _write_contents(db: apsw.Connection, m: Material, change: SaveMaterial) -> None:
    kept = [content.environment for content in change.contents]
    marks = ",".join("?" * len(kept))
    for table in ("material_contents", "material_secrets"):
        db.execute(f"DELETE FROM {table} WHERE material = ? AND environment NOT IN ({marks})", (m.id, *kept))
    for content in change.contents:
        anywhere = m.noun == sqlite_variables.VARIABLE and not content.environment
        if not anywhere and not db.execute("SELECT 1 FROM environments WHERE id = ?", (content.environment,)).get:
            raise Stale("the environment is gone")
        alias_key = None if content.alias is None else name_key(content.alias)
        if m.noun == "certificate" and alias_key is not None:
            _check_alias(db, m, content.environment, alias_key)
        db.execute(
            "INSERT OR REPLACE INTO material_contents (material, environment, type, alias, alias_key, entries, hash)"
            " VALUES (?,?,?,?,?,?,?)",
            (m.id, content.environment, content.type, content.alias, alias_key, content.entries, content.hash),
        )
    for environment, key in change.dropped:
        db.execute(
            "DELETE FROM material_secrets WHERE material = ? AND environment = ? AND key = ?", (m.id, environment, key)
        )
    for secret in change.secrets:
        db.execute(
            "INSERT OR REPLACE INTO material_secrets (material, environment, key, sealed, key_id) VALUES (?,?,?,?,?)",
            (m.id, secret.environment, secret.key, secret.sealed, secret.key_id),
        )


def _check_alias(db: apsw.Connection, m: Material, environment: str, alias_key: str) -> None:
    if db.execute(
        "SELECT 1 FROM material_contents c JOIN materials o ON o.id = c.material"
        " WHERE o.project = ? AND o.noun = 'certificate' AND o.id <> ? AND c.environment = ? AND c.alias_key = ? LIMIT 1",
        (m.project, m.id, environment, alias_key),
    ).get:
        raise AliasTaken("the alias is taken")


def delete(transaction: Transaction, change: DeleteMaterial) -> Committed:
    replayed = transaction.replayed(change.idempotency)
    if replayed:
        return Committed(replayed=replayed)
    m, db = change.material, transaction.db
    found = users(db, m)
    db.execute("DELETE FROM materials WHERE id = ? AND generation = ?", (m.id, m.generation))
    if db.changes() != 1:
        raise Stale("it changed meanwhile")
    if found:
        raise Used(found)
    for table in ("material_contents", "material_secrets"):
        db.execute(f"DELETE FROM {table} WHERE material = ?", (m.id,))
    transaction.write_audit(change.audit)
    transaction.remember(change.idempotency, m, ())
    return Committed()


def _follow(transaction: Transaction, keys: Iterable[str], change: SaveMaterial) -> tuple[Deployment, ...]:
    """Desire anew every connection that uses one of those names, where something else stands behind it now."""
    deployments = []
    for connection, _ in _namers(transaction.db, _keys(change.material, keys)):
        held: Any = transaction.db.execute(
            "SELECT environment, hash FROM desired WHERE connection = ? AND present ORDER BY environment",
            (connection.id,),
        ).fetchall()
        for environment, before in held:
            content = transaction.content_in(environment, connection)
            if content != before:
                revision = transaction.desire_in(
                    environment, connection.id, connection.generation, True, content, change.audit.at, False
                )
                deployments.append(transaction.deploy(environment, connection, revision, change.audit))
    return tuple(deployments)


def index(transaction: Transaction, change: IndexReferences) -> Committed:
    db = transaction.db
    for connection, document, references in change.connections:
        db.execute(
            "UPDATE connections SET document = ?, refers = ? WHERE id = ? AND generation = ? AND COALESCE(refers, '') = ?",
            (
                document,
                refers_of(references),
                connection.id,
                connection.generation,
                refers_of(connection.references) or "",
            ),
        )
        if db.changes() != 1:
            continue
        write_references(db, connection.id, references)
        held: Any = db.execute(
            "SELECT environment FROM desired WHERE connection = ? AND present ORDER BY environment", (connection.id,)
        ).fetchall()
        for (environment,) in held:
            content = content_in(db, environment, connection.project, connection.hash, references)
            transaction.desire_in(environment, connection.id, connection.generation, True, content, change.at, False)
    return Committed()


MAKERS: dict[type, Callable[[Transaction, Any], Committed]] = {
    SaveMaterial: save,
    DeleteMaterial: delete,
    IndexReferences: index,
}
