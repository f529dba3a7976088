"""What stands between a connector and its directory in tests, and a directory that says what a test tells it to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from mooring.kit.ber import ENUMERATED, SEQUENCE, SET, element, elements, frame_length, integer, number, text

BIND, SEARCH, EXTENDED, ABANDON, UNBIND = 0x60, 0x63, 0x77, 0x50, 0x42
HANG_UP = b"hang up"
"""Instead of a reply: the connection is cut."""


def result(tag: int, code: int = 0, message: str = "", *more: bytes) -> bytes:
    """A result, such as the one of a bind (0x61) or of a search (0x65)."""
    return element(tag, integer(code, ENUMERATED), text(""), text(message), *more)


def entry(dn: str, **attributes: str | bytes) -> bytes:
    """A search's entry with one value for each attribute."""
    pairs = [element(SEQUENCE, text(name), element(SET, text(value))) for name, value in attributes.items()]
    return element(0x64, text(dn), element(SEQUENCE, *pairs))


def framed(identifier: int, operation: bytes) -> bytes:
    """The message with that operation."""
    return element(SEQUENCE, integer(identifier), operation)


Replies = Callable[[bytes], list[bytes]]


@dataclass
class FakeDirectory:
    """Answers each kind of request as it is told, and keeps what it heard: the kinds, in order."""

    bind: Replies = field(default=lambda _: [result(0x61)])
    search: Replies = field(default=lambda _: [result(0x65)])
    extended: Replies = field(default=lambda _: [result(0x78)])
    raw: bytes = b""
    heard: list[int] = field(default_factory=list)
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        buffer = b""
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            while data := await reader.read(65536):
                buffer += data
                while (length := frame_length(buffer)) is not None and length <= len(buffer):
                    frame, buffer = buffer[:length], buffer[length:]
                    if not self._answer(frame, writer):
                        writer.close()
                        return
        writer.close()

    def _answer(self, frame: bytes, writer: asyncio.StreamWriter) -> bool:
        ((_, content),) = elements(memoryview(frame))
        (_, identifier), (kind, operation), *_ = elements(content)
        self.heard.append(kind)
        told = {BIND: self.bind, SEARCH: self.search, EXTENDED: self.extended}.get(kind)
        for reply in told(bytes(operation)) if told else []:
            if reply == HANG_UP:
                return False
            writer.write(reply[4:] if reply[:4] == b"raw:" else framed(number(identifier), reply))
        return True


@asynccontextmanager
async def fake_directory(**told: Replies) -> AsyncIterator[FakeDirectory]:
    """A directory of a test's own, on a free port."""
    fake = FakeDirectory(**told)  # type: ignore[arg-type]  # replies only
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
    fake.port = server.sockets[0].getsockname()[1]
    try:
        yield fake
    finally:
        server.close()


class Relay:
    """A network to a real server that a test can cut and take down; with *tls* it speaks TLS to its clients."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._target, self._tls = port, tls
        self._pairs: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self.port = 0
        self.accepted = 0

    def up(self) -> None:
        """Take connections, on the same port as before."""
        listener = self._listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
        self.port = listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def cut(self) -> None:
        """Cut the connections that there are."""
        pairs, self._pairs = self._pairs, []
        for sock in pairs:
            _end(sock)

    def down(self) -> None:
        """Cut all, and take no more."""
        if self._listener is not None:
            _end(self._listener)
            self._listener = None
        self.cut()

    @property
    def alive(self) -> int:
        """How many connections are open."""
        return sum(sock.fileno() >= 0 for sock in self._pairs) // 2

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                self.accepted += 1
                threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        try:
            secured = self._tls.wrap_socket(client, server_side=True) if self._tls else client
            server = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            client.close()
            return
        self._pairs += [secured, server]
        for one, other in ((secured, server), (server, secured)):
            threading.Thread(target=_pour, args=(one, other), daemon=True).start()


def _pour(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError, ValueError):
        while data := source.recv(65536):
            sink.sendall(data)
    _end(source)
    _end(sink)


def _end(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()


@contextlib.contextmanager
def relay(port: int, tls: ssl.SSLContext | None = None) -> Iterator[Relay]:
    """A relay to *port* that is up."""
    made = Relay(port, tls)
    made.up()
    try:
        yield made
    finally:
        made.down()


@contextlib.contextmanager
def fake_start_tls(certificate: str, key: str) -> Iterator[int]:
    """The port of a directory that agrees to StartTLS, shows that certificate, and is silent inside."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                with client, contextlib.suppress(OSError):
                    client.settimeout(5)
                    client.recv(4096)
                    client.sendall(framed(1, result(0x78)))
                    with context.wrap_socket(client, server_side=True) as secured:
                        secured.recv(1)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        _end(listener)
