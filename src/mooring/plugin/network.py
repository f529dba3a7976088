"""Reaching a host, and saying why it could not be reached, in the same words for every room."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mooring.errors import ConnectorError, Misconfigured, Unreachable
from mooring.kit.egress import Egress, as_address, canonical

Option = tuple[int, int, int]
"""A socket option to set before connecting: level, name, value."""


@dataclass(frozen=True)
class Network:
    """
    The only way out of a worker.

    A name is looked up once, **every** address found is judged by the worker's egress policy, and the connection goes
    to one of those very addresses: there is no second look-up that could answer differently. A name that has one
    denied address is denied as a whole.
    """

    egress: Egress

    async def resolve(self, host: str, port: int) -> list[tuple[Any, ...]]:
        """The socket addresses of *host*, all of which are allowed. Raises `Unreachable`, `EgressDenied`."""
        self.egress.check_host(host)
        literal = as_address(canonical(host))
        if literal is not None:
            return [(str(literal), port) if literal.version == 4 else (str(literal), port, 0, 0)]
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except socket.gaierror:
            raise Unreachable(
                f"the host name {host} does not resolve", hint="Check the spelling, and the worker's name servers."
            ) from None
        except UnicodeError:
            raise Misconfigured("the host is not a host name", hint="Correct the host.") from None
        addresses = [entry[4] for entry in found]
        self.egress.check_all(host, (str(address[0]) for address in addresses))
        return addresses

    async def connect(self, host: str, port: int, options: Iterable[Option] = ()) -> socket.socket:
        """A socket that does not block, connected to the first address of *host* that takes it. Raises `OSError` too."""
        addresses = await self.resolve(host, port)
        for address in addresses[:-1]:
            with contextlib.suppress(OSError):
                return await connected_to(address, options)
        return await connected_to(addresses[-1], options)

    async def open_connection(
        self,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
        limit: int = 65536,
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A stream to *host*, in TLS where that is given. Raises `OSError`, `Unreachable`, `EgressDenied`."""
        options: dict[str, Any] = {} if tls is None else {"ssl": tls, "server_hostname": server_name or host}
        sock = await self.connect(host, port)
        try:
            return await asyncio.open_connection(sock=sock, limit=limit, **options)
        except BaseException:
            sock.close()
            raise

    async def dial(self, host: str, port: int) -> None:
        """Open and close a TCP connection. Raises `Unreachable`, `EgressDenied`."""
        try:
            (await self.connect(host, port)).close()
        except OSError as exc:
            raise network_error(exc, f"{host}:{port}") from exc

    async def handshake(self, host: str, port: int, context: ssl.SSLContext, server_name: str | None = None) -> None:
        """Open a TLS connection and close it. Raises `Unreachable`, `Misconfigured`, `EgressDenied`."""
        try:
            _, writer = await self.open_connection(host, port, tls=context, server_name=server_name)
        except OSError as exc:
            raise network_error(exc, f"{host}:{port}") from exc
        writer.close()


async def connected_to(address: tuple[Any, ...], options: Iterable[Option] = ()) -> socket.socket:
    """A socket, connected to an address that `Network.resolve` gave. Raises `OSError`."""
    sock = new_socket(address, socket.SOCK_STREAM)
    try:
        for option in options:
            sock.setsockopt(*option)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


def new_socket(address: tuple[Any, ...], kind: socket.SocketKind) -> socket.socket:
    """A socket for such an address, that does not block."""
    sock = socket.socket(socket.AF_INET6 if len(address) > 2 else socket.AF_INET, kind)  # IPv6 has two more parts
    sock.setblocking(False)
    return sock


def network_error(error: BaseException, address: str) -> ConnectorError:
    """What a failed connection to *address* (`host:port`) means, and what to do next."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return Misconfigured(
            f"{address}: the server's certificate was not accepted: {error.verify_message}",
            hint="Check that the host is the name in the certificate, and that its issuer is trusted here"
            " (a truststore in the connection, or MOORING_CA_FILE on the worker).",
        )
    if isinstance(error, ssl.SSLError):
        return Misconfigured(
            f"{address}: the TLS handshake failed: {getattr(error, 'reason', None) or 'unexpected answer'}",
            hint="Check that this port speaks TLS, and the allowed TLS versions.",
        )
    if isinstance(error, ConnectionRefusedError) or "Connect call failed" in str(error):
        return Unreachable(
            f"{address} refused the connection",
            hint="Check the port, and that the server is running and listening there.",
        )
    if isinstance(error, TimeoutError):
        return Unreachable(
            f"{address} did not answer in time",
            hint="Check the address, and that no firewall drops the packets silently.",
        )
    if isinstance(error, socket.gaierror):
        return Unreachable(
            f"the host name of {address} does not resolve", hint="Check the spelling, and the worker's name servers."
        )
    if isinstance(error, ConnectionError | EOFError):
        return Unreachable(
            f"{address} closed the connection", hint="Look at the server's own log for the reason; then retry."
        )
    reason = getattr(error, "strerror", None) or type(error).__name__
    return Unreachable(f"{address} could not be reached: {reason}", hint="Check the address and the network.")
