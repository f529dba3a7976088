"""A connection with one session: SASL, what is agreed on, links, deliveries and what becomes of them, signs of life."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

from mooring.types.activemq.amqp.codec import Described, Symbol, UByte, UInt, decode, encode
from mooring.types.activemq.amqp.links import Link, Receiver, Sender
from mooring.types.activemq.faults import Garbled, LoginRefused, Lost, Refused
from mooring.types.activemq.settings import IDLE_MS, Broker, Settings, number_of
from mooring.types.activemq.wire import LONGEST_FRAME, LONGEST_GREETING, Frames, Wire

(
    OPEN, BEGIN, ATTACH, FLOW, TRANSFER, DISPOSITION, DETACH, END, CLOSE,
) = range(0x10, 0x19)  # fmt: skip
_ERROR = 0x1D
_MECHANISMS, _INIT, _OUTCOME = 0x40, 0x41, 0x44
_SASL_HEADER, _AMQP_HEADER = b"AMQP\x03\x01\x00\x00", b"AMQP\x00\x01\x00\x00"
_HEAD = struct.Struct(">IBBH")
_FRAME = 64 * 1024
_SMALLEST_FRAME = 512
_WINDOW = 2048
_MOST_LINKS = 1024
_SASL_OK, _SASL_AUTH = 0, 1
_MODULUS = 2**32

Fields = list[Any]


class Connection(Wire):
    """
    Transfers go out as they come, and what becomes of each is told by its number: nobody waits for anybody.

    Attributes:
        properties: What the peer says of itself.
        container: The id that we gave.
    """

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker.address, Frames(8, _measure, LONGEST_GREETING))
        self.properties: dict[str, Any] = {}
        self.container = ""
        self._broker = broker
        self._header: bytes | None = _SASL_HEADER
        self._expected: dict[int, asyncio.Future[Described]] = {}
        self._open = False
        self._leaving = False
        self._frame = _SMALLEST_FRAME
        self._links: dict[int, Link] = {}
        self._by_name: dict[tuple[str, bool], Link] = {}
        self._theirs: dict[int, Link] = {}
        self._deliveries: dict[int, tuple[Sender, asyncio.Future[Described | None]]] = {}
        self._delivery = 0
        self._outgoing = self._incoming = 0
        self._taken = 0
        self._room_for = 0
        self._flowed: asyncio.Future[None] | None = None

    async def log_in(self, settings: Settings, client_id: str) -> None:
        """Say who we are, and open the connection and its session. Raises `Refused`, `Lost` or `Garbled`."""
        options = self._broker.options
        idle_ms = int(number_of(options, IDLE_MS, "amqp.idleTimeout"))
        frame = int(number_of(options, _FRAME, "amqp.maxFrameSize"))
        frame = min(max(frame, _SMALLEST_FRAME), LONGEST_FRAME) if frame > 0 else _FRAME
        host = options.get("amqp.vhost") or self._broker.host
        opened, begun = self._expect(OPEN), self._expect(BEGIN)
        await self._sasl(settings, host)
        self.container = client_id
        # It is asked for half of what is waited for, so that a late sign of life ends nothing.
        asked = UInt(idle_ms // 2) if idle_ms > 0 else None
        about = {Symbol("product"): "Mooring", Symbol("connection-name"): settings.product}
        self.send(_AMQP_HEADER)
        self._say(OPEN, [client_id, host, UInt(frame), None, asked, None, None, None, None, about])
        self._say(BEGIN, [None, UInt(0), UInt(_WINDOW), UInt(2**31 - 1)])
        try:
            theirs = await opened
            session = await begun
        except Refused as exc:
            raise LoginRefused(exc.kind, exc.text) from None
        self._frames.longest = max(frame, _SMALLEST_FRAME)
        self._agree(theirs, session, idle_ms)

    # Links

    async def attach(self, link: Link, source: Described, target: Described) -> None:
        """Let *link* begin. Raises `Refused` where the peer does not want it."""
        if self.failure is not None:
            raise self.failure
        if (link.name, link.receives) in self._by_name:
            raise Refused("amqp:resource-locked", "this subscription is being read already")
        if len(self._links) >= _MOST_LINKS:
            raise Refused("amqp:resource-limit-exceeded", f"{_MOST_LINKS} links are open")
        link.handle = next(handle for handle in range(_MOST_LINKS) if handle not in self._links)
        self._links[link.handle] = link
        self._by_name[link.name, link.receives] = link
        first = None if link.receives else UInt(0)
        fields = [
            link.name, UInt(link.handle), link.receives, UByte(0), UByte(0), source, target, None, None, first,
        ]  # fmt: skip
        self._say(ATTACH, fields)
        try:
            await link.attached
        except asyncio.CancelledError:
            # Whoever waited has left; a link that is attached all the same is of no use to anybody.
            link.detaching = True
            self._say(DETACH, [UInt(link.handle), True])
            raise

    async def detach(self, link: Link, closed: bool = True) -> None:
        """End *link*, and wait until the peer has seen that, and so all that was said before."""
        if link.detaching or self.failure is not None or link.failure is not None:
            return
        link.detaching = True
        self._say(DETACH, [UInt(link.handle), closed])
        await asyncio.shield(link.detached)

    # Deliveries

    async def transfer(
        self, sender: Sender, payload: bytes, state: Described | None = None
    ) -> asyncio.Future[Described | None]:
        """Send *payload* once the peer wants it; the future is told what it did with it."""
        async with sender.turn:
            while sender.credit <= 0:
                await self._flow(sender)
            number, self._delivery = self._delivery, (self._delivery + 1) % _MODULUS
            outcome: asyncio.Future[Described | None] = self._loop.create_future()
            self._deliveries[number] = sender, outcome
            outcome.add_done_callback(lambda _: self._deliveries.pop(number, None))
            sender.credit -= 1
            sender.count = (sender.count + 1) % _MODULUS
            await self._write(sender, number, payload, state)
            return outcome

    def settle(self, first: int, last: int, state: Described) -> None:
        """Tell the peer what became of the deliveries from *first* to *last* that it made."""
        self._say(DISPOSITION, [True, UInt(first), UInt(last), True, state])

    def grant(self, receiver: Receiver, credit: int, drain: bool = False) -> None:
        """Let the peer send so many deliveries; with *drain* those that it has, and then say so."""
        receiver.grant(credit)
        self._say_flow(
            [UInt(receiver.handle), UInt(receiver.count), UInt(credit), None, drain, False],
        )

    async def leave(self, seconds: float) -> None:
        """Say goodbye, once what is on its way is answered; for *seconds* at most."""
        if self.alive and self._open:
            try:
                async with asyncio.timeout(seconds):
                    if self._deliveries:
                        await asyncio.wait([outcome for _, outcome in self._deliveries.values()])
                    closed = self._expect(CLOSE)
                    self._leaving = True
                    self._say(CLOSE, [])
                    await closed
            except (TimeoutError, Refused, Lost):
                pass
        await self.hang_up()

    # What the wire calls

    def received(self, frame: bytes) -> None:
        if frame[:4] == b"AMQP":
            if self._header is None or frame != self._header:
                raise Garbled("it is another protocol, or another version of it")
            self._header = None
            return
        if self._header is not None:
            raise Garbled("a frame came before its header")
        start = frame[4] * 4
        if not _HEAD.size <= start <= len(frame):
            raise Garbled("a frame is not long enough for its header")
        if start == len(frame):
            return
        said, after = decode(frame, start)
        if not isinstance(said, Described) or not isinstance(said.value, list):
            raise Garbled("a frame says nothing that is known")
        self._handle(said, frame[after:])

    def ended(self, failure: Exception) -> None:
        for expected in self._expected.values():
            if not expected.done():
                expected.set_exception(failure)
                # Whoever waited may have left already.
                expected.exception()
        self._expected.clear()
        for link in list(self._links.values()):
            self._lose(link, failure)
        if self._flowed is not None and not self._flowed.done():
            self._flowed.set_result(None)

    def beat(self) -> None:
        if self._open:
            self.send(_HEAD.pack(8, 2, 0, 0))

    async def _sasl(self, settings: Settings, host: str) -> None:
        offered, outcome = self._expect(_MECHANISMS), self._expect(_OUTCOME)
        self.send(_SASL_HEADER)
        mechanisms = (await offered).field(0)
        mechanism, response = _mechanism(mechanisms, settings, self._broker)
        self._say(_INIT, [Symbol(mechanism), response, host], frame_type=1)
        try:
            code = (await outcome).field(0)
        except Lost:
            # Some hang up in place of an answer.
            raise LoginRefused("auth", "it hung up after the login") from None
        if code == _SASL_AUTH:
            raise LoginRefused("auth", "it did not accept user name and password")
        if code != _SASL_OK:
            raise LoginRefused("amqp:internal-error", f"it could not check the login (SASL code {code})")

    def _agree(self, theirs: Described, session: Described, idle_ms: int) -> None:
        frame, idle, about = theirs.field(2), theirs.field(4), theirs.field(9)
        self._frame = min(max(frame if isinstance(frame, int) else _FRAME, _SMALLEST_FRAME), LONGEST_FRAME)
        self.properties = {str(name): value for name, value in about.items()} if isinstance(about, dict) else {}
        window, following = session.field(2), session.field(1)
        self._room_for = window if isinstance(window, int) else 0
        self._incoming = following % _MODULUS if isinstance(following, int) else 0
        self._open = True
        self.agree(idle / 1000 if isinstance(idle, int) else 0.0, idle_ms / 1000 if idle_ms > 0 else 0.0)

    def _expect(self, code: int) -> asyncio.Future[Described]:
        expected: asyncio.Future[Described] = self._loop.create_future()
        if self.failure is not None:
            expected.set_exception(self.failure)
        self._expected[code] = expected
        return expected

    def _say(self, code: int, fields: Fields, payload: bytes = b"", frame_type: int = 0) -> None:
        body = encode(Described(code, fields))
        self.send(_HEAD.pack(8 + len(body) + len(payload), 2, frame_type, 0) + body + payload)

    def _say_flow(self, about_link: Fields) -> None:
        self._taken = 0
        session = [UInt(self._incoming), UInt(_WINDOW), UInt(self._outgoing), UInt(2**31 - 1)]
        self._say(FLOW, session + about_link)

    async def _flow(self, sender: Sender) -> None:
        """Wait for the next word about how much the peer wants. Raises why there will be none."""
        if self._flowed is None or self._flowed.done():
            self._flowed = self._loop.create_future()
        await asyncio.shield(self._flowed)
        failure = self.failure or sender.failure
        if failure is not None:
            raise failure

    async def _write(self, sender: Sender, number: int, payload: bytes, state: Described | None) -> None:
        """One delivery, in as many frames as it takes."""
        size = self._frame - 64 - (0 if state is None else len(encode(state)))
        tag = number.to_bytes(4, "big")
        at = 0
        try:
            while True:
                await self.room()
                while self._room_for <= 0:
                    await self._flow(sender)
                if sender.failure is not None:
                    raise sender.failure
                part = payload[at : at + size]
                at += size
                more = at < len(payload)
                self._room_for -= 1
                self._outgoing = (self._outgoing + 1) % _MODULUS
                self._say(TRANSFER, [UInt(sender.handle), UInt(number), tag, UInt(0), False, more, None, state], part)
                if not more:
                    return
        except BaseException:
            self._deliveries.pop(number, None)
            if at and self.failure is None and sender.failure is None:
                aborted = [UInt(sender.handle), UInt(number), tag, UInt(0), False, False, None, None, False, True]
                self._say(TRANSFER, aborted)
            raise

    def _handle(self, said: Described, payload: bytes) -> None:
        match said.code:
            case 0x10 | 0x11 | 0x40 | 0x44:
                if said.code == _OUTCOME:
                    # What follows begins anew, and may come together with this.
                    self._header = _AMQP_HEADER
                expected = self._expected.pop(said.code, None)
                if expected is not None and not expected.done():
                    expected.set_result(said)
            case 0x12:
                self._attached(said)
            case 0x13:
                self._hear_flow(said)
            case 0x14:
                self._hear_transfer(said, payload)
            case 0x15:
                self._hear_disposition(said)
            case 0x16:
                self._hear_detach(said)
            case 0x17 | 0x18:
                self._hear_end(said)
            case _:
                raise Garbled("a frame says nothing that is known")

    def _attached(self, said: Described) -> None:
        name, handle, receives = said.field(0), said.field(1), said.field(2)
        link = self._by_name.get((name, not receives)) if isinstance(name, str) else None
        if link is None or not isinstance(handle, int):
            raise Garbled("the peer attaches what nobody asked for")
        self._theirs[handle] = link
        theirs = said.field(5 if link.receives else 6)
        if theirs is None:
            # It does not want it, and says why when it detaches.
            return
        longest, first = said.field(10), said.field(9)
        if isinstance(link, Sender) and isinstance(longest, int) and longest > 0:
            link.longest = longest
        if isinstance(link, Receiver) and isinstance(first, int):
            link.count = first % _MODULUS
        if not link.attached.done():
            link.attached.set_result(None)

    def _hear_flow(self, said: Described) -> None:
        next_incoming, window, handle = said.field(0), said.field(1), said.field(4)
        if isinstance(window, int):
            start = next_incoming if isinstance(next_incoming, int) else 0
            ahead = (start - self._outgoing) % _MODULUS
            self._room_for = (ahead - _MODULUS if ahead >= _MODULUS // 2 else ahead) + window
        link = self._theirs.get(handle) if isinstance(handle, int) else None
        count, credit = said.field(5), said.field(6)
        if isinstance(link, Sender) and isinstance(credit, int):
            known = count if isinstance(count, int) else 0
            ahead = (known - link.count) % _MODULUS
            link.credit = (ahead - _MODULUS if ahead >= _MODULUS // 2 else ahead) + credit
            if said.field(8) is True and link.credit > 0:
                # It wants what is there, and nothing is: all that may be sent has been.
                link.count = (link.count + link.credit) % _MODULUS
                link.credit = 0
                self._say_flow([UInt(link.handle), UInt(link.count), UInt(0), None, True, False])
        elif isinstance(link, Receiver) and isinstance(count, int):
            link.hear_flow(count % _MODULUS)
        if self._flowed is not None and not self._flowed.done():
            self._flowed.set_result(None)

    def _hear_transfer(self, said: Described, payload: bytes) -> None:
        self._incoming = (self._incoming + 1) % _MODULUS
        self._taken += 1
        handle = said.field(0)
        link = self._theirs.get(handle) if isinstance(handle, int) else None
        if not isinstance(link, Receiver):
            raise Garbled("a transfer goes nowhere")
        link.hear_transfer(said, payload)
        if self._taken >= _WINDOW // 2:
            self._say_flow([])

    def _hear_disposition(self, said: Described) -> None:
        first, last, settled, state = said.field(1), said.field(2), said.field(3), said.field(4)
        if said.field(0) is not True or not isinstance(first, int):
            return
        first, last = first % _MODULUS, (last if isinstance(last, int) else first) % _MODULUS
        if last == first:
            numbers = [first] if first in self._deliveries else []
        else:
            # What is told may be longer than what there is.
            numbers = [
                number for number in self._deliveries if (number - first) % _MODULUS <= (last - first) % _MODULUS
            ]
        outcome = state if isinstance(state, Described) else None
        for number in numbers:
            _, waiting = self._deliveries[number]
            if (outcome is not None or settled) and not waiting.done():
                waiting.set_result(outcome)
        if numbers and not settled:
            self._say(DISPOSITION, [False, UInt(first), UInt(last), True, outcome])

    def _hear_detach(self, said: Described) -> None:
        link = self._theirs.pop(said.field(0), None) if isinstance(said.field(0), int) else None
        if link is None:
            return
        if not link.detaching:
            self._say(DETACH, [UInt(link.handle), True])
        self._lose(link, _error(said.field(2)) or Refused("amqp:link:detach-forced", "the peer ended the link"))

    def _hear_end(self, said: Described) -> None:
        closed = self._expected.pop(CLOSE, None)
        if self._leaving and said.code == CLOSE:
            if closed is not None and not closed.done():
                closed.set_result(said)
            return
        error = _error(said.field(0))
        if not self._open or (said.code == END and error is not None):
            # A session ends for what was asked in it.
            self.fail(error or Lost())
        else:
            self.fail(Lost(f"{error.kind}: {error.text}" if error is not None else ""))

    def _lose(self, link: Link, failure: Exception) -> None:
        self._links.pop(link.handle, None)
        self._by_name.pop((link.name, link.receives), None)
        for sender, outcome in list(self._deliveries.values()):
            if sender is link and not outcome.done():
                outcome.set_exception(failure)
                outcome.exception()
        link.end(failure)
        if self._flowed is not None and not self._flowed.done():
            self._flowed.set_result(None)


def _measure(head: bytes) -> int:
    return 8 if head[:4] == b"AMQP" else int.from_bytes(head[:4], "big")


def _error(error: Any) -> Refused | None:
    if not isinstance(error, Described) or error.code != _ERROR:
        return None
    return Refused(str(error.field(0) or "amqp:internal-error"), str(error.field(1) or ""))


def _mechanism(offered: Any, settings: Settings, broker: Broker) -> tuple[str, bytes]:
    """The login that is used, and what it says. Raises `Refused` where the peer takes none of ours."""
    names = [str(name) for name in (offered if isinstance(offered, list) else [offered])]
    wanted = broker.options.get("amqp.saslMechanisms")
    allowed = [name.strip() for name in wanted.split(",")] if wanted else ["PLAIN", "EXTERNAL", "ANONYMOUS"]
    user, password = settings.login(broker)
    if user is not None:
        able = {"PLAIN": b"\0" + user.encode() + b"\0" + (password or "").encode()}
    else:
        able = {"EXTERNAL": b""} if settings.by_certificate and broker.tls is not None else {}
        able["ANONYMOUS"] = b"anonymous"
    for name, response in able.items():
        if name in names and name in allowed:
            return name, response
    shown = ", ".join(name[:32] for name in names[:8])
    raise Refused("SASL", f"it offers {shown}, and of those nothing fits this connection's login")
