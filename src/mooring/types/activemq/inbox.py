"""What came for a reader and was not taken yet: as much as an answer may hold, and no more."""

from __future__ import annotations

import asyncio

from mooring.types.activemq.messages import Incoming

LONGEST_ANSWER = 8 * 1024 * 1024


class Inbox:
    """
    Messages in the order in which they came.

    What does not fit is dropped, and so is all that comes after it: nothing of it was acknowledged, so the broker
    keeps it. The first message is kept whatever its size.

    Attributes:
        full: Something was dropped.
    """

    def __init__(self) -> None:
        self.messages: list[Incoming] = []
        self.full = False
        self._size = 0
        self._failure: Exception | None = None
        self._nothing = False
        self._changed: asyncio.Future[None] | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more is kept."""
        return self.full or self._failure is not None

    def put(self, item: Incoming | Exception | None) -> None:
        """A message came; or the news that there is none; or why none will come any more."""
        match item:
            case None:
                self._nothing = True
            case Exception():
                self._failure = item
            case Incoming():
                self._keep(item)
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    def check(self) -> None:
        """Raise why nothing comes any more, if so."""
        if self._failure is not None:
            raise self._failure

    async def anything(self) -> None:
        """Wait until something comes: a message, or the news that there is none."""
        self._nothing = False
        while not self.messages and not self._nothing and not self.over:
            await self._change()
        self.check()

    async def collect(self, count: int, seconds: float) -> list[Incoming]:
        """*count* messages, or what has come after *seconds*."""
        try:
            async with asyncio.timeout(seconds):
                while len(self.messages) < count and not self.over:
                    await self._change()
        except TimeoutError:
            pass
        self.check()
        return self.drain(count)

    def drain(self, count: int) -> list[Incoming]:
        """Up to *count* messages that are here."""
        taken = self.messages[:count]
        del self.messages[:count]
        return taken

    async def news(self) -> None:
        """Wait until something comes, whatever it is."""
        await self._change()

    async def _change(self) -> None:
        self._changed = asyncio.get_running_loop().create_future()
        await self._changed

    def _keep(self, message: Incoming) -> None:
        if self.over or (self.messages and self._size + message.size > LONGEST_ANSWER):
            self.full = True
            return
        self._size += message.size
        self.messages.append(message)
