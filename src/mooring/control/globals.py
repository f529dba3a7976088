"""Global connections: those of the project `admin`, which every project may use."""

from __future__ import annotations

import json
from dataclasses import replace

from mooring.control.access import require, visible_project
from mooring.control.auditing import entry
from mooring.control.deployments import Deployments
from mooring.control.retrying import undisturbed
from mooring.domain.names import ADMIN_PROJECT, name_key
from mooring.domain.records import Actor, Project
from mooring.errors import AlreadyExists, BadRequest, Conflict, InUse
from mooring.kit.clock import iso, now_ms
from mooring.kit.ids import new_id
from mooring.store.base import CreateProject, MoveConnection, NameTaken, Stale, Store
from mooring.wire.envelope import dumps

GRANT = "connections:globalize"


class Globals:
    """Moves connections to where every project finds them. There is no way back, as documented."""

    def __init__(self, store: Store, deployments: Deployments, wait_s: float) -> None:
        self._store, self._deployments, self._wait_s = store, deployments, wait_s

    async def globalize(self, actor: Actor, project_name: str, name: str) -> str:
        """
        Move a connection to the project `admin`; the answer's JSON.

        Its secrets and where they go stay the same, so what its references find must stay the same too.

        Raises:
            BadRequest: there is no such connection; `AlreadyExists` where `admin` has one of that name.
            InUse: a reference would find something else, or nothing, from there.
        """
        project = await visible_project(self._store, actor, project_name)
        require(actor, GRANT)
        shared = await self._admin(actor)
        return await undisturbed(lambda: self._move(actor, project, shared, name), f"Connection (name: {name})")

    async def _move(self, actor: Actor, project: Project, shared: Project, name: str) -> str:
        connection = await self._store.connection(project.id, name_key(name))
        if connection is None:
            raise BadRequest(f"Connection (name: {name}) was not found!")
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
            committed = await self._store.commit(MoveConnection(moved, connection, said))
        except NameTaken:
            raise AlreadyExists(f"Connection (name: {connection.name}) already exists!") from None
        except Stale:
            raise
        except Conflict as exc:
            raise InUse(
                f"Connection (name: {connection.name}) can not be global: {exc.message}",
                hint="Keep the keystores, certificates and variables that it uses in the project admin first.",
            ) from None
        answer: dict[str, object] = {"success": True}
        if connection.deploy:
            answer["deploymentResult"] = await self._deployments.result(
                committed.deployments, self._wait_s, generation, ()
            )
        return dumps(answer)

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
