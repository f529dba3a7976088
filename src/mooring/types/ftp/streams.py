"""Files as streams, for programs that hold the connection in their own process: any size, a block in memory at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mooring.errors import ConnectorError, Misconfigured, Unreachable
from mooring.types.ftp.faults import Cut
from mooring.types.ftp.paths import FilePath, new_token, partial_path
from mooring.types.ftp.sessions import Files, Server
from mooring.types.ftp.transfers import appear, make_way

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0
TIDY_S = 3.0

_FILE_PATH: TypeAdapter[str] = TypeAdapter(FilePath)


class Remote:
    """
    The native client: `reading`, `writing`, and `session` for the driver's own.

    A stream keeps its session until its block ends, also when the connection is idle otherwise. Each wait for the
    server is bounded, the whole stream is not.
    """

    def __init__(self, server: Server, retries: int) -> None:
        self.server, self._retries = server, retries

    @asynccontextmanager
    async def reading(self, path: str, offset: int = 0) -> AsyncIterator[AsyncIterator[bytes]]:
        """
        The bytes of a file from *offset* on, in blocks.

            async with remote.reading("big.bin") as blocks:
                async for block in blocks:
                    file.write(block)
        """
        path = _checked(path)
        async with self._session() as files:
            size = await files.size(path)
            async with files.reading(path, offset) as blocks:
                yield _all_of(blocks, offset, size)

    @asynccontextmanager
    async def writing(
        self, path: str, *, overwrite: bool = True, make_directories: bool = False
    ) -> AsyncIterator[Callable[[bytes], Awaitable[None]]]:
        """
        A coroutine function that takes a file block by block; it appears under its name when the block of code ends.

            async with remote.writing("big.bin") as write:
                while block := file.read(1_000_000):
                    await write(block)

        Where the block of code raises, nothing appears.
        """
        path = _checked(path)
        partial = partial_path(path, new_token())
        begun = False
        try:
            async with self._session() as files:
                await make_way(files, path, overwrite, make_directories)
                begun = True
                sent = 0
                async with files.writing(partial) as write:

                    async def counted(block: bytes) -> None:
                        nonlocal sent
                        await write(block)
                        sent += len(block)

                    yield counted
                await appear(files, partial, path, sent, overwrite)
        except Exception:
            if begun:
                await self.tidy(partial)
            raise

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Any]:
        """The driver's client, logged in and in its directory: an `aioftp.Client`, or an `asyncssh.SFTPClient`."""
        async with self._session() as files:
            yield getattr(files, "client", files)

    async def tidy(self, partial: str) -> None:
        """Delete what an upload that failed has left behind, where that can be done soon."""
        with contextlib.suppress(ConnectorError, TimeoutError):
            async with asyncio.timeout(TIDY_S), self.server.session() as files:
                await files.delete(partial)

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[Files]:
        """A session; the way to the server is tried as often as the connection says."""
        pauses_s = pauses(self._retries)
        async with AsyncExitStack() as stack:
            while True:
                try:
                    files = await stack.enter_async_context(self.server.session())
                    break
                except Unreachable:
                    pause_s = next(pauses_s, None)
                    if pause_s is None:
                        raise
                    await asyncio.sleep(pause_s)
            yield files


def pauses(retries: int) -> Any:
    """How long to wait before each further attempt: longer each time."""
    return iter(min(FIRST_PAUSE_S * 2**count, LONGEST_PAUSE_S) for count in range(retries))


async def _all_of(blocks: AsyncIterator[bytes], offset: int, size: int | None) -> AsyncIterator[bytes]:
    got = offset
    async for block in blocks:
        got += len(block)
        yield block
    if size is not None and got < size:
        raise Cut(f"ended a transfer at byte {got} of {size}")


def _checked(path: str) -> str:
    try:
        return _FILE_PATH.validate_python(path)
    except ValidationError as exc:
        raise Misconfigured(
            f"the path {exc.errors(include_input=False, include_context=False)[0]['msg']}", hint="Correct the path."
        ) from None
