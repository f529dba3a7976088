"""Sessions that are kept: some that many requests share, and some that one user at a time has to itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from mooring.types.ldap.session import Session

Opening = Callable[[], Awaitable[Session]]

SHARED = 4
BUSY = 16
APART = 8


class Shared:
    """
    At most four sessions, each with many requests under way at once.

    Another one is opened when each has sixteen; requests wait for it only where there is none yet.
    """

    def __init__(self, opening: Opening) -> None:
        self._open_one = opening
        self._sessions: list[Session] = []
        self._opening: asyncio.Task[None] | None = None

    async def get(self) -> Session:
        """The session with the least to do. Raises what opening one raises."""
        while True:
            self._bury()
            best = min(self._sessions, key=lambda session: session.in_flight, default=None)
            if best is not None and (best.in_flight < BUSY or len(self._sessions) >= SHARED):
                return best
            if self._opening is None:
                self._opening = asyncio.create_task(self._add())
                self._opening.add_done_callback(self._opened)
            if best is not None:
                return best
            await asyncio.shield(self._opening)

    async def close(self) -> None:
        """End all of them. Safe twice; `get` begins anew."""
        opening, sessions, self._sessions = self._opening, self._sessions, []
        if opening is not None:
            opening.cancel()
            await asyncio.wait([opening])
        sessions += self._sessions
        self._sessions = []
        await _close(sessions)

    async def _add(self) -> None:
        self._sessions.append(await self._open_one())

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._opening = None
        # Who waits for it is told; that nobody does is no news for the event loop.
        if not task.cancelled():
            task.exception()

    def _bury(self) -> None:
        for session in [session for session in self._sessions if not session.usable]:
            if session.lost is None and session.in_flight:
                # Suspected only: those who still wait on it shall get their answer if it lives.
                continue
            self._sessions.remove(session)
            session.abort()


class Apart:
    """At most eight sessions, each used by one at a time; others wait for their turn."""

    def __init__(self, opening: Opening) -> None:
        self._open_one = opening
        self._turns = asyncio.Semaphore(APART)
        self._idle: list[Session] = []
        self._used: set[Session] = set()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """One of them. It is kept for the next user, unless this one fails."""
        async with self._turns:
            session = self._kept() or await self._open_one()
            self._used.add(session)
            try:
                yield session
            except BaseException:
                session.abort()
                raise
            finally:
                self._used.discard(session)
            if session.usable:
                self._idle.append(session)
            else:
                session.abort()

    async def close(self) -> None:
        """End all of them, those in use too. Safe twice; `session` begins anew."""
        for session in self._used:
            session.abort()
        idle, self._idle = self._idle, []
        await _close(idle)

    def _kept(self) -> Session | None:
        while self._idle:
            session = self._idle.pop()
            if session.usable:
                return session
            session.abort()
        return None


async def _close(sessions: list[Session]) -> None:
    await asyncio.gather(*(session.close() for session in sessions))
