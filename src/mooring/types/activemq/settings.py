"""From a config to what connecting needs. Options that mean something here are read; the README names them."""

from __future__ import annotations

import math
import ssl
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field

from mooring.errors import Misconfigured
from mooring.kit.tls import client_context
from mooring.plugin.connector import Context
from mooring.plugin.network import Network
from mooring.types.activemq import broker_url
from mooring.types.activemq.broker_url import DEFAULT_PORTS, TLS_SCHEMES, BrokerUrl, BrokerUrlError, Option
from mooring.types.activemq.model import ActiveMqConfig

INACTIVITY_MS = 30_000
IDLE_MS = 60_000
FAILOVER_S = 20.0
"""How long an operation goes on trying a failover list that says nothing of attempts."""
LONGEST_GOODBYE_S = 8.0
"""A worker waits ten seconds for a connection to close."""
_UNLIMITED = -1
_LARGEST = 2.0**63
_TLS_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")


@dataclass(frozen=True)
class Broker:
    """
    Where one broker is, and how it is spoken to.

    Attributes:
        tls: The context; None where nothing is encrypted.
        login: User and password of its own, from the URL.
        options: What its URL says besides.
    """

    host: str
    port: int
    address: str
    tls: ssl.SSLContext | None = None
    login: tuple[str, str] | None = field(default=None, repr=False)
    options: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def no_delay(self) -> bool:
        return flag_of(self.options, True, "tcpNoDelay", "transport.tcpNoDelay")

    @property
    def keep_alive(self) -> bool:
        return flag_of(self.options, False, "keepAlive", "transport.tcpKeepAlive")


@dataclass(frozen=True)
class Retry:
    """
    How a failover list is gone through again.

    Attributes:
        rounds: How often; None goes on until `patience_s` is over.
        first_rounds: The same before there ever was a connection.
        delay_s: The pause after the first round; each one after is `factor` times as long, up to `longest_s`.
        patience_s: When to give up, whatever the rounds.
    """

    rounds: int | None = 1
    first_rounds: int | None = 1
    delay_s: float = 0.0
    factor: float = 1.0
    longest_s: float = 0.0
    patience_s: float | None = None


@dataclass(frozen=True)
class Settings:
    """
    What connecting needs.

    Attributes:
        randomize: Begin with any broker of the list.
        user, password: The login; None where there is none.
        client_id: The JMS client id, or what ids begin with; None where one is made up.
        connect_s, request_s, send_s: How long that may take; None where only the caller's deadline counts.
        close_s: The same for saying goodbye.
        prefixes: What destinations' names begin with over AMQP, by `QUEUE` and `TOPIC`; the broker's own where absent.
        by_certificate: A client certificate is shown, and may be the login.
    """

    network: Network
    brokers: tuple[Broker, ...]
    randomize: bool
    retry: Retry
    user: str | None
    password: str | None = field(repr=False)
    client_id: str | None
    kind: str
    name: str
    connect_s: float | None
    request_s: float | None
    send_s: float | None
    close_s: float
    prefixes: dict[str, str]
    by_certificate: bool
    product: str
    transacted: bool = False

    def login(self, broker: Broker) -> tuple[str | None, str | None]:
        """User and password for *broker*: the connection's, or those that stand in its URL."""
        if self.user is None and broker.login is not None:
            return broker.login
        return self.user, self.password


def settings_of(config: ActiveMqConfig, context: Context) -> Settings:
    """What connecting needs. Raises `Misconfigured`, or `MaterialMissing` for a store that is not there."""
    try:
        url = broker_url.parse(config.broker_url)
    except BrokerUrlError as exc:
        raise Misconfigured(f"brokerURL cannot be used: {exc}", hint="Correct brokerURL.") from None
    general = {option.name: option.value for option in url.options}
    everywhere = {**general, **_options(option for broker in url.brokers for option in broker.options)}
    user, password = _login(config, everywhere)
    return Settings(
        network=context.network,
        brokers=tuple(_brokers(config, url, general, context)),
        randomize=url.failover and flag_of(general, True, "randomize", "failover.randomize"),
        retry=_retry(general) if url.failover else Retry(),
        user=user,
        password=password,
        client_id=config.client_id or everywhere.get("jms.clientID") or everywhere.get("jms.clientIDPrefix") or None,
        kind=config.destination_type,
        name=config.destination_name,
        connect_s=int(config.connect_timeout) / 1000 or None,
        request_s=int(config.request_timeout) / 1000 or None,
        send_s=int(config.send_timeout) / 1000 or None,
        close_s=min(int(config.close_timeout) / 1000 or LONGEST_GOODBYE_S, LONGEST_GOODBYE_S),
        prefixes={
            kind: everywhere[name]
            for kind, name in (("QUEUE", "jms.queuePrefix"), ("TOPIC", "jms.topicPrefix"))
            if name in everywhere
        },
        by_certificate=bool(config.key_store_name) and url.uses_tls,
        product=context.name,
        transacted=config.session_acknowledgement == "SESSION_TRANSACTED",
    )


def number_of(options: dict[str, str], default: float, *names: str) -> float:
    """The first of *names* that is among *options*, as a number. Raises `Misconfigured`."""
    for name in names:
        if name in options:
            try:
                value = float(options[name])
            except ValueError:
                value = math.nan
            if not abs(value) < _LARGEST:
                raise Misconfigured(f"the option {name} of brokerURL is not a number", hint="Correct it.")
            return value
    return default


def flag_of(options: dict[str, str], default: bool, *names: str) -> bool:
    """The first of *names* that is among *options*, as true or false."""
    found = next((options[name] for name in names if name in options), None)
    return default if found is None else found.lower() == "true"


def _options(options: Iterator[Option]) -> dict[str, str]:
    found: dict[str, str] = {}
    for option in options:
        found.setdefault(option.name, urllib.parse.unquote(option.value))
    return found


def _login(config: ActiveMqConfig, options: dict[str, str]) -> tuple[str | None, str | None]:
    if config.username:
        return config.username, config.password.get_secret_value() if config.password else ""
    user = options.get("jms.userName") or options.get("jms.username")
    return (user, options.get("jms.password", "")) if user else (None, None)


def _brokers(config: ActiveMqConfig, url: BrokerUrl, general: dict[str, str], context: Context) -> Iterator[Broker]:
    nested = {
        name.removeprefix("failover.").removeprefix("nested."): value
        for name, value in general.items()
        if name.startswith(("nested.", "failover.nested."))
    }
    contexts: dict[str, ssl.SSLContext] = {}
    for broker in url.brokers:
        if broker.scheme not in DEFAULT_PORTS:
            raise Misconfigured("a scheme in brokerURL is not supported", hint="Correct brokerURL.")
        options = {**nested, **_options(iter(broker.options))}
        host = broker.host.removeprefix("[").removesuffix("]")
        tls = None
        if broker.scheme in TLS_SCHEMES:
            versions = options.get("transport.enabledProtocols", "")
            if versions not in contexts:
                contexts[versions] = _tls_context(config, context, versions)
            tls = contexts[versions]
        login = None
        if broker.user:
            secret = config.broker_url[slice(*broker.password)] if broker.password else ""
            login = urllib.parse.unquote(broker.user), urllib.parse.unquote(secret)
        yield Broker(host, broker.port or DEFAULT_PORTS[broker.scheme], broker.address, tls, login, options)


def _retry(options: dict[str, str]) -> Retry:
    def named(name: str) -> tuple[str, str]:
        return name, f"failover.{name}"

    rounds = int(number_of(options, _UNLIMITED, *named("maxReconnectAttempts")))
    first = int(number_of(options, _UNLIMITED, *named("startupMaxReconnectAttempts")))
    grows = flag_of(options, True, "useExponentialBackOff", "failover.useReconnectBackOff")
    factor = number_of(
        options, 2.0, "reconnectDelayExponent", "backOffMultiplier", "failover.reconnectBackOffMultiplier"
    )
    limit = number_of(options, _UNLIMITED, "timeout") / 1000
    return Retry(
        rounds=None if rounds < 0 else max(1, rounds),
        first_rounds=(None if rounds < 0 else max(1, rounds)) if first < 0 else max(1, first),
        delay_s=max(0.0, number_of(options, 10, *named("initialReconnectDelay"), "failover.reconnectDelay")) / 1000,
        factor=max(1.0, factor) if grows else 1.0,
        longest_s=max(0.0, number_of(options, 30_000, *named("maxReconnectDelay"))) / 1000,
        patience_s=limit if limit > 0 else FAILOVER_S if rounds < 0 else None,
    )


def _tls_context(config: ActiveMqConfig, context: Context, versions: str) -> ssl.SSLContext:
    find = context.materials.store
    trusted = find(config.trust_store_name).trusted if config.trust_store_name else None
    if config.trust_store_name and not trusted:
        raise Misconfigured(
            "the chosen truststore holds no certificate to trust", hint="Add the issuer of the broker's certificate."
        )
    wanted = [name.strip() for name in versions.split(",") if name.strip()]
    if unknown := [name for name in wanted if name not in _TLS_VERSIONS]:
        raise Misconfigured(
            f"transport.enabledProtocols of brokerURL names what is not supported: {unknown[0][:40]}",
            hint=f"Name some of {', '.join(_TLS_VERSIONS)}.",
        )
    try:
        return client_context(
            verify_hostname=config.verify_hostname,
            ca_file=context.ca_file,
            trusted_pem=trusted,
            versions=wanted,
            identity_pem=find(config.key_store_name).identity() if config.key_store_name else None,
            purpose="activemq",
        )
    except (ssl.SSLError, ValueError) as exc:
        raise Misconfigured(
            "the certificates of this connection cannot be used for TLS", hint="Check the truststore and the keystore."
        ) from exc
