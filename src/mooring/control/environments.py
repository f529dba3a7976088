"""Environments: named places to run, each with its workers and its desired state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mooring.control import destinations
from mooring.control.access import project_in, require
from mooring.control.auditing import Change, difference, entry
from mooring.control.fleet import Fleet
from mooring.control.parcels import Parcels
from mooring.domain.digest import EMPTY
from mooring.domain.names import ADMIN_PROJECT, name_key, why_not_a_name
from mooring.domain.records import Actor, Environment, Project
from mooring.errors import AlreadyExists, InvalidConfig, NotAuthenticated, NotFound, Problem
from mooring.kit.clock import now_ms
from mooring.kit.ids import new_id
from mooring.store.base import DeleteEnvironment, NameTaken, SaveEnvironment, Stale, Store, TrustWatch

_WIDER = "connections would trust a certificate in this environment that they trusted nowhere before"


class Environments:
    """Every environment that there is. Names are looked up exactly first, then ignoring case."""

    def __init__(self, store: Store, fleet: Fleet, parcels: Parcels, watch: TrustWatch) -> None:
        self._store, self._fleet, self._parcels, self._watch = store, fleet, parcels, watch

    async def list_all(self, actor: Actor) -> list[Environment]:
        """All of them; for administrators. Raises `NotAuthenticated`, as documented."""
        if not actor.may("environments:view"):
            raise NotAuthenticated("Invalid token or insufficient permissions")
        return await self._store.environments()

    async def of_project(self, actor: Actor, project_name: str) -> tuple[Project, list[Environment]]:
        """Those bound to a project, and those open to every project. Raises `BadRequest`, as documented."""
        project = await project_in(self._store, actor, project_name, "environments")
        found = await self._store.environments()
        return project, [
            environment
            for environment in found
            if not environment.projects or project.id in environment.projects or project.name == ADMIN_PROJECT
        ]

    async def get(self, actor: Actor, name: str) -> Environment:
        """Raises `NotFound`."""
        require(actor, "environments:view")
        return await self.named(name)

    async def named(self, name: str) -> Environment:
        """Raises `NotFound`."""
        found = await self._store.environments()
        for environment in found:
            if environment.name == name:
                return environment
        for environment in found:
            if name_key(environment.name) == name_key(name):
                return environment
        raise _missing(name)

    async def create(
        self, actor: Actor, name: str, *, description: str | None = None, type_name: str = "PRODUCTION",
        status: str = "PUBLISHED", access_url: str | None = None, projects: Sequence[str] = (),
    ) -> Environment:  # fmt: skip
        """Raises `AlreadyExists`, `InvalidConfig`."""
        require(actor, "environments:manage")
        why = why_not_a_name(name)
        if why:
            raise InvalidConfig([Problem("/name", "invalid", f"name is not valid: {why}")])
        environment = Environment(
            new_id("env"), name, description, type_name, status, access_url, new_id("epo"), 0, 0, EMPTY, now_ms(),
            await self._project_ids(projects),
        )  # fmt: skip
        try:
            await self._store.commit(
                SaveEnvironment(environment, True, entry(actor, "create", "environment", environment.id, name))
            )
        except NameTaken:
            raise AlreadyExists(f"Environment (name: {name}) already exists!") from None
        return environment

    async def update(
        self, actor: Actor, path_name: str, *, name: str | None, description: str | None, type_name: str | None,
        status: str | None, access_url: str | None, projects: Sequence[str] | None,
    ) -> Environment:  # fmt: skip
        """Raises `NotFound`, `AlreadyExists`, `InvalidConfig`."""
        require(actor, "environments:manage")
        before = await self.named(path_name)
        name = name or before.name
        why = why_not_a_name(name)
        if why:
            raise InvalidConfig([Problem("/name", "invalid", f"name is not valid: {why}")])
        after = replace(
            before, name=name, description=description, type=type_name or before.type, status=status or before.status,
            access_url=access_url, projects=before.projects if projects is None else await self._project_ids(projects),
        )  # fmt: skip
        changes = _changes(before, after)
        if not changes:
            return before
        audit = entry(actor, "update", "environment", before.id, name, changes=changes)
        change = SaveEnvironment(after, False, audit, self._watch)
        try:
            await destinations.commit_watched(self._store, actor, change, "/projects", _WIDER)
        except NameTaken:
            raise AlreadyExists(f"Environment (name: {name}) already exists!") from None
        except Stale:
            raise _missing(path_name) from None
        return after

    async def delete(self, actor: Actor, name: str) -> None:
        """Its workers lose their credentials. Raises `NotFound`."""
        require(actor, "environments:manage")
        environment = await self.named(name)
        await self._store.commit(
            DeleteEnvironment(environment, entry(actor, "delete", "environment", environment.id, environment.name))
        )
        self._fleet.remove_environment(environment.id)
        self._parcels.forget_environment(environment.id)

    async def _project_ids(self, names: Sequence[str]) -> tuple[str, ...]:
        ids = []
        for index, name in enumerate(names):
            project = await self._store.project(name)
            if project is None:
                raise InvalidConfig(
                    [
                        Problem(
                            f"/projects/{index}", "invalid", f"projects[{index}] is not valid: there is no such project"
                        )
                    ]
                )
            ids.append(project.id)
        return tuple(sorted(ids))


def _changes(before: Environment, after: Environment) -> dict[str, Change]:
    was, now = (
        {
            "name": each.name, "description": each.description, "type": each.type, "status": each.status,
            "accessUrl": each.access_url, "projects": sorted(each.projects),
        }
        for each in (before, after)
    )  # fmt: skip
    return difference(was, now)


def _missing(name: str) -> NotFound:
    return NotFound(f"Environment ({name}) is not found or user does not have privilege to access it!")
