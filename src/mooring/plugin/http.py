"""
Speaking HTTP to one host: names looked up first, TLS by the context that is given, no proxy, redirect or cookie.

Imported by connectors only: it imports `httpx2`.
"""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import aclosing
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpcore2
import httpx2

from mooring.errors import ConnectorError, EgressDenied, Misconfigured, Unreachable
from mooring.kit.tls import client_context
from mooring.plugin.connector import Context
from mooring.plugin.network import Network, network_error

_ANY_COMPRESSION = zlib.MAX_WBITS | 32


class TooLong(Exception):
    """The other side said more than is taken."""


def client(
    network: Network,
    tls: ssl.SSLContext | None,
    *,
    connections: int,
    timeout: httpx2.Timeout | float,
    idle_s: float,
    headers: Mapping[str, str] | None = None,
    socket_options: Iterable[tuple[int, int, int]] = (),
) -> httpx2.AsyncClient:
    """A client with a pool of so many connections; those that nobody used for *idle_s* are closed."""
    return httpx2.AsyncClient(
        transport=_Pool(network, tls, connections, idle_s, list(socket_options)),
        timeout=timeout,
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
    async with aclosing(await http.send(request, stream=True)) as response:
        if response.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
            raise TooLong
        body, is_cut = await _read(response, most)
    if is_cut:
        raise TooLong
    return response, body


async def beginning(
    http: httpx2.AsyncClient, request: httpx2.Request, most: int
) -> tuple[httpx2.Response, bytes, bool]:
    """
    The answer to *request*, the first *most* bytes of its body, decompressed, and whether there was more.

    No more than that is read, nor is it longer once decompressed; what cannot be decompressed stays as it came.

    Raises:
        httpx2.TransportError: there is no answer.
    """
    async with aclosing(await http.send(request, stream=True)) as response:
        raw, is_cut = await _read(response, most)
    body, is_longer = _decompressed(raw, response.headers.get("content-encoding", ""), most)
    return response, body, is_cut or is_longer


def http_error(
    error: httpx2.TransportError,
    address: str,
    *,
    slow: str,
    busy: str,
    peer: str,
    waited: str = "too long",
    identity: str = "a client certificate",
) -> ConnectorError:
    """
    What it means that *address* gave no answer to a request.

    *slow* and *busy* say what to change where it was too slow, or where every connection was in use; *peer* is what
    should be there: `a web server`. *waited* is how long a connection was waited for, *identity* what the server may
    have missed.
    """
    match error:
        case httpx2.ConnectTimeout():
            return network_error(TimeoutError(), address)
        case httpx2.PoolTimeout():
            return Unreachable(f"{address}: every connection was in use for {waited}", hint=busy)
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
                hint=f"Look at the server's own log for the reason. A server that wants {identity}"
                " and gets none may do this too.",
            )
    return network_error(_root(error), address)


def is_before_sending(error: BaseException) -> bool:
    """Whether *error* came before the other side can have seen anything of the request."""
    return isinstance(error, Unreachable | EgressDenied | httpx2.ConnectError | httpx2.ConnectTimeout)


def tls_context(
    context: Context, *, trust_store: str | None, key_store: str | None, verify_hostname: bool
) -> ssl.SSLContext:
    """
    The context for a connection with these stores, by name. It is shared: never change it.

    Raises:
        MaterialMissing: a store is not there.
        Misconfigured: what it holds is of no use.
    """
    store = context.materials.store(trust_store) if trust_store else None
    if store is not None and not store.trusted:
        raise Misconfigured(
            "the chosen truststore holds no certificate to trust", hint="Add the issuer of the server's certificate."
        )
    try:
        return client_context(
            verify_hostname=verify_hostname,
            ca_file=context.ca_file,
            trusted_pem=store.trusted if store else None,
            identity_pem=context.materials.store(key_store).identity() if key_store else None,
            purpose="http",
        )
    except (ssl.SSLError, ValueError) as exc:
        raise Misconfigured(
            "the certificates of this connection cannot be used for TLS", hint="Check the truststore and the keystore."
        ) from exc


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

    def __init__(self, network: Network, tls: ssl.SSLContext | None) -> None:
        self._network, self._tls = network, tls

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
                addresses = [str(address[0]) for address in await self._network.resolve(host, port)]
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
        self,
        network: Network,
        tls: ssl.SSLContext | None,
        connections: int,
        idle_s: float,
        socket_options: list[tuple[int, int, int]],
    ) -> None:
        self._pool = httpcore2.AsyncConnectionPool(
            # The pool writes into the context that it is given, and ours is shared with other connections.
            ssl_context=_unused_context(),
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=idle_s,
            network_backend=_ResolveFirst(network, tls),
            socket_options=socket_options,
        )


def _unused_context() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


async def _read(response: httpx2.Response, most: int) -> tuple[bytes, bool]:
    """The body's first *most* bytes as they came, and whether there were more."""
    read = bytearray()
    async for chunk in response.aiter_raw():
        read += chunk
        if len(read) > most:
            return bytes(read[:most]), True
    return bytes(read), False


def _decompressed(raw: bytes, encoding: str, most: int) -> tuple[bytes, bool]:
    """*raw* decompressed as far as it may be long, and whether there was more; as it is where that cannot be done."""
    if encoding.strip().lower() not in ("gzip", "x-gzip", "deflate"):
        return raw, False
    try:
        content = zlib.decompressobj(_ANY_COMPRESSION).decompress(raw, most + 1)
    except zlib.error:
        return raw, False
    return content[:most], len(content) > most


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
