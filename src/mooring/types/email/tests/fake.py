"""A mail server that says what a test tells it to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

HANG_UP = ""
"""Instead of a reply: the connection is cut."""


@dataclass
class FakeMailServer:
    """What it answers to each verb, and what it heard."""

    replies: dict[str, str]
    heard: list[str] = field(default_factory=list)
    port: int = 0
    now: int = 0
    most: int = 0
    delay_s: float = 0.0
    sessions: int = 0
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        self.sessions += 1
        self.writers.add(writer)
        try:
            await self._talk(reader, writer)
        except ConnectionError:
            pass
        finally:
            self.now -= 1
            self.writers.discard(writer)
            writer.close()

    def hang_up(self) -> None:
        """Cut every session, as a server that ends does."""
        for writer in list(self.writers):
            writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        in_data = False
        verb = "GREETING"
        while True:
            reply = self.replies.get(verb, "250 fine")
            if reply == HANG_UP:
                return
            writer.write(reply.encode() + b"\r\n")
            if verb == "QUIT":
                return
            in_data = verb == "DATA" and reply.startswith("354")
            verb = await self._next(reader, in_data)
            if not verb:
                return

    async def _next(self, reader: asyncio.StreamReader, in_data: bool) -> str:
        while line := (await reader.readline()).decode().rstrip("\r\n"):
            self.heard.append(line)
            await asyncio.sleep(self.delay_s)
            if not in_data:
                return line.split(" ")[0].upper()
            while line != ".":
                line = (await reader.readline()).decode().rstrip("\r\n")
                self.heard.append(line)
            return "END"
        return ""


@asynccontextmanager
async def fake_mail_server(port: int = 0, delay_s: float = 0.0, **replies: str) -> AsyncIterator[FakeMailServer]:
    """A server on 127.0.0.1; *replies* by verb, beside GREETING and END (of the message)."""
    fake = FakeMailServer({"GREETING": "220 fake", "DATA": "354 go on", "QUIT": "221 bye", **replies}, delay_s=delay_s)
    server = await asyncio.start_server(fake.serve, "127.0.0.1", port)
    fake.port = server.sockets[0].getsockname()[1]
    try:
        yield fake
    finally:
        server.close()
        fake.hang_up()
