"""One connection that is made when it is needed, and made anew when it was lost; and its channels."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import cast

from aiormq.channel import Channel
from aiormq.exceptions import ChannelInvalidStateError, ConnectionClosed, DeliveryError

from mooring.errors import Unreachable
from mooring.types.rabbitmq.faults import explain_use
from mooring.types.rabbitmq.link import GOODBYE_S, Link

CHANNELS = 32
SHARED = 8
"""Channels that messages share which cannot fail by themselves: what the broker would refuse of one, it would of all."""

PLENTY = 4 * SHARED
"""Channels that a broker must grant before some of them are shared."""

CROWD = 256
"""Messages on their way over shared channels; more wait."""

REASON_S = 0.2
CLOSED_S = 0.01


class _Session:
    """A live connection, the channels that are free, and how many more there may be."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.idle: list[Channel] = []
        self.shared = [_Shared(link) for _ in range(SHARED if link.channel_limit >= PLENTY else 0)]
        self.places = asyncio.Semaphore(min(CHANNELS, link.channel_limit - len(self.shared)))
        self.crowd = asyncio.Semaphore(CROWD)
        self.asked: asyncio.Task[None] | None = None
        self._turn = 0

    def free(self) -> Channel | None:
        """A channel that is open and that nobody uses."""
        while self.idle:
            channel = self.idle.pop()
            if not channel.is_closed:
                return channel
        return None

    def next_shared(self) -> _Shared | None:
        """One of the shared channels, each in turn; None where the broker grants too few."""
        if not self.shared:
            return None
        self._turn = (self._turn + 1) % len(self.shared)
        return self.shared[self._turn]


class _Shared:
    """A channel that many publish on at a time, opened when it is first needed, and anew when it was closed."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._channel: Channel | None = None
        self._opening: asyncio.Task[Channel] | None = None

    async def channel(self) -> Channel:
        if self._channel is not None and not self._channel.is_closed:
            return self._channel
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._open())
            # Whoever waited may have left; then nobody else hears of the failure.
            self._opening.add_done_callback(lambda task: task.cancelled() or task.exception())
        self._channel = await asyncio.shield(self._opening)
        return self._channel

    async def _open(self) -> Channel:
        # The number is taken in the same step as it is looked for.
        return await self._link.new_channel(self._link.free_number(), confirms=True)


class Line:
    """
    One connection to the broker, with a bounded number of channels.

    A broker answers a mistake by closing the channel. So what may be a mistake of its own has a channel for itself,
    and what others do on theirs goes on; only messages that cannot differ in that share some.
    """

    def __init__(self, connect: Callable[[], Awaitable[Link]]) -> None:
        self._connect = connect
        self._session: _Session | None = None
        self._opening: asyncio.Task[_Session] | None = None
        self._leaving: set[asyncio.Task[None]] = set()

    async def link(self) -> Link:
        """The live connection."""
        return (await self._live()).link

    @asynccontextmanager
    async def channel(self, doing: str) -> AsyncIterator[Channel]:
        """
        A channel, confirming what is published, to be had alone; *doing* is for messages: `took the message`.

        The driver's exceptions leave it as ours. A channel that something went wrong on is not used again, so
        that the broker gives what was read from it, and not acknowledged, to others.
        """
        session = await self._place()
        channel, number = session.free(), 0
        try:
            if not session.link.takes_messages():
                raise _held_back(session.link)
            number = session.link.free_number() if channel is None else channel.number
            channel = channel or await session.link.new_channel(number, confirms=True)
            yield channel
        except BaseException as exc:
            # A message that was not taken says nothing against the channel.
            usable = isinstance(exc, DeliveryError) or number == 0
            self._leave(session, channel, number, usable=usable)
            if isinstance(exc, asyncio.CancelledError) and _is_cancelled():
                raise
            known = explain_use(await _reason(exc, session.link), session.link.address, doing)
            if known is None:
                raise
            raise known from exc
        self._leave(session, channel, number, usable=True)

    @asynccontextmanager
    async def shared_channel(self, doing: str) -> AsyncIterator[Channel]:
        """
        A channel that others publish on too, confirming what is published; *doing* as for `channel`.

        For messages that the broker refuses all of or none of. Nothing but publishing is to be done on it.
        """
        session = await self._live()
        shared = session.next_shared()
        if shared is None:
            async with self.channel(doing) as channel:
                yield channel
            return
        async with session.crowd:
            try:
                if not session.link.takes_messages():
                    raise _held_back(session.link)
                yield await shared.channel()
            except BaseException as exc:
                if isinstance(exc, asyncio.CancelledError) and _is_cancelled():
                    # Who waited has left, perhaps because the broker says nothing any more. Others are on this
                    # channel, so it is asked on another one.
                    self._ask(session)
                    raise
                known = explain_use(await _reason(exc, session.link), session.link.address, doing)
                if known is None:
                    raise
                raise known from exc

    def _ask(self, session: _Session) -> None:
        """Find out whether the broker still answers; if it does not, the connection is given up."""
        if session.asked is None or session.asked.done():
            session.asked = task = asyncio.create_task(_answers(session.link))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    async def close(self) -> None:
        """Say goodbye. Safe twice; the next use connects anew."""
        session, self._session = self._session, None
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.cancel()
            await asyncio.wait([opening])
            if not opening.cancelled() and opening.exception() is None:
                session = opening.result()
        if session is not None:
            await session.link.leave()
        for task in list(self._leaving):
            task.cancel()
        if self._leaving:
            await asyncio.wait(list(self._leaving))

    async def _place(self) -> _Session:
        while True:
            session = await self._live()
            await session.places.acquire()
            if session.link.is_opened:
                return session
            session.places.release()

    async def _live(self) -> _Session:
        session = self._session
        if session is not None and session.link.is_opened:
            return session
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._open())
            # Whoever waited may have left; then nobody else hears of the failure.
            self._opening.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._opening)

    async def _open(self) -> _Session:
        lost, self._session = self._session, None
        if lost is not None:
            lost.link.wire.abort()
        self._session = session = _Session(await self._connect())
        return session

    def _leave(self, session: _Session, channel: Channel | None, number: int, *, usable: bool) -> None:
        """Give *channel* back, or close what has its *number*; the place is free once the number is."""
        if usable:
            if channel is not None:
                session.idle.append(channel)
            session.places.release()
            return
        # One whose opening was interrupted is known by its number only.
        held = session.link.channels.get(number)
        if held is None or channel not in (None, held) or not session.link.is_opened:
            session.places.release()
            return
        task = asyncio.create_task(_close(session, cast(Channel, held)))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)


async def _close(session: _Session, channel: Channel) -> None:
    try:
        async with asyncio.timeout(GOODBYE_S):
            await channel.close()
            # An interrupted question closes its channel by itself, and does not wait for the broker's answer.
            while session.link.is_opened and session.link.channels.get(channel.number) is channel:  # noqa: ASYNC110  # the driver tells nobody
                await asyncio.sleep(CLOSED_S)
    except (TimeoutError, asyncio.CancelledError):
        # A broker that does not even do that is of no use any more.
        session.link.wire.abort()
    finally:
        session.places.release()


async def _answers(link: Link) -> None:
    try:
        async with asyncio.timeout(GOODBYE_S):
            channel = await link.new_channel(link.free_number(), confirms=False)
            await channel.close()
    except (TimeoutError, asyncio.CancelledError):
        link.wire.abort()
    except Exception:  # whatever it said, it is there
        return


async def _reason(error: BaseException, link: Link) -> BaseException:
    """What ended the connection, where the driver says of an operation only that it ended with it."""
    if not isinstance(error, asyncio.CancelledError | ChannelInvalidStateError):
        return error
    if not link.is_opened:
        closing = link.closing
        await asyncio.wait([closing], timeout=REASON_S)
        why = closing.exception() if closing.done() and not closing.cancelled() else None
        if isinstance(why, ConnectionClosed):
            # Whatever it was that the broker did not like, it was not this operation.
            return ConnectionClosed(None, why.args[-1] if why.args else None)
        return why or ConnectionError()
    return ConnectionError()


def _held_back(link: Link) -> Unreachable:
    return Unreachable(
        f"{link.address} takes no messages for the moment: it is short of memory or disk",
        hint="Look at the broker's alarms; then retry.",
    )


def _is_cancelled() -> bool:
    """Whether it is the running task itself that shall end, and not what it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
