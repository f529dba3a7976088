"""From a config to the driver's settings."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mooring.errors import Misconfigured
from mooring.kit.tls import client_context
from mooring.plugin.connector import Context
from mooring.plugin.materials import Store
from mooring.plugin.network import Network
from mooring.types.kafka import jaas
from mooring.types.kafka.model import MODERN_TLS, KafkaConfig
from mooring.types.kafka.properties import PROPERTIES, servers
from mooring.types.kafka.sites import JAAS

DEFAULT_MAX_BLOCK_MS = 10_000
DEFAULT_DELIVERY_MS = 15_000
QUEUED_RECORDS = 100_000
QUEUED_KB = 32 * 1024

_TLS_NAMES = {"TLS_1_0": "TLSv1", "TLS_1_1": "TLSv1.1", "TLS_1_2": "TLSv1.2", "TLS_1_3": "TLSv1.3"}
_OF_EVERY_CLIENT = (
    "client.id", "client.dns.lookup", "connections.max.idle.ms", "metadata.max.age.ms", "reconnect.backoff.ms",
    "reconnect.backoff.max.ms", "socket.connection.setup.timeout.ms", "send.buffer.bytes", "receive.buffer.bytes",
    "retry.backoff.ms", "retry.backoff.max.ms", "enable.metrics.push", "ssl.endpoint.identification.algorithm",
)  # fmt: skip


@dataclass(frozen=True)
class Tls:
    """What TLS needs: a context for our own handshakes, and the driver's settings for the same."""

    context: ssl.SSLContext
    settings: dict[str, Any]

    def __repr__(self) -> str:
        return "<Tls>"


@dataclass(frozen=True)
class Settings:
    """The driver's settings for each sort of client, and how long this room waits."""

    network: Network
    client: dict[str, Any]
    producer: dict[str, Any]
    servers: list[tuple[str, int]]
    max_block_s: float
    tls: Tls | None
    hidden: frozenset[str]

    def __repr__(self) -> str:
        return "<Settings>"


def settings_of(config: KafkaConfig, context: Context) -> Settings:
    """Everything the driver is told. Raises `Misconfigured`, or `MaterialMissing` for a store that is not there."""
    tls = tls_of(config, context) if config.tls else None
    login, hidden = _login_settings(config) if config.sasl else ({}, frozenset())
    brokers = servers(config.servers)
    client: dict[str, Any] = {
        "client.id": "mooring",
        "reconnect.backoff.max.ms": 1000,
        "enable.metrics.push": False,
        **_mapped(config, only_of_every_client=True),
        "bootstrap.servers": ",".join(
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in brokers
        ),
        "security.protocol": ("SASL_" if config.sasl else "") + ("SSL" if tls else "PLAINTEXT"),
        "log_level": 0,
        **login,
        **(tls.settings if tls else {}),
    }
    client["reconnect.backoff.max.ms"] = max(client["reconnect.backoff.max.ms"], client.get("reconnect.backoff.ms", 0))
    producer: dict[str, Any] = {
        # Kafka's own client sends a key to the partition that this one says; so do we.
        "partitioner": "murmur2_random",
        "max.in.flight.requests.per.connection": 5,
        # Every record is awaited: holding it back to gather others would only make each caller wait.
        "linger.ms": 0,
        "message.max.bytes": 1024 * 1024,
        "queue.buffering.max.messages": QUEUED_RECORDS,
        "queue.buffering.max.kbytes": QUEUED_KB,
        "delivery.timeout.ms": DEFAULT_DELIVERY_MS,
        **_mapped(config),
        **client,
    }
    producer["delivery.timeout.ms"] = max(producer["delivery.timeout.ms"], producer.get("linger.ms", 0) + 1)
    return Settings(
        network=context.network,
        client=client,
        producer=producer,
        servers=brokers,
        max_block_s=int(config.given("max.block.ms", DEFAULT_MAX_BLOCK_MS)) / 1000,
        tls=tls,
        hidden=hidden,
    )


def tls_of(config: KafkaConfig, context: Context) -> Tls:
    """TLS as the config asks for it. Raises `Misconfigured` or `MaterialMissing`."""
    versions = [version for version in config.protocol_types if version in MODERN_TLS]
    if config.enable_secure and not versions:
        raise Misconfigured(
            f"none of the TLS versions in protocolTypes can be spoken: {', '.join(config.protocol_types)}",
            hint="SSL 3.0, TLS 1.0 and TLS 1.1 are broken and not built into the driver; add TLS_1_2 or TLS_1_3.",
        )
    trust, identity = _stores(config, context)
    password = config.given("ssl.key.password") if not config.key_store_name or not config.enable_secure else None
    verify_hostname = config.given("ssl.endpoint.identification.algorithm", "https") != ""
    try:
        ours = client_context(
            verify_hostname=verify_hostname,
            ca_file=context.ca_file,
            trusted_pem=trust.trusted,
            versions=[_TLS_NAMES[version] for version in versions],
            identity_pem=f"{identity.key}\n{identity.chain}\n" if identity.key and identity.chain else None,
            identity_password=password,
            purpose="kafka",
        )
    except (ssl.SSLError, ValueError) as exc:
        raise Misconfigured(
            "the certificates of this connection cannot be used for TLS",
            hint="Check the truststore; and that the key belongs to its certificate, and its password.",
        ) from exc
    settings: dict[str, Any] = {}
    if trust.trusted is not None:
        settings["ssl.ca.pem"] = trust.trusted
    elif context.ca_file is not None:
        settings |= {"ssl.ca.pem": Path(context.ca_file).read_text("utf-8"), "ssl.ca.location": _system_authorities()}
    if identity.key is not None and identity.chain is not None:
        settings |= {"ssl.certificate.pem": identity.chain, "ssl.key.pem": identity.key}
        if password:
            settings["ssl.key.password"] = password
    return Tls(ours, settings)


def _stores(config: KafkaConfig, context: Context) -> tuple[Store, Store]:
    """Whom to trust, and who we are: the named stores, or the PEM texts among the properties."""
    trust = Store(trusted=config.given("ssl.truststore.certificates"))
    identity = Store(chain=config.given("ssl.keystore.certificate.chain"), key=config.given("ssl.keystore.key"))
    if config.enable_secure:
        identity = _named(config.key_store_name, config.key_store_id, "keyStoreName", context) or identity
        named = _named(config.trust_store_name, config.trust_store_id, "trustStoreName", context)
        if named and not named.trusted:
            raise Misconfigured(
                f"the truststore '{config.trust_store_name}' holds no certificate", hint="Upload one that does."
            )
        trust = named or trust
    return trust, identity


def _named(name: str | None, by_id: str | None, field: str, context: Context) -> Store | None:
    if name:
        return context.materials.store(name)
    if by_id:
        raise Misconfigured(
            f"a store is given by its id, and found by its name only: {field} is empty", hint=f"Fill in {field}."
        )
    return None


def _system_authorities() -> str:
    """Where the system keeps the certificates it trusts; the driver looks for them itself only when told of no others."""
    paths = ssl.get_default_verify_paths()
    return paths.cafile or paths.capath or "probe"


def _login_settings(config: KafkaConfig) -> tuple[dict[str, Any], frozenset[str]]:
    mechanism, login = (config.given("sasl.mechanism") or "").upper(), config.login()
    if mechanism not in jaas.MECHANISMS:
        raise Misconfigured(
            "security.protocol asks for a login, and sasl.mechanism does not say which",
            hint=f"Set sasl.mechanism to one of {', '.join(jaas.MECHANISMS)}.",
        )
    if login is None:
        raise Misconfigured(f"security.protocol asks for a login, and {JAAS} is missing", hint=f"Set {JAAS}.")
    if login.module != jaas.MECHANISMS[mechanism]:
        raise Misconfigured(
            f"the login module in {JAAS} does not belong to {mechanism}", hint=f"Use {jaas.MECHANISMS[mechanism]}."
        )
    options = login.options
    if mechanism != "OAUTHBEARER":
        return {
            "sasl.mechanism": mechanism, "sasl.username": options["username"], "sasl.password": options["password"],
        }, frozenset(login.credentials())  # fmt: skip
    endpoint = config.given("sasl.oauthbearer.token.endpoint.url")
    if not endpoint:
        raise Misconfigured("OAUTHBEARER needs a token server", hint="Set sasl.oauthbearer.token.endpoint.url.")
    return {
        "sasl.mechanism": mechanism,
        "sasl.oauthbearer.method": "oidc",
        "sasl.oauthbearer.token.endpoint.url": endpoint,
        "sasl.oauthbearer.client.id": options["clientId"],
        "sasl.oauthbearer.client.secret": options["clientSecret"],
        **({"sasl.oauthbearer.scope": options["scope"]} if options.get("scope") else {}),
    }, frozenset(login.credentials())  # fmt: skip


def _mapped(config: KafkaConfig, *, only_of_every_client: bool = False) -> dict[str, Any]:
    """The settings that properties of the map become, in the order of the table."""
    settings: dict[str, Any] = {}
    for key, known in PROPERTIES.items():
        text = config.given(key)
        if text is not None and (key in _OF_EVERY_CLIENT or not only_of_every_client):
            settings |= known.setting(text)
    return settings
