"""Sessions with a file server: few at a time, used again, and each given to one user of FTP or to any number of SFTP."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import aioftp

from mooring.errors import ConnectorError
from mooring.plugin.probe import Probe
from mooring.types.ftp import faults
from mooring.types.ftp.line import Address, Line
from mooring.types.ftp.messages import Entry

PLACES = 8
FRESH_S = 5.0
LAST_WORDS_S = 5.0


class Files(Protocol):
    """What both kinds of session can do with files, by paths that begin at the connection's directory."""

    async def size(self, path: str) -> int | None: ...
    async def exists(self, path: str) -> bool: ...
    async def entries(self, directory: str, limit: int) -> tuple[list[Entry], bool]: ...
    def reading(
        self, path: str, offset: int = 0, length: int | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]: ...
    def writing(self, path: str, offset: int = 0) -> AbstractAsyncContextManager[Any]: ...
    async def rename_file(self, source: str, destination: str, overwrite: bool) -> None: ...
    async def delete(self, path: str) -> None: ...
    async def make(self, directory: str) -> None: ...


class Server(ABC):
    """
    A file server, and the sessions with it. Nothing is opened before the first session is asked for.

    Attributes:
        begun: Whether the session of the block was there, so that the server may have seen something of it.
    """

    def __init__(self, username: str, password: str, directory: str, timeout_s: float | None) -> None:
        self.username, self.password, self.directory = username, password, directory
        self.timeout_s = timeout_s
        self._places = asyncio.Semaphore(PLACES)
        self._used = 0
        self._unused = asyncio.Event()
        self._unused.set()

    @property
    @abstractmethod
    def address(self) -> str:
        """`host:port`, for messages."""

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Files]:
        """A session, logged in and in its directory. Raises `ConnectorError` for whatever goes wrong inside."""
        async with self._places:
            self._used += 1
            self._unused.clear()
            try:
                async with self._lent() as files:
                    yield files
            except ConnectorError:
                raise
            except Exception as exc:
                # Time-outs of ours and of the driver's must not pass for the caller's deadline.
                raise self.explain(exc) or exc from exc
            finally:
                self._used -= 1
                if not self._used:
                    self._unused.set()

    async def end(self) -> None:
        """Close what is not in use, wait a little for what is, and cut the rest."""
        await self.rest()
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                await self._unused.wait()
        except TimeoutError:
            self._cut()
        await self.rest()

    @abstractmethod
    def _lent(self) -> AbstractAsyncContextManager[Files]:
        """A session for one use."""

    @abstractmethod
    async def rest(self) -> None:
        """Close the sessions that are not in use; those in use are closed after it."""

    @abstractmethod
    def _cut(self) -> None:
        """Cut the sessions that are in use."""

    @abstractmethod
    async def probe(self, probe: Probe) -> None:
        """One honest attempt with a session of its own."""

    @abstractmethod
    def explain(self, error: BaseException) -> ConnectorError | None:
        """The driver's exception as one of ours."""


class FtpServer(Server):
    """FTP and FTPS: a session does one thing at a time, and so several are kept."""

    def __init__(self, address: Address, *login: Any) -> None:
        super().__init__(*login)
        self._where = address
        self._idle: deque[tuple[Line, float]] = deque()
        self._busy: set[Line] = set()
        self._epoch = 0

    @property
    def address(self) -> str:
        return f"{self._where.host}:{self._where.port}"

    @asynccontextmanager
    async def _lent(self) -> AsyncIterator[Line]:
        epoch = self._epoch
        line = await self._resumed() or await self._new()
        self._busy.add(line)
        keep = False
        try:
            yield line
            keep = True
        except (ConnectorError, faults.Cut):
            keep = True
            raise
        except aioftp.StatusCodeError as exc:
            keep = faults.code_of(exc) != "421"
            raise
        finally:
            self._busy.discard(line)
            if keep and line.is_usable and epoch == self._epoch:
                self._idle.append((line, time.monotonic()))
            elif keep and line.is_usable:
                await line.leave()
            else:
                line.abort_now()

    async def _resumed(self) -> Line | None:
        """A session from before that the server still knows."""
        while self._idle:
            line, since = self._idle.pop()
            fresh = time.monotonic() - since < FRESH_S
            if line.is_usable and (fresh or await line.still_there()):
                return line
            line.abort_now()
        return None

    async def _new(self) -> Line:
        line = Line(self._where)
        try:
            async with asyncio.timeout(self.timeout_s):
                await line.dial()
                await line.greet()
                await line.enter(self.username, self.password)
                await line.go(self.directory)
        except BaseException:
            line.abort_now()
            raise
        return line

    async def rest(self) -> None:
        self._epoch += 1
        leaving = [line for line, _ in self._idle]
        self._idle.clear()
        await asyncio.gather(*(line.leave() for line in leaving))

    def _cut(self) -> None:
        for line in self._busy:
            line.abort_now()

    async def probe(self, probe: Probe) -> None:
        line = Line(self._where)
        try:
            async with probe.step("resolve"):
                await self._where.network.resolve(self._where.host, self._where.port)
            async with probe.step("connect"):
                await line.dial()
            if self._where.tls is not None:
                async with probe.step("tls"):
                    await line.greet()
            else:
                probe.skip("tls", "protocol is FTP: the password and the files are sent in the clear")
            async with probe.step("login"):
                if self._where.tls is None:
                    await line.greet()
                await line.enter(self.username, self.password)
            async with probe.step("working directory"):
                await line.go(self.directory)
            await line.leave()
        finally:
            line.abort_now()

    def explain(self, error: BaseException) -> ConnectorError | None:
        return faults.explain(error, self.address, self.username, self.password)
