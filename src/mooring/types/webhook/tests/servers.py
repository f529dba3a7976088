"""Web servers of a test: an honest one, and one that says whatever bytes it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn

Handler = Callable[["Seen"], Awaitable["Reply"]]


@dataclass
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> list[str]:
        """The values of the header *name*."""
        return [value for key, value in self.headers if key == name]


@dataclass
class Reply:
    """What is answered."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay_s: float = 0.0


@dataclass
class WebServer:
    """A server that remembers what it saw, and answers with `reply`."""

    reply: Reply = field(default_factory=Reply)
    seen: list[Seen] = field(default_factory=list)
    port: int = 0
    now: int = 0
    most: int = 0

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        self.now += 1
        self.most = max(self.most, self.now)
        body = b""
        while (message := await receive()).get("more_body") or message.get("body"):
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = [(name.decode(), value.decode()) for name, value in scope["headers"]]
        self.seen.append(
            Seen(scope["method"], scope["raw_path"].decode(), scope["query_string"].decode(), headers, body)
        )
        await asyncio.sleep(self.reply.delay_s)
        self.now -= 1
        sent = [(name.encode(), value.encode()) for name, value in self.reply.headers.items()]
        await send({"type": "http.response.start", "status": self.reply.status, "headers": sent})
        await send({"type": "http.response.body", "body": self.reply.body})

    @property
    def last(self) -> Seen:
        """The newest request."""
        return self.seen[-1]

    @property
    def json(self) -> Any:
        """The body of the newest request, as JSON."""
        return json.loads(self.last.body)


class _Quiet(uvicorn.Server):
    """Leaves the signals to the test runner."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def web_server(
    tls: ssl.SSLContext | None = None, port: int = 0, reply: Reply | None = None
) -> AsyncIterator[WebServer]:
    """uvicorn on 127.0.0.1."""
    app = WebServer(reply or Reply())
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    app.port = sock.getsockname()[1]
    config = uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=0)
    config.load()
    # Their own factory insists on files; a context is all it takes.
    config.ssl = tls
    server = _Quiet(config)
    serving = asyncio.create_task(server.serve([sock]))
    while not server.started:
        await asyncio.sleep(0.005)
    try:
        yield app
    finally:
        server.should_exit = True
        await serving
        sock.close()


@asynccontextmanager
async def raw_server(*answers: bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A port where each connection gets one of *answers* after its first bytes, and is closed; the last one repeats."""
    left = list(answers)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read(65536)
            writer.write(left.pop(0) if len(left) > 1 else left[0])
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
