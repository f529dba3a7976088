"""Links of a session: one way each, with a peer that says how many deliveries it wants."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from mooring.types.activemq.amqp.codec import Described
from mooring.types.activemq.amqp.message import read
from mooring.types.activemq.faults import Garbled, TooLong
from mooring.types.activemq.messages import Incoming
from mooring.types.activemq.wire import LONGEST_MESSAGE

_MODULUS = 2**32


class Link:
    """
    One end of a link.

    Attributes:
        failure: Why it ended, once it has.
        detaching: We asked for its end.
    """

    receives = False

    def __init__(self, name: str) -> None:
        loop = asyncio.get_running_loop()
        self.name = name
        self.handle = 0
        self.attached: asyncio.Future[None] = loop.create_future()
        self.detached: asyncio.Future[None] = loop.create_future()
        self.detaching = False
        self.failure: Exception | None = None

    def end(self, failure: Exception) -> None:
        """It is over."""
        self.failure = failure
        if not self.attached.done():
            self.attached.set_exception(failure)
            # Whoever waited may have left already.
            self.attached.exception()
        if not self.detached.done():
            self.detached.set_result(None)


class Sender(Link):
    """What deliveries go out on. `credit` is how many the peer still wants, `count` how many there were."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.credit = 0
        self.count = 0
        self.longest: int | None = None
        self.turn = asyncio.Lock()
        """Held while the frames of one delivery are written, which others may not stand between."""


class Receiver(Link):
    """What deliveries come in on; each goes to *deliver*, and so does why there will be no more."""

    receives = True

    def __init__(self, name: str, deliver: Callable[[Incoming | Exception | None], None]) -> None:
        super().__init__(name)
        self.count = 0
        self._limit = 0
        self._deliver = deliver
        self._delivery: int | None = None
        self._parts: list[bytes] = []
        self._size = 0

    @property
    def credit(self) -> int:
        """How many deliveries may still come."""
        left = (self._limit - self.count) % _MODULUS
        return left if left < _MODULUS // 2 else 0

    def grant(self, credit: int) -> None:
        """So many more may come."""
        self._limit = (self.count + credit) % _MODULUS

    def hear_flow(self, count: int) -> None:
        """The peer says how many deliveries there were; those that it skipped will not come."""
        self.count = count
        if self.credit == 0:
            self._deliver(None)

    def hear_transfer(self, said: Described, payload: bytes) -> None:
        number, more, aborted = said.field(1), said.field(5), said.field(9)
        if self._delivery is None:
            if not isinstance(number, int):
                raise Garbled("a delivery has no number")
            self._delivery = number % _MODULUS
        self._size += len(payload)
        if self._size > LONGEST_MESSAGE + 65536:
            # What it says is not kept; the reading ends, and the peer keeps the message.
            self._parts.clear()
        else:
            self._parts.append(payload)
        if more is True and aborted is not True:
            return
        delivery, parts, size = self._delivery, self._parts, self._size
        self._delivery, self._parts, self._size = None, [], 0
        self.count = (self.count + 1) % _MODULUS
        if aborted is True:
            return
        if size > LONGEST_MESSAGE + 65536:
            self._deliver(TooLong(f"a message has {size} bytes, and at most {LONGEST_MESSAGE} are read"))
            return
        self._deliver(read(parts[0] if len(parts) == 1 else b"".join(parts), delivery))

    def end(self, failure: Exception) -> None:
        super().end(failure)
        if not self.detaching:
            self._deliver(failure)


def described(code: int, *fields: Any) -> Described:
    """A list of *fields* that *code* says the meaning of."""
    return Described(code, list(fields))
