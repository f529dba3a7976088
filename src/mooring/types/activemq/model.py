"""What an ActiveMQ connection is made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Le
from pydantic import StringConstraints

from mooring.errors import Problem
from mooring.plugin.config import ConnectionConfig
from mooring.plugin.fields import NO_CONTROL, Flag, LongCount, NonEmpty, OrReference, Secret, Text, field, has_reference
from mooring.plugin.problems import explain_pattern, invalid
from mooring.plugin.secrets import SecretSite, TextParts
from mooring.types.activemq.broker_url import AMQP_SCHEMES, BrokerUrl, BrokerUrlError, parse, refusals, spans

BROKER_URL = explain_pattern(
    r"^(tcp|ssl|nio|nio\+ssl|amqp|amqps|amqp\+ssl|failover):[^\s\x00-\x1f\x7f-\x9f]+$",
    "must begin with tcp:, ssl:, nio:, nio+ssl:, amqp:, amqps:, amqp+ssl: or failover:, and hold no blanks",
)
HeaderText = Annotated[str, StringConstraints(pattern=NO_CONTROL, max_length=255), OrReference]

BrokerUrlText = Annotated[str, StringConstraints(pattern=BROKER_URL, max_length=4096), OrReference]
Protocol = Annotated[Literal["TCP", "AMQP"], OrReference]
DestinationType = Annotated[Literal["QUEUE", "TOPIC"], OrReference]
Acknowledgement = Annotated[
    Literal["AUTO_ACKNOWLEDGE", "CLIENT_ACKNOWLEDGE", "DUPS_OK_ACKNOWLEDGE", "SESSION_TRANSACTED"], OrReference
]
BreakerThreshold = Annotated[int, Ge(1), Le(10_000), OrReference]
BreakerSleep = Annotated[int, Ge(1), Le(3600), OrReference]


class ActiveMqConfig(ConnectionConfig):
    """Publishes to, and receives from, a queue or topic of an ActiveMQ broker."""

    SECRET_SITES: ClassVar[tuple[SecretSite, ...]] = (TextParts("brokerURL", spans),)

    active_mq_connection_protocol_type: Protocol = field(
        description="Wire protocol: TCP for OpenWire, AMQP for AMQP 1.0.",
        example="TCP",
        group="Broker",
        destination=True,
    )
    broker_url: BrokerUrlText = field(
        alias="brokerURL",
        description="Broker address with its options, or a failover list of them.",
        example="failover:(tcp://a.example.com:61616,tcp://b.example.com:61616)?randomize=false",
        group="Broker",
        destination=True,
    )
    username: Text | None = field(None, description="Login name.", example="orders", group="Login", destination=True)
    password: Secret | None = field(None, description="Login password.", group="Login")
    destination_type: DestinationType = field(
        description="Whether messages go to a queue or to a topic.", example="QUEUE", group="Message"
    )
    destination_name: NonEmpty = field(
        description="Name of the queue or topic.", example="orders.created", group="Message"
    )
    session_acknowledgement: Acknowledgement = field(
        "AUTO_ACKNOWLEDGE",
        description="When a received message counts as done; with SESSION_TRANSACTED sending too is a transaction.",
        group="Message",
        also=("sessionAcknowledgment",),
    )
    send_timeout: LongCount = field(
        60000,
        description="How long the broker may take to say that it has a message; 0 sets no limit.",
        group="Timeouts",
        unit="ms",
    )
    request_timeout: LongCount = field(
        60000,
        description="How long any other answer of the broker may take; 0 sets no limit.",
        group="Timeouts",
        unit="ms",
    )
    close_timeout: LongCount = field(
        60000, description="How long saying goodbye may take; 8 s at most.", group="Timeouts", unit="ms"
    )
    connect_timeout: LongCount = field(
        60000,
        description="How long connecting to one broker may take, login included; 0 sets no limit.",
        group="Timeouts",
        unit="ms",
    )
    content_type: HeaderText | None = field(
        None, description="Media type that messages are labelled with.", example="application/json", group="Message"
    )
    client_id: HeaderText | None = field(
        None,
        alias="clientID",
        also=("clientId",),
        description="JMS client id of who receives from a topic, which durable subscriptions need; other connections'"
        " ids begin with it.",
        example="orders-1",
        group="Message",
    )
    content_encoding: HeaderText | None = field(
        None, description="Character set that messages are labelled with.", example="UTF-8", group="Message"
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

    @property
    def broker(self) -> BrokerUrl | None:
        """The parts of `brokerURL`; None while variables stand where its structure should be."""
        try:
            return parse(self.broker_url)
        except BrokerUrlError:
            return None

    def rules(self) -> Iterator[Problem]:
        if has_reference(self.broker_url):
            return
        try:
            url = parse(self.broker_url)
        except BrokerUrlError as exc:
            yield invalid("brokerURL", str(exc), "broker_url")
            return
        for reason in refusals(url):
            yield invalid("brokerURL", reason, "broker_url_refused")

    def warnings(self) -> Iterator[Problem]:
        yield from self._protocol_warnings()
        has_password = self.password is not None and bool(self.password.get_secret_value())
        if bool(self.username) != has_password:
            yield invalid(
                "password" if self.username else "username",
                "username and password are used together; only one of them is set",
                "login_pair",
            )
        if self.broker is not None and self.broker.uses_tls and not self.verify_hostname:
            yield invalid(
                "verifyHostname", "the broker's certificate is not compared with its host name", "hostname_not_verified"
            )

    def _protocol_warnings(self) -> Iterator[Problem]:
        protocol = self.active_mq_connection_protocol_type
        if self.broker is None or has_reference(protocol):
            return
        schemes = {broker.scheme for broker in self.broker.brokers if broker.scheme is not None}
        if any((scheme in AMQP_SCHEMES) != (protocol == "AMQP") for scheme in schemes):
            yield invalid(
                "brokerURL",
                "its scheme does not fit activeMqConnectionProtocolType: AMQP goes with amqp:, amqps: and amqp+ssl:, TCP with the others",
                "scheme_vs_protocol",
            )

    def references(self) -> dict[str, str]:
        return super().references() if self.broker is None or self.broker.uses_tls else {}
