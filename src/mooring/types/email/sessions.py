"""SMTP sessions that wait a moment for the next message: logging in costs more than a mail."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import aiosmtplib
from aiosmtplib import SMTP

IDLE_S = 5.0
"""How long a session waits; servers hang up on those that wait for minutes."""

MESSAGES = 50
"""After so many it ends: servers take a hundred, some fewer."""

GOODBYE_S = 1.0
CHECK_S = 5.0


class Sessions:
    """The sessions of one connection that nobody uses at the moment, and those that somebody does."""

    def __init__(self) -> None:
        self._waiting: list[tuple[SMTP, asyncio.TimerHandle]] = []
        self._open: dict[SMTP, int] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    async def take(self, begin: Callable[[], Awaitable[SMTP]]) -> SMTP:
        """One that still answers, or a new one from *begin*. It is given back with `keep` or `drop`."""
        while self._waiting:
            smtp, timer = self._waiting.pop()
            timer.cancel()
            if await _answers(smtp):
                return smtp
            self.drop(smtp)
        return await begin()

    def began(self, smtp: SMTP) -> None:
        """*smtp* is about to connect: from now on `stop` ends it."""
        self._open[smtp] = 0

    def keep(self, smtp: SMTP) -> None:
        """It may serve again; if nobody comes soon, it says goodbye."""
        if smtp not in self._open:
            return
        self._open[smtp] += 1
        if self._open[smtp] >= MESSAGES:
            self._spawn(smtp)
            return
        timer = asyncio.get_running_loop().call_later(IDLE_S, self._time_is_over, smtp)
        self._waiting.append((smtp, timer))

    def drop(self, smtp: SMTP) -> None:
        """It shall not be used again: close it without waiting for anything."""
        self._open.pop(smtp, None)
        abort(smtp)

    async def stop(self) -> None:
        """Say goodbye in those that wait; cut off those that are in use."""
        waiting, self._waiting = self._waiting, []
        for _, timer in waiting:
            timer.cancel()
        kept = {smtp for smtp, _ in waiting}
        for smtp in [smtp for smtp in self._open if smtp not in kept]:
            self.drop(smtp)
        await asyncio.gather(*(self._leave(smtp) for smtp in kept), *self._leaving)

    def _time_is_over(self, smtp: SMTP) -> None:
        self._waiting = [kept for kept in self._waiting if kept[0] is not smtp]
        self._spawn(smtp)

    def _spawn(self, smtp: SMTP) -> None:
        task = asyncio.create_task(self._leave(smtp))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _leave(self, smtp: SMTP) -> None:
        await leave(smtp)
        self.drop(smtp)


async def _answers(smtp: SMTP) -> bool:
    """Whether the server still knows the session, and nothing of the message before is left in it."""
    try:
        async with asyncio.timeout(CHECK_S):
            await smtp.rset()
    except (aiosmtplib.SMTPException, OSError):
        return False
    return True


async def leave(smtp: SMTP) -> None:
    """Say goodbye; whether the server answers does not matter any more."""
    with contextlib.suppress(aiosmtplib.SMTPException, OSError):
        async with asyncio.timeout(GOODBYE_S):
            await smtp.quit()


def abort(smtp: SMTP) -> None:
    """Close without waiting for what is not yet written."""
    if isinstance(smtp.transport, asyncio.WriteTransport):
        smtp.transport.abort()
    smtp.close()
