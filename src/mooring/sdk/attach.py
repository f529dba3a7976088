"""A worker inside your process: `async with mooring.attach(url, token, environment) as worker`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mooring.errors import Unavailable
from mooring.kit.aead import new_receiver_key
from mooring.kit.egress import ANYWHERE_HERE
from mooring.kit.tls import check_url
from mooring.plugin.connector import Allowed
from mooring.plugin.registry import Registry
from mooring.worker.handle import Connection, connection
from mooring.worker.loop import Loop, tidying
from mooring.worker.pool import Pool

CONNECT_S = 15.0


class Attached:
    """The connections that the token may use, live in this process: `worker["MyProject/orders-db"]`."""

    def __init__(self, pool: Pool, loop: Loop) -> None:
        self._pool, self._loop = pool, loop

    @property
    def is_attached(self) -> bool:
        """Whether changes arrive. Where not, the connections serve on as they are."""
        return self._loop.connected

    def __getitem__(self, path: str) -> Connection:
        """The connection at `project/name`. Raises `ConnectionUnknown`."""
        return connection(self._pool, path)

    @property
    def names(self) -> list[str]:
        """What is held, as `project/name`."""
        return [f"{item['project']}/{item['name']}" for item in self._pool.listing()]


@asynccontextmanager
async def attach(
    url: str,
    token: str,
    environment: str,
    *,
    ca_file: str | None = None,
    allow_plain_http: bool = False,
    allowed: Allowed | None = None,
    timeout_s: float = CONNECT_S,
) -> AsyncIterator[Attached]:
    """
    Hold the connections of *environment* that *token* may use, in this process, for as long as the block lasts.

    The token needs the grant `connections:attach`. Changes reach it like any worker's; the control plane never
    waits for it. *allowed* says what connections may do on and from this machine beside talking to their systems;
    by default neither scripts nor log files, and connections to this machine itself are let through. *ca_file* is
    trusted beside the system's authorities, by connections and for the control plane itself; plain http:// beyond
    loopback is refused unless *allow_plain_http*.

    Raises:
        BadRequest: *url* is none, or plain HTTP beyond loopback.
        NotAuthenticated: the token is not valid, or lacks the grant.
        Unavailable: the control plane was not reached within *timeout_s* seconds.
    """
    check_url(url, allow_plain=allow_plain_http)
    registry = Registry()
    pool = Pool(registry, ca_file=ca_file, allowed=allowed or Allowed(egress=ANYWHERE_HERE))
    private, _ = new_receiver_key()
    loop = Loop(url, token, private, pool, registry, attach=environment, ca_file=ca_file)
    running = asyncio.create_task(loop.run())
    tidy = asyncio.create_task(tidying(pool))
    try:
        settled = asyncio.create_task(loop.settled.wait())
        done, _ = await asyncio.wait([settled, running], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if running in done:
            settled.cancel()
            running.result()
        if settled not in done and not loop.connected:
            settled.cancel()
            raise Unavailable(
                f"the control plane at {url} was not reached within {timeout_s:g} s",
                hint="Check the URL, and that it runs.",
            )
        settled.cancel()
        yield Attached(pool, loop)
    finally:
        running.cancel()
        tidy.cancel()
        await asyncio.gather(running, tidy, return_exceptions=True)
        await pool.close()
