"""The API without a network: one request in, one answer out, as an ASGI server would hand them over."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Asked:
    """A request, byte for byte. *identity* says whose token it carries."""

    method: str
    path: bytes
    query: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    identity: str = ""
    address: str = "10.0.0.1"


@dataclass
class Answered:
    """What came back. *whole* is False where the application never ended its answer."""

    status: int
    headers: dict[str, str]
    body: bytes
    took_s: float
    whole: bool

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


async def ask(app: Any, asked: Asked) -> Answered:
    """Hand *asked* to *app*. An exception that leaves the application leaves here too."""
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": asked.method,
        "scheme": "http", "path": asked.path.decode("latin-1"), "raw_path": asked.path, "root_path": "",
        "query_string": asked.query, "headers": asked.headers, "client": (asked.address, 40000), "server": ("mooring.test", 80),
    }  # fmt: skip
    status, headers, chunks, whole, given = 0, {}, [], False, False

    async def receive() -> dict[str, Any]:
        nonlocal given
        if given:
            await asyncio.get_running_loop().create_future()  # a client that stays until it has its answer
        given = True
        return {"type": "http.request", "body": asked.body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status, headers, whole
        if message["type"] == "http.response.start":
            status = message["status"]
            headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in message["headers"]}
        else:
            chunks.append(message.get("body", b""))
            whole = not message.get("more_body", False)

    begun = time.perf_counter()
    await app(scope, receive, send)
    return Answered(status, headers, b"".join(chunks), time.perf_counter() - begun, whole)
