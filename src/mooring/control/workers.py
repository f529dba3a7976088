"""Workers: enrolment, what they observed, and forgetting them."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from mooring.control.access import require
from mooring.control.auditing import entry
from mooring.control.environments import Environments
from mooring.control.fleet import Fleet, Member
from mooring.control.streams import Streams
from mooring.domain.records import Actor, Worker
from mooring.errors import BadRequest, Conflict, InvalidConfig, NotAuthenticated, NotFound, Problem
from mooring.kit.aead import new_key, wrap
from mooring.kit.clock import iso, now_ms
from mooring.kit.ids import new_id
from mooring.kit.tokens import make_token, parse_token
from mooring.store.base import CreateEnrolment, EnrolWorker, ForgetWorker, Store
from mooring.wire.frames import Enrolled, Enrolment

ENROLMENT_S = 3600


class Workers:
    """The registered workers of every environment."""

    def __init__(self, store: Store, fleet: Fleet, environments: Environments, streams: Streams) -> None:
        self._store, self._fleet, self._environments, self._streams = store, fleet, environments, streams

    async def enrolment(self, actor: Actor, environment_name: str, valid_s: int = ENROLMENT_S) -> tuple[str, int]:
        """A one-time token with which one worker of the environment enrols, and when it expires."""
        require(actor, "workers:manage")
        environment = await self._environments.named(environment_name)
        made = make_token("enr")
        expires_at = now_ms() + valid_s * 1000
        await self._store.commit(
            CreateEnrolment(
                made.id,
                environment.id,
                made.secret_hash,
                expires_at,
                entry(actor, "create", "enrolment", made.id, environment.name),
            )
        )
        return made.text, expires_at

    async def enrol(self, request: Enrolment, *, request_id: str, address: str) -> Enrolled:
        """Register a worker. Raises `NotAuthenticated` where the token is used, expired, or another environment's."""
        parts = parse_token(request.token)
        if parts is None or parts.kind != "enr":
            raise NotAuthenticated("Invalid token")
        try:
            public_key = base64.b64decode(request.public_key, validate=True)
            wrap(public_key, new_key(), b"")  # some points of the curve give no key, and are refused now, not later
        except (binascii.Error, ValueError):
            public_key = b""
        if len(public_key) != 32:
            raise InvalidConfig(
                [Problem("/publicKey", "invalid", "publicKey is not valid: must be 32 bytes in base64")]
            )
        try:
            environment = await self._environments.named(request.environment)
        except NotFound:
            raise NotAuthenticated("Invalid token") from None
        credential = make_token("wrk")
        now = now_ms()
        worker = Worker(
            credential.id,
            environment.id,
            request.name,
            public_key,
            credential.secret_hash,
            None,
            None,
            None,
            0,
            now,
            now,
        )
        actor = Actor(f"worker {request.name}", None, None, frozenset(), request_id, address)
        try:
            await self._store.commit(
                EnrolWorker(
                    parts.id, parts.secret_hash, worker, now, entry(actor, "enrol", "worker", worker.id, request.name)
                )
            )
        except Conflict:
            raise NotAuthenticated("Invalid token") from None
        self._fleet.add(worker)
        return Enrolled(worker=worker.id, credential=credential.text, environment=environment.name)

    async def list_all(self, actor: Actor, environment_name: str | None = None) -> list[dict[str, Any]]:
        """What every worker observed."""
        require(actor, "workers:view")
        environments = {environment.id: environment for environment in await self._store.environments()}
        chosen = None if environment_name is None else (await self._environments.named(environment_name)).id
        now = now_ms()
        return [
            _wire(
                member,
                environments[member.worker.environment].name,
                environments[member.worker.environment].head_revision,
                now,
            )
            for member in sorted(self._fleet.members(chosen), key=lambda member: (member.worker.name, member.worker.id))
            if member.worker.environment in environments
        ]

    async def forget(self, actor: Actor, worker_id: str) -> None:
        """Remove a worker: its credential stops working, its stream is closed. Raises `NotFound`."""
        require(actor, "workers:manage")
        if not worker_id:
            raise BadRequest("Worker id can not be empty!")
        member = self._fleet.member(worker_id)
        await self._store.commit(
            ForgetWorker(worker_id, entry(actor, "forget", "worker", worker_id, member.worker.name))
        )
        if member.session is not None:
            self._streams.close(member.session)
        self._fleet.remove(worker_id)


def _wire(member: Member, environment: str, head: int, now: int) -> dict[str, Any]:
    states = [exception.state for exception in member.exceptions.values()]
    return {
        "id": member.worker.id,
        "name": member.worker.name,
        "environmentName": environment,
        "online": member.online(now),
        "lastSeenAt": iso(member.worker.lease_until if member.session is None else now),
        "version": member.worker.version,
        "egress": member.egress,
        "desiredRevision": head,
        "observedRevision": member.revision,
        "pending": states.count("pending"),
        "failed": states.count("failed"),
        "held": states.count("held"),
        "exceptions": [
            {
                "connection": exception.connection, "generation": exception.generation,
                "servingGeneration": exception.serving_generation, "state": exception.state,
                "reason": exception.reason, "message": exception.message, "since": iso(exception.since),
            }
            for exception in member.exceptions.values()
        ],
    }  # fmt: skip


def new_worker_name() -> str:
    """A name for a worker that was given none."""
    return new_id("w").lower()[:14]
