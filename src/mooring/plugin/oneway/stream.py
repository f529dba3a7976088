"""One TCP stream, perhaps in TLS, that only we write to, and what TCP knows of it."""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import socket
import ssl
import sys
import termios
import time

from mooring.plugin.oneway.faults import Interrupted, Talks

CHUNK = 65536
SETTLE_S = 0.2
GOODBYE_S = 1.0
LOOK_CLOSELY_S = 0.0005


class Stream:
    """
    A TCP connection, with TLS or without, on which only we speak. It owns the socket that it is given.

    It reads all the same: that is how an end, a reset, or a TLS alert that comes after the handshake is noticed.
    `lost` says why nothing more can be written; None while all is well.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.lost: BaseException | None = None
        self._sock, self._loop = sock, asyncio.get_running_loop()
        self._heard = asyncio.Event()
        self._reading = False
        self._blocked: asyncio.Future[None] | None = None
        self._sent = 0
        self._tls: ssl.SSLObject | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()

    async def begin(self, tls: ssl.SSLContext | None = None, server_name: str = "") -> None:
        """
        Make it ready: shake hands where *tls* is given, and hear whether the other side has something against it.

        With TLS 1.3 a server refuses a client's certificate only after the client's part is over, and a service of
        another kind may greet; so the first moment belongs to the other side. Raises `OSError` or `Talks`.
        """
        if tls is not None:
            self._tls = tls.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)
            await self._shake_hands(self._tls)
        self._loop.add_reader(self._sock.fileno(), self._read)
        self._reading = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                await self._heard.wait()
        self.check()

    def option(self, level: int, name: int) -> int:
        """An option of the socket."""
        return self._sock.getsockopt(level, name)

    def check(self) -> None:
        """Raise why the connection is lost, if it is; also where the event loop has not said so yet."""
        if self.lost is None and self._reading:
            self._read()
        if self.lost is not None:
            raise self.lost

    async def write(self, data: bytes) -> int:
        """
        Write *data*; a mark to ask `acknowledged` for. By one task at a time.

        Raises:
            OSError, Talks: nothing of it was written.
            Interrupted: it may or may not have arrived.
        """
        self.check()
        try:
            if self._tls is not None:
                self._tls.write(data)
                await self._flush()
            else:
                await self._send(data)
            self.check()
        except (OSError, Talks) as exc:
            self._lose(exc)
            raise Interrupted from exc
        return self._sent

    async def acknowledged(self, mark: int) -> bool:
        """
        Wait until the other machine has acknowledged all that was written before *mark*.

        False where this system cannot tell. Raises `Interrupted` when the connection is lost before.
        """
        began = time.monotonic()
        try:
            while (left := unacknowledged(self._sock)) is not None and self._sent - left < mark:
                self.check()
                # On a near network it takes microseconds, and a far one is not made slower by looking less often.
                waited = time.monotonic() - began
                await asyncio.sleep(0 if waited < LOOK_CLOSELY_S else min(waited / 4, 0.01))
            self.check()
        except (OSError, Talks, ValueError) as exc:  # the last: somebody has closed the socket
            raise Interrupted from exc
        return left is not None

    async def close(self) -> None:
        """End it in order, so that the other side gets all that was written; at most a second. Safe twice."""
        try:
            if self._reading:
                async with asyncio.timeout(GOODBYE_S):
                    await self._say_goodbye()
        except (OSError, TimeoutError):
            pass
        finally:
            self.abort()

    def abort(self) -> None:
        """End it at once. Safe twice."""
        self._lose(ConnectionAbortedError())
        self._sock.close()

    async def _shake_hands(self, tls: ssl.SSLObject) -> None:
        try:
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    await self._flush()
                    data = await self._loop.sock_recv(self._sock, CHUNK)
                    if not data:
                        raise ConnectionResetError from None
                    self._incoming.write(data)
        finally:
            # An alert, too: it tells the server why.
            with contextlib.suppress(OSError):
                await self._flush()

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await self._send(self._outgoing.read())

    async def _send(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                count = self._sock.send(rest)
            except (BlockingIOError, InterruptedError):
                await self._writable()
            else:
                self._sent += count
                rest = rest[count:]

    async def _writable(self) -> None:
        self._blocked = blocked = self._loop.create_future()
        self._loop.add_writer(self._sock.fileno(), _end, blocked)
        try:
            await blocked
        finally:
            if self._blocked is blocked:
                self._loop.remove_writer(self._sock.fileno())
                self._blocked = None

    def _read(self) -> None:
        """Take what has arrived, as far as it matters: that something has, or that nothing more will."""
        try:
            data = self._sock.recv(CHUNK)
            if data and self._tls is not None:
                self._incoming.write(data)
                data = self._tls.read(CHUNK)
        except (BlockingIOError, InterruptedError):
            pass
        except ssl.SSLWantReadError:
            self._heard.set()  # a session ticket, say
        except OSError as exc:
            self._lose(exc)
        else:
            self._lose(Talks() if data else ConnectionResetError())

    def _lose(self, why: BaseException) -> None:
        if self._reading:
            self._loop.remove_reader(self._sock.fileno())
            self._reading = False
        blocked, self._blocked = self._blocked, None
        if blocked is not None:
            self._loop.remove_writer(self._sock.fileno())
            _end(blocked)
        self.lost = self.lost or why
        self._heard.set()

    async def _say_goodbye(self) -> None:
        if self._tls is not None:
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()
            await self._flush()
        self._heard.clear()
        self._sock.shutdown(socket.SHUT_WR)
        while self.lost is None:
            await self._heard.wait()
            self._heard.clear()


def _end(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


def unacknowledged(sock: socket.socket) -> int | None:
    """How many bytes written to *sock* the other machine has not acknowledged; None where the system does not tell."""
    if sys.platform != "linux":
        return None
    count = array.array("i", [0])
    fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, count)
    return count[0]
