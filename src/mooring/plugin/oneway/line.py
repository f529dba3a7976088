"""Where a stream goes."""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass

from mooring.plugin.network import Network, Option
from mooring.plugin.oneway.stream import Stream
from mooring.plugin.probe import Probe

HANDSHAKE_S = 10.0


@dataclass(frozen=True)
class Line:
    """Where a stream goes, and how it is protected; `connect_s` bounds connecting over TCP, where it is not None."""

    network: Network
    host: str
    port: int
    tls: ssl.SSLContext | None = None
    connect_s: float | None = None
    options: tuple[Option, ...] = ()

    async def open(self) -> Stream:
        """A stream that is ready to be written to. Raises `OSError`, `Talks`, `Unreachable`."""
        return await self._begun(Stream(await self._connected()))

    async def probe(self, probe: Probe, why_no_tls: str) -> None:
        """The steps resolve, connect and tls, on a stream of their own."""
        async with probe.step("resolve"):
            await self.network.resolve(self.host, self.port)
        async with probe.step("connect"):
            stream = Stream(await self._connected())
            if self.tls is None:
                await self._begun(stream)
        if self.tls is None:
            probe.skip("tls", why_no_tls)
        else:
            async with probe.step("tls"):
                await self._begun(stream)
        await stream.close()

    async def _connected(self) -> socket.socket:
        """A socket, connected to the first address of the host that takes it."""
        async with asyncio.timeout(self.connect_s):
            return await self.network.connect(self.host, self.port, self.options)

    async def _begun(self, stream: Stream) -> Stream:
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                await stream.begin(self.tls, self.host)
        except BaseException:
            stream.abort()
            raise
        return stream
