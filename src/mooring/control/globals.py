"""Global connections: those of the project `admin`, which every project may use."""

from __future__ import annotations

import json
from dataclasses import replace

from mooring.control.access import require, require_type, visible_project
from mooring.control.auditing import entry
from mooring.control.connections import Ask, Connections
from mooring.control.retrying import undisturbed
from mooring.domain.names import ADMIN_PROJECT, name_key
from mooring.domain.records import Actor, Project
from mooring.errors import AlreadyExists, BadRequest, Conflict, InUse, PreconditionFailed
from mooring.kit.clock import iso, now_ms
from mooring.kit.ids import new_id
from mooring.store.base import CreateProject, MoveConnection, NameTaken, Stale, Store
from mooring.wire.envelope import dumps

GRANT = "connections:globalize"


class Globals:
    """Moves connections to where every project finds them. There is no way back, as documented."""

    def __init__(self, store: Store, connections: Connections) -> None:
        self._store, self._connections = store, connections

    async def globalize(self, actor: Actor, project_name: str, name: str, ask: Ask) -> str:
        """
        Move a connection to the project `admin` and wait for workers; the answer's JSON.

        Its secrets and where they go stay the same, so what its references find must stay the same too.

        Raises:
            NotPermitted: without the grant, or that of the connection's type.
            BadRequest: there is no such connection; `AlreadyExists` where `admin` has one of that name.
            PreconditionFailed: it is of another generation than was asked.
            InUse: a reference would find something else, or nothing, from there.
        """
        project = await visible_project(self._store, actor, project_name)
        require(actor, GRANT)
        replayed = await self._connections.replayed(actor, ask)
        if replayed is not None:
            return replayed
        shared = await self._admin(actor)
        return await undisturbed(lambda: self._move(actor, project, shared, name, ask), f"Connection (name: {name})")

    async def _move(self, actor: Actor, project: Project, shared: Project, name: str, ask: Ask) -> str:
        connection = await self._store.connection(project.id, name_key(name))
        if connection is None:
            raise BadRequest(f"Connection (name: {name}) was not found!")
        if ask.if_match is not None and ask.if_match != connection.generation:
            raise PreconditionFailed(f"Connection (name: {name}) has changed since")
        require_type(actor, connection.type, project)
        now, generation = now_ms(), connection.generation + 1
        document = {
            **json.loads(connection.document),
            "projectName": shared.name, "generation": generation, "updatedAt": iso(now),
        }  # fmt: skip
        moved = replace(connection, project=shared.id, generation=generation, document=dumps(document), updated_at=now)
        said = entry(
            actor, "globalize", "connection", connection.id, connection.name, project=project.id,
            changed=("projectName",),
        )  # fmt: skip
        try:
            committed = await self._store.commit(
                MoveConnection(moved, connection, said, self._connections.idempotency(actor, ask))
            )
        except NameTaken:
            raise AlreadyExists(f"Connection (name: {connection.name}) already exists!") from None
        except Stale:
            raise
        except Conflict as exc:
            raise InUse(
                f"Connection (name: {connection.name}) can not be global: {exc.message}",
                hint="Keep the keystores, certificates and variables that it uses in the project admin first.",
            ) from None
        if committed.replayed:
            return await self._connections.replay(committed.replayed, ask, actor)
        return await self._connections.answer(actor, ask, moved, committed.deployments, ())

    async def _admin(self, actor: Actor) -> Project:
        """The project of what is global, which the first move makes where nobody did."""
        found = await self._store.project(ADMIN_PROJECT)
        if found is None:
            made = Project(new_id("prj"), ADMIN_PROJECT, "What every project may use", now_ms())
            try:
                await self._store.commit(CreateProject(made, entry(actor, "create", "project", made.id, made.name)))
            except NameTaken:
                return await self._admin(actor)
            return made
        return found
