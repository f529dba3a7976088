"""A TCP connection that carries frames: cut out of the stream, never longer than agreed, written in as few calls as can be."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

from mooring.plugin.network import Network, Option, network_error
from mooring.types.activemq.faults import Garbled, Lost, TooLong, Unheard
from mooring.types.activemq.settings import Broker

LONGEST_MESSAGE = 16 * 1024 * 1024
"""Messages longer than this are neither sent nor read."""
LONGEST_FRAME = LONGEST_MESSAGE + 512 * 1024
LONGEST_GREETING = 256 * 1024
"""The same for frames before anybody is logged in."""
TLS_GOODBYE_S = 1.0
UNHEARD_MS = 20_000
SHORTEST_PAUSE_S = 0.05
HIGH_WATER = 1024 * 1024

W = TypeVar("W", bound="Wire")


class Frames:
    """Cuts a stream into frames. *measure* tells the whole length of a frame from its first *head* bytes."""

    def __init__(self, head: int, measure: Callable[[bytes], int], longest: int) -> None:
        self._head, self._measure = head, measure
        self.longest = longest
        self._rest = bytearray()
        self._wanted = head

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The frames that are complete with *data*. Raises `TooLong` or `Garbled`; nothing may be fed after that."""
        if self._rest:
            self._rest += data
            if len(self._rest) < self._wanted:
                return
            data = bytes(self._rest)
            self._rest.clear()
        start, self._wanted = 0, self._head
        while len(data) - start >= self._head:
            size = self._measure(data[start : start + self._head])
            if size > self.longest:
                raise TooLong(f"a frame of {size} bytes was announced, and at most {self.longest} are read")
            if size < self._head:
                raise Garbled("a frame is shorter than its own head")
            if len(data) - start < size:
                self._wanted = size
                break
            yield data[start : start + size]
            start += size
        self._rest += data[start:]


class Wire(asyncio.Protocol):
    """
    One connection. What speaks a protocol over it inherits, and overrides `received`, `ended` and `beat`.

    Attributes:
        address: `host:port`, for messages.
        failure: Why it ended; None while it lives.
    """

    def __init__(self, address: str, frames: Frames) -> None:
        self.address = address
        self.failure: Exception | None = None
        self._frames = frames
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        self._writable: asyncio.Future[None] | None = None
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._heart: asyncio.TimerHandle | None = None
        self._heard = self._spoke = self._loop.time()

    @property
    def alive(self) -> bool:
        """Whether it can be used."""
        return self.failure is None

    # What a protocol adds

    def received(self, frame: bytes) -> None:
        """A frame came. Raises `Garbled` where it makes no sense."""
        raise NotImplementedError

    def ended(self, failure: Exception) -> None:
        """It is over; nothing will come any more."""
        raise NotImplementedError

    def beat(self) -> None:
        """Say something that means nothing, so that the other side hears us."""
        raise NotImplementedError

    # What a protocol uses

    def send(self, data: bytes) -> None:
        """Write *data* soon, together with whatever else is sent in this moment."""
        if self._transport is None or self.failure is not None:
            return
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(data)

    async def room(self) -> None:
        """Wait until the other side takes what was written. Raises why it ended."""
        while self._writable is not None and self.failure is None:
            await asyncio.shield(self._writable)
        if self.failure is not None:
            raise self.failure

    def agree(self, speak_s: float, hear_s: float, grace_s: float = 0.0) -> None:
        """
        From now on never be silent for *speak_s*, and end when the other side is for *hear_s*; 0 switches it off.

        Before *grace_s* is over the other side may be silent.
        """
        self._heard = self._loop.time() + grace_s
        self._speak_s, self._hear_s = speak_s, hear_s
        pause = min((max(seconds, SHORTEST_PAUSE_S) for seconds in (speak_s / 2, hear_s / 4) if seconds > 0), default=0)
        if self._heart is not None:
            self._heart.cancel()
            self._heart = None
        if pause and self.failure is None:
            self._heart = self._loop.call_later(pause, self._tick, pause)

    def fail(self, failure: Exception) -> None:
        """End it at once, because of *failure*."""
        if self.failure is None:
            self.failure = failure
            if self._heart is not None:
                self._heart.cancel()
            if self._writable is not None and not self._writable.done():
                self._writable.set_result(None)
            self._out.clear()
            self.ended(failure)
        if self._transport is not None:
            self._transport.abort()

    async def hang_up(self) -> None:
        """Close; what was sent goes out first, for a second at most."""
        if self._transport is None:
            return
        self._flush()
        if self.failure is None:
            self.failure = Lost("it was closed here")
            if self._heart is not None:
                self._heart.cancel()
            self.ended(self.failure)
        self._transport.close()
        try:
            async with asyncio.timeout(TLS_GOODBYE_S):
                await asyncio.shield(self._gone)
        except TimeoutError:
            pass
        finally:
            self._transport.abort()

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Other event loops have transports of their own.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(HIGH_WATER)
        self._heard = self._spoke = self._loop.time()

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        if self.failure is not None:
            return
        try:
            for frame in self._frames.feed(data):
                self.received(frame)
                if self.failure is not None:
                    return
        except (Garbled, TooLong) as exc:
            self.fail(exc)

    def eof_received(self) -> None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        if self.failure is None:
            self.fail(exc if isinstance(exc, ssl.SSLError) else self.lost())
        if not self._gone.done():
            self._gone.set_result(None)

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    def lost(self) -> Exception:
        """What it means that the other side hung up."""
        return Lost()

    def _flush(self) -> None:
        if self._out and self._transport is not None and not self._transport.is_closing():
            data = self._out[0] if len(self._out) == 1 else b"".join(self._out)
            self._out.clear()
            self._spoke = self._loop.time()
            self._transport.write(data)

    def _tick(self, pause: float) -> None:
        now = self._loop.time()
        if self._hear_s and now - self._heard > self._hear_s:
            self.fail(Unheard())
            return
        if self._speak_s and now - self._spoke >= pause:
            self.beat()
        self._heart = self._loop.call_later(pause, self._tick, pause)


async def dial(network: Network, broker: Broker) -> socket.socket:
    """A TCP connection to the first address of the broker's host that takes one. Raises `Unreachable`, `EgressDenied`."""
    try:
        return await network.connect(broker.host, broker.port, list(_options(broker)))
    except OSError as exc:
        raise network_error(exc, broker.address) from exc


async def begin(sock: socket.socket, broker: Broker, make: Callable[[], W]) -> W:
    """What *make* gives, on *sock*, in TLS where the broker's URL says so. Raises `Unreachable` or `Misconfigured`."""
    options: dict[str, Any] = {}
    if broker.tls is not None:
        options = {"ssl": broker.tls, "server_hostname": broker.host, "ssl_shutdown_timeout": TLS_GOODBYE_S}
    try:
        _, wire = await asyncio.get_running_loop().create_connection(make, sock=sock, **options)
    except OSError as exc:
        sock.close()
        raise network_error(exc, broker.address) from exc
    except BaseException:
        sock.close()
        raise
    return wire


def _options(broker: Broker) -> Iterator[Option]:
    yield socket.IPPROTO_TCP, socket.TCP_NODELAY, int(broker.no_delay)
    yield socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(broker.keep_alive)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # A broker that is gone without a word is noticed sooner than by the keep-alive that was agreed.
        yield socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNHEARD_MS
