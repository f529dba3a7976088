"""Servers that imitate what could not be had. Each says in its name what it imitates, and how far."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
from typing import Any

from mooring.types.database import tds


class FakeOracleListener:
    """Oracle's listener as far as its refusal: it answers every connect with that code."""

    def __init__(self, code: int) -> None:
        self.code = code

    async def __aenter__(self) -> FakeOracleListener:
        self.listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self.listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: Any) -> None:
        self.listener.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4096)
        code = self.code
        text = b"(DESCRIPTION=(TMP=)(VSNNUM=318767104)(ERR=%d)(ERROR_STACK=(ERROR=(CODE=%d)(EMFI=4))))" % (code, code)
        body = bytes([34, 0]) + struct.pack(">H", len(text)) + text
        writer.write(struct.pack(">HHBBH", len(body) + 8, 0, 4, 0, 0) + body)
        writer.close()


def _us(text: str) -> bytes:
    return struct.pack("<H", len(text)) + text.encode("utf-16-le")


def _b(text: str) -> bytes:
    return struct.pack("<B", len(text)) + text.encode("utf-16-le")


DONE = bytes([0xFD]) + struct.pack("<HHQ", 0, 0, 0)
FAILED = bytes([0xFD]) + struct.pack("<HHQ", 2, 0, 0)


def loginack() -> bytes:
    body = struct.pack("<B", 1) + bytes([0x74, 0, 0, 4]) + _b("Fake SQL Server") + bytes([16, 0, 0, 0])
    return bytes([0xAD]) + struct.pack("<H", len(body)) + body


def error(code: int, text: str, severity: int = 16) -> bytes:
    body = struct.pack("<iBB", code, 1, severity) + _us(text) + _b("fake") + _b("") + struct.pack("<i", 1)
    return bytes([0xAA]) + struct.pack("<H", len(body)) + body


def integers(values: list[int], name: str = "a") -> bytes:
    """A result of one column."""
    column = struct.pack("<IHBB", 0, 9, 0x26, 4) + _b(name)
    head = bytes([0x81]) + struct.pack("<H", 1) + column
    rows = b"".join(bytes([0xD1, 4]) + struct.pack("<i", value) for value in values)
    return head + rows + bytes([0xFD]) + struct.pack("<HHQ", 0x10, 0xC1, len(values))


class FakeSqlServer:
    """
    SQL Server as far as the greeting, TLS, a login, and answers that are told to it beforehand.

    Attributes:
        heard: The packets' kinds in the order they came, and whether each was encrypted.
        statements: Texts of what it was sent after the login.
    """

    def __init__(
        self, tls: ssl.SSLContext | None = None, encryption: int = tds.ON, *, strict: bool = False,
        login: bytes | None = None, answers: dict[str, bytes | None] | None = None,
    ) -> None:  # fmt: skip
        self.tls, self.encryption, self.strict = tls, encryption, strict
        self.login = login if login is not None else loginack() + DONE
        self.answers = answers or {}
        self.heard: list[tuple[int, bool]] = []
        self.statements: list[str] = []
        self.raw = b""
        self.connections = 0
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> FakeSqlServer:
        self.listener = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls if self.strict else None)
        self.port = self.listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: Any) -> None:
        self.listener.close()
        self.cut()

    def cut(self) -> None:
        """End every connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, OSError, ssl.SSLError):
            await _Conversation(self, reader, writer).run()
        self._writers.discard(writer)
        writer.close()


class _Conversation:
    def __init__(self, fake: FakeSqlServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.fake, self.reader, self.writer = fake, reader, writer
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.secured: ssl.SSLObject | None = None

    async def run(self) -> None:
        fake = self.fake
        kind, _ = await self.packet()
        assert kind == tds.PRELOGIN
        self.send(tds.packets(tds.REPLY, tds.greeting(fake.encryption)))
        if not fake.strict and fake.encryption != tds.NOT_SUPPORTED:
            await self.handshake()
        await self.packet()
        if fake.encryption == tds.OFF:
            self.secured = None
        self.send(tds.packets(tds.REPLY, fake.login))
        while True:
            kind, content = await self.packet()
            if kind == 0x06:
                self.send(tds.packets(tds.REPLY, bytes([0xFD]) + struct.pack("<HHQ", 0x20, 0, 0)))
                continue
            text = content.decode("utf-16-le", "ignore")
            fake.statements.append(text)
            answer = next((answer for word, answer in fake.answers.items() if word in text), integers([1]))
            if answer is not None:
                self.send(tds.packets(tds.REPLY, answer))

    async def handshake(self) -> None:
        assert self.fake.tls is not None
        secured = self.fake.tls.wrap_bio(self.incoming, self.outgoing, server_side=True)
        while True:
            try:
                secured.do_handshake()
            except ssl.SSLWantReadError:
                self.flush_wrapped()
                self.incoming.write((await self.packet())[1])
            else:
                break
        self.flush_wrapped()
        self.secured = secured

    def flush_wrapped(self) -> None:
        if data := self.outgoing.read():
            self.writer.write(tds.packets(tds.PRELOGIN, data))

    def send(self, data: bytes) -> None:
        if self.secured is not None:
            self.secured.write(data)
            data = self.outgoing.read()
        self.writer.write(data)

    async def exactly(self, size: int) -> bytes:
        read = b""
        while len(read) < size:
            if self.secured is None:
                data = await self.reader.readexactly(size - len(read))
                self.fake.raw += data
                read += data
                continue
            try:
                data = self.secured.read(size - len(read))
                if not data:
                    raise asyncio.IncompleteReadError(b"", size)
                read += data
            except ssl.SSLWantReadError:
                data = await self.reader.read(65536)
                if not data:
                    raise asyncio.IncompleteReadError(b"", size) from None
                self.fake.raw += data
                self.incoming.write(data)
        return read

    async def packet(self) -> tuple[int, bytes]:
        content = b""
        while True:
            kind, status, length = struct.unpack(">BBH", (await self.exactly(8))[:4])
            content += await self.exactly(length - 8)
            if status & 1:
                self.fake.heard.append((kind, self.secured is not None or self.fake.strict))
                return kind, content
