"""A connection to a broker: what is agreed on first, who logs in, commands and their answers, signs of life."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

from mooring.types.activemq.faults import Garbled, LoginRefused, Lost, Refused, Silent
from mooring.types.activemq.messages import Incoming
from mooring.types.activemq.openwire import commands
from mooring.types.activemq.openwire.commands import Command
from mooring.types.activemq.openwire.marshal import Long, integer
from mooring.types.activemq.settings import INACTIVITY_MS, Broker, Settings, flag_of, number_of
from mooring.types.activemq.wire import LONGEST_FRAME, LONGEST_GREETING, LONGEST_MESSAGE, Frames, Wire

_OLDEST = 10
_DELAY_MS = 10_000
_DELAY_NAMES = ("InitalDelay", "InitialDelay")
"""The first is ActiveMQ's own spelling."""
_LARGEST = 2**31 - 1


class Connection(Wire):
    """
    Commands go out as they come, and answers are told from one another by their numbers: nobody waits for anybody.

    Attributes:
        name: The connection's id.
        consumers: Where dispatches go, by the consumer's number.
    """

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker.address, Frames(4, _measure, LONGEST_GREETING))
        self.name = f"ID:mooring-{uuid.uuid4()}"
        self.consumers: dict[int, Callable[[Incoming | Exception | None], None]] = {}
        self._broker = broker
        self._format: asyncio.Future[commands.WireFormat] = self._loop.create_future()
        self._answers: dict[int, asyncio.Future[None]] = {}
        self._number = 0
        self._names: dict[str, int] = {}
        self._last_words = ""
        self._longest = LONGEST_MESSAGE

    async def log_in(self, settings: Settings, client_id: str) -> None:
        """Agree on the wire format, and say who we are. Raises `Refused`, `Lost` or `Garbled`."""
        options = self._broker.options
        watched = flag_of(options, True, "useInactivityMonitor")
        inactivity = int(number_of(options, INACTIVITY_MS, "wireFormat.maxInactivityDuration")) if watched else 0
        longest = int(number_of(options, LONGEST_FRAME, "wireFormat.maxFrameSize"))
        self._frames.longest = min(max(longest, 1024), LONGEST_FRAME)
        delay = int(number_of(options, _DELAY_MS, *(f"wireFormat.maxInactivityDuration{end}" for end in _DELAY_NAMES)))
        self.send(commands.wire_format(_proposal(inactivity, delay)))
        theirs = await self._format
        if theirs.version < _OLDEST:
            raise Refused("VersionException", f"it speaks OpenWire {theirs.version}, and {_OLDEST} or later is needed")
        self._longest = min(max(theirs.number("MaxFrameSize", LONGEST_FRAME), 1024), LONGEST_FRAME)
        quiet_ms = max(0, min(inactivity, theirs.number("MaxInactivityDuration", 0)))
        grace_ms = min(delay, theirs.number("MaxInactivityDurationInitalDelay", _DELAY_MS))
        self.agree(quiet_ms / 1000, quiet_ms / 1000, grace_ms / 1000)
        user, password = settings.login(self._broker)
        try:
            await self.ask(commands.CONNECTION, commands.connection_info(self.name, client_id, user, password))
        except Refused as exc:
            raise LoginRefused(exc.kind, exc.text) from None

    def next(self, what: str) -> int:
        """The next number for a *what* (`session`, `consumer`, `transaction`)."""
        self._names[what] = found = self._names.get(what, 0) + 1
        return found

    def tell(self, kind: int, body: bytes) -> None:
        """A command that nobody answers."""
        self._number = (self._number + 1) & _LARGEST
        self.send(commands.command(kind, self._number, False, body))

    def asking(self, kind: int, body: bytes) -> asyncio.Future[None]:
        """A command, and the future of its answer: done, `Refused`, or why the connection ended."""
        answer: asyncio.Future[None] = self._loop.create_future()
        if self.failure is not None:
            answer.set_exception(self.failure)
            return answer
        if len(body) > self._longest - 16:
            answer.set_exception(
                Refused("MaxFrameSizeExceededException", f"it takes {self._longest} bytes at most, and these are more")
            )
            return answer
        self._number = number = (self._number + 1) & _LARGEST
        self._answers[number] = answer
        answer.add_done_callback(lambda _: self._answers.pop(number, None))
        self.send(commands.command(kind, number, True, body))
        return answer

    async def ask(self, kind: int, body: bytes, field: str = "", seconds: float | None = None) -> None:
        """A command, and the wait for its answer. Raises `Silent` after *seconds*, which *field* of the config allows."""
        try:
            async with asyncio.timeout(seconds):
                await self.asking(kind, body)
        except TimeoutError:
            raise Silent(field, seconds or 0.0) from None

    async def leave(self, seconds: float) -> None:
        """Say goodbye, once what is on its way is answered; for *seconds* at most."""
        if self.alive:
            try:
                async with asyncio.timeout(seconds):
                    # The broker answers in turn: this comes after all answers that are still owed.
                    await self.asking(commands.REMOVE, commands.remove_info(commands.connection_id(self.name)))
                    self.tell(commands.SHUTDOWN, b"")
            except (TimeoutError, Refused, Lost):
                pass
        await self.hang_up()

    # What the wire calls

    def received(self, frame: bytes) -> None:
        command = commands.read(frame[4:])
        if not self._format.done():
            if not isinstance(command, commands.WireFormat):
                raise Garbled("the first command is not a wire format")
            self._format.set_result(command)
            return
        self._handle(command)

    def ended(self, failure: Exception) -> None:
        answers, self._answers = self._answers, {}
        for answer in answers.values():
            if not answer.done():
                answer.set_exception(failure)
        if not self._format.done():
            self._format.set_exception(failure)
            # Whoever waited may have left already.
            self._format.exception()
        consumers, self.consumers = self.consumers, {}
        for deliver in consumers.values():
            deliver(failure)

    def beat(self) -> None:
        self.tell(commands.KEEP_ALIVE, b"")

    def lost(self) -> Exception:
        return Lost(self._last_words)

    def _handle(self, command: Command) -> None:
        match command:
            case commands.Response(to=number, exception=exception):
                answer = self._answers.get(number)
                if answer is not None and not answer.done():
                    if exception is None:
                        answer.set_result(None)
                    else:
                        answer.set_exception(Refused(*exception))
            case commands.Dispatch(consumer=number, message=message):
                if number in self.consumers:
                    self.consumers[number](message)
            case commands.KeepAlive(wants_answer=True):
                self.tell(commands.KEEP_ALIVE, b"")
            case commands.Trouble(exception=(kind, text)):
                # The broker hangs up after most of these; then these are its last words.
                self._last_words = f"{kind}: {text}" if text else kind
            case commands.ConsumerClosed(consumer=number):
                if number in self.consumers:
                    self.consumers.pop(number)(Refused("closed", "the broker ended the reading"))
            case commands.Shutdown():
                self.fail(Lost(self._last_words or "the broker shuts down"))
            case commands.Other(number=number, wants_answer=True):
                self.tell(commands.RESPONSE, integer(number))


def _measure(head: bytes) -> int:
    size = int.from_bytes(head, "big", signed=True)
    if size < 1:
        raise Garbled("a frame has no length")
    return size + 4


def _proposal(inactivity_ms: int, delay_ms: int) -> dict[str, Any]:
    return {
        "CacheEnabled": False, "CacheSize": 0, "TightEncodingEnabled": False, "SizePrefixDisabled": False,
        "StackTraceEnabled": False, "TcpNoDelayEnabled": True, "MaxInactivityDuration": Long(inactivity_ms),
        "MaxInactivityDurationInitalDelay": Long(delay_ms), "MaxFrameSize": Long(LONGEST_FRAME),
        "ProviderName": "Mooring",
    }  # fmt: skip
