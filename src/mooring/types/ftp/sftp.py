"""Files over SFTP: one SSH connection and one SFTP session for all operations of a connection."""

from __future__ import annotations

import asyncio
import contextlib
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import asyncssh
from asyncssh import SFTPClient, SFTPError

from mooring.errors import ConnectorError, Misconfigured, Unreachable
from mooring.kit import ssh
from mooring.types.ftp.faults import Cut, Missing, NoDirectory
from mooring.types.ftp.messages import Entry

SILENCE_S = 30.0
BLOCK_BYTES = 1024 * 1024

_LOST = (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection, asyncssh.SFTPBadMessage)
_NOT_THERE = (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath)


class SftpFiles:
    """The files below a directory, over one SFTP session that any number may use at a time."""

    def __init__(self, connection: asyncssh.SSHClientConnection, client: SFTPClient, base: str) -> None:
        self.connection, self.client = connection, client
        self._base = base.rstrip("/")

    @classmethod
    async def over(cls, connection: asyncssh.SSHClientConnection, directory: str) -> SftpFiles:
        """A session on *connection*, in *directory*."""
        async with asyncio.timeout(SILENCE_S):
            # A name that is no UTF-8 must not hide all the others.
            client = await connection.start_sftp_client(path_errors="replace")
        try:
            async with asyncio.timeout(SILENCE_S):
                try:
                    base = str(await client.realpath(directory))
                    there = await client.isdir(base)
                except (*_NOT_THERE, asyncssh.SFTPFailure, asyncssh.SFTPPermissionDenied):
                    there = False
                if not there:
                    raise NoDirectory
        except BaseException:
            client.exit()
            raise
        return cls(connection, client, base)

    async def size(self, path: str) -> int | None:
        """Bytes of a file; None where there is none."""
        try:
            found: int | None = (await _soon(self.client.stat(self._at(path)))).size
            return found
        except _NOT_THERE:
            return None

    async def exists(self, path: str) -> bool:
        """Whether there is something of that name."""
        return bool(await _soon(self.client.lexists(self._at(path))))

    async def entries(self, directory: str, limit: int) -> tuple[list[Entry], bool]:
        """What is in *directory*, and whether there is more than *limit*."""
        found: list[Entry] = []
        names: Any = self.client.scandir(self._at(directory))
        # Closed by hand: left early, it would give its handle back only when it is collected.
        async with contextlib.aclosing(names):
            async for name in names:
                if name.filename in (".", ".."):
                    continue
                if len(found) == limit:
                    return found, True
                found.append(_entry(name))
        return found, False

    @asynccontextmanager
    async def reading(
        self, path: str, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes of a file from *offset* on, in blocks; no more than *length*."""
        file = await _soon(self.client.open(self._at(path), "rb"))
        try:
            yield _blocks(file, offset, length)
        finally:
            await _let_go(file)

    @asynccontextmanager
    async def writing(self, path: str, offset: int = 0) -> AsyncIterator[Any]:
        """A coroutine function that takes blocks for a file: from its beginning, or from *offset* on."""
        if offset:
            there = await self.size(path)
            if there is None or there < offset:
                raise Cut(f"holds {there or 0} bytes of this upload, and the next part begins at {offset}")
        file = await _soon(self.client.open(self._at(path), "r+b" if offset else "wb"))
        place = offset
        try:

            async def write(block: bytes) -> None:
                nonlocal place
                for start in range(0, len(block), BLOCK_BYTES):
                    part = block[start : start + BLOCK_BYTES] if len(block) > BLOCK_BYTES else block
                    await _soon(file.write(part, place))
                    place += len(part)

            yield write
        except BaseException:
            await _let_go(file)
            raise
        # Here a server says whether all of it was kept.
        await _soon(file.close())

    async def rename_file(self, source: str, destination: str, overwrite: bool) -> None:
        """Give a file its name; with *overwrite* in the place of another one."""
        old, new = self._at(source), self._at(destination)
        if not overwrite:
            # This rename, unlike POSIX's, refuses where something is.
            await _soon(self.client.rename(old, new))
            return
        try:
            await _soon(self.client.posix_rename(old, new))
        except asyncssh.SFTPOpUnsupported:
            with contextlib.suppress(*_NOT_THERE):
                await _soon(self.client.remove(new))
            await _soon(self.client.rename(old, new))

    async def delete(self, path: str) -> None:
        """Delete a file."""
        await _soon(self.client.remove(self._at(path)))

    async def make(self, directory: str) -> None:
        """Make a directory, unless it is there."""
        path = self._at(directory)
        if not await _soon(self.client.isdir(path)):
            await _soon(self.client.mkdir(path))

    def _at(self, path: str) -> str:
        return f"{self._base}/{path}" if path else self._base or "/"


def explain(error: BaseException, address: str, username: str) -> ConnectorError | None:
    """What an error of SFTP or SSH means, and what to do next; None for one that is neither."""
    match error:
        case asyncssh.SFTPConnectionLost() | asyncssh.SFTPNoConnection() | asyncssh.SFTPBadMessage():
            return Unreachable(f"{address} ended the SFTP session", hint="Look at the server's own log; then retry.")
        case asyncssh.SFTPNoSuchFile() | asyncssh.SFTPNoSuchPath():
            return Missing(
                f"{address} has no such file or directory", hint="Check the path. Paths begin at workingDir."
            )
        case asyncssh.SFTPPermissionDenied():
            return Misconfigured(
                f"{address} does not permit it to {username}",
                hint="Check the rights of this account on the file and its directory.",
            )
        case asyncssh.SFTPNoSpaceOnFilesystem() | asyncssh.SFTPQuotaExceeded():
            return Misconfigured(f"{address} has no room left for it", hint="Make room on the server.")
        case asyncssh.SFTPError():
            return Misconfigured(
                f"{address} did not carry it out: {error.reason[:200] or 'it gave no reason'}",
                hint="Check the path, and what this account may do there; the disk of the server may be full, too.",
            )
    return ssh.explain(error, address, username)


def is_lost(error: BaseException) -> bool:
    """Whether the session is over with this error."""
    return isinstance(error, (*_LOST, asyncssh.DisconnectError, OSError))


def _entry(name: Any) -> Entry:
    attributes = name.attrs
    mode = stat.S_IFMT(attributes.permissions) if attributes.permissions is not None else 0
    kind = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link"}.get(mode, "other")
    return Entry(
        name=str(name.filename),
        type=kind,  # type: ignore[arg-type]  # one of its words
        size=attributes.size if kind == "file" else None,
        modified=_time(attributes.mtime),
    )


def _time(seconds: Any) -> str | None:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat()
    except (TypeError, ValueError, OverflowError, OSError):
        return None


async def _blocks(file: Any, offset: int, length: int | None) -> AsyncIterator[bytes]:
    left = length
    while left is None or left > 0:
        asked = BLOCK_BYTES if left is None else min(BLOCK_BYTES, left)
        block = await _soon(file.read(asked, offset))
        offset += len(block)
        if left is not None:
            left -= len(block)
        if block:
            yield block
        if len(block) < asked:
            return


async def _soon(doing: Any) -> Any:
    async with asyncio.timeout(SILENCE_S):
        return await doing


async def _let_go(file: Any) -> None:
    with contextlib.suppress(SFTPError, asyncssh.Error, OSError, TimeoutError):
        async with asyncio.timeout(1):
            await file.close()
