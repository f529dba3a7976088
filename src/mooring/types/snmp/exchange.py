"""Questions and their answers, over UDP or TCP (RFC 3430): many at once on one socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from mooring.kit.ber import SEQUENCE, Unintelligible, frame_length
from mooring.plugin.network import Network, new_socket
from mooring.types.snmp.messages import MAX_MESSAGE

M = TypeVar("M")
A = TypeVar("A")

CONNECT_S = 10.0
GOODBYE_S = 1.0
MAX_ADDRESSES = 8


class Unanswered(Exception):
    """No answer came. `rubbish`: something came that was none."""

    def __init__(self, rubbish: bool) -> None:
        super().__init__()
        self.rubbish = rubbish


class _Waiting(Generic[M, A]):
    """Somebody who waits; *accept* makes an answer of a message, or None where it is not to be believed."""

    def __init__(self, accept: Callable[[bytes, M], A | None]) -> None:
        self.accept = accept
        self.answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()


class Exchange(Generic[M]):
    """
    A socket to one receiver, opened when it is needed. *read* takes a message apart, and tells its number.

    A name may have several addresses: where one refuses, the next is tried.
    """

    def __init__(
        self, network: Network, host: str, port: int, read: Callable[[bytes], tuple[int, M]], *, datagrams: bool
    ) -> None:
        self._network = network
        self._host, self._port, self._read, self._datagrams = host, port, read, datagrams
        self._addresses: list[tuple[Any, ...]] = []
        self._protocol: _Datagrams | _Stream | None = None
        self._opening = asyncio.Lock()
        self._waiting: dict[int, _Waiting[M, Any]] = {}
        self._rubbish = 0

    async def ask(
        self, message: bytes, number: int, accept: Callable[[bytes, M], A | None], timeout_s: float, retries: int
    ) -> A:
        """
        Send *message*, and again at most *retries* times, until an answer of that *number* is accepted.

        Raises `OSError`, `Unanswered`, `Unintelligible`.
        """
        rubbish, left, refusals = self._rubbish, retries, 0
        # A stream that was there before may have been dead for a while; what was lost on it costs no retry.
        stale = not self._datagrams and self._protocol is not None
        try:
            while True:
                waiting = self._waiting[number] = _Waiting(accept)
                await self._send(message)
                await asyncio.wait([waiting.answer], timeout=timeout_s)
                error = waiting.answer.exception() if waiting.answer.done() else None
                if waiting.answer.done() and error is None:
                    found: A = waiting.answer.result()
                    return found
                if isinstance(error, ConnectionRefusedError) and self._addresses and refusals < MAX_ADDRESSES:
                    refusals += 1
                elif stale and isinstance(error, OSError) and not isinstance(error, ConnectionAbortedError):
                    stale = False
                elif left > 0 and not isinstance(error, ConnectionRefusedError | ConnectionAbortedError):
                    left -= 1
                elif error is not None:
                    raise error
                else:
                    raise Unanswered(self._rubbish != rubbish)
        finally:
            self._waiting.pop(number, None)

    async def connect(self) -> None:
        """Open the socket, where it is not. Raises `OSError`."""
        async with self._opening:
            while self._protocol is None:
                self._addresses = self._addresses or await self._network.resolve(self._host, self._port)
                try:
                    self._protocol = await self._opened(self._addresses[0])
                except OSError:
                    self._addresses.pop(0)
                    if not self._addresses:
                        raise

    async def close(self) -> None:
        """End it in order, at most a second. Safe twice; the next question opens it anew."""
        protocol, self._protocol, self._addresses = self._protocol, None, []
        self._fail(ConnectionAbortedError())
        if protocol is not None and protocol.transport is not None:
            protocol.transport.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GOODBYE_S):
                    await protocol.ended.wait()
            protocol.transport.abort()

    def heard(self, frame: bytes) -> None:
        """Give *frame* to whom it answers."""
        try:
            number, message = self._read(frame)
            waiting = self._waiting.get(number)
            answer = waiting.accept(frame, message) if waiting is not None and not waiting.answer.done() else None
        except (ValueError, RecursionError):
            answer = waiting = None
        if waiting is None or answer is None:
            self._rubbish += 1
        else:
            waiting.answer.set_result(answer)

    def lost(self, protocol: _Datagrams | _Stream, why: BaseException) -> None:
        """The socket is of no use any more."""
        if protocol is not self._protocol:
            return
        self._protocol = None
        if protocol.transport is not None:
            protocol.transport.abort()
        # Whoever is looked up next time may be elsewhere; the one that refused is not asked again now.
        self._addresses = self._addresses[1:] if isinstance(why, ConnectionRefusedError) else []
        self._fail(why)

    async def _send(self, message: bytes) -> None:
        await self.connect()
        if self._protocol is not None:
            self._protocol.send(message)

    async def _opened(self, address: tuple[Any, ...]) -> _Datagrams | _Stream:
        kind = socket.SOCK_DGRAM if self._datagrams else socket.SOCK_STREAM
        loop = asyncio.get_running_loop()
        sock = new_socket(address, kind)
        try:
            async with asyncio.timeout(CONNECT_S):
                await loop.sock_connect(sock, address)
            if self._datagrams:
                _, datagrams = await loop.create_datagram_endpoint(lambda: _Datagrams(self), sock=sock)
                return datagrams
            _, stream = await loop.create_connection(lambda: _Stream(self), sock=sock)
        except BaseException:
            sock.close()
            raise
        return stream

    def _fail(self, why: BaseException) -> None:
        for waiting in self._waiting.values():
            if not waiting.answer.done():
                waiting.answer.set_exception(why)


class _Datagrams(asyncio.DatagramProtocol):
    """One message is one datagram; the socket is connected, so that only the receiver's are heard."""

    def __init__(self, exchange: Exchange[Any]) -> None:
        self._exchange = exchange
        self.transport: asyncio.DatagramTransport | None = None
        self.ended = asyncio.Event()

    def send(self, message: bytes) -> None:
        assert self.transport is not None
        self.transport.sendto(message)

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]  # the transport of its own kind
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._exchange.heard(data)

    def error_received(self, exc: Exception) -> None:
        self._exchange.lost(self, exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()
        self._exchange.lost(self, exc or ConnectionResetError())


class _Stream(asyncio.Protocol):
    """One message after the other; each says how long it is."""

    def __init__(self, exchange: Exchange[Any]) -> None:
        self._exchange = exchange
        self._buffer = bytearray()
        self.transport: asyncio.Transport | None = None
        self.ended = asyncio.Event()

    def send(self, message: bytes) -> None:
        assert self.transport is not None
        self.transport.write(message)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # the transport of its own kind
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            self._take()
        except Unintelligible as exc:
            self._buffer.clear()
            self._exchange.lost(self, exc)

    def eof_received(self) -> None:
        self._exchange.lost(self, ConnectionResetError())

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()
        self._exchange.lost(self, exc or ConnectionResetError())

    def _take(self) -> None:
        start, end = 0, len(self._buffer)
        while start < end:
            length = frame_length(self._buffer, start)
            if self._buffer[start] != SEQUENCE or (length or 0) > MAX_MESSAGE:
                raise Unintelligible
            if length is None or start + length > end:
                break
            self._exchange.heard(bytes(self._buffer[start : start + length]))
            start += length
        del self._buffer[:start]
