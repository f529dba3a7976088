"""Reading back what syslog and GELF servers got: each writes one JSON object per message into a file."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SEEN_WITHIN_S = 5.0


def matching(file: str | Path, mark: str) -> list[dict[str, Any]]:
    """
    The messages with *mark* in their text, in the order in which they came.

    Its first word must be of ASCII. rsyslog keeps the byte order mark, and the blank, before a text.
    """
    path, word = Path(file), mark.split(maxsplit=1)[0].encode()[:32]
    found: list[dict[str, Any]] = []
    if path.exists():
        with path.open("rb") as lines:
            for line in lines:
                if word in line and line.endswith(b"}\n"):  # the last one may be half written
                    message = json.loads(line)
                    text = str(message.get("text", message.get("message", ""))).lstrip(" \ufeff")
                    if mark in text:
                        found.append({**message, "text": text})
    return found


def message_with(file: str | Path, mark: str) -> dict[str, Any] | None:
    """The first message with *mark* in its text, or None."""
    return next(iter(matching(file, mark)), None)


def wait_for(file: str | Path, mark: str, count: int = 1) -> list[dict[str, Any]]:
    """`matching` once there are *count*, or what is there after some seconds."""
    return until(lambda: matching(file, mark), lambda found: len(found) >= count)


def until(look: Callable[[], Any], enough: Callable[[Any], bool] = bool) -> Any:
    """What *look* returns once it is *enough*, or after some seconds."""
    deadline = time.monotonic() + SEEN_WITHIN_S
    while True:
        found = look()
        if enough(found) or time.monotonic() > deadline:
            return found
        time.sleep(0.02)


class FakeLogServer:
    """
    Stands in for a syslog or GELF server over TCP that misbehaves: it keeps what it gets, and can be cut or stopped.

    Attributes:
        got: All bytes, of all connections in turn.
        connections: How many there have been.
        ended: Set once it has closed its side of one, as `ends_after` says.
        reads: Whether it takes what it is sent.
        greeting: What it says to a new client; a real one says nothing.
        ends_after: How many bytes of a connection it takes before it closes its own side of it.
    """

    def __init__(self, *, reads: bool = True, greeting: bytes = b"", ends_after: int | None = None) -> None:
        self.got = b""
        self.connections = 0
        self.reads, self.greeting, self.ends_after = reads, greeting, ends_after
        self.port = 0
        self._server: asyncio.Server | None = None
        self.ended = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> FakeLogServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, on the same port as before where there was one."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self, *, reset: bool = False) -> None:
        """Stop listening and end all connections; with a reset instead of an orderly end, if so wished."""
        if self._server is not None:
            self._server.close()
        self.cut(reset=reset)

    def cut(self, *, reset: bool = False) -> None:
        """End all connections."""
        for writer in list(self._writers):
            if reset:
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort() if reset else writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        taken = 0
        try:
            if self.greeting:
                writer.write(self.greeting)
            while self.reads and (data := await reader.read(65536)):
                self.got += data
                taken += len(data)
                if self.ends_after is not None and taken >= self.ends_after:
                    writer.write_eof()
                    self.ends_after = None
                    self.ended.set()
            await asyncio.sleep(0 if self.reads else 60)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()


def held() -> dict[str, int]:
    """The sockets and threads of this process, without the event loop's own helpers."""
    helpers = sum(thread.name.startswith("asyncio_") for thread in threading.enumerate())
    return {
        "threads": sum(1 for _ in Path("/proc/self/task").iterdir()) - helpers,
        "sockets": sum(_is_socket(entry) for entry in Path("/proc/self/fd").iterdir()),
    }


def _is_socket(descriptor: Path) -> bool:
    try:
        return str(descriptor.readlink()).startswith("socket:")
    except OSError:
        return False
