"""Reaching a host, and saying why it could not be reached, in the same words for every room."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

from mooring.errors import ConnectorError, Misconfigured, Unreachable


async def resolve(host: str, port: int) -> list[tuple[Any, ...]]:
    """The socket addresses of *host*. Raises `Unreachable`."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror:
        raise Unreachable(
            f"the host name {host} does not resolve", hint="Check the spelling, and the worker's name servers."
        ) from None
    except UnicodeError:
        raise Misconfigured("the host is not a host name", hint="Correct the host.") from None
    return [entry[4] for entry in found]


async def dial(host: str, port: int) -> None:
    """Open and close a TCP connection. Raises `Unreachable`."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError as exc:
        raise network_error(exc, f"{host}:{port}") from exc
    writer.close()


async def handshake(host: str, port: int, context: ssl.SSLContext, server_name: str | None = None) -> None:
    """Open a TLS connection and close it. Raises `Unreachable` or `Misconfigured`."""
    try:
        _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=server_name or host)
    except OSError as exc:
        raise network_error(exc, f"{host}:{port}") from exc
    writer.close()


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
