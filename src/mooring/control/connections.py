"""
Connections: create, read, list, update (also rename), delete.

The order of refusals is part of the contract: project, permission, name, body, type, name match, existence,
fields, references.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from mooring.control import destinations
from mooring.control.access import ask_grant, readable_by_all, require_on, require_type, visible_project
from mooring.control.auditing import Change, difference, entry
from mooring.control.deployments import Deployments
from mooring.control.interpolation import variables_in
from mooring.control.parcels import Parcels
from mooring.control.references import USES, References, references_in, shown
from mooring.control.retrying import undisturbed
from mooring.domain.names import name_key, why_not_a_name
from mooring.domain.records import Actor, Connection, Project, Reference, SealedSecret
from mooring.errors import (
    AlreadyExists,
    BadRequest,
    Conflict,
    InvalidConfig,
    NameMismatch,
    NotFound,
    PreconditionFailed,
    Problem,
    SealError,
)
from mooring.kit.clock import iso, now_ms
from mooring.kit.ids import new_id
from mooring.kit.record import record
from mooring.plugin.card import ConnectionType
from mooring.plugin.config import ConnectionConfig, join, read_config, secret_fields, split
from mooring.plugin.problems import as_warning
from mooring.plugin.registry import Registry
from mooring.seal.envelope import Ring
from mooring.store.base import (
    DeleteConnection,
    FinishIdempotency,
    Idempotency,
    IdempotencyRecord,
    KeyGone,
    NameTaken,
    NoteRequest,
    Record,
    SaveConnection,
    Stale,
    Store,
)
from mooring.wire.body import COMMON_KEYS, ConnectionBody, card_of, read_connection_body, typed_fields
from mooring.wire.envelope import dumps


@record
class Ask:
    """What a mutation is asked beside its body."""

    wait_s: float
    idempotency_key: str | None = None
    if_match: int | None = None
    request: bytes = b""


@record
class _Draft:
    """A connection about to be stored. `opened` are all its secrets; `secrets` those to write."""

    connection: Connection
    opened: Mapping[str, str]
    secrets: Sequence[SealedSecret]
    dropped: Sequence[str]
    warnings: Sequence[dict[str, Any]]


@record
class Candidate:
    """Settings that might serve: those of a stored connection, or of a draft. `secrets` are in the clear, by key."""

    id: str
    project: Project
    name: str
    type: str
    public: dict[str, Any]
    secrets: Mapping[str, str]
    references: Sequence[Reference] = ()


class Connections:
    """The connections of every project."""

    def __init__(
        self,
        store: Store,
        ring: Ring,
        registry: Registry,
        deployments: Deployments,
        parcels: Parcels,
        references: References,
    ) -> None:
        self._store, self._ring, self._registry = store, ring, registry
        self._deployments, self._parcels, self._references = deployments, parcels, references

    # reading

    async def get(self, actor: Actor, project_name: str, name: str) -> tuple[str, int]:
        """The document of a connection and its generation; with its secrets where the actor may see them."""
        project = await visible_project(self._store, actor, project_name)
        await require_on(self._store, actor, "connections:view", project, name)
        if not name.strip():
            raise BadRequest("Connection name can not be empty!")
        if actor.may("secrets:reveal", project.id):
            return await self._reveal(actor, project, name)
        found = await self._store.document(project.id, name_key(name))
        if found is None:
            raise NotFound(f"Connection (name: {name}) was not found!")
        if USES in found[0]:
            return await self._references.filled(project.id, found[0]), found[1]
        return found

    async def _reveal(self, actor: Actor, project: Project, name: str) -> tuple[str, int]:
        connection = await self._store.connection(project.id, name_key(name))
        if connection is None:
            raise NotFound(f"Connection (name: {name}) was not found!")
        stored = _Stored(connection, self._registry.get(connection.type))
        secrets, _ = await self._open(connection)
        values, used = join(stored.card.config, stored.public, secrets)
        await self._store.commit(
            Record(
                entry(
                    actor,
                    "reveal",
                    "connection",
                    connection.id,
                    connection.name,
                    project=project.id,
                    changed=tuple(sorted(used)),
                )
            )
        )
        document = dumps({**stored.document, **values})
        return await self._references.filled(project.id, document), connection.generation

    async def candidate(self, actor: Actor, project_name: str, name: str, raw: bytes | None) -> Candidate:
        """
        What is to be tested: a stored connection, or the draft in *raw*, which is a new one or a change of that one.

        Raises:
            NotFound: no such project; or no such connection, and no draft.
            InvalidConfig: the draft is not valid; `SecretRequired` where it would take a kept secret elsewhere.
        """
        project = await visible_project(self._store, actor, project_name)
        await require_on(self._store, actor, "connections:test", project, name)
        if raw is not None:
            # A draft sends a worker, and perhaps a kept secret, wherever it says.
            await require_on(self._store, actor, "connections:manage", project, name)
        _check_name(name, "Connection name")
        connection = await self._store.connection(project.id, name_key(name))
        if raw is None:
            if connection is None:
                raise NotFound(f"Connection (name: {name}) was not found!")
            require_type(actor, connection.type, project)
            secrets, _ = await self._open(connection)
            public = _Stored(connection, self._registry.get(connection.type)).public
            return Candidate(
                connection.id, project, connection.name, connection.type, public, secrets, connection.references
            )
        body = read_connection_body(raw)
        card = card_of(self._registry, body.type_name or (connection.type if connection else None))
        require_type(actor, card.name, project)
        if body.name is not None and name_key(name) != name_key(body.name):
            raise NameMismatch(f"Connection name in path ({name}) does not match name in body ({body.name})!")
        if connection is None:
            config = _valid(card, body, body.fields)
        else:
            _check_type(card, connection)
            stored = _Stored(connection, card)
            secrets, _ = await self._open(connection)
            config, kept = _merged(stored, body, secrets)
            destinations.check(stored.config(secrets), config, kept)
        public, opened = split(card.config, config.wire())
        references = (*references_in(config), *variables_in(public, opened))
        return Candidate(
            connection.id if connection else new_id("con"), project, name, card.name, public, opened, references
        )

    async def list_all(
        self, actor: Actor, project_name: str, type_name: str | None, after: str | None = None, limit: int | None = None
    ) -> AsyncIterator[tuple[str, str]]:
        """Name keys and documents in the order of names; with *limit*, at most so many beyond the name key *after*."""
        project, card, singly = await self._listed(actor, project_name, type_name)
        if singly is not None:
            found = [each for each in singly if after is None or each.name_key > after]
            rows = _rows(found[:limit])
        else:
            rows = self._store.documents(project.id, card.name if card else None, after, limit)
        return self._references.all_filled(project.id, rows)

    async def page(
        self, actor: Actor, project_name: str, type_name: str | None, order: str, descending: bool, page: int, size: int
    ) -> list[str]:
        """Documents of the page *page* (from 1) of *size*."""
        project, card, singly = await self._listed(actor, project_name, type_name)
        if singly is not None:
            ordered = sorted(singly, key=_ORDERS[order], reverse=descending)
            found = [each.document for each in ordered[(page - 1) * size : page * size]]
        else:
            found = await self._store.page(
                project.id, card.name if card else None, order, descending, (page - 1) * size, size
            )
        return [await self._references.filled(project.id, document) for document in found]

    async def _listed(
        self, actor: Actor, project_name: str, type_name: str | None
    ) -> tuple[Project, ConnectionType | None, list[Connection] | None]:
        """The project and the type; and the connections that *actor* may view singly, where that is not all of them."""
        project = await visible_project(self._store, actor, project_name)
        may_all = actor.may("connections:view", project.id) or readable_by_all(actor, "connections:view", project)
        singly = [] if may_all else actor.connections_with("connections:view", project.id)
        ask_grant(may_all or bool(singly), "connections:view")
        card = self._registry.get(type_name) if type_name else None
        if may_all:
            return project, card, None
        known = [await self._store.connection_by_id(each) for each in singly]
        found = [each for each in known if each is not None and (card is None or each.type == card.name)]
        return project, card, sorted(found, key=lambda each: each.name_key)

    # writing

    async def check_change(self, actor: Actor, project_name: str, path_name: str) -> Project:
        """The project, where *actor* may change a connection of that name in it: what is refused before the body."""
        project = await visible_project(self._store, actor, project_name)
        await require_on(self._store, actor, "connections:manage", project, path_name)
        _check_name(path_name, "Connection name")
        return project

    async def create(self, actor: Actor, project_name: str, path_name: str, raw: bytes, ask: Ask) -> str:
        """Store a new connection and wait for workers; the answer's JSON."""
        project = await self.check_change(actor, project_name, path_name)
        body = read_connection_body(raw)
        card = card_of(self._registry, body.type_name)
        if body.name is None:
            raise InvalidConfig(
                [problem for problem in body.problems if problem.path == "/name"]
                or [Problem("/name", "required", "name value can not be empty!")]
            )
        if name_key(path_name) != name_key(body.name):
            raise NameMismatch(f"Connection name in path ({path_name}) does not match name in body ({body.name})!")
        require_type(actor, card.name, project)
        _check_name(body.name, "name")
        key = name_key(body.name)
        replayed = await self.replayed(actor, ask)
        if replayed is not None:
            return replayed
        try:
            config = _valid(card, body, body.fields)
        except InvalidConfig:
            # That the name is taken is said first; where the body is right, the unique index says it.
            if await self._store.document(project.id, key) is not None:
                raise _taken(body.name) from None
            raise
        draft = self._draft(project, card, body, body.name, config)
        change = SaveConnection(
            draft.connection, None, draft.secrets, (), False,
            entry(actor, "create", "connection", draft.connection.id, body.name, project=project.id),
            self.idempotency(actor, ask),
        )  # fmt: skip
        try:
            committed = await self._store.commit(change)
        except NameTaken:
            raise _taken(body.name) from None
        except KeyGone:  # the data key was rotated and destroyed between sealing and storing
            return await self.create(actor, project_name, path_name, raw, ask)
        except Stale:
            raise NotFound(f"Project '{project_name}' not found") from None
        if committed.replayed:
            return await self.replay(committed.replayed, ask, actor)
        if committed.deployments:
            self._parcels.offer(draft.connection, draft.opened)
        return await self.answer(actor, ask, draft.connection, committed.deployments, draft.warnings)

    async def update(self, actor: Actor, project_name: str, path_name: str, raw: bytes, ask: Ask) -> str:
        """Replace a connection, keeping the secrets that the body leaves out; the answer's JSON."""
        project = await self.check_change(actor, project_name, path_name)
        body = read_connection_body(raw)
        replayed = await self.replayed(actor, ask)
        if replayed is not None:
            return replayed
        return await undisturbed(
            lambda: self._update_once(actor, project, path_name, body, ask), f"Connection (name: {path_name})"
        )

    async def _update_once(self, actor: Actor, project: Project, path_name: str, body: ConnectionBody, ask: Ask) -> str:
        card = card_of(self._registry, body.type_name) if body.type_name else None
        if body.name is not None:
            _check_name(body.name, "name")
        connection = await self._existing(project, path_name, ask)
        require_type(actor, connection.type, project)
        stored = _Stored(connection, self._registry.get(connection.type))
        if card is not None:
            _check_type(card, connection)
        name = body.name or connection.name
        if name_key(name) != connection.name_key and await self._store.document(project.id, name_key(name)) is not None:
            raise _taken(name)
        secrets, sealed, damaged = await self._open_what_opens(connection)
        config, kept = _merged(stored, body, secrets)
        for key in kept & damaged.keys():
            raise damaged[key]
        destinations.check(stored.config(secrets), config, kept)
        draft = self._draft(project, stored.card, body, name, config, connection, secrets, sealed, bool(damaged))
        if draft.connection.generation == connection.generation:
            deployments = await self._deployments.latest(connection)
            idempotency = self.idempotency(actor, ask)
            if idempotency is not None:
                noted = await self._store.commit(NoteRequest(idempotency, connection, deployments))
                if noted.replayed:
                    return await self.replay(noted.replayed, ask, actor)
            return await self.answer(actor, ask, connection, deployments, draft.warnings)
        change = SaveConnection(
            draft.connection, connection.generation, draft.secrets, draft.dropped, connection.deploy,
            entry(actor, "update", "connection", connection.id, name, project=project.id, changes=_changes(stored, draft, sealed)),
            self.idempotency(actor, ask),
        )  # fmt: skip
        try:
            committed = await self._store.commit(change)
        except NameTaken:
            raise _taken(name) from None
        if committed.replayed:
            return await self.replay(committed.replayed, ask, actor)
        if committed.deployments:
            self._parcels.offer(draft.connection, draft.opened)
        return await self.answer(actor, ask, draft.connection, committed.deployments, draft.warnings)

    async def delete(self, actor: Actor, project_name: str, path_name: str, ask: Ask) -> str:
        """Destroy a connection and its secrets, and wait until workers let go of it; the answer's JSON."""
        project = await self.check_change(actor, project_name, path_name)
        replayed = await self.replayed(actor, ask)
        if replayed is not None:
            return replayed
        return await undisturbed(
            lambda: self._delete_once(actor, project, path_name, ask), f"Connection (name: {path_name})"
        )

    async def _delete_once(self, actor: Actor, project: Project, path_name: str, ask: Ask) -> str:
        connection = await self._existing(project, path_name, ask)
        change = DeleteConnection(
            connection,
            entry(actor, "delete", "connection", connection.id, connection.name, project=project.id),
            self.idempotency(actor, ask),
        )
        committed = await self._store.commit(change)
        if committed.replayed:
            return await self.replay(committed.replayed, ask, actor)
        return await self.answer(actor, ask, connection, committed.deployments, (), deleted=True)

    async def _existing(self, project: Project, name: str, ask: Ask) -> Connection:
        connection = await self._store.connection(project.id, name_key(name))
        if connection is None:
            raise BadRequest(f"Connection (name: {name}) was not found!")
        if ask.if_match is not None and ask.if_match != connection.generation:
            raise PreconditionFailed(f"Connection (name: {name}) has changed since")
        return connection

    async def _open(self, connection: Connection) -> tuple[dict[str, str], dict[str, SealedSecret]]:
        """The secrets of a connection by key, in the clear and as stored."""
        sealed = {secret.key: secret for secret in await self._store.secrets(connection.id)}
        opened = {
            key: self._ring.unseal(secret.sealed, key_id=secret.key_id, connection=connection.id, key=key)
            for key, secret in sealed.items()
        }
        return opened, sealed

    async def _open_what_opens(
        self, connection: Connection
    ) -> tuple[dict[str, str], dict[str, SealedSecret], dict[str, SealError]]:
        """As `_open`; in place of a secret that was tampered with stands something else, and the third says why."""
        opened, sealed, damaged = {}, {each.key: each for each in await self._store.secrets(connection.id)}, {}
        for key, each in sealed.items():
            try:
                opened[key] = self._ring.unseal(each.sealed, key_id=each.key_id, connection=connection.id, key=key)
            except SealError as exc:
                opened[key], damaged[key] = new_id("damaged"), exc
        return opened, sealed, damaged

    def _draft(
        self,
        project: Project,
        card: ConnectionType,
        body: ConnectionBody,
        name: str,
        config: ConnectionConfig,
        before: Connection | None = None,
        secrets_before: Mapping[str, str] | None = None,
        sealed_before: Mapping[str, SealedSecret] | None = None,
        repairs: bool = False,
    ) -> _Draft:
        """The next state of a connection. Its generation is the present one where nothing would change."""
        now = now_ms()
        connection_id = before.id if before else new_id("con")
        public, secrets = split(card.config, config.wire())
        sealed = self._sealed(connection_id, secrets, secrets_before or {}, sealed_before or {}, now)
        core = dumps(
            {
                "type": card.name, "name": name, "description": body.description, "deployToWorker": body.deploy,
                "enabled": body.enabled, **public,
            }
        )  # fmt: skip
        content = self._ring.content_hash(core.encode(), secrets, owner=connection_id)
        # What was tampered with is another state, although what was sent again may be what it had been.
        generation = 1 if before is None else before.generation + (repairs or content != before.hash)
        warnings = [as_warning(problem) for problem in config.warnings()]
        references = references_in(config)
        if "${" in core or any("${" in secret for secret in secrets.values()):
            references = (*references, *variables_in(public, secrets))
        rest = dumps(
            {
                "projectName": project.name, "id": connection_id, "generation": generation,
                "createdAt": iso(before.created_at if before else now), "updatedAt": iso(now),
                "secretFields": _secret_fields(card.config, sealed), "warnings": warnings,
                **({"uses": shown(references)} if references else {}),
            }
        )  # fmt: skip
        connection = Connection(
            connection_id, project.id, name, name_key(name), card.name, body.enabled, body.deploy, generation,
            f"{core[:-1]},{rest[1:]}", content, before.created_at if before else now, now, references,
        )  # fmt: skip
        fresh = [secret for secret in sealed.values() if secret.updated_at == now]
        return _Draft(connection, secrets, fresh, [key for key in sealed_before or {} if key not in sealed], warnings)

    def _sealed(
        self,
        connection: str,
        secrets: Mapping[str, str],
        before: Mapping[str, str],
        stored: Mapping[str, SealedSecret],
        now: int,
    ) -> dict[str, SealedSecret]:
        ring, sealed = self._ring, {}
        for key, value in secrets.items():
            if key in stored and before.get(key) == value:
                sealed[key] = stored[key]
            else:
                sealed[key] = SealedSecret(
                    key, ring.seal(value, connection=connection, key=key), ring.active,
                    ring.fingerprint(value, connection=connection, key=key), now,
                )  # fmt: skip
        return sealed

    # answers, once

    def idempotency(self, actor: Actor, ask: Ask) -> Idempotency | None:
        if ask.idempotency_key is None or actor.token is None:
            return None
        return Idempotency(actor.token, ask.idempotency_key, self._ring.request_hash(ask.request), now_ms())

    async def replayed(self, actor: Actor, ask: Ask) -> str | None:
        """The answer that was given under this Idempotency-Key before, if any. Raises `Conflict`."""
        if ask.idempotency_key is None or actor.token is None:
            return None
        record = await self._store.idempotency(actor.token, ask.idempotency_key)
        return None if record is None else await self.replay(record, ask, actor)

    async def replay(self, record: IdempotencyRecord, ask: Ask, actor: Actor) -> str:
        """The answer to a request that was carried out before under the same Idempotency-Key."""
        if record.request_hash != self._ring.request_hash(ask.request):
            raise Conflict("the Idempotency-Key was used with another request", hint="Use a new key for a new request.")
        if record.body is not None:
            return record.body
        found = [await self._store.deployment(deployment) for deployment in record.deployments]
        deployments = [deployment for deployment in found if deployment is not None]
        connection = await self._store.connection_by_id(record.connection)
        same = connection is not None and connection.generation == record.generation
        warnings: Sequence[dict[str, Any]] = ()
        if connection is not None and same:
            warnings = json.loads(await self._references.filled(connection.project, connection.document))["warnings"]
        result = await self._deployments.result(deployments, ask.wait_s, record.generation, warnings)
        deploys = bool(deployments) or connection is None or connection.deploy
        return dumps({"success": True, **({"deploymentResult": result} if deploys else {})})

    async def answer(
        self,
        actor: Actor,
        ask: Ask,
        connection: Connection,
        deployments: Sequence[Any],
        warnings: Sequence[dict[str, Any]],
        *,
        deleted: bool = False,
    ) -> str:
        """Wait for workers; the answer's JSON, which is kept for whoever asks again under the same key."""
        answer: dict[str, Any] = {"success": True}
        if connection.references and not deleted:
            warnings = [*warnings, *await self._references.warnings(connection.project, connection.references)]
        if connection.deploy or deleted:
            answer["deploymentResult"] = await self._deployments.result(
                deployments, ask.wait_s, connection.generation, warnings
            )
        text = dumps(answer)
        if ask.idempotency_key is not None and actor.token is not None:
            await self._store.commit(FinishIdempotency(actor.token, ask.idempotency_key, text))
        return text


_ORDERS: Mapping[str, Callable[[Connection], Any]] = {
    "name": lambda each: each.name_key,
    "type": lambda each: (each.type, each.name_key),
    "createdAt": lambda each: (each.created_at, each.name_key),
    "updatedAt": lambda each: (each.updated_at, each.name_key),
}


async def _rows(connections: Sequence[Connection]) -> AsyncIterator[tuple[str, str]]:
    for each in connections:
        yield each.name_key, each.document


class _Stored:
    """A stored connection, taken apart."""

    def __init__(self, connection: Connection, card: ConnectionType) -> None:
        self.card = card
        self.document: dict[str, Any] = json.loads(connection.document)
        self.public = typed_fields(self.document)

    def config(self, secrets: Mapping[str, str]) -> ConnectionConfig | None:
        """As it stands; None where this version does not take it any more."""
        return destinations.stored_config(self.card.config, self.public, secrets)


def _check_name(name: str, what: str) -> None:
    if not name.strip():
        raise BadRequest("Connection name can not be empty!")
    why = why_not_a_name(name)
    if why:
        raise InvalidConfig([Problem("/name", "invalid", f"{what} is not valid: {why}")])


def _check_type(card: ConnectionType, connection: Connection) -> None:
    if card.name != connection.type:
        raise BadRequest(f"Connection type can not be changed! (existing: {connection.type}, requested: {card.name})")


def _taken(name: str) -> AlreadyExists:
    return AlreadyExists(f"Connection (name: {name}) already exists!")


def _valid(card: ConnectionType, body: ConnectionBody, fields: dict[str, Any]) -> ConnectionConfig:
    """The config of *fields*. Raises `InvalidConfig` with the problems of common and typed fields together."""
    try:
        config = read_config(card.config, fields)
    except InvalidConfig as exc:
        raise InvalidConfig([*body.problems, *exc.problems]) from None
    if body.problems:
        raise InvalidConfig(body.problems)
    return config


def _merged(stored: _Stored, body: ConnectionBody, secrets: Mapping[str, str]) -> tuple[ConnectionConfig, set[str]]:
    """
    The config that a PUT means, and the keys of the secrets it keeps.

    Secrets that are absent, null or a placeholder stay; so do values that the type requires and the body leaves
    out; everything else that is left out goes back to its default.
    """
    fields, kept = join(stored.card.config, body.fields, secrets)
    while True:
        try:
            return _valid(stored.card, body, fields), kept
        except InvalidConfig as exc:
            left_out = [
                name
                for name in (problem.path[1:] for problem in exc.problems if problem.code == "required")
                if body.fields.get(name) is None and fields.get(name) is None and stored.public.get(name) is not None
            ]
            if not left_out:
                raise
            fields.update((name, stored.public[name]) for name in left_out)
            fields, more = join(stored.card.config, fields, secrets)
            kept |= more


def _secret_fields(model: type[ConnectionConfig], sealed: Mapping[str, SealedSecret]) -> dict[str, Any]:
    shown: dict[str, Any] = {name: {"set": False} for name in secret_fields(model)}
    for key, secret in sealed.items():
        shown[key] = {"set": True, "updatedAt": iso(secret.updated_at), "fingerprint": secret.fingerprint}
    return shown


def _changes(stored: _Stored, draft: _Draft, sealed: Mapping[str, SealedSecret]) -> dict[str, Change]:
    """What an update changes, for the audit."""
    after = json.loads(draft.connection.document)
    changes = difference(
        {**stored.public, **{name: stored.document.get(name) for name in COMMON_KEYS}},
        {**typed_fields(after), **{name: after.get(name) for name in COMMON_KEYS}},
    )
    for secret in draft.secrets:
        before = sealed.get(secret.key)
        changes[secret.key] = (_fingerprint(before.fingerprint if before else None), _fingerprint(secret.fingerprint))
    for key in draft.dropped:
        changes[key] = (_fingerprint(sealed[key].fingerprint), None)
    return changes


def _fingerprint(value: str | None) -> dict[str, str] | None:
    return None if value is None else {"fingerprint": value}
