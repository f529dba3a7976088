"""What the tests of the products share."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any


async def query(guard: Any, sql: str, parameters: Any = (), **more: Any) -> Any:
    return await guard.use(
        "query", {"sql": sql, "parameters": parameters if isinstance(parameters, dict) else list(parameters), **more}
    )


async def execute(guard: Any, sql: str, parameters: Any = ()) -> Any:
    return await guard.use(
        "execute", {"sql": sql, "parameters": parameters if isinstance(parameters, dict) else list(parameters)}
    )


async def settled(condition: Any, for_s: float = 5.0) -> None:
    async with asyncio.timeout(for_s):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.05)


class Cut:
    """A way to a server on which connections can be cut: `port` leads to the server's."""

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self.open: set[asyncio.StreamWriter] = set()
        self.most = 0

    async def __aenter__(self) -> Cut:
        self.listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self.listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: Any) -> None:
        self.listener.close()
        self.cut()

    def cut(self) -> None:
        """End every connection."""
        for writer in list(self.open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self.target)
        self.open |= {writer, far_writer}
        self.most = max(self.most, len(self.open) // 2)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(65536):
                    sink.write(data)
                    await sink.drain()
            sink.close()

        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))
        self.open -= {writer, far_writer}
