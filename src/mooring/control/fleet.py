"""
What is known of the workers, and who waits to hear from them.

The truth is what workers report; rows in the store are what was last heard, for after a restart and for workers
that are connected elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from mooring.control.verdict import Failure, Tally
from mooring.domain.records import Deployment, Worker, WorkerException
from mooring.errors import NotFound
from mooring.kit.clock import now_ms
from mooring.store.base import SeeWorkers, Store
from mooring.wire.frames import LEASE_S

GONE_MS = 7 * 24 * 3600 * 1000


@dataclass
class Member:
    """One worker of an environment, as this node sees it. `session` is set while it is connected here; `egress`, once it was."""

    worker: Worker
    session: str | None = None
    epoch: str | None = None
    revision: int = 0
    exceptions: dict[str, WorkerException] = field(default_factory=dict)
    egress: str | None = None
    changed: bool = False

    def online(self, now: int) -> bool:
        return self.session is not None or self.worker.lease_until > now

    def counts(self, now: int) -> bool:
        """Whether it is still reckoned with: workers gone for seven days are not."""
        return self.online(now) or max(self.worker.lease_until, self.worker.created_at) > now - GONE_MS

    def outcome(self, deployment: Deployment) -> Failure | bool | None:
        """True: applied; a `Failure`; None: not yet."""
        if self.revision < deployment.revision:
            return None
        found = self.exceptions.get(deployment.connection)
        if found is None or found.generation < deployment.generation:
            return True
        if found.state == "pending":
            return None
        return Failure(self.worker.name, found.reason, found.message)


class _Wait:
    """Somebody waits for one deployment to end on a set of workers."""

    def __init__(self, deployment: Deployment, members: Iterable[Member]) -> None:
        self.deployment = deployment
        self.tally = Tally()
        self.missing = {member.worker.id for member in members}
        self.tally.expected = len(self.missing)
        self.done = asyncio.Event()

    def hear(self, member: Member) -> None:
        if member.worker.id not in self.missing:
            return
        outcome = member.outcome(self.deployment)
        if outcome is None:
            return
        self.missing.discard(member.worker.id)
        if outcome is True:
            self.tally.applied += 1
        elif isinstance(outcome, Failure):
            self.tally.failures.append(outcome)
        if not self.missing:
            self.done.set()


class Fleet:
    """Every worker of every environment."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._members: dict[str, Member] = {}
        self._by_environment: dict[str, dict[str, Member]] = {}
        self._waits: dict[str, set[_Wait]] = {}
        self.connected = asyncio.Event()

    async def load(self) -> None:
        """Read what was last heard of every worker."""
        for worker in await self._store.workers():
            self.add(worker)

    def add(self, worker: Worker) -> Member:
        """A worker that enrolled."""
        member = Member(worker, epoch=worker.observed_epoch, revision=worker.observed_revision)
        self._members[worker.id] = member
        self._by_environment.setdefault(worker.environment, {})[worker.id] = member
        return member

    def remove(self, worker_id: str) -> None:
        """A worker that was forgotten."""
        member = self._members.pop(worker_id, None)
        if member is not None:
            self._by_environment[member.worker.environment].pop(worker_id, None)
            for wait in self._waits.get(member.worker.environment, ()):
                if worker_id in wait.missing:
                    wait.missing.discard(worker_id)
                    wait.tally.expected -= 1
                    wait.tally.registered -= 1
                    if not wait.missing:
                        wait.done.set()

    def remove_environment(self, environment: str) -> None:
        """All workers of an environment that was deleted."""
        for worker_id in list(self._by_environment.get(environment, ())):
            self.remove(worker_id)

    def members(self, environment: str | None = None) -> list[Member]:
        """The workers, of one environment or of all."""
        found = self._members if environment is None else self._by_environment.get(environment, {})
        return list(found.values())

    def member(self, worker_id: str) -> Member:
        """The worker of that id. Raises `NotFound`."""
        member = self._members.get(worker_id)
        if member is None:
            raise NotFound("Worker was not found!")
        return member

    def arrive(self, worker_id: str, session: str, incarnation: str, version: str, egress: str = "") -> str | None:
        """A worker opened a stream here. The older session, which is now fenced, if there was one."""
        member = self._members[worker_id]
        older, member.session = member.session, session
        # What it holds now is not known before it reports: it may have begun anew, or be of another epoch.
        member.revision, member.exceptions, member.egress = 0, {}, egress or None
        member.worker = replace(member.worker, incarnation=incarnation, version=version)
        self._renew(member)
        self.connected.set()
        return older

    def leave(self, worker_id: str, session: str) -> None:
        """The stream of *session* ended; nothing, if a newer one took its place."""
        member = self._members.get(worker_id)
        if member is not None and member.session == session:
            member.session = None
            member.worker = replace(member.worker, lease_until=now_ms())
            member.changed = True

    def hear(
        self, worker_id: str, session: str, epoch: str, revision: int, exceptions: Sequence[WorkerException]
    ) -> None:
        """A report. One of a fenced session is ignored."""
        member = self._members.get(worker_id)
        if member is None or member.session != session:
            return
        member.epoch, member.revision = epoch, revision
        member.exceptions = {exception.connection: exception for exception in exceptions}
        self._renew(member)
        for wait in tuple(self._waits.get(member.worker.environment, ())):
            wait.hear(member)

    def renew(self, worker_id: str) -> None:
        """Any traffic renews the lease."""
        member = self._members.get(worker_id)
        if member is not None:
            self._renew(member)

    def _renew(self, member: Member) -> None:
        member.worker = replace(
            member.worker,
            lease_until=now_ms() + LEASE_S * 1000,
            observed_epoch=member.epoch,
            observed_revision=member.revision,
        )
        member.changed = True

    async def write_down(self) -> None:
        """Store what was heard since the last time, in one write."""
        changed = [member for member in self._members.values() if member.changed]
        if changed:
            for member in changed:
                member.changed = False
            await self._store.commit(SeeWorkers([member.worker for member in changed]))

    def is_awaited(self, environment: str) -> bool:
        """Whether somebody waits to hear from workers of *environment*."""
        return bool(self._waits.get(environment))

    async def wait(self, deployments: Sequence[Deployment], seconds: float) -> list[Tally]:
        """One tally per deployment, when all of them ended or *seconds* have passed."""
        now = now_ms()
        waits = []
        for deployment in deployments:
            members = self.members(deployment.environment)
            online = [member for member in members if member.online(now)]
            wait = _Wait(deployment, online)
            counted = [member for member in members if member.counts(now)]
            wait.tally.registered = len(counted)
            wait.tally.offline = len(counted) - len(online)
            for member in online:
                wait.hear(member)
            waits.append(wait)
        pending = [wait for wait in waits if wait.missing]
        if pending and seconds > 0:
            for wait in pending:
                self._waits.setdefault(wait.deployment.environment, set()).add(wait)
            try:
                async with asyncio.timeout(seconds):
                    for wait in pending:
                        await wait.done.wait()
            except TimeoutError:
                pass
            finally:
                for wait in pending:
                    self._waits[wait.deployment.environment].discard(wait)
        return [wait.tally for wait in waits]
