"""
Speaking HTTP to one host: names looked up first, TLS by the context that is given, no proxy, redirect or cookie.

Imported by connectors only: it imports `httpx2`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Iterator, Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpcore2
import httpx2

from mooring.errors import ConnectorError, Misconfigured, Unreachable
from mooring.plugin.network import network_error, resolve


class TooLong(Exception):
    """The other side said more than is taken."""


def client(
    tls: ssl.SSLContext | None,
    *,
    connections: int,
    timeout_s: float,
    idle_s: float,
    headers: Mapping[str, str] | None = None,
    socket_options: Iterable[tuple[int, int, int]] = (),
) -> httpx2.AsyncClient:
    """A client with a pool of so many connections; those that nobody used for *idle_s* are closed."""
    return httpx2.AsyncClient(
        transport=_Pool(tls, connections, idle_s, list(socket_options)),
        timeout=timeout_s,
        headers={"User-Agent": "mooring", "Accept-Encoding": "identity", **(headers or {})},
        # An answer leaves no trace in later calls.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        follow_redirects=False,
        trust_env=False,
    )


async def exchange(http: httpx2.AsyncClient, request: httpx2.Request, most: int) -> tuple[httpx2.Response, bytes]:
    """
    The answer to *request*, and its body.

    Raises:
        TooLong: the body has more than *most* bytes, or is compressed, which was not asked for.
        httpx2.TransportError: there is no answer.
    """
    response = await http.send(request, stream=True)
    try:
        if response.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            raise TooLong
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > most:
                raise TooLong
    finally:
        await response.aclose()
    return response, bytes(body)


def http_error(error: httpx2.TransportError, address: str, *, slow: str, busy: str, peer: str) -> ConnectorError:
    """
    What it means that *address* gave no answer to a request.

    *slow* and *busy* say what to change where it was too slow, or where every connection was in use; *peer* is what
    should be there: `a web server`.
    """
    match error:
        case httpx2.ConnectTimeout():
            return network_error(TimeoutError(), address)
        case httpx2.PoolTimeout():
            return Unreachable(f"{address}: every connection was in use for too long", hint=busy)
        case httpx2.TimeoutException():
            return Unreachable(
                f"{address} did not answer in time; it may or may not have acted on the request", hint=slow
            )
        case httpx2.RemoteProtocolError() if "disconnected" not in str(error):
            return Misconfigured(
                f"{address} did not answer as {peer} does",
                hint="Check the port, and whether it is https rather than http.",
            )
        case httpx2.RemoteProtocolError():
            return Unreachable(
                f"{address} closed the connection without an answer; it may or may not have acted on the request",
                hint="Look at the server's own log for the reason. A server that wants a client certificate"
                " and gets none may do this too.",
            )
    return network_error(_root(error), address)


def is_before_sending(error: BaseException) -> bool:
    """Whether *error* came before the other side can have seen anything of the request."""
    return isinstance(error, Unreachable | httpx2.ConnectError | httpx2.ConnectTimeout)


class _Stream(httpcore2.AsyncNetworkStream):
    """A connection that is encrypted with the given TLS context, and not with the one that the pool offers."""

    def __init__(self, inner: httpcore2.AsyncNetworkStream, tls: ssl.SSLContext | None) -> None:
        self._inner, self._tls = inner, tls

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._inner.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        return await self._inner.start_tls(self._tls or ssl_context, server_hostname, timeout)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _ResolveFirst(httpcore2.AnyIOBackend):
    """Looks a name up and connects to the very addresses that were found, so that they can be judged in between."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._tls = tls

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                addresses = [str(address[0]) for address in await resolve(host, port)]
        except TimeoutError as exc:
            raise httpcore2.ConnectTimeout(exc) from exc
        for address in addresses[:-1]:
            try:
                inner = await super().connect_tcp(address, port, timeout, local_address, socket_options)
            except httpcore2.ConnectError:
                continue
            return _Stream(inner, self._tls)
        inner = await super().connect_tcp(addresses[-1], port, timeout, local_address, socket_options)
        return _Stream(inner, self._tls)


class _Pool(httpx2.AsyncHTTPTransport):
    """A pool of connections to one host."""

    def __init__(
        self, tls: ssl.SSLContext | None, connections: int, idle_s: float, socket_options: list[tuple[int, int, int]]
    ) -> None:
        self._pool = httpcore2.AsyncConnectionPool(
            # The pool writes into the context that it is given, and ours is shared with other connections.
            ssl_context=_unused_context(),
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=idle_s,
            network_backend=_ResolveFirst(tls),
            socket_options=socket_options,
        )


def _unused_context() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _root(error: BaseException) -> BaseException:
    """What lies under a driver's exception: the operating system's or the TLS library's."""
    found = next((cause for cause in _causes(error) if isinstance(cause, ssl.SSLError)), None)
    return found or next(
        (cause for cause in reversed(list(_causes(error))) if isinstance(cause, OSError)), ConnectionError()
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
