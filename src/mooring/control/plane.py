"""The control plane as one object: the parts, handed to one another, and the few things that run by themselves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from mooring.control.access import Access
from mooring.control.audit import Audit
from mooring.control.certificates import Certificates
from mooring.control.connections import Connections
from mooring.control.data_keys import DataKeys
from mooring.control.deployments import Deployments
from mooring.control.environments import Environments
from mooring.control.expiring import Expiring
from mooring.control.fleet import Fleet
from mooring.control.flood import Flood
from mooring.control.globals import Globals
from mooring.control.jobs import Jobs
from mooring.control.keystores import Keystores
from mooring.control.materials import Materials
from mooring.control.parcels import Parcels
from mooring.control.passwords import Passwords
from mooring.control.probes import Probes
from mooring.control.projects import Projects
from mooring.control.reach import Reach
from mooring.control.references import References, trust_watch
from mooring.control.shares import Shares
from mooring.control.streams import LOOK_S, Streams
from mooring.control.tokens import Tokens
from mooring.control.users import Users
from mooring.control.variables import Variables
from mooring.control.workers import Workers
from mooring.errors import MooringError
from mooring.kit.clock import now_ms
from mooring.kit.keystore.sandbox import Sandbox
from mooring.kit.log import log
from mooring.kit.rates import Rate
from mooring.plugin.registry import Registry
from mooring.seal.envelope import Ring
from mooring.seal.keys import KeyProvider
from mooring.store.base import Forget, Store

DAY_MS = 24 * 3600 * 1000
KEEP_DEPLOYMENTS_MS = 30 * DAY_MS


class Plane:
    """
    What doors (`mooring.api`) speak to.

    `start` begins the work that nobody asks for: looking at heads, writing down what was heard, forgetting.
    """

    def __init__(
        self,
        store: Store,
        ring: Ring,
        registry: Registry,
        provider: KeyProvider,
        *,
        wait_s: float = 10.0,
        tests: Rate | None = None,
    ) -> None:
        self.store, self.ring, self.registry, self.wait_s = store, ring, registry, wait_s
        self.access = Access(store)
        self.audit = Audit(store)
        self.fleet = Fleet(store)
        self.parcels = Parcels(store, ring)
        self.data_keys = DataKeys(store, ring, provider)
        self.jobs = Jobs()
        self.streams = Streams(store, ring, self.fleet, self.parcels, self.access, self.jobs)
        self.deployments = Deployments(store, self.fleet)
        self.references = References(store, ring, registry)
        self.connections = Connections(store, ring, registry, self.deployments, self.parcels, self.references)
        self.sandbox = Sandbox()
        watch = trust_watch(registry)
        materials = Materials(store, ring, self.deployments, watch)
        self.keystores = Keystores(store, materials, self.sandbox)
        self.certificates = Certificates(store, materials, self.sandbox)
        self.expiring = Expiring(store, self.fleet, materials)
        self.variables = Variables(store, ring, materials, Reach(store, ring, registry, self.parcels))
        self.projects = Projects(store)
        self.environments = Environments(store, self.fleet, self.parcels, watch)
        self.probes = Probes(
            store, self.fleet, self.parcels, self.jobs, self.connections, self.environments, Flood(tests)
        )
        self.passwords = Passwords()
        self.tokens = Tokens(store, self.access, self.streams, self.passwords)
        self.users = Users(store, self.passwords)
        self.shares = Shares(store)
        self.globals = Globals(store, self.connections)
        self.workers = Workers(store, self.fleet, self.environments, self.streams)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin. The store is open."""
        await self.fleet.load()
        self._tasks = [asyncio.create_task(_every(LOOK_S, self.streams.look, "look"))]
        if self.ring.locked is not None:
            self.store.refuse_writes(self.ring.locked)
            return
        await self._start_opened()

    async def unlock(self, opened: Ring) -> None:
        """The ring opens after all: what could not begin without it begins now."""
        self.ring.become(opened)
        self.store.refuse_writes(None)
        await self._start_opened()

    async def _start_opened(self) -> None:
        await self.references.index()
        self._tasks += [
            asyncio.create_task(_every(1.0, self.fleet.write_down, "write_down")),
            asyncio.create_task(_every(30.0, self.access.remember_use, "remember_use")),
            asyncio.create_task(_every(60.0, self.audit.tell_head, "tell_head")),
            asyncio.create_task(_every(3600.0, self._forget, "forget")),
            asyncio.create_task(self.data_keys.run()),
        ]

    async def stop(self) -> None:
        """End streams, write down what is known. The store stays open."""
        await self.streams.stop()
        self.sandbox.close()
        self.passwords.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(MooringError):
            await self.fleet.write_down()
            await self.access.remember_use()
            await self.audit.tell_head()

    async def why_not_ready(self) -> str | None:
        """What keeps this node from serving, or None."""
        if self.ring.locked is not None:
            return self.ring.locked.message
        try:
            await self.store.meta("lineage")
        except MooringError as exc:
            return exc.message
        return None

    async def _forget(self) -> None:
        now = now_ms()
        await self.store.commit(Forget(now - DAY_MS, now - KEEP_DEPLOYMENTS_MS))


async def _every(seconds: float, work: Callable[[], Awaitable[None]], name: str) -> None:
    while True:
        try:
            await work()
        except Exception as exc:  # the edge of a task: the next round may work
            log.error("background_work_failed", work=name, error=type(exc).__name__, message=str(exc)[:200])
        await asyncio.sleep(seconds)
