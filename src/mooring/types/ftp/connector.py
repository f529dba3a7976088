"""A connector for files over FTP, FTPS and SFTP."""

from __future__ import annotations

import asyncio
import importlib
import ssl
from collections.abc import Awaitable, Callable
from typing import TypeVar

from mooring.errors import ConnectorError, DriverMissing, Misconfigured, Unreachable
from mooring.kit.tls import client_context
from mooring.plugin.connector import Connector, operation
from mooring.plugin.probe import Probe
from mooring.types.ftp.messages import (
    PIECE_BYTES,
    Deleted,
    DeleteRequest,
    GetRequest,
    Listing,
    ListRequest,
    Piece,
    PutRequest,
    Stored,
)
from mooring.types.ftp.model import FtpConfig
from mooring.types.ftp.paths import new_token, partial_path
from mooring.types.ftp.streams import Remote
from mooring.types.ftp.transfers import discard, finish, read, remove, store

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0

_ANY_VERSION = ("TLS", "SSL")
_VERSIONS = {"TLSV1": "TLSv1", "TLSV1.0": "TLSv1", "TLSV1.1": "TLSv1.1", "TLSV1.2": "TLSv1.2", "TLSV1.3": "TLSv1.3"}

T = TypeVar("T")


class FtpConnector(Connector[FtpConfig]):
    """Sessions with one server, opened when they are needed, and used again."""

    _remote: Remote | None = None

    async def open(self) -> None:
        self._remote = Remote(self._build())

    async def stop(self) -> None:
        if self._remote is not None:
            await self._remote.server.rest()

    async def close(self) -> None:
        if self._remote is not None:
            await self._remote.server.end()

    @operation
    async def list(self, request: ListRequest) -> Listing:
        """List what is in a directory."""
        entries, truncated = await self._use(lambda files: files.entries(request.path, request.limit))
        return Listing(entries=sorted(entries, key=lambda entry: entry.name), truncated=truncated)

    @operation
    async def get(self, request: GetRequest) -> Piece:
        """Fetch a file, or a part of it."""
        return await self._use(lambda files: read(files, request))

    @operation
    async def put(self, request: PutRequest) -> Stored:
        """Store a file, at once or in parts; it appears under its name when all of it is there."""
        token = request.upload or new_token()
        # Once a part may have become the file, doing it again would not do the same.
        repeatable = request.more or (request.upload is None and request.overwrite)
        return await self._use(lambda files: store(files, request, token), repeatable)

    @operation
    async def delete(self, request: DeleteRequest) -> Deleted:
        """Delete a file, or give up an unfinished upload."""
        path = partial_path(request.path, request.upload) if request.upload else request.path
        return await self._use(lambda files: remove(files, path, request.missing_ok), repeatable=False)

    def native(self) -> Remote:
        return self._live()

    async def probe(self, probe: Probe) -> None:
        await self._build().probe(probe)

    def translate(self, error: BaseException) -> ConnectorError | None:
        return self._remote.server.explain(error) if self._remote is not None else None

    def _live(self) -> Remote:
        if self._remote is None:
            raise Misconfigured("the connection is not open")
        return self._remote

    async def _use(self, work: Callable[[Files], Awaitable[T]], repeatable: bool = True) -> T:
        """
        Do *work* in a session; as often as `retryCount` says where the server was not reached or was lost.

        What is not *repeatable* is begun once only: then only the way to the server is tried again.
        """
        server = self._live().server
        pause_s = FIRST_PAUSE_S
        for left in range(int(self.config.retry_count), -1, -1):
            begun = False
            try:
                async with server.session() as files:
                    begun = True
                    return await work(files)
            except Unreachable:
                if not left or (begun and not repeatable):
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        raise AssertionError("the last attempt has returned or raised")
