"""Deployments: a change on its way to the workers, waited for, and asked about later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mooring.control.access import require_on, visible_project
from mooring.control.fleet import Fleet
from mooring.control.verdict import Tally, overall
from mooring.domain.names import name_key
from mooring.domain.records import Actor, Connection, Deployment
from mooring.errors import NotFound
from mooring.kit.clock import iso, now_ms
from mooring.store.base import Store

SILENT_MS = 10 * 60 * 1000


class Deployments:
    """Every change of every connection, in every environment it goes to."""

    def __init__(self, store: Store, fleet: Fleet) -> None:
        self._store, self._fleet = store, fleet

    async def result(
        self, deployments: Sequence[Deployment], wait_s: float, generation: int, warnings: Sequence[dict[str, Any]]
    ) -> dict[str, Any]:
        """The `deploymentResult`, after at most *wait_s* seconds."""
        tallies = await self._fleet.wait(deployments, wait_s)
        names = await self._store.environment_names()
        entries = [
            tally.wire(names.get(deployment.environment, deployment.environment), deployment.revision)
            for deployment, tally in zip(deployments, tallies, strict=True)
        ]
        return overall(entries, deployments, generation, warnings)

    async def tallies(self, deployments: Sequence[Deployment], wait_s: float) -> list[Tally]:
        """How far each of *deployments* is, after at most *wait_s* seconds."""
        return await self._fleet.wait(deployments, wait_s)

    async def latest(self, connection: Connection) -> list[Deployment]:
        """The newest deployment of the connection's present generation, one per environment."""
        found: dict[str, Deployment] = {}
        for deployment in await self._store.deployments(connection.id, 100):
            if deployment.generation == connection.generation:
                found.setdefault(deployment.environment, deployment)
        return [found[environment] for environment in sorted(found)]

    async def history(self, actor: Actor, project_name: str, name: str, limit: int) -> list[dict[str, Any]]:
        """The newest deployments of a connection, as they stand now."""
        connection = await self._connection(actor, project_name, name)
        return [await self._wire(deployment) for deployment in await self._store.deployments(connection.id, limit)]

    async def one(self, actor: Actor, project_name: str, name: str, deployment_id: str) -> dict[str, Any]:
        """One deployment as it stands now. Raises `NotFound`."""
        connection = await self._connection(actor, project_name, name)
        deployment = await self._store.deployment(deployment_id)
        if deployment is None or deployment.connection != connection.id:
            raise NotFound("Deployment was not found!")
        return await self._wire(deployment)

    async def _connection(self, actor: Actor, project_name: str, name: str) -> Connection:
        project = await visible_project(self._store, actor, project_name)
        await require_on(self._store, actor, "connections:view", project, name)
        connection = await self._store.connection(project.id, name_key(name))
        if connection is None:
            raise NotFound(f"Connection (name: {name}) was not found!")
        return connection

    async def _wire(self, deployment: Deployment) -> dict[str, Any]:
        (tally,) = await self._fleet.wait([deployment], 0)
        names = await self._store.environment_names()
        state = tally.wire(names.get(deployment.environment, deployment.environment), deployment.revision)
        if _silent(deployment, tally):
            state["state"], state["success"] = "DEADLINE_EXCEEDED", False
        return {
            "deploymentId": deployment.id,
            "generation": deployment.generation,
            "requestId": deployment.request_id,
            "createdAt": iso(deployment.created_at),
            **state,
        }


def _silent(deployment: Deployment, tally: Tally) -> bool:
    return tally.state == "PENDING" and tally.expected > 0 and now_ms() - deployment.created_at > SILENT_MS
