"""From a config to what connecting needs."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Any

from yarl import URL

from mooring.errors import Misconfigured
from mooring.kit.tls import client_context
from mooring.plugin.connector import Context
from mooring.plugin.network import Network
from mooring.types.rabbitmq.model import TLS_VERSIONS, RabbitMqConfig

LONGEST_HEARTBEAT_S = 65534
SMALLEST_FRAME = 4096
GUEST = "guest"


@dataclass(frozen=True)
class Broker:
    """Where one broker is; `url` holds the login too."""

    host: str
    port: int
    address: str
    url: URL

    def __repr__(self) -> str:
        return f"<Broker {self.address}>"


@dataclass(frozen=True)
class Settings:
    """
    What connecting needs.

    Attributes:
        timeout_s: How long connecting to one broker may take; None where only the caller's deadline counts.
        channel_max: Most channels asked for; 0 leaves it to the broker.
        frame_max: Largest frame asked for; 0 leaves it to the broker.
        by_certificate: The client certificate is the login, where the broker takes it for one.
    """

    network: Network
    brokers: tuple[Broker, ...]
    vhost: str
    user: str
    tls: ssl.SSLContext | None
    timeout_s: float | None
    channel_max: int
    frame_max: int
    properties: dict[str, Any]
    by_certificate: bool

    def __repr__(self) -> str:
        return "<Settings>"


def settings_of(config: RabbitMqConfig, context: Context) -> Settings:
    """What connecting needs. Raises `Misconfigured`, or `MaterialMissing` for a store that is not there."""
    heartbeat = min(int(config.connection_factory_requested_heartbeat), LONGEST_HEARTBEAT_S)
    brokers = tuple(_broker(config, entry.host, int(entry.port), heartbeat) for entry in config.host_port_list)
    frame_max = int(config.connection_factory_requested_frame_max)
    with_certificate = config.connection_factory_use_ssl_protocol and config.key_store_name
    return Settings(
        network=context.network,
        brokers=brokers,
        vhost=config.connection_factory_virtual_host,
        user=(config.connection_factory_username if config.authentication_enabled else None) or GUEST,
        tls=_tls_context(config, context) if config.connection_factory_use_ssl_protocol else None,
        timeout_s=int(config.connection_factory_connection_timeout) / 1000 or None,
        channel_max=int(config.connection_factory_requested_channel_max),
        frame_max=max(frame_max, SMALLEST_FRAME) if frame_max else 0,
        properties=_announced(config, context),
        by_certificate=bool(with_certificate) and not config.authentication_enabled,
    )


def _broker(config: RabbitMqConfig, host: str, port: int, heartbeat: int) -> Broker:
    bare = host.removeprefix("[").removesuffix("]")
    login, password = config.connection_factory_username, config.connection_factory_password
    if not config.authentication_enabled or login is None or password is None:
        login, secret = GUEST, GUEST
    else:
        secret = password.get_secret_value()
    try:
        url = URL.build(
            scheme="amqps" if config.connection_factory_use_ssl_protocol else "amqp",
            host=bare,
            port=port,
            user=login,
            password=secret,
            path="/",
            query={"heartbeat": str(heartbeat)},
        )
    except ValueError:
        raise Misconfigured(
            "a host in hostPortList is no host name, or the login has letters that cannot be sent",
            hint="Correct the host, the user name or the password.",
        ) from None
    return Broker(bare, port, f"{host}:{port}", url)


def _announced(config: RabbitMqConfig, context: Context) -> dict[str, Any]:
    given = config.connection_factory_client_properties or {}
    return {"product": "Mooring", "connection_name": context.name, **given}


def _tls_context(config: RabbitMqConfig, context: Context) -> ssl.SSLContext:
    find = context.materials.store
    trusted = find(config.trust_store_name).trusted if config.trust_store_name else None
    if config.trust_store_name and not trusted:
        raise Misconfigured(
            "the chosen truststore holds no certificate to trust", hint="Add the issuer of the broker's certificate."
        )
    version = config.connection_factory_ssl_protocol
    try:
        return client_context(
            verify_hostname=config.verify_hostname,
            ca_file=context.ca_file,
            trusted_pem=trusted,
            versions=[version] if version in TLS_VERSIONS else [],
            identity_pem=find(config.key_store_name).identity() if config.key_store_name else None,
            purpose="amqp",
        )
    except (ssl.SSLError, ValueError) as exc:
        raise Misconfigured(
            "the certificates of this connection cannot be used for TLS", hint="Check the truststore and the keystore."
        ) from exc
