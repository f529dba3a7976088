"""Small records for store tests; whatever a test says nothing about has a plain value."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from mooring.domain.digest import EMPTY, add, term
from mooring.domain.names import name_key
from mooring.domain.records import (
    AuditEntry,
    AuditFilter,
    Connection,
    Environment,
    Material,
    MaterialContent,
    MaterialSecret,
    Project,
    Reference,
    SealedSecret,
    Token,
    Worker,
)
from mooring.kit.ids import new_id
from mooring.store.base import (
    CreateEnrolment,
    CreateProject,
    CreateToken,
    DeleteConnection,
    DeleteMaterial,
    EnrolWorker,
    Idempotency,
    SaveConnection,
    SaveEnvironment,
    SaveMaterial,
    Store,
)

AT = 1_700_000_000_000
EVERYTHING = 1_000_000


def entry(action: str = "do", noun: str = "thing", noun_id: str = "", name: str = "") -> AuditEntry:
    return AuditEntry(AT, "ada", None, new_id("req"), "192.0.2.1", action, noun, noun_id, name)


def project(name: str = "Shop") -> Project:
    return Project(new_id("prj"), name, None, AT)


def environment(name: str = "production", *, status: str = "PUBLISHED", projects: tuple[str, ...] = ()) -> Environment:
    return Environment(new_id("env"), name, None, "TEST", status, None, new_id("epo"), 0, 0, EMPTY, AT, projects)


def connection(of: Project, name: str = "orders-db", **more: Any) -> Connection:
    made = Connection(
        new_id("con"), of.id, name, name_key(name), "email", True, True, 1, f'{{"name":"{name}"}}',
        hashlib.sha256(name.encode()).digest(), AT, AT,
    )  # fmt: skip
    return replace(made, **more)


def secret(key: str = "password", sealed: bytes = b"sealed") -> SealedSecret:
    return SealedSecret(key, sealed, "key_1", "3f2a", AT)


def token(**more: Any) -> Token:
    made = Token(new_id("tok"), "ci", "ada", None, frozenset({"connections:view"}), AT, None, None, None, b"hash")
    return replace(made, **more)


def worker(of: Environment, name: str = "w-1") -> Worker:
    return Worker(new_id("wrk"), of.id, name, bytes(32), b"hash", None, None, None, 0, AT, AT)


def once(key: str = "k", request: bytes = b"request") -> Idempotency:
    return Idempotency("tok_1", key, request, AT)


def save(c: Connection, *secrets: SealedSecret, key: Idempotency | None = None) -> SaveConnection:
    """The change that creates *c*."""
    return SaveConnection(c, None, secrets, (), False, entry("create", "connection", c.id, c.name), key)


def change(
    c: Connection,
    *secrets: SealedSecret,
    was: Connection,
    dropped: tuple[str, ...] = (),
    key: Idempotency | None = None,
) -> SaveConnection:
    """The change that makes *c* of *was*."""
    return SaveConnection(
        c, was.generation, secrets, dropped, was.deploy, entry("update", "connection", c.id, c.name), key
    )


def newer(c: Connection, **more: Any) -> Connection:
    """The next generation of *c*."""
    generation = c.generation + 1
    return replace(
        c, **{"generation": generation, "hash": hashlib.sha256(f"{c.id}{generation}".encode()).digest(), **more}
    )


def delete(c: Connection, key: Idempotency | None = None) -> DeleteConnection:
    return DeleteConnection(c, entry("delete", "connection", c.id, c.name), key)


async def with_project(store: Store, name: str = "Shop") -> Project:
    made = project(name)
    await store.commit(CreateProject(made, entry("create", "project", made.id, name)))
    return made


async def with_environment(store: Store, name: str = "production", **more: Any) -> Environment:
    made = environment(name, **more)
    await store.commit(SaveEnvironment(made, True, entry("create", "environment", made.id, name)))
    return made


async def with_connection(store: Store, of: Project, name: str = "orders-db", **more: Any) -> Connection:
    made = connection(of, name, **more)
    await store.commit(save(made, secret()))
    return made


async def with_token(store: Store, **more: Any) -> Token:
    made = token(**more)
    await store.commit(CreateToken(made, entry("create", "token", made.id)))
    return made


async def with_enrolment(store: Store, of: Environment, expires_at: int = AT + 1000) -> str:
    made = new_id("enr")
    await store.commit(CreateEnrolment(made, of.id, b"enrol-hash", expires_at, entry("create", "enrolment", made)))
    return made


def enrol(enrolment: str, who: Worker, at: int = AT, secret_hash: bytes = b"enrol-hash") -> EnrolWorker:
    return EnrolWorker(enrolment, secret_hash, who, at, entry("enrol", "worker", who.id))


async def rows(store: Store, of: Environment) -> dict[str, tuple[int, int, bool]]:
    """The desired state: connection to (revision, generation, present)."""
    _, found = await store.delta(of.id, 0, EVERYTHING)
    return {row.connection: (row.revision, row.generation, row.present) for row in found}


async def present(store: Store, of: Environment) -> set[str]:
    """The connections that the environment's workers should hold."""
    return {connection for connection, row in (await rows(store, of)).items() if row[2]}


async def recomputed(store: Store, of: Environment) -> bytes:
    """The digest as it follows from the rows."""
    _, found = await store.delta(of.id, 0, EVERYTHING)
    digest = EMPTY
    for row in found:
        if row.present:
            digest = add(digest, term(row.connection, row.generation, row.hash))
    return digest


async def digest(store: Store, of: Environment) -> bytes:
    found = await store.environment(of.id)
    assert found is not None
    return found.digest


async def audited(store: Store) -> list[tuple[str, str]]:
    """Every audit entry as (action, noun id), oldest first."""
    return [(found["action"], found["noun_id"]) for found in reversed(await audit(store))]


async def audit(store: Store, **wanted: Any) -> list[dict[str, Any]]:
    """Every audit entry that the filter describes, newest first."""
    return [entry async for entry in store.audit(AuditFilter(**wanted))]


async def documents(store: Store, of: Project, **more: Any) -> list[str]:
    """Name keys in the order of the list."""
    return [key async for key, _ in store.documents(of.id, **more)]


def material(of: Project, name: str = "mine", noun: str = "keystore", **more: Any) -> Material:
    made = Material(new_id("kst"), of.id, noun, name, name_key(name), None, 1, AT, AT)
    return replace(made, **more)


def save_material(
    made: Material, *environments: Environment, sealed: bytes = b"one", was: Material | None = None,
    alias: str | None = None, key: Idempotency | None = None,
) -> SaveMaterial:  # fmt: skip
    """The change that makes *made*, with the content *sealed* for each of *environments*."""
    contents = [MaterialContent(each.id, "PEM", alias, "[]", hashlib.sha256(sealed).digest()) for each in environments]
    secrets = [MaterialSecret(each.id, "opened", sealed, "key_1") for each in environments]
    return SaveMaterial(
        made, was.generation if was else None, contents, secrets, (), entry("save", made.noun, made.id, made.name), key
    )


def delete_material(made: Material) -> DeleteMaterial:
    return DeleteMaterial(made, entry("delete", made.noun, made.id, made.name))


def refers(*names: str, noun: str = "keystore") -> tuple[Reference, ...]:
    """References to *names*, from fields of their own."""
    return tuple(Reference(f"field{number}", noun, name) for number, name in enumerate(names))


async def hash_of(store: Store, of: Environment, connection_id: str) -> tuple[int, int, bytes]:
    """Revision, generation and hash that the workers of an environment should hold of a connection."""
    _, found = await store.delta(of.id, 0, EVERYTHING)
    (row,) = [row for row in found if row.connection == connection_id]
    return row.revision, row.generation, row.hash
