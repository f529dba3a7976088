"""Calling an HTTP address: one host, a pool of connections to it, no redirects."""

from __future__ import annotations

import asyncio
import base64
import codecs
import json
import ssl
import time
import zlib
from collections.abc import Iterable, Iterator
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote, unquote, urlencode

import httpcore2
import httpx2
from pydantic import BeforeValidator, Field, JsonValue, StringConstraints, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from mooring.errors import ConnectorError, Misconfigured, Unreachable
from mooring.kit.tls import client_context
from mooring.plugin.config import split
from mooring.plugin.connector import Answer, Connector, Context, Request, operation
from mooring.plugin.fields import NO_CONTROL
from mooring.plugin.network import dial, handshake, network_error, resolve
from mooring.plugin.probe import Probe
from mooring.plugin.secrets import is_credential_header
from mooring.types.webhook.model import STRUCTURAL_HEADERS, TOKEN, Target, WebhookConfig, target

MAX_BODY = 10 * 1024 * 1024
MAX_ANSWER = 1024 * 1024
IDLE_CONNECTION_S = 15.0
_ANY_COMPRESSION = zlib.MAX_WBITS | 32


def _content(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:
        raise PydanticCustomError("base64", "must be base64") from None


def _no_structure(value: Any) -> Any:
    for name in value if isinstance(value, dict) else ():
        if isinstance(name, str) and name.lower() in STRUCTURAL_HEADERS:
            raise PydanticCustomError(
                "structural_header", f"may not hold the header {name.lower()}, which is set by the HTTP client alone"
            )
    return value


HeaderName = Annotated[str, StringConstraints(pattern=TOKEN, max_length=255)]
HeaderValue = Annotated[str, StringConstraints(pattern=NO_CONTROL, max_length=16_384)]
Bytes = Annotated[bytes, BeforeValidator(_content), WithJsonSchema({"type": "string", "contentEncoding": "base64"})]
Scalar = str | int | float | bool


class Call(Request):
    """What to send. Everything has a default: a webhook may be called with nothing to say."""

    body: JsonValue = Field(
        None, description="The body: a text as it is, anything else as JSON.", examples=[{"order": 4711}]
    )
    body_base64: Bytes | None = Field(None, description="The body as bytes, in base64, instead of `body`.")
    content_type: HeaderValue | None = Field(
        None, description="Media type of the body, where it is not the usual one.", examples=["text/csv"]
    )
    headers: Annotated[dict[HeaderName, HeaderValue], BeforeValidator(_no_structure)] = Field(
        {},
        description="Headers for this call; they replace those of the connection, except credentials.",
        examples=[{"X-Event": "created"}],
    )
    query: dict[str, Scalar | list[Scalar]] = Field(
        {}, description="Query parameters, added to those of the address.", examples=[{"id": 4711}]
    )

    @model_validator(mode="after")
    def _one_body(self) -> Self:
        if self.body is not None and self.body_base64 is not None:
            raise PydanticCustomError("two_bodies", "only one of body and bodyBase64 may be given")
        if len(self.content) > MAX_BODY:
            raise PydanticCustomError("body_too_long", f"body must have at most {MAX_BODY} bytes")
        return self

    @property
    def content(self) -> bytes:
        """The bytes of the body."""
        if self.body_base64 is not None:
            return self.body_base64
        return b"" if self.body is None else _as_bytes(self.body)

    @property
    def usual_type(self) -> str | None:
        """The media type that goes with the kind of body."""
        if self.body_base64 is not None:
            return "application/octet-stream"
        if self.body is None:
            return None
        return "text/plain; charset=utf-8" if isinstance(self.body, str) else "application/json"


class Answered(Answer):
    """What the address answered. Any status is an answer; only silence is an error."""

    status: int = Field(description="The HTTP status.")
    headers: dict[str, str] = Field(
        description="The answer's headers, names in lower case; repeated ones joined with a comma."
    )
    body: str = Field(description="The answer's body, decompressed, 1 MiB at the most.")
    body_encoding: Literal["text", "base64"] = Field(
        description="How `body` is to be read: text, or base64 of bytes that are no text."
    )
    truncated: bool = Field(description="Whether there was more than 1 MiB; the rest was not read.")
    took_ms: float = Field(description="Milliseconds from the call to the end of the answer.")

    @property
    def is_failure(self) -> bool:
        """Whether the server says that it failed."""
        return self.status >= 500


class WebhookConnector(Connector[WebhookConfig]):
    """Calls one HTTP address. The pool begins with the first call and ends when it is idle."""

    def __init__(self, config: WebhookConfig, context: Context) -> None:
        super().__init__(config, context)
        self._target: Target = target(config.full_url)
        self._tls: ssl.SSLContext | None = None
        self._client: httpx2.AsyncClient | None = None

    async def open(self) -> None:
        if self._target.scheme == "https":
            self._tls = self._tls_context()

    async def start(self) -> None:
        self._client = httpx2.AsyncClient(
            transport=_Transport(self._tls, int(self.config.connection_pool_max_connection_per_host)),
            timeout=self._timeouts(),
            headers={"User-Agent": "mooring", "Accept-Encoding": "identity"},
            # An answer leaves no trace in later calls.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            follow_redirects=False,
            trust_env=False,
        )

    async def stop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def native(self) -> httpx2.AsyncClient:
        return self._started()

    @operation
    async def send(self, request: Call) -> Answered:
        """Call the address once, and hand back what it answers."""
        client, began = self._started(), time.monotonic()
        call = client.build_request(
            self.config.http_method,
            self._url(request.query),
            headers=self._headers(request),
            content=request.content or None,
        )
        response = await client.send(call, stream=True)
        try:
            raw, cut = await _read(response)
        finally:
            await response.aclose()
        content, longer = _decompressed(raw, response.headers.get("content-encoding", ""))
        body, encoding = _shown(content, response.charset_encoding, cut or longer)
        return Answered(
            status=response.status_code,
            headers=dict(response.headers),
            body=body,
            body_encoding=encoding,
            truncated=cut or longer,
            took_ms=round((time.monotonic() - began) * 1000, 1),
        )

    async def probe(self, probe: Probe) -> None:
        host, port = self._target.host, self._target.port
        async with probe.step("resolve"):
            await resolve(host, port)
        async with probe.step("connect"), asyncio.timeout(self._connect_s):
            await dial(host, port)
        if self._tls is None:
            probe.skip("tls", "the address is not https")
        else:
            async with probe.step("tls"), asyncio.timeout(self._connect_s):
                await handshake(host, port, self._tls)
        async with probe.step("hook"):
            probe.unknown("the hook itself was not called: a probe must not set anything off; use the operation send")

    def translate(self, error: BaseException) -> ConnectorError | None:
        address = self._target.address
        match error:
            case httpx2.TimeoutException():
                return self._timed_out(error)
            case httpx2.RemoteProtocolError() if "disconnected" not in str(error):
                return Misconfigured(
                    f"{address} did not answer as a web server does",
                    hint="Check the port, and whether it is https rather than http.",
                )
            case httpx2.RemoteProtocolError():
                return Unreachable(
                    f"{address} closed the connection without an answer; it may or may not have acted on the request",
                    hint="Look at the server's own log for the reason. A server that wants a client certificate"
                    " (keyStoreName) and gets none may do this too.",
                )
            case httpx2.TransportError():
                return network_error(_root(error), address)
            case OSError():
                return network_error(error, address)
        return None

    def secret_values(self) -> set[str]:
        """The credentials as they stand in a request: decoded, or without the scheme before them."""
        _, secrets = split(type(self.config), self.config.wire())
        values = {unquote(secret) for secret in secrets.values()}
        values |= {secret.partition(" ")[2] for secret in secrets.values()}
        login = self._login()
        return (values | {login} if login else values) - {""}

    def _timed_out(self, error: httpx2.TimeoutException) -> ConnectorError:
        address = self._target.address
        match error:
            case httpx2.ConnectTimeout():
                return network_error(TimeoutError(), address)
            case httpx2.PoolTimeout():
                return Unreachable(
                    f"{address}: every connection was in use for {self.config.timeout} s",
                    hint="Allow more connections (connectionPoolMaxConnectionPerHost), or find out why the hook is slow.",
                )
        return Unreachable(
            f"{address} did not answer in time; it may or may not have acted on the request",
            hint="Allow more time (responseTimeoutSeconds), or find out why the hook is slow.",
        )

    @property
    def _connect_s(self) -> float:
        return float(self.config.connect_timeout_seconds or self.config.timeout)

    def _timeouts(self) -> httpx2.Timeout:
        every = float(self.config.timeout)
        answer = float(self.config.response_timeout_seconds or every)
        return httpx2.Timeout(connect=self._connect_s, read=answer, write=answer, pool=every)

    def _started(self) -> httpx2.AsyncClient:
        if self._client is None:
            raise Unreachable("the connection was closed", hint="Retry: its successor serves already, if it has one.")
        return self._client

    def _url(self, query: dict[str, Any]) -> httpx2.URL:
        """The configured address with *query* added; scheme, host, port and path are always the configured ones."""
        added = urlencode({name: _texts(value) for name, value in query.items()}, doseq=True, quote_via=quote)
        whole = "&".join(part for part in (self._target.query, added) if part)
        path = f"{self._target.path}?{whole}" if whole else self._target.path
        return httpx2.URL(
            scheme=self._target.scheme, host=self._target.host, port=self._target.port, raw_path=path.encode("ascii")
        )

    def _headers(self, request: Call) -> list[tuple[bytes, bytes]]:
        configured = [(header.name, header.value) for header in self.config.header_list]
        fixed = {name.lower() for name, _ in configured if is_credential_header(name)}
        login = self._login()
        if login and "authorization" not in fixed:
            configured.append(("Authorization", f"Basic {login}"))
            fixed.add("authorization")
        for name in request.headers:
            if name.lower() in fixed:
                raise Misconfigured(
                    f"the header {name} is a credential of this connection",
                    hint="Leave it out, or change the connection.",
                )
        given = dict(request.headers)
        if request.content_type is not None:
            given["Content-Type"] = request.content_type
        replaced = {name.lower() for name in given}
        headers = [(name, value) for name, value in configured if name.lower() not in replaced] + list(given.items())
        if request.usual_type and "content-type" not in {name.lower() for name, _ in headers}:
            headers.append(("Content-Type", request.usual_type))
        return [(name.encode("ascii"), value.encode()) for name, value in headers]

    def _login(self) -> str | None:
        """User and password of the address, as Basic authentication spells them."""
        if self._target.user is None:
            return None
        return base64.b64encode(f"{self._target.user}:{self._target.password or ''}".encode()).decode()

    def _tls_context(self) -> ssl.SSLContext:
        config, find = self.config, self.context.materials.store
        store = find(config.trust_store_name) if config.trust_store_name else None
        if store is not None and not store.trusted:
            raise Misconfigured(
                "the chosen truststore holds no certificate to trust",
                hint="Add the issuer of the server's certificate.",
            )
        try:
            return client_context(
                verify_hostname=config.checks_hostname,
                ca_file=self.context.ca_file,
                trusted_pem=store.trusted if store else None,
                identity_pem=find(config.key_store_name).identity() if config.key_store_name else None,
                purpose="http",
            )
        except (ssl.SSLError, ValueError) as exc:
            raise Misconfigured(
                "the certificates of this connection cannot be used for TLS",
                hint="Check the truststore and the keystore.",
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


class _Transport(httpx2.AsyncHTTPTransport):
    """A pool of connections to one host."""

    def __init__(self, tls: ssl.SSLContext | None, connections: int) -> None:
        self._pool = httpcore2.AsyncConnectionPool(
            # The pool writes into the context that it is given, and ours is shared with other connections.
            ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=IDLE_CONNECTION_S,
            network_backend=_ResolveFirst(tls),
        )


async def _read(response: httpx2.Response) -> tuple[bytes, bool]:
    """The answer's first bytes as they came, and whether there were more."""
    read = bytearray()
    async for chunk in response.aiter_raw():
        read += chunk
        if len(read) > MAX_ANSWER:
            return bytes(read[:MAX_ANSWER]), True
    return bytes(read), False


def _decompressed(raw: bytes, encoding: str) -> tuple[bytes, bool]:
    """*raw* decompressed as far as it may be long, and whether there was more; as it is where that cannot be done."""
    if encoding.strip().lower() not in ("gzip", "x-gzip", "deflate"):
        return raw, False
    try:
        content = zlib.decompressobj(_ANY_COMPRESSION).decompress(raw, MAX_ANSWER + 1)
    except zlib.error:
        return raw, False
    return content[:MAX_ANSWER], len(content) > MAX_ANSWER


def _shown(content: bytes, charset: str | None, cut: bool) -> tuple[str, Literal["text", "base64"]]:
    """*content* as text if it is one, else in base64."""
    try:
        text = codecs.getincrementaldecoder(_known(charset))().decode(content, final=not cut)
        text.encode()
    except UnicodeError:
        return base64.b64encode(content).decode(), "base64"
    return text, "text"


def _known(charset: str | None) -> str:
    """*charset* if there is one of that name that makes text of bytes, else UTF-8."""
    try:
        "a".encode(charset or "utf-8")
    except (LookupError, UnicodeError):
        return "utf-8"
    return charset or "utf-8"


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


def _as_bytes(body: JsonValue) -> bytes:
    return body.encode() if isinstance(body, str) else json.dumps(body, ensure_ascii=False, allow_nan=False).encode()


def _texts(value: Any) -> Any:
    if isinstance(value, list):
        return [_texts(item) for item in value]
    return str(value).lower() if isinstance(value, bool) else str(value)
