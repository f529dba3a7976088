"""What a RabbitMQ connection is made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

from annotated_types import Ge, Le, MinLen
from pydantic import AfterValidator, StringConstraints
from pydantic_core import PydanticCustomError

from mooring.errors import Problem
from mooring.plugin.config import ConnectionConfig, Part
from mooring.plugin.fields import (
    NO_CONTROL,
    Count,
    Flag,
    Milliseconds,
    OrReference,
    Port,
    Seconds,
    Secret,
    Text,
    field,
    has_reference,
)
from mooring.plugin.problems import explain_pattern, invalid, required
from mooring.plugin.secrets import SecretSite
from mooring.types.rabbitmq.properties import ClientPropertySecrets, property_rules

HOST = explain_pattern(r"^[^\s/@\\\x00-\x1f\x7f-\x9f]+$", "must be a host name or address, without scheme or path")
DIGITS = explain_pattern(r"^[0-9]{1,18}$", "must be digits only")
SHORT_BYTES = 255
UNSET_ROUTING_KEY = "<queue-name>"
"""The documented default, which is a placeholder: publishing treats it as not set."""
TLS_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
WEAK_TLS_VERSIONS = ("TLSv1", "TLSv1.1")


def short(value: str) -> str:
    # AMQP 0-9-1 counts a short string's length in one octet.
    if len(value.encode()) > SHORT_BYTES:
        raise PydanticCustomError("short_string", f"must have at most {SHORT_BYTES} bytes")
    return value


Host = Annotated[str, StringConstraints(pattern=HOST, min_length=1, max_length=255), OrReference]
ShortText = Annotated[
    str, StringConstraints(pattern=NO_CONTROL, max_length=SHORT_BYTES), AfterValidator(short), OrReference
]
Expiration = Annotated[str, StringConstraints(pattern=DIGITS), OrReference]
DeliveryMode = Annotated[int, Ge(1), Le(2), OrReference]
Priority = Annotated[int, Ge(0), Le(255), OrReference]
ChannelMax = Annotated[int, Ge(0), Le(65535), OrReference]
BreakerThreshold = Annotated[int, Ge(1), Le(10_000), OrReference]
BreakerSleep = Annotated[int, Ge(1), Le(3600), OrReference]


class RabbitMqHostPort(Part):
    """One broker of a cluster."""

    host: Host = field("localhost", description="Broker name or address.", example="rabbitmq.example.com")
    port: Port = field(5672, description="Broker port; 5671 is usual with TLS.", example=5672)


class RabbitMqConfig(ConnectionConfig):
    """Publishes to, and receives from, a RabbitMQ broker or cluster."""

    SECRET_SITES: ClassVar[tuple[SecretSite, ...]] = (ClientPropertySecrets(),)

    host_port_list: Annotated[list[RabbitMqHostPort], MinLen(1)] = field(
        description="The brokers, tried in this order.",
        example=[{"host": "rabbitmq.example.com", "port": 5672}],
        group="Broker",
        destination=True,
    )
    connection_factory_virtual_host: ShortText = field(
        "/", description="Virtual host to open.", example="/", group="Broker"
    )
    authentication_enabled: Flag = field(
        False, description="Log in with the user name and password given here.", group="Login"
    )
    connection_factory_username: Text | None = field(
        None, description="Login name.", example="orders", group="Login", destination=True
    )
    connection_factory_password: Secret | None = field(None, description="Login password.", group="Login")
    connection_factory_connection_timeout: Milliseconds = field(
        60000, description="How long connecting may take; 0 sets no limit of its own.", group="Broker", unit="ms"
    )
    connection_factory_client_properties: dict[str, Any] | None = field(
        None,
        description="Properties announced to the broker; values whose name says credential are kept as secrets.",
        example={"connection_name": "orders"},
        group="Advanced",
    )
    connection_factory_requested_channel_max: ChannelMax = field(
        2047, description="Most channels asked for; 0 leaves it to the broker.", group="Advanced"
    )
    connection_factory_requested_frame_max: Count = field(
        0, description="Largest frame asked for; 0 leaves it to the broker.", group="Advanced", unit="bytes"
    )
    connection_factory_requested_heartbeat: Seconds = field(
        60, description="Heartbeat interval asked for; 0 switches heartbeats off.", group="Advanced", unit="s"
    )
    connection_factory_use_ssl_protocol: Flag = field(
        False, description="Speak TLS with the broker.", group="Security", destination=True
    )
    connection_factory_ssl_protocol: Text = field(
        "TLSv1.2", description="TLS version to speak.", example="TLSv1.3", group="Security"
    )
    channel_exchange: ShortText = field(
        "", description="Exchange to publish to; empty is the default exchange.", example="orders", group="Message"
    )
    channel_routing_key: ShortText = field(
        UNSET_ROUTING_KEY,
        description="Routing key, or the queue name with the default exchange; the default is a placeholder and counts as not set.",
        example="orders.created",
        group="Message",
    )
    basic_properties_app_id: ShortText = field(
        "apinizer", description="The application named in each message.", group="Message"
    )
    basic_properties_content_type: ShortText = field(
        "application/json", description="Media type of the message bodies.", group="Message"
    )
    basic_properties_content_encoding: ShortText | None = field(
        None, description="Encoding of the message bodies.", example="UTF-8", group="Message"
    )
    basic_properties_delivery_mode: DeliveryMode | None = field(
        None, description="1 keeps messages in memory, 2 on disk.", example=2, group="Message"
    )
    basic_properties_priority: Priority | None = field(
        None, description="Message priority, 0 to 255; brokers rarely use more than 0 to 9.", example=5, group="Message"
    )
    basic_properties_reply_to: ShortText | None = field(
        None, description="Queue that replies are expected in.", example="orders.replies", group="Message"
    )
    basic_properties_expiration: Expiration | None = field(
        None, description="How long a message lives, as digits in a text.", example="60000", group="Message", unit="ms"
    )
    basic_properties_type: ShortText | None = field(
        None, description="Message type label.", example="order-created", group="Message"
    )
    basic_properties_user_id: ShortText | None = field(
        None, description="User named in each message; the broker refuses any but the one logged in.", group="Message"
    )
    basic_properties_cluster_id: ShortText | None = field(
        None, description="Cluster label of each message.", group="Message"
    )
    circuit_breaker_enabled: Flag | None = field(
        None,
        description="Stop sending for a while after repeated failures; absent takes the platform's setting.",
        group="Circuit breaker",
    )
    error_threshold_value: BreakerThreshold | None = field(
        None, description="Failures within the window that open the breaker.", example=5, group="Circuit breaker"
    )
    sleep_window: BreakerSleep | None = field(
        None,
        description="How long the breaker stays open before one attempt.",
        example=30,
        group="Circuit breaker",
        unit="s",
    )
    trust_store_name: Text | None = field(
        None,
        description="Truststore for the broker's certificate, by name.",
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
        True, description="Compare the broker's certificate with its host name.", group="Security", destination=True
    )

    def rules(self) -> Iterator[Problem]:
        if self.authentication_enabled:
            if not self.connection_factory_username:
                yield required("connectionFactoryUsername", "authenticationEnabled is true")
            if self.connection_factory_password is None or not self.connection_factory_password.get_secret_value():
                yield required("connectionFactoryPassword", "authenticationEnabled is true")
        yield from property_rules(self.connection_factory_client_properties or {})

    def warnings(self) -> Iterator[Problem]:
        if any("host" not in entry.model_fields_set for entry in self.host_port_list):
            yield invalid("hostPortList", "an entry names no host; localhost is used", "host_defaulted")
        user, login = self.basic_properties_user_id, self.connection_factory_username
        if self.authentication_enabled and user and user != login and not (has_reference(user) or has_reference(login)):
            yield invalid(
                "basicPropertiesUserId",
                "it differs from connectionFactoryUsername, and the broker refuses such messages",
                "user_id_matches",
            )
        version = self.connection_factory_ssl_protocol
        if self.connection_factory_use_ssl_protocol and not has_reference(version):
            if version not in TLS_VERSIONS:
                yield invalid(
                    "connectionFactorySslProtocol",
                    f"it is none of {', '.join(TLS_VERSIONS)}; the versions usual on the worker are used",
                    "tls_version_unknown",
                )
            elif version in WEAK_TLS_VERSIONS:
                yield invalid(
                    "connectionFactorySslProtocol",
                    "this TLS version is no longer safe; use TLSv1.2 or TLSv1.3",
                    "tls_version_weak",
                )
        if self.connection_factory_use_ssl_protocol and not self.verify_hostname:
            yield invalid(
                "verifyHostname", "the broker's certificate is not compared with its host name", "hostname_not_verified"
            )

    def references(self) -> dict[str, str]:
        return super().references() if self.connection_factory_use_ssl_protocol else {}
