"""
A pool of sessions to one database, with the limits that the documented fields name.

Every session that is lent, being opened or being closed holds one of `maximum` slots; idle ones hold none,
and lent + idle never exceed `maximum`: a session is opened only where no idle one is left, or there is room.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Generic

from mooring.errors import Busy, Unreachable
from mooring.types.database.port import Driver, Session

PING_S: Final = 5.0
CLOSE_S: Final = 5.0
SHORTEST_ROUND_S, LONGEST_ROUND_S = 0.05, 5.0
GRACE_S: Final = 3.0


@dataclass(frozen=True)
class Limits:
    """How a pool behaves; times in seconds, 0 meaning never or without end."""

    initial: int = 1
    minimum: int = 1
    maximum: int = 5
    increment: int = 1
    wait_s: float = 30.0
    test_every_s: float = 30.0
    max_age_s: float = 180.0
    max_idle_s: float = 120.0
    test_on_checkout: bool = True
    test_on_checkin: bool = False


@dataclass(eq=False)
class _Member(Generic[Session]):
    session: Session
    born: float
    used: float
    tested: float
    lent: bool = False


FRESH_S = 0.5
"""A session that served successfully within so long is not tested again before it is lent."""


class Pool(Generic[Session]):
    """
    Sessions, opened as they are needed and kept for the next user.

    `acquire` is what users of the native client take: it lends the client library's own connection.
    `stop` gives everything back; a later use begins anew, until `end`.
    """

    def __init__(self, driver: Driver[Session], limits: Limits) -> None:
        self._driver, self._limits = driver, limits
        self._slots = asyncio.Semaphore(limits.maximum)
        self._held = 0
        self._idle: list[_Member[Session]] = []
        self._out: set[_Member[Session]] = set()
        self._all_back = asyncio.Event()
        self._burials: set[asyncio.Task[None]] = set()
        self._growth: set[asyncio.Task[None]] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._proven = asyncio.Event()
        self._ended = False
        self._works = True  # whether the last attempt to open a session succeeded

    @property
    def size(self) -> int:
        """Sessions that exist, are being opened or are being closed."""
        return self._held + len(self._idle)

    @property
    def idle(self) -> int:
        """Sessions that wait for a user."""
        return len(self._idle)

    def start(self) -> None:
        """Begin keeping the pool filled, in the background. Safe twice."""
        if self._keeper is None and not self._ended:
            self._keeper = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """Close what is idle, and what is lent as soon as it comes back. Safe twice."""
        helpers = [*self._growth] if self._keeper is None else [self._keeper, *self._growth]
        self._keeper = None
        for helper in helpers:
            helper.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)
        while self._idle:
            await self._goodbye(self._idle.pop())
        await asyncio.gather(*self._burials, return_exceptions=True)

    async def end(self) -> None:
        """Stop for good; what is still lent after a moment is dropped."""
        self._ended = True
        if self._out:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_back.wait(), GRACE_S)
        for member in self._out:
            self._driver.abort(member.session)
        await self.stop()

    @contextlib.asynccontextmanager
    async def lend(self, *, native: bool = False) -> AsyncIterator[Session]:
        """
        A session of one's own while the block runs.

        Raises:
            Busy: none came free within the longest wait.
            Unreachable: none could be opened within the longest wait.
        """
        member = await self._enter()
        member.lent = native
        self._out.add(member)
        self._all_back.clear()
        try:
            yield member.session
        except Exception:
            await self._leave(member)
            raise
        except BaseException:
            # Cancelled in the middle of something: nobody knows what the server will say next.
            self._bury(member)
            raise
        else:
            await self._leave(member)

    @contextlib.asynccontextmanager
    async def acquire(self) -> AsyncIterator[Any]:
        """The client library's own connection, while the block runs."""
        async with self.lend(native=True) as session:
            yield self._driver.native(session)

    # --- out and in ------------------------------------------------------------------------------------------

    async def _enter(self) -> _Member[Session]:
        self.start()
        waiting = True
        try:
            async with asyncio.timeout(self._limits.wait_s or None):
                await self._claim()
                waiting = False
                try:
                    return await self._take()
                except BaseException:
                    self._free()
                    raise
        except TimeoutError:
            waited = f"{self._limits.wait_s * 1000:g} ms"
            if waiting:
                raise Busy(
                    f"all {self._limits.maximum} connections to {self._driver.address} were in use for {waited}",
                    hint="Retry when there is less to do, or raise maxPoolSize (or connectionTimeout) in the connection.",
                ) from None
            raise Unreachable(
                f"{self._driver.address} gave no connection within {waited}",
                hint="Check that the server is up and not overloaded, or raise connectionTimeout.",
            ) from None

    async def _take(self) -> _Member[Session]:
        if self._ended:
            raise Unreachable(
                "the connection is being closed", hint="Retry: its successor serves already, if it has one."
            )
        while self._idle:
            member = self._idle.pop()
            # One that served a moment ago has just been tested, by real use.
            ask = self._limits.test_on_checkout and time.monotonic() - member.used > FRESH_S
            if not self._is_stale(member) and await self._passes(member, ask):
                return member
            await self._goodbye(member)
        member = await self._open()
        if self._limits.increment > 1:
            _spawn(self._grow(self._limits.increment - 1), self._growth)
        return member

    async def _leave(self, member: _Member[Session]) -> None:
        try:
            keep = self._keeper is not None and not self._is_too_old(member) and await self._is_tidied(member)
        except BaseException:
            self._bury(member)
            raise
        if not keep:
            self._bury(member)
            return
        self._is_back(member)
        member.used = time.monotonic()
        self._idle.append(member)
        self._free()

    def _is_back(self, member: _Member[Session]) -> None:
        self._out.discard(member)
        if not self._out:
            self._all_back.set()

    async def _is_tidied(self, member: _Member[Session]) -> bool:
        if not self._driver.is_alive(member.session):
            return False
        try:
            async with asyncio.timeout(PING_S):
                await self._driver.tidy(member.session, lent=member.lent)
        except Exception:  # whatever it was, the session goes, and the caller has its own answer
            return False
        return await self._passes(member, self._limits.test_on_checkin)

    async def _passes(self, member: _Member[Session], ask: bool) -> bool:
        """Whether a session lives, as far as is known or by asking the server."""
        if not self._driver.is_alive(member.session):
            return False
        if not ask:
            return True
        try:
            async with asyncio.timeout(PING_S):
                await self._driver.ping(member.session)
        except Exception:  # whatever it was, the session is not used again
            return False
        except BaseException:
            self._driver.abort(member.session)
            raise
        member.tested = time.monotonic()
        return True

    # --- opening and closing; the caller holds a slot ----------------------------------------------------------

    async def _claim(self) -> None:
        await self._slots.acquire()
        self._held += 1

    def _free(self) -> None:
        self._held -= 1
        self._slots.release()

    async def _open(self) -> _Member[Session]:
        self._works = False
        session = await self._driver.connect()
        self._works = True
        self._proven.set()
        now = time.monotonic()
        return _Member(session, now, now, now)

    async def _goodbye(self, member: _Member[Session]) -> None:
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._driver.close(member.session)
        except Exception:  # it is over either way
            self._driver.abort(member.session)
        except BaseException:
            self._driver.abort(member.session)
            raise

    def _bury(self, member: _Member[Session]) -> None:
        """Close a lent session in the background, and free its slot only then."""
        self._is_back(member)

        async def bury() -> None:
            try:
                await self._goodbye(member)
            finally:
                self._free()

        _spawn(bury(), self._burials)

    # --- keeping ---------------------------------------------------------------------------------------------

    def _is_too_old(self, member: _Member[Session]) -> bool:
        return bool(self._limits.max_age_s) and time.monotonic() - member.born > self._limits.max_age_s

    def _is_stale(self, member: _Member[Session]) -> bool:
        idle_s = time.monotonic() - member.used
        over = bool(self._limits.max_idle_s) and idle_s > self._limits.max_idle_s and self.size > self._limits.minimum
        return over or self._is_too_old(member)

    async def _keep(self) -> None:
        """Round after round: close the stale, test the idle, fill up."""
        wanted = max(self._limits.initial, self._limits.minimum)
        spans = [
            span / 2 for span in (self._limits.test_every_s, self._limits.max_age_s, self._limits.max_idle_s) if span
        ]
        round_s = min(max(min(spans, default=LONGEST_ROUND_S), SHORTEST_ROUND_S), LONGEST_ROUND_S)
        # The first user opens the first session; filling up beside it would take its place where there is only one.
        await self._proven.wait()
        while True:
            await self._inspect()
            # After a failure the next user tries, and is told; logins that fail in the background lock accounts.
            while self._works and self.size < wanted and await self._add():
                pass
            wanted = self._limits.minimum
            await asyncio.sleep(round_s)

    async def _inspect(self) -> None:
        now = time.monotonic()
        period = self._limits.test_every_s
        for member in list(self._idle):
            due = bool(period) and now - max(member.tested, member.used) >= period
            if not (due or self._is_stale(member) or not self._driver.is_alive(member.session)):
                continue
            if member not in self._idle or self._slots.locked():
                continue
            # There is a free slot, so this does not wait, and nobody takes the session in between.
            self._idle.remove(member)
            await self._claim()
            try:
                if not self._is_stale(member) and await self._passes(member, due):
                    self._idle.insert(0, member)
                else:
                    await self._goodbye(member)
            finally:
                self._free()

    async def _grow(self, count: int) -> None:
        for _ in range(count):
            if not await self._add():
                return

    async def _add(self) -> bool:
        """Open one more idle session, where there is room."""
        if self.size >= self._limits.maximum or self._slots.locked():
            return False
        await self._claim()
        try:
            member = await self._open()
            self._idle.append(member)
        except Exception:  # the next user of the pool meets it too, and is told
            return False
        finally:
            self._free()
        return True


def _spawn(work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
