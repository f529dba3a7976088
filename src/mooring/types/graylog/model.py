"""What a Graylog connection is made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from pydantic import BeforeValidator, StringConstraints

from mooring.errors import Problem
from mooring.plugin.config import ConnectionConfig
from mooring.plugin.fields import Count, Flag, Milliseconds, OrReference, Port, Positive, Secret, Text, field
from mooring.plugin.problems import explain_pattern, invalid, required

HOST = explain_pattern(r"^[^\s/@\\\x00-\x1f\x7f-\x9f]+$", "must be a host name or address, without scheme or path")

LEVELS = {
    "EMERGENCY": 0,
    "ALERT": 1,
    "CRITICAL": 2,
    "ERROR": 3,
    "WARNING": 4,
    "NOTICE": 5,
    "INFO": 6,
    "DEBUG": 7,
}
"""The levels, with the number that GELF sends."""

_NUMBERED = {f"{level}({number})": level for level, number in LEVELS.items()}


def _plain_level(value: Any) -> Any:
    return _NUMBERED.get(value, value) if isinstance(value, str) else value


Host = Annotated[str, StringConstraints(pattern=HOST, min_length=1, max_length=255), OrReference]
Transport = Annotated[Literal["TCP", "UDP"], OrReference]
Compression = Annotated[Literal["NONE", "GZIP", "ZLIB"], OrReference]
Level = Annotated[
    Literal["EMERGENCY", "ALERT", "CRITICAL", "ERROR", "WARNING", "NOTICE", "INFO", "DEBUG"],
    BeforeValidator(_plain_level),
    OrReference,
]
BufferSize = Annotated[int, Ge(-1), Le(2**31 - 1), OrReference]
BreakerThreshold = Annotated[int, Ge(1), Le(10_000), OrReference]
BreakerSleep = Annotated[int, Ge(1), Le(3600), OrReference]


class GraylogConfig(ConnectionConfig):
    """Sends log messages to a GELF input."""

    hostname: Host = field(
        description="Server name or address.", example="graylog.example.com", group="Server", destination=True
    )
    port: Port = field(12201, description="Port of the GELF input.", example=12201, group="Server", destination=True)
    transport_type: Transport = field(
        "TCP",
        description="How messages travel; over UDP nobody says whether they arrived.",
        group="Server",
        destination=True,
    )
    tls_enabled: Flag = field(False, description="Speak TLS; only over TCP.", group="Security", destination=True)
    tls_cert_verification_enabled: Flag = field(
        False, description="Check the server's certificate.", group="Security", destination=True
    )
    compression_type: Compression = field(
        "NONE", description="Compression over UDP; GELF over TCP has none.", group="Message"
    )
    gelf_message_level: Level = field(
        "INFO", description="Level of a message that has none; `INFO(6)` is taken for `INFO`.", group="Message"
    )
    queue_size: Positive = field(512, description="Messages that may wait to be sent.", group="Client")
    reconnect_delay: Milliseconds = field(2500, description="Pause before connecting again.", group="Client", unit="ms")
    connect_timeout: Milliseconds = field(
        10_000, description="How long connecting may take.", group="Server", unit="ms"
    )
    tcp_no_delay: Flag = field(True, description="Send small packets at once.", group="Client")
    tcp_keep_alive: Flag = field(False, description="TCP keep-alive on the socket.", group="Client")
    send_buffer_size: BufferSize = field(
        -1, description="Send buffer of the socket; -1 leaves it to the system.", group="Client", unit="bytes"
    )
    max_inflight_sends: Positive = field(512, description="Messages that may be on their way at once.", group="Client")
    threads: Count = field(
        0,
        description="Threads that send; 0 leaves it to the client.",
        group="Client",
        no_effect="sending shares the worker's own event loop.",
    )
    tls_trust_cert_chain_file: Secret | None = field(
        None,
        description="Trusted certificates, PEM in base64; needed when `tlsCertVerificationEnabled` is true and no truststore is named.",
        group="Security",
        destination=True,
    )
    tls_trust_cert_chain_file_name: Text | None = field(
        None, description="Name that the file had, for people.", example="graylog-ca.pem", group="Security"
    )
    append_to_attributes: Flag = field(
        True, description="Put what is known of a message into its GELF fields.", group="Message"
    )
    append_to_message: Flag = field(True, description="Put what is known of a message into its text.", group="Message")
    circuit_breaker_enabled: Flag | None = field(
        None,
        description="Stop sending for a while after repeated failures; left out, the platform's setting.",
        group="Breaker",
    )
    error_threshold_value: BreakerThreshold | None = field(
        None,
        description="Failures that open the breaker; left out, the platform's setting.",
        example=5,
        group="Breaker",
    )
    sleep_window: BreakerSleep | None = field(
        None,
        description="How long the breaker stays open before one attempt; left out, the platform's setting.",
        example=30,
        group="Breaker",
        unit="s",
    )
    verify_hostname: Flag = field(
        True,
        description="Compare the certificate with `hostname`, where it is checked.",
        group="Security",
        destination=True,
    )
    trust_store_name: Text | None = field(
        None,
        description="Truststore for the server's certificate, by name; stands in for the file.",
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

    def rules(self) -> Iterator[Problem]:
        chain = self.tls_trust_cert_chain_file
        given = self.trust_store_name or (chain is not None and chain.get_secret_value())
        if self.tls_cert_verification_enabled and not given:
            yield required(
                "tlsTrustCertChainFile", "tlsCertVerificationEnabled is true, and no trustStoreName is given"
            )

    def warnings(self) -> Iterator[Problem]:
        if self.tls_cert_verification_enabled and not self.tls_enabled:
            yield invalid(
                "tlsCertVerificationEnabled",
                "without tlsEnabled there is no certificate to check",
                "verification_needs_tls",
            )
        if self.tls_enabled and self.transport_type == "UDP":
            yield invalid("tlsEnabled", "transportType is UDP, and GELF over UDP is never encrypted", "tls_only_tcp")
        elif self.tls_enabled and not self.tls_cert_verification_enabled:
            yield invalid(
                "tlsCertVerificationEnabled",
                "it is off, which lets any server pass for Graylog",
                "certificate_not_checked",
            )

        elif self.tls_enabled and not self.verify_hostname:
            yield invalid(
                "verifyHostname", "the server's certificate is not compared with its host name", "hostname_not_verified"
            )

    def references(self) -> dict[str, str]:
        if not self.tls_enabled or self.transport_type == "UDP":
            return {}
        found = super().references()
        if not self.tls_cert_verification_enabled:
            found.pop("trustStoreName", None)
        return found
