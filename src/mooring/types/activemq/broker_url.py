"""
The address of an ActiveMQ broker, read into its parts.

    tcp://host:61616?wireFormat.maxInactivityDuration=30000
    failover:(tcp://a:61616,tcp://b:61616)?randomize=false

`parse` knows the grammar only; `refusals` compares what was parsed with what is allowed. A URL is never handed on
as text: what connects is rebuilt from the parts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mooring.plugin.fields import has_reference
from mooring.plugin.secrets import Span, is_credential_parameter, plain_name
from mooring.types.activemq.options import BROKER_OPTIONS, FAILOVER_OPTIONS, INSTEAD

DEFAULT_PORTS = {
    "tcp": 61616, "nio": 61616, "ssl": 61617, "nio+ssl": 61617, "amqp": 5672, "amqps": 5671, "amqp+ssl": 5671,
}  # fmt: skip
"""The schemes that may be used, and the port each has where none is given."""
TLS_SCHEMES = frozenset({"ssl", "nio+ssl", "amqps", "amqp+ssl"})
AMQP_SCHEMES = frozenset({"amqp", "amqps", "amqp+ssl"})
MAX_BROKERS = 32
MAX_PORT = 65535

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,30}):")
_FAILOVER = re.compile(r"failover:(?://)?", re.IGNORECASE)
_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?\]")
_STARTS_WITH_REFERENCE = re.compile(r"\$\{[^{}]+\}")


class BrokerUrlError(ValueError):
    """The text is no broker URL; the message continues "it ..." and holds nothing of the text."""


@dataclass(frozen=True)
class Option:
    """`name=value`, and where the value stands in the text."""

    name: str
    value: str
    start: int
    end: int


@dataclass(frozen=True)
class Broker:
    """
    One broker.

    `scheme` is None where a variable stands for it. With a variable in the address, `host` is all of the address.
    `password` says where it stands in the text.
    """

    scheme: str | None
    host: str
    port: int | None
    user: str | None
    password: tuple[int, int] | None
    options: tuple[Option, ...]

    @property
    def address(self) -> str:
        """`host:port`, with the port that the scheme has where none is given."""
        port = None if has_reference(self.host) else self.port or DEFAULT_PORTS.get(self.scheme or "")
        return f"{self.host}:{port}" if port else self.host


@dataclass(frozen=True)
class BrokerUrl:
    """One broker, or several to try; `options` are those of the failover list."""

    brokers: tuple[Broker, ...]
    failover: bool = False
    options: tuple[Option, ...] = ()

    @property
    def uses_tls(self) -> bool:
        """Whether any broker is, or may turn out to be, reached over TLS."""
        return any(broker.scheme is None or broker.scheme in TLS_SCHEMES for broker in self.brokers)


def parse(text: str) -> BrokerUrl:
    """The parts of *text*. Raises `BrokerUrlError`."""
    start = _FAILOVER.match(text)
    if start is None:
        return BrokerUrl((_broker(text, 0, len(text)),))
    first, last = start.end(), len(text)
    options: tuple[Option, ...] = ()
    if text[first : first + 1] == "(":
        closing = text.rfind(")")
        if closing < first:
            raise BrokerUrlError("the list of a failover URL must end with ')'")
        options = _tail(text, closing + 1, last)
        first, last = first + 1, closing
    return BrokerUrl(tuple(_brokers(text, first, last)), failover=True, options=options)


def refusals(url: BrokerUrl) -> Iterator[str]:
    """What of *url* is not allowed, in sentences that name the scheme or option and no value."""
    for broker in url.brokers:
        if broker.scheme is not None and broker.scheme not in DEFAULT_PORTS:
            allowed = ", ".join([*DEFAULT_PORTS, "failover"])
            yield f"the scheme {broker.scheme} is not supported; supported are {allowed}"
        yield from _refused_options(broker.options, BROKER_OPTIONS)
    yield from _refused_options(url.options, FAILOVER_OPTIONS)


def spans(text: str) -> list[Span]:
    """Where credentials stand: passwords before a host, and credential-named options. The whole, where *text* is no URL."""
    try:
        url = parse(text)
    except BrokerUrlError:
        return [Span("whole", 0, len(text))] if text else []
    found = [span for broker in url.brokers for span in _broker_spans(broker, url.failover)]
    return found + [Span(plain_name(option.name), option.start, option.end) for option in _credentials(url.options)]


def _brokers(text: str, first: int, last: int) -> Iterator[Broker]:
    start, count = first, 0
    while start <= last:
        comma = text.find(",", start, last)
        end = last if comma < 0 else comma
        count += 1
        if count > MAX_BROKERS:
            raise BrokerUrlError(f"a failover URL may list at most {MAX_BROKERS} brokers")
        yield _broker(text, start, end)
        start = end + 1


def _broker(text: str, start: int, end: int) -> Broker:
    part = text[start:end]
    if has_reference(part) and _STARTS_WITH_REFERENCE.match(part):
        # What a variable stands for is not known yet; the resolved text is parsed before anything connects.
        query = text.find("?", start, end)
        return Broker(None, part.split("?")[0], None, None, None, _options(text, query + 1, end) if query >= 0 else ())
    scheme = _SCHEME.match(part)
    if scheme is None or not part.startswith("//", scheme.end()):
        raise BrokerUrlError("it must look like tcp://host:61616 or failover:(tcp://a:61616,tcp://b:61616)")
    authority = start + scheme.end() + 2
    authority_end = next((index for index in range(authority, end) if text[index] in "/?#"), end)
    user, password, host = _userinfo(text, authority, authority_end)
    name, port = _host_and_port(text[host:authority_end])
    after = (
        authority_end + 1 if text[authority_end : authority_end + 1] == "/" and authority_end < end else authority_end
    )
    return Broker(scheme[1].lower(), name, port, user, password, _tail(text, after, end))


def _userinfo(text: str, start: int, end: int) -> tuple[str | None, tuple[int, int] | None, int]:
    at = text.rfind("@", start, end)
    if at < 0:
        return None, None, start
    colon = text.find(":", start, at)
    if colon < 0:
        return text[start:at], None, at + 1
    return text[start:colon], (colon + 1, at), at + 1


def _host_and_port(text: str) -> tuple[str, int | None]:
    if has_reference(text):
        return text, None
    host = _HOST.match(text)
    if host is None:
        raise BrokerUrlError("it must name a host after ://")
    rest = text[host.end() :]
    if not rest:
        return host[0], None
    if not re.fullmatch(r":[0-9]{1,5}", rest) or not 1 <= int(rest[1:]) <= MAX_PORT:
        raise BrokerUrlError(f"a host may be followed by a port between 1 and {MAX_PORT}, and by nothing else")
    return host[0], int(rest[1:])


def _tail(text: str, start: int, end: int) -> tuple[Option, ...]:
    if start >= end:
        return ()
    if text[start] != "?":
        raise BrokerUrlError("after the address only options may follow, which begin with '?'")
    return _options(text, start + 1, end)


def _options(text: str, start: int, end: int) -> tuple[Option, ...]:
    options = []
    while start < end:
        ampersand = text.find("&", start, end)
        stop = end if ampersand < 0 else ampersand
        equals = text.find("=", start, stop)
        if equals <= start:
            raise BrokerUrlError("its options must be written name=value, separated by '&'")
        options.append(Option(text[start:equals], text[equals + 1 : stop], equals + 1, stop))
        start = stop + 1
    return tuple(options)


def _refused_options(options: tuple[Option, ...], allowed: frozenset[str]) -> Iterator[str]:
    seen: set[str] = set()
    for option in options:
        name = option.name[:80]
        if option.name in INSTEAD:
            yield f"the option {name} is not supported here; the field {INSTEAD[option.name]} says it"
        elif option.name not in allowed:
            yield f"the option {name} is not supported"
        elif option.name in seen:
            yield f"the option {name} stands more than once"
        seen.add(option.name)


def _broker_spans(broker: Broker, in_list: bool) -> Iterator[Span]:
    # In a list a secret is known by its broker, so that reordering the list moves no secret to another host.
    where = f"@{broker.address}" if in_list else ""
    if broker.password is not None:
        yield Span(f"userinfo{where}", *broker.password)
    for option in _credentials(broker.options):
        yield Span(f"{plain_name(option.name)}{where}", option.start, option.end)


def _credentials(options: tuple[Option, ...]) -> Iterator[Option]:
    return (option for option in options if option.value and is_credential_parameter(option.name))
