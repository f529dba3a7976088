"""
Ways on which only we speak: a TCP stream with an outbox in front of it, and datagrams. Syslog and GELF go there.

Nobody answers, so all that can be known is what TCP knows: that the connection stands, and that the machine at
the other end acknowledged every byte. Both are looked at for every message, before and after it is written.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import errno
import fcntl
import os
import socket
import ssl
import sys
import termios
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from mooring.errors import Busy, ConnectorError, Misconfigured, Rejected, Unreachable
from mooring.plugin.connector import Answer
from mooring.plugin.network import network_error, resolve
from mooring.plugin.probe import Probe

CHUNK = 65536
SETTLE_S = 0.2
HANDSHAKE_S = 10.0
GOODBYE_S = 1.0
LOOK_CLOSELY_S = 0.0005
FLUSH_S = 5.0
WRITE_S = 5.0
MAX_QUEUED_BYTES = 64 * 1024 * 1024
BATCH_BYTES = 1024 * 1024

Option = tuple[int, int, int]
"""A socket option to set before connecting: level, name, value."""


class Sent(Answer):
    """A message that went out, and what is known of it; that the server understood it, nobody says."""

    proof: Literal["acknowledged", "written", "none"] = Field(
        description="`acknowledged`: the other machine's TCP has every byte. `written`: this machine's has, and the"
        " connection stood before and after. `none`: it went as a datagram, of which nothing is known."
    )
    size: int = Field(description="Bytes of the message, framing included.")


class Talks(Exception):
    """The other side said something, and no log server does."""


class Interrupted(Exception):
    """The connection was lost after the message was written, and before it was acknowledged."""


class TooLong(Exception):
    """The network does not carry datagrams of that size."""


def oneway_error(error: BaseException, address: str, peer: str) -> ConnectorError | None:
    """What *error* means on the way to *address*, where a *peer* (`syslog server`) should be; None if it is unknown."""
    match error:
        case ConnectorError():
            return error
        case Talks():
            return Unreachable(
                f"{address} answered, which no {peer} does",
                hint="Check the port: another service seems to listen there.",
            )
        case Interrupted():
            return Unreachable(
                f"{address} was lost while it took the message; it may or may not have kept it",
                hint="Look in the server's log before sending it again.",
            )
        case TooLong():
            return Misconfigured(
                f"the message does not fit into one datagram to {address}", hint="Send less, or use TCP."
            )
        case ssl.SSLError() if "ALERT" in (error.reason or "") and "CERT" in (error.reason or ""):
            return Rejected(
                f"{address} did not accept the certificate of this connection: {error.reason}",
                hint="Name a keystore in keyStoreName whose certificate the server trusts.",
            )
        case ssl.SSLError() if error.reason in ("TLSV1_ALERT_UNKNOWN_CA", "TLSV1_ALERT_ACCESS_DENIED"):
            return Rejected(
                f"{address} did not accept the certificate of this connection: {error.reason}",
                hint="Name a keystore in keyStoreName whose certificate the server trusts.",
            )
        case OSError() | EOFError():
            return network_error(error, address)
    return None


@dataclass(frozen=True)
class Line:
    """Where a stream goes, and how it is protected; `connect_s` bounds connecting over TCP, where it is not None."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    connect_s: float | None = None
    options: tuple[Option, ...] = ()

    async def open(self) -> Stream:
        """A stream that is ready to be written to. Raises `OSError`, `Talks`, `Unreachable`."""
        return await self._begun(Stream(await self._connected()))

    async def probe(self, probe: Probe, why_no_tls: str) -> None:
        """The steps resolve, connect and tls, on a stream of their own."""
        async with probe.step("resolve"):
            await resolve(self.host, self.port)
        async with probe.step("connect"):
            stream = Stream(await self._connected())
            if self.tls is None:
                await self._begun(stream)
        if self.tls is None:
            probe.skip("tls", why_no_tls)
        else:
            async with probe.step("tls"):
                await self._begun(stream)
        await stream.close()

    async def _connected(self) -> socket.socket:
        """A socket, connected to the first address of the host that takes it."""
        async with asyncio.timeout(self.connect_s):
            addresses = await resolve(self.host, self.port)
            for address in addresses[:-1]:
                with contextlib.suppress(OSError):
                    return await _connected(address, self.options)
            return await _connected(addresses[-1], self.options)

    async def _begun(self, stream: Stream) -> Stream:
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                await stream.begin(self.tls, self.host)
        except BaseException:
            stream.abort()
            raise
        return stream


async def _connected(address: tuple[Any, ...], options: tuple[Option, ...]) -> socket.socket:
    sock = _socket(address, socket.SOCK_STREAM)
    try:
        for option in options:
            sock.setsockopt(*option)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


def _socket(address: tuple[Any, ...], kind: socket.SocketKind) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if len(address) > 2 else socket.AF_INET, kind)  # IPv6 has two more parts
    sock.setblocking(False)
    return sock


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


class Outbox:
    """
    Messages on their way over one connection, in order: a bounded queue, and one writer that sends what waits together.

    The connection is made when a message needs it, and again after it was lost: a message that was not written yet
    goes on the next one; a message that was written and not acknowledged is never sent twice.
    """

    def __init__(
        self,
        line: Line,
        explain: Callable[[BaseException], ConnectorError],
        *,
        capacity: int = 10_000,
        batch: int = 512,
        pause_s: float = 0.0,
    ) -> None:
        self._line, self._explain = line, explain
        self._capacity, self._batch, self._pause_s = capacity, batch, pause_s
        self._waiting: dict[asyncio.Future[bool], bytes] = {}
        self._written: deque[tuple[int, list[asyncio.Future[bool]]]] = deque()
        self._in_flight = 0
        self._landed = asyncio.Event()
        self._bytes = 0
        self._writer: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._stream: Stream | None = None
        self._not_before = 0.0

    @property
    def stream(self) -> Stream | None:
        """The connection, if there is one."""
        return self._stream

    async def put(self, frame: bytes) -> bool:
        """
        Send *frame*; True when the other machine acknowledged it, False where this system cannot tell.

        Raises:
            Busy: too much is waiting already.
            ConnectorError: it was not sent, or nobody knows.
        """
        if len(self._waiting) >= self._capacity or self._bytes + len(frame) > MAX_QUEUED_BYTES:
            raise Busy(
                f"{len(self._waiting)} messages wait to be sent already",
                hint="Send more slowly, or find out why the server takes them slowly.",
            )
        sent: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[sent] = frame
        self._bytes += len(frame)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        try:
            return await sent
        finally:
            self._drop(sent)

    async def close(self) -> None:
        """Send what waits, for some seconds at most; then end the connection in order. Safe twice; `put` begins anew."""
        try:
            # What nobody waits for any more is not worth waiting for.
            owed = [sent for sent in (*self._waiting, *self._all_written()) if not sent.done()]
            if owed:
                await asyncio.wait(owed, timeout=FLUSH_S)
            tasks = self._stop_working()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._stream is not None:
                await self._stream.close()
        finally:
            self._stop_working()
            self._writer = self._watcher = None
            self._forget_stream()
            self._fail(list(self._waiting), ConnectionAbortedError())

    async def _write(self) -> None:
        """Write what waits, as long as something does; several writes may be on their way at once."""
        while self._waiting:
            try:
                stream = await self._connected()
            except Exception as exc:
                self._not_before = time.monotonic() + self._pause_s
                self._fail(list(self._waiting), exc)
                continue
            if self._in_flight >= self._batch:
                self._landed.clear()
                await self._landed.wait()
                continue
            taken = self._take()
            if not taken:
                continue
            them = list(taken)
            # Noted before it is written: from then on nobody knows whether it arrives.
            self._written.append((0, them))
            self._in_flight += len(them)
            try:
                async with asyncio.timeout(WRITE_S):
                    mark = await stream.write(b"".join(taken.values()))
            except Exception as exc:
                # A stall is as open-ended as a loss: some of it may have arrived.
                self._forget_stream(Interrupted() if isinstance(exc, TimeoutError) else exc)
            else:
                if self._written and self._written[-1][1] is them:
                    self._written[-1] = (mark, them)
                    if self._watcher is None or self._watcher.done():
                        self._watcher = asyncio.create_task(self._watch(stream))

    async def _watch(self, stream: Stream) -> None:
        """Tell each sender when its message was acknowledged, as long as somebody waits for that."""
        try:
            while self._written and self._written[0][0]:
                mark, them = self._written[0]
                async with asyncio.timeout(WRITE_S):
                    acknowledged = await stream.acknowledged(mark)
                self._written.popleft()
                self._in_flight -= len(them)
                self._landed.set()
                for sent in them:
                    if not sent.done():
                        sent.set_result(acknowledged)
        except (Interrupted, TimeoutError):
            if self._stream is stream:
                self._forget_stream()

    async def _connected(self) -> Stream:
        if self._stream is not None:
            try:
                self._stream.check()
                return self._stream
            except (OSError, Talks):
                self._forget_stream()
        await asyncio.sleep(max(0.0, self._not_before - time.monotonic()))
        self._stream = await self._line.open()
        return self._stream

    def _take(self) -> dict[asyncio.Future[bool], bytes]:
        taken: dict[asyncio.Future[bool], bytes] = {}
        size = 0
        for sent, frame in self._waiting.items():
            if taken and (len(taken) >= self._batch - self._in_flight or size + len(frame) > BATCH_BYTES):
                break
            taken[sent] = frame
            size += len(frame)
        for sent in taken:
            self._drop(sent)
        return taken

    def _drop(self, sent: asyncio.Future[bool]) -> None:
        frame = self._waiting.pop(sent, None)
        if frame is not None:
            self._bytes -= len(frame)

    def _fail(self, them: list[asyncio.Future[bool]], why: BaseException) -> None:
        for sent in them:
            self._drop(sent)
            if not sent.done():
                sent.set_exception(self._explain(why))

    def _stop_working(self) -> list[asyncio.Task[None]]:
        tasks = [task for task in (self._writer, self._watcher) if task is not None]
        for task in tasks:
            task.cancel()
        return tasks

    def _all_written(self) -> list[asyncio.Future[bool]]:
        return [sent for _, them in self._written for sent in them]

    def _forget_stream(self, why: BaseException | None = None) -> None:
        """Let the connection go; what was written on it and not acknowledged fails, of *why* the newest part."""
        stream, self._stream = self._stream, None
        if stream is None:
            return
        watcher, self._watcher = self._watcher, None
        if watcher is not None and watcher is not asyncio.current_task():
            watcher.cancel()
        self._not_before = time.monotonic() + self._pause_s
        stream.abort()
        newest = self._written[-1][1] if self._written and why is not None else []
        self._fail(newest, why or Interrupted())
        self._fail(self._all_written(), Interrupted())
        self._written.clear()
        self._in_flight = 0
        self._landed.set()


async def probe_datagrams(probe: Probe, host: str, port: int) -> None:
    """The steps resolve, connect and tls where messages go as datagrams: little can be known."""
    async with probe.step("resolve"):
        await resolve(host, port)
    async with probe.step("connect"):
        probe.unknown("over UDP nobody says whether a message arrives; nothing was sent")
    probe.skip("tls", "UDP is not encrypted")


class Datagrams:
    """
    A UDP socket to one address, opened when it is needed. Nobody says whether a datagram arrived.

    Only a machine that answers "nobody listens on that port" is heard, and mostly one message too late.
    """

    def __init__(self, host: str, port: int, options: tuple[Option, ...] = ()) -> None:
        self._host, self._port, self._options = host, port, options
        self._sock: socket.socket | None = None
        self._others: list[tuple[Any, ...]] = []

    async def send(self, *datagrams: bytes) -> None:
        """Hand *datagrams* to the network. Raises `OSError`, `Unreachable`, `TooLong`."""
        if self._sock is None:
            addresses = await resolve(self._host, self._port)
            if self._sock is None:  # nobody else has opened it meanwhile
                self._others = addresses
                self._open_next()
        sock = self._sock
        assert sock is not None
        try:
            for datagram in datagrams:
                await _send(sock, datagram)
            # A refusal from this very machine is there already.
            _raise_pending(sock)
        except ConnectionRefusedError:
            if sock is self._sock:
                sock.close()
                self._sock = None
                if self._others:
                    # The name has another address, where somebody may listen.
                    self._open_next()
                    return await self.send(*datagrams)
            raise
        except OSError as exc:
            if exc.errno == errno.EMSGSIZE:
                raise TooLong from exc
            self.close()
            raise

    def close(self) -> None:
        """Close the socket. Safe twice; `send` opens another, and looks the name up again."""
        sock, self._sock = self._sock, None
        if sock is not None:
            sock.close()

    @property
    def socket(self) -> socket.socket | None:
        """The socket, while there is one."""
        return self._sock

    def _open_next(self) -> None:
        address = self._others.pop(0)
        sock = _socket(address, socket.SOCK_DGRAM)
        try:
            for option in self._options:
                sock.setsockopt(*option)
            sock.connect(address)
        except BaseException:
            sock.close()
            raise
        self._sock = sock


async def _send(sock: socket.socket, datagram: bytes) -> None:
    while True:
        try:
            sock.send(datagram)
            return
        except (BlockingIOError, InterruptedError):
            await asyncio.sleep(0.001)


def _raise_pending(sock: socket.socket) -> None:
    pending = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if pending:
        raise OSError(pending, os.strerror(pending))
