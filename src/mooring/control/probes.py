"""
Testing a connection where it will run: a worker builds a throw-away client from the settings, stored or not, and probes.

The stored client is never touched. A draft that keeps a stored secret obeys the rule of an update: the secret never
follows a changed destination.
"""

from __future__ import annotations

import base64
from typing import Any

from pydantic_core import to_json

from mooring.control.auditing import entry
from mooring.control.connections import Candidate, Connections
from mooring.control.environments import Environments
from mooring.control.fleet import Fleet, Member
from mooring.control.flood import Flood
from mooring.control.jobs import Jobs
from mooring.control.parcels import Parcels
from mooring.domain.names import name_key
from mooring.domain.records import Actor, Environment
from mooring.errors import BadRequest, NotFound, Unavailable, UseError
from mooring.kit.aead import encrypt
from mooring.kit.ids import new_id
from mooring.store.base import Record, Store
from mooring.wire.envelope import dumps
from mooring.wire.frames import ProbeJob, ProbeResult, Put

PROBE_S = 10.0
ANSWER_S = PROBE_S + 5.0


class Probes:
    """Has workers test connections."""

    def __init__(
        self,
        store: Store,
        fleet: Fleet,
        parcels: Parcels,
        jobs: Jobs,
        connections: Connections,
        environments: Environments,
        flood: Flood,
    ) -> None:
        self._store, self._fleet, self._parcels, self._jobs = store, fleet, parcels, jobs
        self._connections, self._environments, self._flood = connections, environments, flood

    async def test(
        self, actor: Actor, project_name: str, name: str, raw: bytes | None,
        environment_name: str | None = None, worker_name: str | None = None,
    ) -> str:  # fmt: skip
        """
        Test the stored connection, or the draft in *raw*; the answer's JSON.

        Raises:
            NotFound: no such project, connection, or worker.
            NotPermitted: the actor may not test, or, for a draft, not change connections.
            BadRequest: the draft is not valid, or the environment does not exist.
            RateLimited: too many tests of this connection, in this project, or with this token.
        """
        candidate = await self._connections.candidate(actor, project_name, name, raw)
        environment, member = await self._place(actor, project_name, environment_name, worker_name)
        self._flood.check(actor, candidate.project.id, candidate.name)
        await self._store.commit(
            Record(entry(actor, "test", "connection", candidate.id, candidate.name, project=candidate.project.id))
        )
        if member is None:
            where = f"environment {environment.name}" if environment else "any environment of this project"
            return _answer(False, f"No worker of {where} is connected; nothing was tested", environment, None)
        try:
            result = await self._ask(candidate, environment, member)
        except (Unavailable, UseError) as exc:
            return _answer(False, f"Nothing was tested: {exc.message}", environment, member)
        return _answer(result.success, _said(result), environment, member, result)

    async def _place(
        self, actor: Actor, project_name: str, environment_name: str | None, worker_name: str | None
    ) -> tuple[Environment | None, Member | None]:
        """Where to test. Without a wish: the first environment of the project that has a connected worker."""
        _, usable = await self._environments.of_project(actor, project_name)
        if environment_name:
            wanted = [found for found in usable if name_key(found.name) == name_key(environment_name)]
            if not wanted:
                raise BadRequest(
                    f"Environment ({environment_name}) is not found or user does not have privilege to access it!"
                )
            usable = wanted
        members = [(environment, member) for environment in usable for member in self._fleet.members(environment.id)]
        if worker_name:
            key = name_key(worker_name)
            members = [
                found for found in members if worker_name == found[1].worker.id or key == name_key(found[1].worker.name)
            ]
            if not members:
                raise NotFound("Worker was not found!")
        for environment, member in members:
            if self._jobs.can_be_asked(member.worker.id):
                return environment, member
        return (usable[0] if len(usable) == 1 else None), None

    async def _ask(self, candidate: Candidate, environment: Environment | None, member: Member) -> ProbeResult:
        job = new_id("job")
        _, key = await self._parcels.content_key(member.worker.environment)
        sealed = None
        if candidate.secrets:
            # Bound to this job: it opens as no stored connection, and no stored one opens as this.
            sealed = base64.b64encode(encrypt(key, to_json(dict(candidate.secrets)), f"{job}|0".encode())).decode()
        references = candidate.references
        behind = await self._parcels.behind(member.worker.environment, candidate.project.id, references)
        named = behind.materials
        materials = [
            await self._parcels.material(member.worker.environment, content) for content in set(named.values())
        ]
        put = Put(
            revision=0, id=job, project=candidate.project.name, name=candidate.name, type=candidate.type, generation=0,
            enabled=True, hash="", config=candidate.public, sealed=sealed,
            materials={field: content.hex() for field, content in named.items()},
            variables=self._parcels.sealed_variables(behind, key, job, "") if behind.variables or behind.damaged else None,
        )  # fmt: skip
        frame = ProbeJob(job=job, deadline_s=PROBE_S, put=put).text()
        frames = [*(text for text in materials if text is not None), frame]
        return await self._jobs.ask(member.worker.id, job, frames, ANSWER_S)


def _said(result: ProbeResult) -> str:
    if result.success:
        return "The connection works from there"
    failed = next((step for step in result.steps if step.state == "failed"), None)
    if failed is not None:
        return f"{failed.step}: {failed.message}"
    return result.message or "The test failed"


def _answer(
    works: bool, message: str, environment: Environment | None, member: Member | None, result: ProbeResult | None = None
) -> str:
    told: dict[str, Any] = {
        "success": works,
        "message": message,
        "environmentName": environment.name if environment else None,
        "workerName": member.worker.name if member else None,
        "tookMs": result.took_ms if result else None,
        "reason": result.reason if result else None,
        "steps": [step.model_dump(by_alias=True) for step in result.steps] if result else [],
    }
    return dumps({"success": True, "deploymentResult": told})
