"""Calling an HTTP address: one host, a pool of connections to it, no redirects."""

from __future__ import annotations

import asyncio
import base64
import codecs
import json
import ssl
import time
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote, unquote, urlencode

import httpx2
from pydantic import BeforeValidator, Field, JsonValue, StringConstraints, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from mooring.errors import ConnectorError, Misconfigured, Unreachable
from mooring.plugin.config import split
from mooring.plugin.connector import Answer, Connector, Context, Request, operation
from mooring.plugin.fields import NO_CONTROL
from mooring.plugin.http import beginning, client, http_error, tls_context
from mooring.plugin.network import network_error
from mooring.plugin.probe import Probe
from mooring.plugin.secrets import is_credential_header
from mooring.types.webhook.model import STRUCTURAL_HEADERS, TOKEN, Target, WebhookConfig, target

MAX_BODY = 10 * 1024 * 1024
MAX_ANSWER = 1024 * 1024
IDLE_CONNECTION_S = 15.0


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
        self._http: httpx2.AsyncClient | None = None

    async def open(self) -> None:
        if self._target.scheme == "https":
            self._tls = tls_context(
                self.context,
                trust_store=self.config.trust_store_name,
                key_store=self.config.key_store_name,
                verify_hostname=self.config.checks_hostname,
            )

    def hosts(self) -> Iterable[str]:
        return (self._target.host,)

    async def start(self) -> None:
        self._http = client(
            self.context.network,
            self._tls,
            connections=int(self.config.connection_pool_max_connection_per_host),
            timeout=self._timeouts(),
            idle_s=IDLE_CONNECTION_S,
        )

    async def stop(self) -> None:
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    def native(self) -> httpx2.AsyncClient:
        return self._started()

    @operation
    async def send(self, request: Call) -> Answered:
        """Call the address once, and hand back what it answers."""
        http, began = self._started(), time.monotonic()
        call = http.build_request(
            self.config.http_method,
            self._url(request.query),
            headers=self._headers(request),
            content=request.content or None,
        )
        response, content, is_cut = await beginning(http, call, MAX_ANSWER)
        body, encoding = _shown(content, response.charset_encoding, is_cut)
        return Answered(
            status=response.status_code,
            headers=dict(response.headers),
            body=body,
            body_encoding=encoding,
            truncated=is_cut,
            took_ms=round((time.monotonic() - began) * 1000, 1),
        )

    async def probe(self, probe: Probe) -> None:
        host, port = self._target.host, self._target.port
        async with probe.step("resolve"):
            await self.context.network.resolve(host, port)
        async with probe.step("connect"), asyncio.timeout(self._connect_s):
            await self.context.network.dial(host, port)
        if self._tls is None:
            probe.skip("tls", "the address is not https")
        else:
            async with probe.step("tls"), asyncio.timeout(self._connect_s):
                await self.context.network.handshake(host, port, self._tls)
        async with probe.step("hook"):
            probe.unknown("the hook itself was not called: a probe must not set anything off; use the operation send")

    def translate(self, error: BaseException) -> ConnectorError | None:
        address = self._target.address
        match error:
            case httpx2.TransportError():
                return http_error(
                    error,
                    address,
                    slow="Allow more time (responseTimeoutSeconds), or find out why the hook is slow.",
                    busy="Allow more connections (connectionPoolMaxConnectionPerHost),"
                    " or find out why the hook is slow.",
                    peer="a web server",
                    waited=f"{self.config.timeout} s",
                    identity="a client certificate (keyStoreName)",
                )
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

    @property
    def _connect_s(self) -> float:
        return float(self.config.connect_timeout_seconds or self.config.timeout)

    def _timeouts(self) -> httpx2.Timeout:
        every = float(self.config.timeout)
        answer = float(self.config.response_timeout_seconds or every)
        return httpx2.Timeout(connect=self._connect_s, read=answer, write=answer, pool=every)

    def _started(self) -> httpx2.AsyncClient:
        if self._http is None:
            raise Unreachable("the connection was closed", hint="Retry: its successor serves already, if it has one.")
        return self._http

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


def _as_bytes(body: JsonValue) -> bytes:
    return body.encode() if isinstance(body, str) else json.dumps(body, ensure_ascii=False, allow_nan=False).encode()


def _texts(value: Any) -> Any:
    if isinstance(value, list):
        return [_texts(item) for item in value]
    return str(value).lower() if isinstance(value, bool) else str(value)
