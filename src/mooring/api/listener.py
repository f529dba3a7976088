"""
A TLS port that knows who is knocking.

The event loop's own TLS server drops whoever does not speak TLS, without a word; here a look at the first byte comes
before the handshake, and plain HTTP gets an answer that says what is wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable

from mooring.errors import BadRequest
from mooring.kit.ids import new_id
from mooring.kit.log import log
from mooring.wire.envelope import dumps, error_body

HANDSHAKE_S = 10.0
CLOSE_S = 5.0
LINGER_S = 1.0
EXHAUSTED_S = 0.5
AT_ONCE = 64
_TLS_HANDSHAKE = b"\x16"


class TlsListener:
    """Accepts connections of *listener* and hands them, once the handshake is done, to protocols that *make* makes."""

    def __init__(self, listener: socket.socket, context: ssl.SSLContext, make: Callable[[], asyncio.Protocol]) -> None:
        self._listener, self._context, self._make = listener, context, make
        self._loop = asyncio.get_running_loop()
        self._beginning: set[asyncio.Task[None]] = set()
        self._closed = False
        listener.setblocking(False)
        self._loop.add_reader(listener, self._accept)

    def close(self) -> None:
        """No more connections; those whose handshake is done stay."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._listener)
            for task in self._beginning:
                task.cancel()

    async def wait_closed(self) -> None:
        await asyncio.gather(*self._beginning, return_exceptions=True)

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            try:
                connection, _address = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as exc:
                # Out of descriptors, most likely: the listener stays readable, and must not be asked without a pause.
                log.error("accept_failed", error=exc.strerror or type(exc).__name__)
                self._loop.remove_reader(self._listener)
                self._loop.call_later(EXHAUSTED_S, self._again)
                return
            task = self._loop.create_task(self._begin(connection))
            self._beginning.add(task)
            task.add_done_callback(self._beginning.discard)

    def _again(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._listener, self._accept)

    async def _begin(self, connection: socket.socket) -> None:
        """Bring one connection to its protocol, or to an end, by a deadline."""
        connection.setblocking(False)
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                first = await self._first_byte(connection)
            if first == _TLS_HANDSHAKE:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await self._loop.connect_accepted_socket(
                    self._make, connection, ssl=self._context, ssl_handshake_timeout=HANDSHAKE_S,
                    ssl_shutdown_timeout=CLOSE_S,
                )  # fmt: skip
                return  # it is the transport's now
            if first:
                await self._explain(connection)
        except (OSError, TimeoutError) as exc:
            log.debug("handshake_failed", error=type(exc).__name__)
        except asyncio.CancelledError:
            connection.close()
            raise
        connection.close()

    async def _first_byte(self, connection: socket.socket) -> bytes:
        """The first byte, which stays where it is; empty where the other side left."""
        while True:
            with contextlib.suppress(BlockingIOError):
                return connection.recv(1, socket.MSG_PEEK)
            readable = self._loop.create_future()
            self._loop.add_reader(connection, _once, readable)
            try:
                await readable
            finally:
                self._loop.remove_reader(connection)

    async def _explain(self, connection: socket.socket) -> None:
        """Say in plain HTTP that this port speaks TLS, and let the other side read it."""
        body = dumps(error_body(BadRequest("This port speaks TLS: use https://"))).encode()
        head = (
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json;charset=UTF-8\r\n"
            f"content-length: {len(body)}\r\nx-request-id: {new_id('req')}\r\nconnection: close\r\n\r\n"
        )
        async with asyncio.timeout(LINGER_S):
            await self._loop.sock_sendall(connection, head.encode() + body)
            connection.shutdown(socket.SHUT_WR)
            while await self._loop.sock_recv(connection, 65536):
                pass


def _once(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
