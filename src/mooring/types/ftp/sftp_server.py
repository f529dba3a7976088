"""The SFTP side of the sessions: one SSH connection, one SFTP session on it, used by all at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mooring.errors import ConnectorError
from mooring.kit import ssh
from mooring.plugin.network import Network, network_error
from mooring.plugin.probe import Probe
from mooring.types.ftp import sftp
from mooring.types.ftp.faults import Cut, NoDirectory
from mooring.types.ftp.faults import explain as explain_transfer
from mooring.types.ftp.sessions import Server
from mooring.types.ftp.sftp import SftpFiles


def host_key(server: str, pinned: str | None) -> ssh.HostKey:
    """What is expected of the host key of *server*."""
    return ssh.HostKey(server, pinned)


class SftpServer(Server):
    """An SSH server with the SFTP subsystem."""

    def __init__(self, network: Network, host: str, port: int, host_key: ssh.HostKey, *login: Any) -> None:
        super().__init__(*login)
        self._network = network
        self._line = ssh.Line(host, port, self.username, self.password, host_key, network.connect, self.timeout_s)
        self._files: SftpFiles | None = None
        self._opening = asyncio.Lock()

    @property
    def address(self) -> str:
        return self._line.address

    @asynccontextmanager
    async def _lent(self) -> AsyncIterator[SftpFiles]:
        files = await self._shared()
        try:
            yield files
        except Exception as exc:
            if sftp.is_lost(exc):
                await self._forget(files)
            raise

    async def _shared(self) -> SftpFiles:
        async with self._opening:
            connection = await self._line.connection()
            if self._files is None or self._files.connection is not connection:
                self._files = await SftpFiles.over(connection, self.directory)
            return self._files

    async def _forget(self, files: SftpFiles) -> None:
        """Begin anew with the next use: this session is over, whatever the connection says."""
        if self._files is files:
            self._files = None
            await self._line.close()

    async def rest(self) -> None:
        if self._used:
            return
        self._files = None
        await self._line.close()

    def _cut(self) -> None:
        if self._files is not None:
            self._files.connection.abort()

    async def probe(self, probe: Probe) -> None:
        line = self._line
        async with probe.step("resolve"):
            await self._network.resolve(line.host, line.port)
        async with probe.step("connect"):
            await self._network.dial(line.host, line.port)
        async with ssh.probed(line, probe) as connection, probe.step("working directory"):
            (await SftpFiles.over(connection, self.directory)).client.exit()

    def explain(self, error: BaseException) -> ConnectorError | None:
        if isinstance(error, Cut | NoDirectory):
            return explain_transfer(error, self.address, self.username)
        if isinstance(error, OSError | EOFError):
            return network_error(error, self.address)
        return sftp.explain(error, self.address, self.username)
