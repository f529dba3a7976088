"""Projects: the spaces in which connection names are unique and permissions are given."""

from __future__ import annotations

from mooring.control.access import require, visible_project
from mooring.control.auditing import entry
from mooring.domain.names import why_not_a_name
from mooring.domain.records import Actor, Project
from mooring.errors import AlreadyExists, Conflict, InUse, InvalidConfig, NotFound, Problem
from mooring.kit.clock import now_ms
from mooring.kit.ids import new_id
from mooring.store.base import CreateProject, DeleteProject, NameTaken, Store


class Projects:
    """Every project that there is. Names are compared exactly."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def list_all(self, actor: Actor) -> list[Project]:
        """Those that exist for *actor*, by name."""
        return [project for project in await self._store.projects() if actor.sees(project.id)]

    async def get(self, actor: Actor, name: str) -> Project:
        """Raises `NotFound`."""
        return await visible_project(self._store, actor, name)

    async def create(self, actor: Actor, name: str, description: str | None) -> Project:
        """Raises `AlreadyExists`, `InvalidConfig`."""
        require(actor, "projects:manage")
        why = why_not_a_name(name)
        if why:
            raise InvalidConfig([Problem("/name", "invalid", f"name is not valid: {why}")])
        project = Project(new_id("prj"), name, description, now_ms())
        try:
            await self._store.commit(CreateProject(project, entry(actor, "create", "project", project.id, name)))
        except NameTaken:
            raise AlreadyExists(f"Project (name: {name}) already exists!") from None
        return project

    async def delete(self, actor: Actor, name: str) -> None:
        """Raises `NotFound`; `InUse` while it has connections."""
        project = await visible_project(self._store, actor, name)
        require(actor, "projects:manage", project.id)
        try:
            await self._store.commit(DeleteProject(project, entry(actor, "delete", "project", project.id, name)))
        except Conflict as exc:
            raise InUse(
                f"Project (name: {name}) is in use by: {exc.message}",
                hint="Delete them, or bind them elsewhere, first.",
            ) from None

    async def by_id(self, actor: Actor, project_id: str) -> Project:
        """Raises `NotFound`."""
        for project in await self._store.projects():
            if project.id == project_id and actor.sees(project.id):
                return project
        raise NotFound("Project was not found!")
