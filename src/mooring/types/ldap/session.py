"""
One LDAP session: a TCP connection on which many requests may be under way at once.

Ours, and not a library's: see "The client" in the README of this room.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from mooring.kit.ber import Unintelligible, frame_length
from mooring.plugin.network import Network
from mooring.types.ldap.messages import (
    RESULTS,
    Entry,
    Reference,
    Reply,
    Result,
    abandon,
    bind,
    message,
    read,
    start_tls,
    unbind,
)

MAX_MESSAGE = 4 * 1024 * 1024
MAX_STRAY = 16 * 1024 * 1024
GOODBYE_S = 1.0
SUCCESS = 0
_SEQUENCE = 0x30
_LARGEST_ID = 2**31 - 1

Gatherer = Callable[[Entry | Reference, int], bool]
"""Takes what a search finds, with its size on the wire; False when that is enough."""


class Lost(Exception):
    """
    The session ended before the answer came; `why` says how.

    `ready_at`: since when it could be used. One from before the request may have been dead already; a new one may do.
    """

    def __init__(self, why: BaseException, ready_at: float = math.inf) -> None:
        super().__init__()
        self.why = why
        self.ready_at = ready_at


class Ended(Exception):
    """The server said that it ends the session."""

    def __init__(self, result: Result) -> None:
        super().__init__()
        self.result = result


class NoTls(Exception):
    """The server does not begin TLS on this session."""

    def __init__(self, result: Result) -> None:
        super().__init__()
        self.result = result


@dataclass
class _Waiting:
    """A request under way. `heard` counts what the session had heard when it was sent."""

    done: asyncio.Future[Result]
    heard: int
    gather: Gatherer | None


@dataclass(eq=False)
class Session(asyncio.Protocol):
    """
    Made by `connect`.

    Attributes:
        lost: Why it ended, once it has.
        silent: Somebody waited on it in vain; until it says something, it may be dead.
        ready_at: Since when it can be used, by `time.monotonic`.
    """

    ready_at: float = math.inf
    silent: bool = False
    lost: BaseException | None = None
    _buffer: bytearray = field(default_factory=bytearray)
    _waiting: dict[int, _Waiting] = field(default_factory=dict)
    _transport: asyncio.Transport | None = None
    _closed: asyncio.Event = field(default_factory=asyncio.Event)
    _last: int = 0
    _heard: int = 0
    _stray: int = 0

    @classmethod
    async def connect(cls, network: Network, host: str, port: int) -> Session:
        """A session over TCP, in which nothing has been said. Raises `OSError`, `Unreachable`, `EgressDenied`."""
        sock = await network.connect(host, port)
        try:
            _, session = await asyncio.get_running_loop().create_connection(cls, sock=sock)
        except BaseException:
            sock.close()
            raise
        return session

    @property
    def in_flight(self) -> int:
        """How many requests are under way."""
        return len(self._waiting)

    @property
    def usable(self) -> bool:
        """Whether it lives, and is not suspected of being dead."""
        return self.lost is None and not self.silent

    @property
    def certificate(self) -> dict[str, object]:
        """The server's certificate where it was checked, as `ssl` describes it."""
        assert self._transport is not None
        secured: ssl.SSLObject | None = self._transport.get_extra_info("ssl_object")
        return dict(secured.getpeercert() or {}) if secured is not None else {}

    async def start_tls(self) -> None:
        """Ask the server for TLS, and leave the rest to `secure`. Raises `NoTls`, `Lost`."""
        result = await self.ask(start_tls())
        if result.code != SUCCESS:
            raise NoTls(result)
        if self._buffer:
            # Whoever sits in between could have put something here, to be taken for the server's own words.
            self._lose(Unintelligible())
            raise Lost(Unintelligible())

    async def secure(self, context: ssl.SSLContext, server_name: str) -> None:
        """Speak TLS from now on. Raises `OSError`."""
        assert self._transport is not None
        loop = asyncio.get_running_loop()
        if self.lost is not None:
            raise ConnectionResetError
        secured = await loop.start_tls(self._transport, self, context, server_hostname=server_name)
        self._transport = cast("asyncio.Transport", secured)

    async def bind(self, dn: str, password: str) -> Result:
        """Log in; what the server says to it. Whoever cancels this has to abort the session. Raises `Lost`."""
        return await self.ask(bind(dn, password))

    async def ask(self, operation: bytes, controls: bytes = b"", gather: Gatherer | None = None) -> Result:
        """
        Send a request and wait for its result; what is found on the way goes to *gather*.

        When *gather* has enough, the request is abandoned and the result is a success without a cookie.
        """
        if self.lost is not None:
            raise Lost(self.lost, self.ready_at)
        assert self._transport is not None
        identifier = self._last = self._last % _LARGEST_ID + 1
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting[identifier] = waiting = _Waiting(done, self._heard, gather)
        try:
            self._transport.write(message(identifier, operation, controls))
            return await done
        except asyncio.CancelledError:
            # Not a word since this was asked: the way may be dead, and the next one shall not wait there too.
            self.silent = self.silent or self._heard == waiting.heard
            self._abandon(identifier)
            raise
        finally:
            self._waiting.pop(identifier, None)

    async def close(self) -> None:
        """Say goodbye and end it; at most a second. Safe twice."""
        if self._transport is None:
            return
        if self.lost is None:
            with contextlib.suppress(OSError, RuntimeError):
                self._transport.write(message(self._last % _LARGEST_ID + 1, unbind()))
            self._transport.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GOODBYE_S):
                    await self._closed.wait()
        self.abort()

    def abort(self) -> None:
        """End it at once. Safe twice."""
        self._lose(ConnectionAbortedError())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        sock: socket.socket | None = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def data_received(self, data: bytes) -> None:
        if self.lost is not None:
            return
        self._heard += 1
        self.silent = False
        self._buffer += data
        try:
            self._take()
        except (ValueError, RecursionError) as exc:
            self._lose(exc if isinstance(exc, Unintelligible) else Unintelligible())
        except Ended as exc:
            self._lose(exc)

    def eof_received(self) -> None:
        self._lose(ConnectionResetError())

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed.set()
        self._lose(exc or ConnectionResetError())

    def _take(self) -> None:
        start, end = 0, len(self._buffer)
        view = self._buffer
        while start < end:
            if view[start] != _SEQUENCE:
                raise Unintelligible
            length = frame_length(view, start)
            if length is not None and length > MAX_MESSAGE:
                raise Unintelligible
            if length is None or start + length > end:
                break
            self._dispatch(bytes(view[start : start + length]))
            start += length
        del self._buffer[:start]

    def _dispatch(self, frame: bytes) -> None:
        identifier, kind, reply = read(frame)
        if identifier == 0:
            if isinstance(reply, Result):
                raise Ended(reply)
            return
        if not 0 < identifier <= self._last:
            raise Unintelligible
        waiting = self._waiting.get(identifier)
        if waiting is None or waiting.done.done():
            self._count_stray(len(frame))
            return
        self._stray = 0
        if kind in RESULTS:
            waiting.done.set_result(cast("Result", reply))
        elif not self._gathered(waiting, reply, len(frame)):
            self._abandon(identifier)
            waiting.done.set_result(Result(SUCCESS, ""))

    def _gathered(self, waiting: _Waiting, reply: Reply, size: int) -> bool:
        if reply is None:
            return True
        if waiting.gather is None:
            raise Unintelligible
        return waiting.gather(cast("Entry | Reference", reply), size)

    def _count_stray(self, size: int) -> None:
        """A server need not stop at once when a request is abandoned; it must at some time."""
        self._stray += size
        if self._stray > MAX_STRAY:
            raise Unintelligible

    def _abandon(self, identifier: int) -> None:
        if self.lost is None and self._transport is not None:
            self._last = self._last % _LARGEST_ID + 1
            self._transport.write(message(self._last, abandon(identifier)))

    def _lose(self, why: BaseException) -> None:
        if self.lost is None:
            self.lost = why
            self._buffer.clear()
            if self._transport is not None:
                self._transport.abort()
        for waiting in self._waiting.values():
            if not waiting.done.done():
                waiting.done.set_exception(Lost(self.lost, self.ready_at))
