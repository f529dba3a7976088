"""Looking into a real ActiveMQ from the other side, by STOMP; and a way to it that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import pytest

from tests.support.services import Service, service

_ESCAPES = {r"\n": "\n", r"\r": "\r", r"\c": ":", r"\\": "\\"}


@pytest.fixture(scope="session")
def activemq() -> Service:
    """A real ActiveMQ broker."""
    return service("activemq")


@dataclass(frozen=True)
class Frame:
    """A STOMP frame."""

    command: str
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The text; the broker gives some as Java keeps it, in which letters beyond the first 65,536 are two."""
        halves = self.body.decode("utf-8", "surrogatepass")
        return halves.encode("utf-16", "surrogatepass").decode("utf-16")


class Stomp:
    """A STOMP 1.2 client: enough to write a message, and to read one."""

    def __init__(self, service: Service, timeout_s: float) -> None:
        self._socket = socket.create_connection((service["host"], service["stomp_port"]), timeout=timeout_s)
        self._file = self._socket.makefile("rb")
        self._say(
            "CONNECT",
            {"accept-version": "1.2", "host": "mooring", "login": service["user"], "passcode": service["password"]},
        )
        self._hear("CONNECTED")

    def send(self, destination: str, body: str | bytes, **headers: str) -> None:
        """Write a message (`/queue/NAME`, `/topic/NAME`): a bytes message where the body is bytes."""
        receipt = uuid.uuid4().hex
        data = body if isinstance(body, bytes) else body.encode()
        length = {"content-length": str(len(data))} if isinstance(body, bytes) else {}
        self._say("SEND", {"destination": destination, "receipt": receipt, **length, **headers}, data)
        self._hear("RECEIPT")

    def subscribe(self, destination: str) -> None:
        self._say("SUBSCRIBE", {"destination": destination, "id": "1", "ack": "auto", "receipt": "subscribed"})
        self._hear("RECEIPT")

    def next(self) -> Frame | None:
        """The next message; None where none comes in time."""
        try:
            return self._hear("MESSAGE")
        except TimeoutError:
            return None

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def _say(self, command: str, headers: dict[str, str], body: bytes = b"") -> None:
        head = "".join(f"{name}:{value}\n" for name, value in headers.items())
        self._socket.sendall(f"{command}\n{head}\n".encode() + body + b"\0")

    def _rest(self) -> bytes:
        """What is left of a body, to the zero that ends it."""
        parts = []
        while ahead := self._file.peek(1):
            end = ahead.find(b"\0")
            parts.append(self._file.read(len(ahead) if end < 0 else end))
            if end >= 0:
                self._file.read(1)
                break
        return b"".join(parts)

    def _hear(self, wanted: str) -> Frame:
        command = self._file.readline().strip().decode()
        while not command:
            if not (line := self._file.readline()):
                raise ConnectionError("the broker hung up")
            command = line.strip().decode()
        headers: dict[str, str] = {}
        while line := self._file.readline().rstrip(b"\n"):
            name, _, value = line.decode().partition(":")
            headers.setdefault(_plain(name), _plain(value))
        body = self._file.read(int(headers["content-length"])) if "content-length" in headers else b""
        body += self._rest()
        frame = Frame(command, headers, body)
        assert command == wanted, frame
        return frame


@contextmanager
def stomp(service: Service, timeout_s: float = 5.0) -> Iterator[Stomp]:
    """A client that is logged in as the ordinary user."""
    client = Stomp(service, timeout_s)
    try:
        yield client
    finally:
        client.close()


def read(service: Service, destination: str, count: int = 1, timeout_s: float = 5.0) -> list[Frame]:
    """Up to *count* messages, taken from the queue (`/queue/NAME`)."""
    with stomp(service, timeout_s) as client:
        client.subscribe(destination)
        found = []
        while len(found) < count and (frame := client.next()) is not None:
            found.append(frame)
    return found


class Relay:
    """A way to a broker that can be cut, and closed for a while. `port` is where it begins."""

    def __init__(self, host: str, port: int) -> None:
        self._to = host, port
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        self.connections = 0
        self.heard = b""
        self.frozen = False

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Nobody gets through from now on, and who is through is cut off."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()

    def cut(self) -> None:
        """End all connections, without a word."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        there, back = await asyncio.open_connection(*self._to)
        self._writers |= {writer, back}
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await asyncio.gather(self._pump(reader, back, True), self._pump(there, writer, False))
        for each in (writer, back):
            each.transport.abort()
            self._writers.discard(each)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ours: bool) -> None:
        while data := await reader.read(65536):
            if self.frozen:
                continue
            if ours:
                self.heard = (self.heard + data)[-65536:]
            writer.write(data)
            await writer.drain()
        writer.transport.abort()


@asynccontextmanager
async def relay(service: Service, port: str = "port") -> AsyncIterator[Relay]:
    """A relay to the listener of *service* that *port* names."""
    found = Relay(service["host"], service[port])
    await found.open()
    try:
        yield found
    finally:
        await found.close()


def _plain(text: str) -> str:
    if "\\" not in text:
        return text
    out, at = "", 0
    while at < len(text):
        pair = text[at : at + 2]
        out += _ESCAPES.get(pair, text[at])
        at += 2 if pair in _ESCAPES else 1
    return out
