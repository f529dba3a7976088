"""What a webhook connection is made of."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from annotated_types import Ge, Le
from pydantic import AfterValidator, StringConstraints
from pydantic_core import PydanticCustomError

from mooring.errors import Problem
from mooring.plugin.config import ConnectionConfig, Part
from mooring.plugin.fields import NO_CONTROL, Flag, OrReference, Positive, Text, field, has_reference
from mooring.plugin.problems import explain_pattern, invalid
from mooring.plugin.secrets import NamedEntries, SecretSite, Span, TextParts, is_credential_header, url_spans

URL = explain_pattern(
    r"^https?://[^\x00-\x1f\x7f-\x9f\\]+$",
    "must begin with http:// or https://, and have no control characters or backslashes",
)
TOKEN = explain_pattern(r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", "must be a header name")

STRUCTURAL_HEADERS: frozenset[str] = frozenset(
    {
        "connection", "content-length", "expect", "host", "http2-settings", "keep-alive", "proxy-connection",
        "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
"""Headers that say where a request goes and where it ends; nobody but the HTTP client sets them."""

_HOST = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?")
_PORTS = {"http": 80, "https": 443}
_KEEP = "/:@!$&'()*+,;=-._~%[]"


class Target(NamedTuple):
    """An address taken apart: where to connect, what to ask for, and who asks."""

    scheme: str
    host: str
    port: int
    path: str
    query: str
    user: str | None
    password: str | None

    @property
    def address(self) -> str:
        """`host:port`, for messages."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def target(url: str) -> Target:
    """
    *url* taken apart, with path and query as they are sent: what is not allowed in them is percent-encoded.

    Raises `ValueError` where there is no host to connect to.
    """
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    if scheme not in _PORTS or not parts.hostname:
        raise ValueError("not an HTTP address")
    user, password = parts.username, parts.password
    return Target(
        scheme,
        _ascii_host(parts.hostname),
        _PORTS[scheme] if parts.port is None else parts.port,
        quote(parts.path, safe=_KEEP) or "/",
        quote(parts.query, safe=_KEEP + "?"),
        None if user is None else unquote(user),
        None if password is None else unquote(password),
    )


def _ascii_host(host: str) -> str:
    if ":" in host:
        return str(ipaddress.IPv6Address(host))
    name = host if host.isascii() else host.encode("idna").decode()
    if not _HOST.fullmatch(name):
        raise ValueError("not a host name")
    return name


def _url(text: str) -> str:
    try:
        found = target(text)
    except ValueError:
        found = None
    if found is None or not found.port:
        raise PydanticCustomError("url", "must have a host name or address, and a port of 1 to 65535 if any")
    return text


def _spans(text: str) -> list[Span]:
    """The credential parts of a URL; a user without a password is a token, and counts as one."""
    found = url_spans(text)
    if "//" in text and not any(span.name == "userinfo" for span in found):
        start = text.index("//") + 2
        userinfo = re.split(r"[/?#]", text[start:], maxsplit=1)[0].rpartition("@")[0].rstrip(":")
        if userinfo:
            found.insert(0, Span("userinfo", start, start + len(userinfo)))
    return found


def _may_be_credential(name: str) -> bool:
    return is_credential_header(name) or has_reference(name)


Url = Annotated[str, StringConstraints(pattern=URL, min_length=1, max_length=4096), AfterValidator(_url), OrReference]
Method = Annotated[Literal["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE"], OrReference]
HeaderName = Annotated[str, StringConstraints(pattern=TOKEN, min_length=1, max_length=255), OrReference]
HeaderValue = Annotated[str, StringConstraints(pattern=NO_CONTROL, min_length=1, max_length=16_384)]
Threshold = Annotated[int, Ge(1), Le(10_000), OrReference]
Window = Annotated[int, Ge(1), Le(3_600), OrReference]


class WebhookHeader(Part):
    """One request header."""

    name: HeaderName = field(description="Header name.", example="X-Source")
    value: HeaderValue = field(
        description="Header value; sealed where the name says that it is a credential.", example="mooring"
    )


class WebhookConfig(ConnectionConfig):
    """Calls an HTTP address."""

    SECRET_SITES: ClassVar[tuple[SecretSite, ...]] = (
        TextParts("fullUrl", _spans),
        NamedEntries("headerList", _may_be_credential),
    )

    http_method: Method = field("GET", description="HTTP method.", example="POST", group="Request")
    full_url: Url = field(
        description="The address to call. A password, token or other credential in it is sealed.",
        example="https://hooks.example.com/orders?source=mooring",
        group="Request",
        destination=True,
    )
    header_list: list[WebhookHeader] = field([], description="Headers that are sent every time.", group="Request")
    timeout: Positive = field(
        2,
        description="How long to wait for the connection, for each part of the answer, and for a free place in the pool.",
        unit="s",
        group="Limits",
    )
    connection_pool_max_connection_per_host: Positive = field(
        24, description="Connections to the host that are open at the same time; further calls wait.", group="Limits"
    )
    connection_pool_max_connection_total: Positive = field(
        48,
        description="Connections altogether; as there is one host, the limit per host is the one that is felt.",
        group="Limits",
    )
    connect_timeout_seconds: Positive | None = field(
        None,
        description="How long to wait for the connection, TLS included; `timeout` where it is not set.",
        unit="s",
        group="Limits",
    )
    response_timeout_seconds: Positive | None = field(
        None,
        description="How long to wait for each part of the answer; `timeout` where it is not set.",
        unit="s",
        group="Limits",
    )
    trust_store_name: Text | None = field(
        None,
        description="Truststore to trust instead of the system's certificates, by name.",
        group="Security",
        destination=True,
        reference="truststore",
    )
    key_store_name: Text | None = field(
        None,
        description="Keystore with a client certificate, by name.",
        group="Security",
        destination=True,
        reference="keystore",
    )
    verify_hostname: Flag = field(
        False,
        description="Require that the certificate names the host also where a truststore is chosen; without one it always must.",
        group="Security",
        destination=True,
    )
    circuit_breaker_enabled: Flag | None = field(
        None,
        description="Stop calling for a while after repeated failures: no answer, or a status from 500. Left out, the"
        " worker's setting.",
        group="Circuit breaker",
    )
    error_threshold_value: Threshold | None = field(
        None, description="Failures within the window that open the breaker; left out, 5.", group="Circuit breaker"
    )
    sleep_window: Window | None = field(
        None, description="How long the breaker stays open before one attempt.", unit="s", group="Circuit breaker"
    )

    @property
    def checks_hostname(self) -> bool:
        """
        Whether the certificate must name the host.

        Without a truststore of its own a connection believes every public authority, and those certify anybody:
        then a certificate without the right name proves nothing, and the name is always compared.
        """
        return self.verify_hostname or not self.trust_store_name

    @property
    def uses_tls(self) -> bool:
        """Whether the address is an HTTPS one; one that begins with a variable may become one."""
        return not self.full_url.lower().startswith("http://")

    def rules(self) -> Iterator[Problem]:
        per_host, total = self.connection_pool_max_connection_per_host, self.connection_pool_max_connection_total
        if isinstance(per_host, int) and isinstance(total, int) and total < per_host:
            yield invalid(
                "connectionPoolMaxConnectionTotal", "must be at least connectionPoolMaxConnectionPerHost", "pool_total"
            )
        for index, header in enumerate(self.header_list):
            if header.name.lower() in STRUCTURAL_HEADERS:
                yield invalid(
                    ["headerList", index, "name"],
                    f"the header {header.name} is set by the HTTP client alone",
                    "structural_header",
                )

    def warnings(self) -> Iterator[Problem]:
        if self.full_url.lower().startswith("http://") and self._has_credential():
            yield invalid("fullUrl", "a credential travels unencrypted; use https", "plaintext_credential")
        if self.uses_tls and not self.checks_hostname:
            yield invalid(
                "verifyHostname",
                "any certificate of the truststore is accepted, whichever host it names",
                "hostname_unverified",
            )
        if not self.uses_tls and (self.trust_store_name or self.key_store_name):
            yield invalid(
                "fullUrl", "it is not https, so trustStoreName and keyStoreName have no effect", "stores_unused"
            )
        if "#" in self.full_url:
            yield invalid("fullUrl", "what stands after # is not sent", "fragment")
        names = [header.name.lower() for header in self.header_list]
        if "authorization" in names and any(span.name == "userinfo" for span in _spans(self.full_url)):
            yield invalid(
                "headerList",
                "fullUrl holds a login too; the header Authorization is the one that is sent",
                "two_logins",
            )

    def destination(self) -> dict[str, Any]:
        # A new token in the URL is a new secret, and not a new place.
        found = super().destination()
        TextParts("fullUrl", _spans).lift(found, {})
        return found

    def references(self) -> dict[str, str]:
        return super().references() if self.uses_tls else {}

    def _has_credential(self) -> bool:
        return bool(_spans(self.full_url)) or any(is_credential_header(header.name) for header in self.header_list)
