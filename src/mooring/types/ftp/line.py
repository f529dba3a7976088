"""One FTP session: a control connection, and a data connection for each transfer, as aioftp has them, with TLS mended."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aioftp
from aioftp.common import Code, SSLSessionBoundContext, ThrottleStreamIO, async_enterable

from mooring.plugin.network import Network
from mooring.types.ftp.faults import Cut, LoginRefused, NoDirectory, TlsRefused, Unintelligible, code_of
from mooring.types.ftp.listing import machine_line, people_line
from mooring.types.ftp.messages import Entry

SILENCE_S = 30.0
GOODBYE_S = 1.0
BLOCK_BYTES = 256 * 1024

_REPLY = re.compile(r"^([1-5][0-9]{2})([ -]|$)")
_REPLY_LINES = 500
_REPLY_BYTES = 64 * 1024
_LISTING_LINES = 200_000
_NOT_KNOWN = ("500", "501", "502", "504")
_EPSV = re.compile(r"\((.)\1\1(\d{1,5})\1\)")
_PASV = re.compile(r"(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3})")
_ENDED = "2xx"


@dataclass(frozen=True)
class Address:
    """Where a server is, and how a session with it is protected: `tls` is None for plain FTP."""

    network: Network
    host: str
    port: int
    tls: ssl.SSLContext | None = None
    implicit: bool = False


class Line(aioftp.Client):
    """
    A session of aioftp, with a few things done otherwise.

    - The TLS of a data connection begins after the server has taken the command: vsftpd and ProFTPD wait for the
      command, and the driver would wait for their TLS. It continues the session of the control connection.
    - A data connection goes to the address of the control connection's peer, whatever the server says.
    - What was received before TLS began is forgotten, and a reply has a longest length.

    `is_whole` is true while no transfer is going on and nothing has gone wrong: only then may it be used again.
    """

    def __init__(self, address: Address) -> None:
        super().__init__(socket_timeout=SILENCE_S, connection_timeout=SILENCE_S, encoding="utf-8")
        self.address = address
        self.is_whole = False
        self._peer = ""
        self._binary = False
        self._extended = True
        self._machine_lists = True
        self._base: str | None = None

    # Beginning and ending

    async def dial(self) -> None:
        """Open the TCP connection."""
        self.server_host, self.server_port = self.address.host, self.address.port
        reader, writer = await self.address.network.open_connection(self.server_host, self.server_port)
        self._peer = writer.get_extra_info("peername")[0]
        self._take(reader, writer)

    async def greet(self) -> None:
        """Read the greeting, and encrypt the session: before it, or after AUTH TLS, as the address says."""
        if self.address.implicit:
            await self._encrypt()
            await self._greeting()
        else:
            await self._greeting()
            if self.address.tls is not None:
                await self._told("AUTH TLS", "234")
                await self._encrypt()
        if self.address.tls is not None:
            await self._told("PBSZ 0", "200")
            await self._told("PROT P", "200")

    async def enter(self, username: str, password: str) -> None:
        """Log in. Raises `LoginRefused`."""
        try:
            await self.login(username, password)
        except aioftp.StatusCodeError as exc:
            raise LoginRefused from exc
        with contextlib.suppress(aioftp.StatusCodeError):
            await self.command("OPTS UTF8 ON", _ENDED)

    async def go(self, directory: str) -> None:
        """Make *directory* the one that paths begin at."""
        try:
            await self.command(f"CWD {_safe(directory)}", _ENDED)
        except aioftp.StatusCodeError as exc:
            if code_of(exc).startswith("5"):
                raise NoDirectory from exc
            raise
        self.is_whole = True

    @property
    def is_usable(self) -> bool:
        """Whether another use may begin: whole, and the server has neither hung up nor said goodbye."""
        if self._stream is None or not self.is_whole:
            return False
        reader = self._stream.reader
        return not reader.at_eof() and not self._stream.writer.is_closing() and not _waiting(reader)

    async def still_there(self) -> bool:
        """Ask the server whether it still knows us."""
        try:
            async with asyncio.timeout(GOODBYE_S * 5):
                await self.command("NOOP", _ENDED)
        except (aioftp.AIOFTPException, OSError, EOFError, TimeoutError, Unintelligible):
            return False
        return True

    async def leave(self) -> None:
        """Say goodbye and close; whether the server answers does not matter any more."""
        if self.is_whole:
            with contextlib.suppress(aioftp.AIOFTPException, OSError, EOFError, Unintelligible):
                async with asyncio.timeout(GOODBYE_S):
                    await self.command("QUIT", _ENDED)
        self.abort_now()

    def abort_now(self) -> None:
        """Close without waiting for anything."""
        self.is_whole = False
        if self._stream is not None:
            self._stream.writer.transport.abort()

    # Files

    async def size(self, path: str) -> int | None:
        """Bytes of a file; None where there is none, or the server does not say."""
        await self._to_binary()
        try:
            _, info = await self.command(f"SIZE {_safe(path)}", "213")
        except aioftp.StatusCodeError as exc:
            if code_of(exc).startswith("5"):
                return None
            raise
        text = info[-1].strip()
        return int(text) if text.isdecimal() and len(text) < 20 else None

    async def exists(self, path: Any) -> bool:
        """Whether there is a file of that name."""
        return await self.size(str(path)) is not None

    async def entries(self, directory: str, limit: int) -> tuple[list[Entry], bool]:
        """What is in *directory*, and whether there is more than *limit*."""
        if directory:
            await self._step_into(directory)
        try:
            async with self._data("MLSD" if self._machine_lists else "LIST") as (reader, _):
                return await self._read_entries(reader, limit)
        finally:
            if directory and self.is_whole:
                # Not by a path in the command: some servers take it for a pattern, or for options.
                self.is_whole = False
                await self.command(f"CWD {self._base}", _ENDED)
                self.is_whole = True

    @asynccontextmanager
    async def reading(
        self, path: str, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes of a file from *offset* on, in blocks; no more than *length*."""
        async with self._data(f"RETR {_safe(path)}", offset) as (reader, _):
            yield _blocks(reader, length)

    @asynccontextmanager
    async def writing(self, path: str, offset: int = 0) -> AsyncIterator[Any]:
        """A coroutine function that takes blocks for a file: from its beginning, or from *offset* on."""
        command = f"STOR {_safe(path)}"
        if offset:
            there = await self.size(path)
            if there is None or there < offset:
                raise Cut(f"holds {there or 0} bytes of this upload, and the next part begins at {offset}")
            if there == offset:
                command, offset = f"APPE {_safe(path)}", 0
        async with self._data(command, offset, sending=True) as (_, writer):

            async def write(block: bytes) -> None:
                for start in range(0, len(block), BLOCK_BYTES):
                    writer.write(block[start : start + BLOCK_BYTES] if len(block) > BLOCK_BYTES else block)
                    async with asyncio.timeout(SILENCE_S):
                        await writer.drain()

            yield write

    async def rename_file(self, source: str, destination: str, overwrite: bool) -> None:
        """Give a file its name; with *overwrite* in the place of another one."""
        await self.command(f"RNFR {_safe(source)}", "350")
        try:
            await self.command(f"RNTO {_safe(destination)}", _ENDED)
        except aioftp.StatusCodeError as exc:
            if not overwrite or not code_of(exc).startswith("5") or await self.size(destination) is None:
                raise
            # Some servers do not replace a file in one step.
            await self.command(f"DELE {_safe(destination)}", _ENDED)
            await self.command(f"RNFR {_safe(source)}", "350")
            await self.command(f"RNTO {_safe(destination)}", _ENDED)

    async def delete(self, path: str) -> None:
        """Delete a file."""
        await self.command(f"DELE {_safe(path)}", _ENDED)

    async def make(self, directory: str) -> None:
        """Make a directory, unless it is there."""
        try:
            await self.command(f"MKD {_safe(directory)}", "257")
        except aioftp.StatusCodeError as exc:
            if not code_of(exc).startswith("5"):
                raise
            await self._step_into(directory)
            await self.command(f"CWD {self._base}", _ENDED)

    # What the driver does otherwise

    async def connect(self, host: str = "", port: int = 0) -> list[str]:  # type: ignore[override]  # the address is known
        """Open the connection, encrypted as the address says."""
        await self.dial()
        await self.greet()
        return []

    async def parse_response(self) -> tuple[Code, list[str]]:
        code, lines, size = "", list[str](), 0
        while True:
            try:
                line = await self.stream.readline()
            except ValueError:
                raise Unintelligible("a line without end") from None
            if not line.endswith(b"\n"):
                raise ConnectionResetError
            size += len(line)
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            start = _REPLY.match(text)
            if not code:
                if start is None:
                    raise Unintelligible("no reply code")
                code = start[1]
            lines.append(text[3:] if text.startswith(code) else text)
            if start is not None and start[1] == code and start[2] != "-":
                return Code(code), lines
            if len(lines) > _REPLY_LINES or size > _REPLY_BYTES:
                raise Unintelligible("a reply without end")

    @async_enterable
    async def get_stream(
        self,
        command: str | None = None,
        expected_codes: Any = (),
        wait_codes: Any = (),
        censor_after: int | None = None,
        conn_type: Any = "I",
        offset: int = 0,
    ) -> aioftp.DataConnectionThrottleStreamIO:
        """A data connection for whoever uses the driver itself."""
        reader, writer = await self._begin(command or "", offset, expected_codes or "1xx")
        return aioftp.DataConnectionThrottleStreamIO(
            self, reader, writer, throttles={"_": self.throttle}, timeout=self.socket_timeout
        )

    # Inside

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._stream = _Control(reader, writer, timeout=SILENCE_S)

    async def _greeting(self) -> None:
        await self.command(None, "220", "120")

    async def _encrypt(self) -> None:
        assert self.address.tls is not None
        reader, writer = await _secured(self.stream.writer, self.address.tls, self.address.host)
        self._take(reader, writer)

    async def _told(self, command: str, expected: str) -> None:
        try:
            await self.command(command, expected)
        except aioftp.StatusCodeError as exc:
            if code_of(exc).startswith("4"):
                raise
            raise TlsRefused(f"it answered {command} with {code_of(exc)}") from exc

    async def _to_binary(self) -> None:
        if not self._binary:
            await self.command("TYPE I", "200")
            self._binary = True

    async def _step_into(self, directory: str) -> None:
        if self._base is None:
            _, info = await self.command("PWD", "257")
            self._base = _one_line(str(self.parse_directory_response(info[-1])))
        await self.command(f"CWD {_safe(directory)}", _ENDED)

    async def _read_entries(self, reader: Any, limit: int) -> tuple[list[Entry], bool]:
        found: list[Entry] = []
        parse = machine_line if self._machine_lists else people_line
        for _ in range(_LISTING_LINES):
            async with asyncio.timeout(SILENCE_S):
                try:
                    line = await reader.readline()
                except ValueError:
                    raise Unintelligible("a line without end") from None
            if not line:
                return found, False
            entry = parse(line.decode("utf-8", "replace").rstrip("\r\n"))
            if entry is not None:
                if len(found) == limit:
                    return found, True
                found.append(entry)
        return found, True

    @asynccontextmanager
    async def _data(
        self, command: str, offset: int = 0, sending: bool = False
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """The data connection of *command*. Afterwards the server's last word on it is awaited."""
        reader, writer = await self._begin(command, offset)
        try:
            yield reader, writer
            early = False
            if not sending:
                async with asyncio.timeout(SILENCE_S):
                    early = bool(await reader.read(1))
            if early:
                # Enough was read: the server finds that out by writing into nothing, and complains.
                writer.transport.abort()
            else:
                writer.close()
            await self._last_word(early)
            self.is_whole = True
        finally:
            if not self.is_whole:
                writer.transport.abort()

    async def _last_word(self, early: bool) -> None:
        async with asyncio.timeout(SILENCE_S):
            await self.command(None, (_ENDED, "426", "451", "551") if early else _ENDED, "1xx")

    async def _begin(
        self, command: str, offset: int = 0, expected: Any = "1xx"
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        await self._to_binary()
        port = await self._passive_port()
        self.is_whole = False
        async with asyncio.timeout(SILENCE_S):
            reader, writer = await self.address.network.open_connection(self._peer, port, limit=BLOCK_BYTES)
        try:
            if offset:
                await self.command(f"REST {offset}", "350")
            try:
                await self.command(command, expected)
            except aioftp.StatusCodeError as exc:
                if command == "MLSD" and code_of(exc) in _NOT_KNOWN:
                    self._machine_lists = False
                    await self.command("LIST", expected)
                else:
                    raise
            if self.address.tls is not None:
                control = self.stream.writer.get_extra_info("ssl_object")
                context = SSLSessionBoundContext(
                    ssl.PROTOCOL_TLS_CLIENT, context=control.context, session=control.session
                )
                reader, writer = await _secured(writer, context, self.address.host)
        except BaseException as exc:
            writer.transport.abort()
            # Refused, with nothing begun: the session is as good as before.
            self.is_whole = isinstance(exc, aioftp.StatusCodeError) and not code_of(exc).startswith("1")
            raise
        return reader, writer

    async def _passive_port(self) -> int:
        if self._extended:
            try:
                _, info = await self.command("EPSV", "229")
                match = _EPSV.search(info[-1])
                if match is None:
                    raise Unintelligible("no port in the reply to EPSV")
                return _port(int(match[2]))
            except aioftp.StatusCodeError as exc:
                if code_of(exc) not in (*_NOT_KNOWN, "522"):
                    raise
                self._extended = False
        _, info = await self.command("PASV", "227")
        match = _PASV.search(info[-1])
        if match is None:
            raise Unintelligible("no port in the reply to PASV")
        return _port(int(match[5]) * 256 + int(match[6]))


class _Control(ThrottleStreamIO):
    """The control connection's streams, without a task for each line that is waited for."""

    async def readline(self) -> bytes:
        async with asyncio.timeout(SILENCE_S):
            return await self.reader.readline()

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        async with asyncio.timeout(SILENCE_S):
            await self.writer.drain()


async def _blocks(reader: asyncio.StreamReader, length: int | None) -> AsyncIterator[bytes]:
    left = length
    while left is None or left > 0:
        async with asyncio.timeout(SILENCE_S):
            block = await reader.read(BLOCK_BYTES if left is None else min(BLOCK_BYTES, left))
        if not block:
            return
        if left is not None:
            left -= len(block)
        yield block


class _Reader(asyncio.StreamReader):
    """
    A reader over TLS that, when it has enough, stops the socket below and not the TLS.

    uvloop's TLS forgets what it holds for a stopped reader once the other side hangs up: the end of a file.
    """

    def __init__(self, socket: Any) -> None:
        super().__init__(limit=BLOCK_BYTES, loop=asyncio.get_running_loop())
        self._socket = socket

    def set_transport(self, transport: asyncio.BaseTransport) -> None:
        super().set_transport(_Tap(self._socket))


class _Tap(asyncio.Transport):
    """Stops and opens the flow of a socket; one that is closed needs neither."""

    def __init__(self, socket: Any) -> None:
        super().__init__()
        self._socket = socket

    def pause_reading(self) -> None:
        if not self._socket.is_closing():
            self._socket.pause_reading()

    def resume_reading(self) -> None:
        if not self._socket.is_closing():
            self._socket.resume_reading()


class _Secured(asyncio.StreamReaderProtocol):
    """
    Streams over TLS, whose end cannot be kept open from one side.

    Those of *before* are kept: a stream that is collected takes its connection with it.
    """

    def __init__(self, reader: asyncio.StreamReader, before: asyncio.StreamWriter) -> None:
        super().__init__(reader, loop=asyncio.get_running_loop())
        self._before = before

    def eof_received(self) -> bool:
        super().eof_received()
        return False


async def _secured(
    writer: asyncio.StreamWriter, context: ssl.SSLContext, host: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """
    TLS over the connection of *writer*, with streams of its own.

    What the old ones had received in the clear is left behind: nobody knows who put it there.
    """
    loop = asyncio.get_running_loop()
    reader = _Reader(writer.transport)
    protocol = _Secured(reader, writer)
    transport = await loop.start_tls(
        writer.transport,
        protocol,
        context,
        server_hostname=host,
        ssl_handshake_timeout=SILENCE_S,
        ssl_shutdown_timeout=5,
    )
    if transport is None:
        raise ConnectionResetError
    protocol.connection_made(transport)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


def _waiting(reader: asyncio.StreamReader) -> bool:
    """Whether something was received that nobody asked for: a server's goodbye."""
    return bool(getattr(reader, "_buffer", b""))


def _port(number: int) -> int:
    if not 0 < number < 65536:
        raise Unintelligible("no port in the reply")
    return number


def _safe(path: str) -> str:
    """*path* as the argument of a command: no option, no home of somebody."""
    return f"./{path}" if path.startswith(("-", "~")) else _one_line(path)


def _one_line(path: str) -> str:
    if "\r" in path or "\n" in path or "\0" in path:
        raise Unintelligible("a line break in a path")
    return path
