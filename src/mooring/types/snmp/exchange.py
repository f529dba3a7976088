"""Questions and their answers, over UDP or TCP (RFC 3430): many at once on one socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

from mooring.kit.ber import SEQUENCE, Unintelligible, frame_length
from mooring.plugin.network import resolve
from mooring.types.snmp.messages import MAX_MESSAGE

T = TypeVar("T")
Reader = Callable[[bytes], T | None]
"""Reads an answer; None, or `ValueError`, where it is none."""

CONNECT_S = 10.0
GOODBYE_S = 1.0


class Unanswered(Exception):
    """No answer came. `rubbish`: something came that was none."""

    def __init__(self, rubbish: bool) -> None:
        super().__init__()
        self.rubbish = rubbish


class _Waiting(Generic[T]):
    """Somebody who waits for an answer, and what came instead."""

    def __init__(self, read: Reader[T]) -> None:
        self.read = read
        self.answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()


class Exchange:
    """
    A socket to one receiver, opened when it is needed.

    A name may have several addresses: where the first refuses, the next is tried.
    """

    def __init__(self, host: str, port: int, *, datagrams: bool) -> None:
        self._host, self._port, self._datagrams = host, port, datagrams
        self._others: list[tuple[Any, ...]] = []
        self._transport: asyncio.DatagramTransport | asyncio.Transport | None = None
        self._opening: asyncio.Lock = asyncio.Lock()
        self._waiting: set[_Waiting[Any]] = set()
        self._rubbish = 0

    async def ask(self, message: bytes, read: Reader[T], timeout_s: float, retries: int) -> T:
        """
        Send *message* until *read* recognises an answer, at most *retries* times more than once.

        Raises `OSError`, `Unanswered`, `Unintelligible`.
        """
        waiting = _Waiting(read)
        self._waiting.add(waiting)
        rubbish = self._rubbish
        try:
            for _ in range(retries + 1):
                await self._send(message, waiting)
                await asyncio.wait([waiting.answer], timeout=timeout_s)
                if waiting.answer.done():
                    return waiting.answer.result()
        finally:
            self._waiting.discard(waiting)
            waiting.answer.cancel()
        raise Unanswered(self._rubbish != rubbish)

    async def connect(self) -> None:
        """Open the socket, where it is not. Raises `OSError`."""
        async with self._opening:
            while self._transport is None:
                self._others = self._others or await resolve(self._host, self._port)
                address = self._others.pop(0)
                try:
                    self._transport = await self._opened(address)
                except OSError:
                    if not self._others:
                        raise

    async def close(self) -> None:
        """End it in order, at most a second. Safe twice; the next question opens it anew."""
        transport, self._transport = self._transport, None
        self._others = []
        self._fail(ConnectionAbortedError())
        if transport is not None:
            transport.close()
            ended: asyncio.Event = cast("_Protocol", transport.get_protocol()).ended
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GOODBYE_S):
                    await ended.wait()
            transport.abort()

    async def _send(self, message: bytes, waiting: _Waiting[Any]) -> None:
        """Hand *message* to the network; at the next address where one refuses at once."""
        while True:
            await self.connect()
            if isinstance(self._transport, asyncio.DatagramTransport):
                self._transport.sendto(message)
            elif self._transport is not None:
                cast("asyncio.Transport", self._transport).write(message)
            if not self._datagrams:
                return
            # A refusal from this very machine is there in the next turn of the loop.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            refused = waiting.answer.done() and waiting.answer.exception()
            if not (isinstance(refused, ConnectionRefusedError) and self._others):
                return
            waiting.answer = asyncio.get_running_loop().create_future()

    async def _opened(self, address: tuple[Any, ...]) -> asyncio.DatagramTransport | asyncio.Transport:
        family = socket.AF_INET6 if len(address) > 2 else socket.AF_INET
        kind = socket.SOCK_DGRAM if self._datagrams else socket.SOCK_STREAM
        loop = asyncio.get_running_loop()
        sock = socket.socket(family, kind)
        try:
            sock.setblocking(False)
            async with asyncio.timeout(CONNECT_S):
                await loop.sock_connect(sock, address)
            protocol = _Protocol(self)
            if self._datagrams:
                transport, _ = await loop.create_datagram_endpoint(lambda: protocol, sock=sock)
                return transport
            stream, _ = await loop.create_connection(lambda: protocol, sock=sock)
        except BaseException:
            sock.close()
            raise
        return stream

    def heard(self, frame: bytes) -> None:
        """Give *frame* to whom it answers."""
        for waiting in self._waiting:
            if waiting.answer.done():
                continue
            try:
                answer = waiting.read(frame)
            except (ValueError, RecursionError):
                continue
            if answer is not None:
                waiting.answer.set_result(answer)
                return
        self._rubbish += 1

    def lost(self, transport: asyncio.BaseTransport | None, why: BaseException) -> None:
        """The socket is of no use any more."""
        if transport is not None and transport is self._transport:
            self._transport = None
            cast("asyncio.Transport", transport).abort()
            self._fail(why)

    def _fail(self, why: BaseException) -> None:
        for waiting in self._waiting:
            if not waiting.answer.done():
                waiting.answer.set_exception(why)
