"""What a Kafka connection is made of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Le
from pydantic import AfterValidator, BeforeValidator, ConfigDict, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from mooring.errors import Problem
from mooring.plugin.config import ConnectionConfig, Part
from mooring.plugin.fields import NO_CONTROL, Flag, OrReference, Text, field, has_reference
from mooring.plugin.problems import explain_pattern, invalid, required
from mooring.plugin.secrets import SecretSite
from mooring.types.kafka import jaas
from mooring.types.kafka.properties import (
    PROPERTIES,
    SERVER_LIST,
    SERVER_LIST_REASON,
    servers_problem,
    type_problem,
    unsupported,
)
from mooring.types.kafka.sites import JAAS, PropertySecrets

MAP = "propertiesMap"
STRING_SERIALIZER = "org.apache.kafka.common.serialization.StringSerializer"
MODERN_TLS = ("TLS_1_2", "TLS_1_3")
LONGEST_TOPIC = 249

_TOPIC = re.compile(r"[A-Za-z0-9._-]+")


def _servers(text: str) -> str:
    reason = servers_problem(text)
    if reason is not None:
        raise PydanticCustomError("servers", reason)
    return text


def _value_text(value: Any) -> Any:
    """JSON's numbers and truths are kept as the text that Kafka's own files would hold."""
    return str(value).lower() if type(value) is bool else value


def _forget_parsed_value(schema: dict[str, Any]) -> None:
    schema["properties"]["valueByType"] = {
        "title": "Value by type",
        "description": "The parsed value that other servers answer. Accepted and without effect: `value` says it.",
    }


Topic = Annotated[str, StringConstraints(pattern=NO_CONTROL, min_length=1, max_length=LONGEST_TOPIC), OrReference]
Servers = Annotated[
    str,
    StringConstraints(pattern=explain_pattern(SERVER_LIST, SERVER_LIST_REASON), max_length=4096),
    AfterValidator(_servers),
    OrReference,
]
ValueType = Annotated[
    Literal["STRING", "BOOLEAN", "INTEGER", "LONG", "DOUBLE", "FLOAT", "STRING_LIST", "URI", "SECRET"], OrReference
]
ProtocolType = Annotated[Literal["TLS_1_3", "TLS_1_2", "TLS_1_1", "TLS_1_0", "SSL_3_0"], OrReference]
PropertyKey = Annotated[str, StringConstraints(pattern=NO_CONTROL, min_length=1, max_length=255)]
PropertyText = Annotated[
    str,
    BeforeValidator(_value_text, json_schema_input_type=str | int | float | bool),
    StringConstraints(max_length=200_000),
]
BreakerThreshold = Annotated[int, Ge(1), Le(10_000), OrReference]
BreakerSleep = Annotated[int, Ge(1), Le(3600), OrReference]


class KafkaProperty(Part):
    """The value of one Kafka property."""

    model_config = ConfigDict(json_schema_extra=_forget_parsed_value)

    value: PropertyText = field(description="The value, as text.", example="all")
    value_type: ValueType = field(
        "STRING", description="What the text is read as; SECRET keeps the whole value sealed.", example="STRING"
    )

    @model_validator(mode="before")
    @classmethod
    def _forget(cls, value: Any) -> Any:
        if type(value) is dict and "valueByType" in value:
            value = {key: item for key, item in value.items() if key != "valueByType"}
        return value


class KafkaConfig(ConnectionConfig):
    """Publishes to, and receives from, one topic of a Kafka cluster."""

    SECRET_SITES: ClassVar[tuple[SecretSite, ...]] = (PropertySecrets(MAP),)

    topic_name: Topic = field(description="The topic.", example="events", group="Topic")
    properties_map: dict[PropertyKey, KafkaProperty] | None = field(
        None,
        description="Producer properties by their Kafka names, from the list in the README; made from bootstrapServers when absent.",
        example={
            "bootstrap.servers": {"value": "broker-1:9092,broker-2:9092", "valueType": "STRING"},
            "key.serializer": {"value": STRING_SERIALIZER, "valueType": "STRING"},
            "value.serializer": {"value": STRING_SERIALIZER, "valueType": "STRING"},
        },
        group="Brokers",
    )
    bootstrap_servers: Servers | None = field(
        None,
        description="The brokers to begin with, host:port separated by commas; `bootstrap.servers` in propertiesMap wins over it.",
        example="broker-1:9092,broker-2:9092",
        group="Brokers",
        destination=True,
    )
    enable_secure: Flag = field(False, description="Speak TLS with the brokers.", group="Security", destination=True)
    protocol_types: list[ProtocolType] = field(
        [], description="Allowed TLS versions; needed when TLS is on.", example=["TLS_1_3", "TLS_1_2"], group="Security"
    )
    key_store_name: Text | None = field(
        None,
        description="Keystore with the client certificate, by name; needed when TLS is on.",
        example="kafka-client",
        group="Security",
        destination=True,
        reference="keystore",
    )
    trust_store_name: Text | None = field(
        None,
        description="Truststore for the brokers' certificates, by name; absent, the worker's own authorities are trusted.",
        example="kafka-brokers",
        group="Security",
        destination=True,
        reference="truststore",
    )
    key_store_id: Text | None = field(
        None, description="Keystore, by id.", group="Security", no_effect="address it by name."
    )
    trust_store_id: Text | None = field(
        None, description="Truststore, by id.", group="Security", no_effect="address it by name."
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

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, value: Any) -> Any:
        """A map without entries is none; where there is none, the brokers' short form makes one."""
        if type(value) is not dict:
            return value
        given = value.get(MAP)
        entries = {key: entry for key, entry in given.items() if entry is not None} if type(given) is dict else given
        if entries is None or entries == {}:
            servers = value.get("bootstrapServers")
            entries = _made_from(servers) if type(servers) is str and servers else None
        return {**value, MAP: entries} if entries is not given else value

    def rules(self) -> Iterator[Problem]:
        entries = self.properties_map or {}
        if not self.bootstrap_servers and "bootstrap.servers" not in entries:
            yield required("bootstrapServers", "propertiesMap has no bootstrap.servers either")
        for key in ("key.serializer", "value.serializer") if entries else ():
            if key not in entries:
                yield Problem(f"/{MAP}/{key}", "required", f"{MAP}.{key} value can not be empty!")
        for key, entry in entries.items():
            yield from _property_rules(key, entry)
        yield from self._idempotence_rules()
        if self.enable_secure:
            if not self.protocol_types:
                yield required("protocolTypes", "enableSecure is true")
            if not (self.key_store_name or self.key_store_id):
                yield required("keyStoreName", "enableSecure is true, and keyStoreId is empty too")

    def _idempotence_rules(self) -> Iterator[Problem]:
        """What Kafka itself refuses to combine with idempotence."""
        if (self.given("enable.idempotence") or "").lower() != "true":
            return
        if self.given("acks", "all").lower() in ("0", "1"):
            yield invalid([MAP, "acks"], "enable.idempotence is true, which needs acks to be all", "idempotence_acks")
        in_flight = self.given("max.in.flight.requests.per.connection", "5")
        if in_flight.isdecimal() and int(in_flight) > 5:  # Kafka's own bound
            yield invalid(
                [MAP, "max.in.flight.requests.per.connection"],
                "enable.idempotence is true, which allows at most 5",
                "idempotence_in_flight",
            )

    def warnings(self) -> Iterator[Problem]:
        yield from self._broker_warnings()
        yield from self._tls_warnings()
        yield from self._login_warnings()
        for key in self.properties_map or {}:
            no_effect = PROPERTIES[key].no_effect
            if no_effect:
                yield invalid([MAP, key], f"it is without effect: {no_effect}", "without_effect")

    def _broker_warnings(self) -> Iterator[Problem]:
        topic, mapped = self.topic_name, self.given("bootstrap.servers")
        if not has_reference(topic) and (not _TOPIC.fullmatch(topic) or topic in (".", "..")):
            yield invalid("topicName", "Kafka allows letters, digits, '.', '_' and '-' only", "topic_name")
        if self.bootstrap_servers and mapped and self.bootstrap_servers != mapped:
            yield invalid(
                "bootstrapServers",
                "it differs from bootstrap.servers in propertiesMap, and the latter is used",
                "bootstrap_conflict",
            )

    def _tls_warnings(self) -> Iterator[Problem]:
        protocol = (self.given("security.protocol") or "").upper()
        if not self.enable_secure:
            for name, value in (("keyStoreName", self.key_store_name), ("trustStoreName", self.trust_store_name)):
                if value:
                    yield invalid(name, "it is not used, because enableSecure is false", "unused_reference")
        for name, by_id, by_name in (
            ("keyStoreId", self.key_store_id, self.key_store_name),
            ("trustStoreId", self.trust_store_id, self.trust_store_name),
        ):
            if self.enable_secure and by_id and not by_name:
                yield invalid(name, f"stores are found by name only; give {name[:-2]}Name", "store_by_id")
        if protocol.endswith("SSL") and not self.enable_secure:
            yield invalid(
                [MAP, "security.protocol"],
                "it asks for TLS while enableSecure is false; TLS is spoken, without the stores of this connection",
                "sasl_ssl",
            )
        if protocol.endswith("PLAINTEXT") and self.enable_secure:
            yield invalid(
                [MAP, "security.protocol"], "enableSecure is true, so TLS is spoken all the same", "plaintext_secure"
            )
        if self.given("ssl.endpoint.identification.algorithm") == "":
            yield invalid(
                [MAP, "ssl.endpoint.identification.algorithm"],
                "the brokers' certificates are not compared with their host names",
                "hostname_not_verified",
            )
        weak = [version for version in self.protocol_types if version not in MODERN_TLS and not has_reference(version)]
        if self.enable_secure and weak:
            yield invalid(
                "protocolTypes", f"{', '.join(weak)} cannot be spoken here; TLS_1_2 and TLS_1_3 can", "tls_version_weak"
            )

    def _login_warnings(self) -> Iterator[Problem]:
        if not self.sasl:
            return
        mechanism, login = (self.given("sasl.mechanism") or "").upper(), self.login()
        if not mechanism:
            yield invalid(
                [MAP, "security.protocol"], "it asks for a login, and sasl.mechanism is missing", "sasl_incomplete"
            )
        if not self.given(JAAS):
            yield invalid([MAP, "security.protocol"], f"it asks for a login, and {JAAS} is missing", "sasl_incomplete")
        if login and login.module in jaas.MODULES and jaas.MECHANISMS.get(mechanism, login.module) != login.module:
            yield invalid([MAP, JAAS], "its login module does not belong to sasl.mechanism", "sasl_mismatch")
        if mechanism == "OAUTHBEARER" and not self.given("sasl.oauthbearer.token.endpoint.url"):
            yield invalid(
                [MAP, "sasl.mechanism"], "OAUTHBEARER needs sasl.oauthbearer.token.endpoint.url", "sasl_incomplete"
            )
        if mechanism in ("PLAIN", "OAUTHBEARER") and not self.tls:
            yield invalid(
                [MAP, "security.protocol"], f"{mechanism} without TLS sends the credential in the clear", "sasl_clear"
            )

    def destination(self) -> dict[str, Any]:
        found = super().destination()
        for key, entry in (self.properties_map or {}).items():
            if key == JAAS:
                login = self.login()
                found[f"{MAP}/{key}"] = login.without_credentials() if login else None
            elif key in PROPERTIES and PROPERTIES[key].destination:
                found[f"{MAP}/{key}"] = entry.value
        return found

    def references(self) -> dict[str, str]:
        return super().references() if self.enable_secure else {}

    def given(self, key: str, default: Any = None) -> Any:
        """The text of a property, or *default*."""
        entry = (self.properties_map or {}).get(key)
        return default if entry is None else entry.value

    @property
    def servers(self) -> str:
        """The brokers that are really used."""
        return self.given("bootstrap.servers") or self.bootstrap_servers or ""

    @property
    def tls(self) -> bool:
        """Whether TLS is spoken: one of the two places that can ask for it is enough."""
        return self.enable_secure or (self.given("security.protocol") or "").upper().endswith("SSL")

    @property
    def sasl(self) -> bool:
        """Whether there is a login."""
        return (self.given("security.protocol") or "").upper().startswith("SASL")

    def login(self) -> jaas.Login | None:
        """The login of the JAAS line, where there is one that can be read."""
        try:
            return jaas.read(self.given(JAAS, ""))
        except jaas.NotJaas:
            return None


def _property_rules(key: str, entry: KafkaProperty) -> Iterator[Problem]:
    known = PROPERTIES.get(key)
    if known is None:
        yield invalid([MAP, key], unsupported(key), "unsupported_property")
    elif not has_reference(entry.value):
        reason = known.problem(entry.value)
        if reason is None and not has_reference(entry.value_type):
            reason = type_problem(entry.value, entry.value_type)
        if reason is not None:
            yield invalid([MAP, key, "value"], f"it {reason}")


def _made_from(servers: str) -> dict[str, Any]:
    def entry(value: str, value_type: str = "STRING") -> dict[str, str]:
        return {"value": value, "valueType": value_type}

    return {
        "bootstrap.servers": entry(servers),
        "key.serializer": entry(STRING_SERIALIZER),
        "value.serializer": entry(STRING_SERIALIZER),
        "max.block.ms": entry("3000", "INTEGER"),
    }
