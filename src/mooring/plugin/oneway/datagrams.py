"""Messages on their way as datagrams."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import Any

from mooring.plugin.network import Network, Option, new_socket
from mooring.plugin.oneway.faults import TooLong
from mooring.plugin.probe import Probe


async def probe_datagrams(probe: Probe, network: Network, host: str, port: int) -> None:
    """The steps resolve, connect and tls where messages go as datagrams: little can be known."""
    async with probe.step("resolve"):
        await network.resolve(host, port)
    async with probe.step("connect"):
        probe.unknown("over UDP nobody says whether a message arrives; nothing was sent")
    probe.skip("tls", "UDP is not encrypted")


class Datagrams:
    """
    A UDP socket to one address, opened when it is needed. Nobody says whether a datagram arrived.

    Only a machine that answers "nobody listens on that port" is heard, and mostly one message too late.
    """

    def __init__(self, network: Network, host: str, port: int, options: tuple[Option, ...] = ()) -> None:
        self._network = network
        self._host, self._port, self._options = host, port, options
        self._sock: socket.socket | None = None
        self._others: list[tuple[Any, ...]] = []

    async def send(self, *datagrams: bytes) -> None:
        """Hand *datagrams* to the network. Raises `OSError`, `Unreachable`, `TooLong`."""
        if self._sock is None:
            addresses = await self._network.resolve(self._host, self._port)
            if self._sock is None:  # nobody else has opened it meanwhile
                self._others = addresses
                self._open_next()
        sock = self._sock
        assert sock is not None
        try:
            for datagram in datagrams:
                await _send(sock, datagram)
            # A refusal from this very machine is there already.
            _raise_pending(sock)
        except ConnectionRefusedError:
            if sock is self._sock:
                sock.close()
                self._sock = None
                if self._others:
                    # The name has another address, where somebody may listen.
                    self._open_next()
                    return await self.send(*datagrams)
            raise
        except OSError as exc:
            if exc.errno == errno.EMSGSIZE:
                raise TooLong from exc
            self.close()
            raise

    def close(self) -> None:
        """Close the socket. Safe twice; `send` opens another, and looks the name up again."""
        sock, self._sock = self._sock, None
        if sock is not None:
            sock.close()

    @property
    def socket(self) -> socket.socket | None:
        """The socket, while there is one."""
        return self._sock

    def _open_next(self) -> None:
        address = self._others.pop(0)
        sock = new_socket(address, socket.SOCK_DGRAM)
        try:
            for option in self._options:
                sock.setsockopt(*option)
            sock.connect(address)
        except BaseException:
            sock.close()
            raise
        self._sock = sock


async def _send(sock: socket.socket, datagram: bytes) -> None:
    while True:
        try:
            sock.send(datagram)
            return
        except (BlockingIOError, InterruptedError):
            await asyncio.sleep(0.001)


def _raise_pending(sock: socket.socket) -> None:
    pending = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if pending:
        raise OSError(pending, os.strerror(pending))
