"""A receiver that says what a test tells it to, over UDP or TCP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from mooring.kit.ber import SEQUENCE, element, elements, frame_length, integer, number, spans
from mooring.types.snmp.messages import REPORT, RESPONSE, Secured, pdu, read_secured, secured, variable, with_community
from mooring.types.snmp.sender import NOT_IN_TIME, UNKNOWN_ENGINE
from mooring.types.snmp.usm import User

Replies = Callable[[bytes], list[bytes]]


def request_id(frame: bytes) -> int:
    """The number in a message of v2c."""
    ((_, content),) = elements(memoryview(frame))
    inner = list(elements(content))[2][1]
    return number(next(elements(inner))[1])


def response(number: int, error: int = 0) -> bytes:
    """The inner part of an answer."""
    return element(RESPONSE, integer(number), integer(error), integer(0), element(SEQUENCE))


def answer(frame: bytes, community: str, error: int = 0, version: int = 1) -> bytes:
    """The answer to an inform of v2c."""
    return with_community(version, community, response(request_id(frame), error))


@dataclass
class FakeReceiver:
    """Answers each message as *replies* says, and keeps what it heard."""

    replies: Replies
    heard: list[bytes] = field(default_factory=list)
    port: int = 0
    streams: set[asyncio.StreamWriter] = field(default_factory=set)

    def cut(self) -> None:
        """Cut the connections that there are."""
        for stream in self.streams:
            stream.transport.abort()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, fake: FakeReceiver) -> None:
        self.fake = fake
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.fake.heard.append(data)
        for reply in self.fake.replies(data):
            self.transport.sendto(reply, addr)


@asynccontextmanager
async def over_udp(replies: Replies, port: int = 0) -> AsyncIterator[FakeReceiver]:
    """A receiver on a UDP port."""
    fake = FakeReceiver(replies)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(fake), ("127.0.0.1", port))
    fake.port = transport.get_extra_info("sockname")[1]
    try:
        yield fake
    finally:
        transport.close()


@asynccontextmanager
async def over_tcp(replies: Replies) -> AsyncIterator[FakeReceiver]:
    """A receiver on a TCP port."""
    fake = FakeReceiver(replies)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fake.streams.add(writer)
        buffer = b""
        try:
            while data := await reader.read(65536):
                buffer += data
                while (length := frame_length(buffer)) is not None and length <= len(buffer):
                    frame, buffer = buffer[:length], buffer[length:]
                    fake.heard.append(frame)
                    for reply in fake.replies(frame):
                        writer.write(reply)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            fake.streams.discard(writer)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    fake.port = server.sockets[0].getsockname()[1]
    try:
        yield fake
    finally:
        server.close()
        fake.cut()


@dataclass
class FakeEngine:
    """The engine of a receiver of v3 that authenticates one user, and encrypts nothing; it can be restarted and replaced."""

    user: User
    engine: bytes = b"\x80\x00\x00\x00\x04one"
    boots: int = 7
    time: int = 1000
    forged: bool = False
    informs: int = 0

    def __call__(self, frame: bytes) -> list[bytes]:
        asked = read_secured(frame)
        if asked.engine != self.engine:
            nobody = User("")
            return [self._report(asked, nobody, UNKNOWN_ENGINE)]
        if (asked.boots, abs(asked.time - self.time) <= 150) != (self.boots, True):
            return [self._report(asked, User(self.user.name) if self.forged else self.user, NOT_IN_TIME)]
        self.informs += 1
        sayer = User(self.user.name) if self.forged else self.user
        return [self._message(asked, sayer, response(_request_of(asked)))]

    def _report(self, asked: Secured, sayer: User, name: str) -> bytes:
        return self._message(asked, sayer, pdu(REPORT, 0, [variable(name, integer(1))]))

    def _message(self, asked: Secured, sayer: User, inner: bytes) -> bytes:
        return secured(sayer, self.engine, self.boots, self.time, asked.message_id, inner, reportable=False)


def _request_of(asked: Secured) -> int:
    ((_, start, end),) = spans(asked.data)
    inner = list(elements(memoryview(asked.data)[start:end]))[2][1]
    return number(next(elements(inner))[1])
