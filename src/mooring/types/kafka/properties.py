"""
Kafka's producer properties: which are taken, what their values may be, and what becomes of them.

The keys are those of Kafka's own (Java) client. The driver is librdkafka, which knows many of them under the
same name, some under another, and some not at all; and it knows properties that run a command or load code.
So this is an allow-list: what is not in the table is refused by name.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from mooring.plugin.secrets import is_credential_parameter
from mooring.types.kafka import jaas

Setting = str | int | bool
Kind = Literal["text", "flag", "whole", "decimal", "choice", "servers", "jaas", "pem", "url"]

INT = 2**31 - 1
LONG = 2**63 - 1
SERIALIZERS: dict[str, str] = {
    f"org.apache.kafka.common.serialization.{name}Serializer": name
    for name in ("String", "ByteArray", "Integer", "Long", "Double", "UUID")
}
"""The serializers that are understood, by their Java class."""

_SERVER = r"(\[[0-9A-Fa-f:.%]+\]|[^\s,:/@\\\[\]\x00-\x1f\x7f-\x9f]+):[0-9]{1,5}"
SERVER_LIST = f"^ *{_SERVER}( *, *{_SERVER})* *$"
SERVER_LIST_REASON = "must be host:port pairs separated by commas, such as broker-1:9092,broker-2:9092"

_URI = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]*")
_HTTPS = re.compile(r"https://[^\s/?#@\\]+(?:[/?][^\s#]*)?", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CONTROL_BUT_LINES = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_WHOLE = re.compile(r"[+-]?[0-9]{1,19}")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[fFdD]?")


@dataclass(frozen=True)
class Property:
    """
    One property of the allow-list.

    Attributes:
        kind: What its text must be.
        lowest, highest: The range of a number.
        choices: The texts of a choice, in any case.
        sent: The driver's name for it, where the value goes there as it is; or what makes the driver's settings
            of it. None where the room itself does what it says, or where it has no effect.
        destination: It says where a secret goes.
        secret: It is a credential.
        no_effect: Why it is accepted and does nothing.
    """

    kind: Kind = "text"
    lowest: int = 0
    highest: int = INT
    choices: tuple[str, ...] = ()
    sent: str | Callable[[str], Mapping[str, Setting]] | None = None
    destination: bool = False
    secret: bool = False
    no_effect: str | None = None

    def problem(self, text: str) -> str | None:
        """What is wrong with *text* as its value: the end of the sentence "it ...", or None."""
        if self.kind not in ("jaas", "pem") and _CONTROL.search(text):
            return "must not contain control characters"
        return _CHECKS[self.kind](self, text)

    def setting(self, text: str) -> dict[str, Setting]:
        """What the driver is told for *text*."""
        if self.sent is None:
            return {}
        if callable(self.sent):
            return dict(self.sent(text))
        return {self.sent: self.canonical(text)}

    def canonical(self, text: str) -> Setting:
        """*text* as the driver wants it."""
        match self.kind:
            case "flag":
                return text.lower() == "true"
            case "whole":
                return int(text)
            case "choice":
                return next(choice for choice in self.choices if choice.lower() == text.lower())
        return text


def _check_whole(self: Property, text: str) -> str | None:
    if not _WHOLE.fullmatch(text):
        return "must be a whole number"
    if not self.lowest <= int(text) <= self.highest:
        return f"must be between {self.lowest} and {self.highest}"
    return None


def _check_decimal(self: Property, text: str) -> str | None:
    if not _DECIMAL.fullmatch(text):
        return "must be a number"
    if not self.lowest <= float(text.rstrip("fFdD")) <= self.highest:
        return f"must be between {self.lowest} and {self.highest}"
    return None


def _check_choice(self: Property, text: str) -> str | None:
    if text.lower() in (choice.lower() for choice in self.choices):
        return None
    return f"must be one of {', '.join(choice or 'an empty text' for choice in self.choices)}"


def _check_jaas(self: Property, text: str) -> str | None:
    if _CONTROL_BUT_LINES.search(text):
        return "must not contain control characters"
    try:
        jaas.check(text)
    except jaas.NotJaas as exc:
        return f"must be a line that a SASL login is made of: {exc}"
    return None


def _check_pem(self: Property, text: str) -> str | None:
    if _CONTROL_BUT_LINES.search(text):
        return "must not contain control characters"
    return (
        None
        if "-----BEGIN " in text
        else "must be PEM text; stores in other formats are named by keyStoreName and trustStoreName"
    )


_CHECKS: dict[str, Callable[[Property, str], str | None]] = {
    "text": lambda self, text: None if len(text) <= self.highest else f"must have at most {self.highest} characters",
    "flag": lambda self, text: None if text.lower() in ("true", "false") else "must be true or false",
    "whole": _check_whole,
    "decimal": _check_decimal,
    "choice": _check_choice,
    "servers": lambda self, text: servers_problem(text),
    "jaas": _check_jaas,
    "pem": _check_pem,
    "url": lambda self, text: None if _HTTPS.fullmatch(text) else "must be an https:// URL without a user in it",
}


def _whole(lowest: int, highest: int, sent: str | Callable[[str], Mapping[str, Setting]] | None = None) -> Property:
    return Property("whole", lowest, highest, sent=sent)


def _at_least(lowest: int, name: str) -> Callable[[str], dict[str, Setting]]:
    """Kafka allows a value that librdkafka does not; its own lowest one means the same."""
    return lambda text: {name: max(lowest, int(text))}


def _nothing(why: str, kind: Kind = "text", lowest: int = 0, highest: int = 255, *, secret: bool = False) -> Property:
    return Property(kind, lowest, highest, secret=secret, no_effect=why)


def _no_choice(why: str, *choices: str) -> Property:
    return Property("choice", choices=choices, no_effect=why)


def _verification(text: str) -> dict[str, Setting]:
    return {"ssl.endpoint.identification.algorithm": "https" if text else "none"}


_ACKS = {"-1": "all", "all": "all", "0": "0", "1": "1"}
_PARTITIONERS = {
    "org.apache.kafka.clients.producer.internals.DefaultPartitioner": "murmur2_random",
    "org.apache.kafka.clients.producer.RoundRobinPartitioner": "random",
    "org.apache.kafka.clients.producer.UniformStickyPartitioner": "random",
}
_OAUTH = "org.apache.kafka.common.security.oauthbearer"

_OF_JAVA = "it tunes Kafka's Java client, which is not used."
_BY_TYPES = "protocolTypes says which TLS versions are allowed."
_DRIVER_TLS = "the driver's own TLS library decides."
_NO_FILE = "stores are named by keyStoreName and trustStoreName, and opened with their own passwords."
_NO_TRANSACTIONS = "transactions are not used."
_DRIVER_RENEWS = "the driver renews tokens by itself."

PROPERTIES: dict[str, Property] = {
    # Brokers
    "bootstrap.servers": Property("servers", destination=True),
    "client.id": Property("text", highest=255, sent="client.id"),
    "client.dns.lookup": Property(
        "choice", choices=("use_all_dns_ips", "resolve_canonical_bootstrap_servers_only"), sent="client.dns.lookup"
    ),
    "connections.max.idle.ms": _whole(0, INT, "connections.max.idle.ms"),
    "metadata.max.age.ms": _whole(1, 86_400_000, "metadata.max.age.ms"),
    "metadata.max.idle.ms": _nothing(_OF_JAVA, "whole", highest=LONG),
    "reconnect.backoff.ms": _whole(0, 3_600_000, "reconnect.backoff.ms"),
    "reconnect.backoff.max.ms": _whole(0, 3_600_000, "reconnect.backoff.max.ms"),
    "socket.connection.setup.timeout.ms": _whole(1, INT, _at_least(1000, "socket.connection.setup.timeout.ms")),
    "socket.connection.setup.timeout.max.ms": _nothing(_OF_JAVA, "whole", highest=LONG),
    "send.buffer.bytes": _whole(-1, 100_000_000, _at_least(0, "socket.send.buffer.bytes")),
    "receive.buffer.bytes": _whole(-1, 100_000_000, _at_least(0, "socket.receive.buffer.bytes")),
    # Records
    "key.serializer": Property("choice", choices=tuple(SERIALIZERS)),
    "value.serializer": Property("choice", choices=tuple(SERIALIZERS)),
    "acks": Property("choice", choices=tuple(_ACKS), sent=lambda text: {"acks": _ACKS[text.lower()]}),
    "retries": _whole(0, INT, "retries"),
    "enable.idempotence": Property("flag", sent="enable.idempotence"),
    "max.in.flight.requests.per.connection": _whole(1, 1_000_000, "max.in.flight.requests.per.connection"),
    "compression.type": Property("choice", choices=("none", "gzip", "snappy", "lz4", "zstd"), sent="compression.type"),
    "compression.gzip.level": _nothing("the driver's own level is used.", "whole", lowest=-1, highest=9),
    "compression.lz4.level": _nothing("the driver's own level is used.", "whole", lowest=1, highest=17),
    "compression.zstd.level": _nothing("the driver's own level is used.", "whole", lowest=-131_072, highest=22),
    "partitioner.class": Property(
        "choice",
        choices=tuple(_PARTITIONERS),
        sent=lambda text: {
            "partitioner": next(to for name, to in _PARTITIONERS.items() if name.lower() == text.lower())
        },
    ),
    "partitioner.ignore.keys": Property(
        "flag", sent=lambda text: {"partitioner": "random"} if text.lower() == "true" else {}
    ),
    "partitioner.adaptive.partitioning.enable": _nothing(_OF_JAVA, "flag"),
    "partitioner.availability.timeout.ms": _nothing(_OF_JAVA, "whole", highest=LONG),
    # Batches, waits and bounds
    "batch.size": _whole(0, INT, _at_least(1, "batch.size")),
    "linger.ms": _whole(0, 900_000, "linger.ms"),
    "max.block.ms": _whole(0, INT),
    "delivery.timeout.ms": _whole(1, INT, "delivery.timeout.ms"),
    "request.timeout.ms": _whole(1, 900_000, "request.timeout.ms"),
    "retry.backoff.ms": _whole(0, 300_000, _at_least(1, "retry.backoff.ms")),
    "retry.backoff.max.ms": _whole(0, 300_000, _at_least(1, "retry.backoff.max.ms")),
    "max.request.size": _whole(1000, 1_000_000_000, "message.max.bytes"),
    "buffer.memory": _whole(1024, 2**30, lambda text: {"queue.buffering.max.kbytes": int(text) // 1024}),
    # TLS
    "security.protocol": Property(
        "choice", choices=("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"), destination=True
    ),
    "ssl.endpoint.identification.algorithm": Property(
        "choice", choices=("https", ""), sent=_verification, destination=True
    ),
    "ssl.truststore.certificates": Property("pem", destination=True),
    "ssl.keystore.certificate.chain": Property("pem"),
    "ssl.keystore.key": Property("pem", secret=True),
    "ssl.key.password": Property("text", highest=4096, secret=True),
    "ssl.keystore.type": _no_choice(_NO_FILE, "PEM", "JKS", "PKCS12"),
    "ssl.keystore.password": _nothing(_NO_FILE, highest=4096, secret=True),
    "ssl.truststore.type": _no_choice(_NO_FILE, "PEM", "JKS", "PKCS12"),
    "ssl.truststore.password": _nothing(_NO_FILE, highest=4096, secret=True),
    "ssl.protocol": _nothing(_BY_TYPES),
    "ssl.enabled.protocols": _nothing(_BY_TYPES),
    "ssl.cipher.suites": _nothing(_DRIVER_TLS, highest=4096),
    "ssl.keymanager.algorithm": _nothing(_DRIVER_TLS),
    "ssl.trustmanager.algorithm": _nothing(_DRIVER_TLS),
    # SASL
    "sasl.mechanism": Property("choice", choices=tuple(jaas.MECHANISMS), destination=True),
    "sasl.jaas.config": Property("jaas", destination=True),
    "sasl.oauthbearer.token.endpoint.url": Property("url", destination=True),
    "sasl.login.callback.handler.class": _no_choice(
        "the driver asks the token endpoint by itself.",
        f"{_OAUTH}.OAuthBearerLoginCallbackHandler",
        f"{_OAUTH}.secured.OAuthBearerLoginCallbackHandler",
    ),
    "sasl.login.connect.timeout.ms": _nothing(_DRIVER_RENEWS, "whole", highest=INT),
    "sasl.login.read.timeout.ms": _nothing(_DRIVER_RENEWS, "whole", highest=INT),
    "sasl.login.retry.backoff.ms": _nothing(_DRIVER_RENEWS, "whole", highest=LONG),
    "sasl.login.retry.backoff.max.ms": _nothing(_DRIVER_RENEWS, "whole", highest=LONG),
    "sasl.login.refresh.buffer.seconds": _nothing(_DRIVER_RENEWS, "whole", highest=3600),
    "sasl.login.refresh.min.period.seconds": _nothing(_DRIVER_RENEWS, "whole", highest=900),
    "sasl.login.refresh.window.factor": _nothing(_DRIVER_RENEWS, "decimal", highest=1),
    "sasl.login.refresh.window.jitter": _nothing(_DRIVER_RENEWS, "decimal", highest=1),
    # What only Kafka's Java client has
    "auto.include.jmx.reporter": _nothing(_OF_JAVA, "flag"),
    "enable.metrics.push": Property("flag", sent="enable.metrics.push"),
    "metrics.num.samples": _nothing(_OF_JAVA, "whole", lowest=1, highest=INT),
    "metrics.recording.level": _no_choice(_OF_JAVA, "INFO", "DEBUG", "TRACE"),
    "metrics.sample.window.ms": _nothing(_OF_JAVA, "whole", highest=LONG),
    "transaction.timeout.ms": _nothing(_NO_TRANSACTIONS, "whole", highest=INT),
}
"""The allow-list."""

_INSTEAD = {
    "ssl.keystore.location": "name the keystore in keyStoreName",
    "ssl.truststore.location": "name the truststore in trustStoreName",
    "sasl.username": "write the user into sasl.jaas.config",
    "sasl.password": "write the password into sasl.jaas.config",
    "sasl.mechanisms": "use sasl.mechanism",
}


def unsupported(key: str) -> str:
    """Why *key*, which is not in the table, is refused: the end of "... is not valid: ..."."""
    reason = "it is not one of the supported Kafka properties"
    if key in _INSTEAD:
        return f"{reason}; {_INSTEAD[key]}"
    close = get_close_matches(key, PROPERTIES, n=1, cutoff=0.75)
    return f"{reason}; did you mean '{close[0]}'?" if close else reason


def is_secret(key: str, value_type: object) -> bool:
    """Whether the whole value of a property is a secret: by its name, or because its author said so."""
    known = PROPERTIES.get(key)
    return (
        value_type == "SECRET"
        or (known is not None and known.secret)
        or is_credential_parameter(key)
        or "password" in key.lower()
    )


def servers(text: str) -> list[tuple[str, int]]:
    """The host and port of each broker in *text*, once each."""
    pairs = (part.strip().rpartition(":") for part in text.split(","))
    return list(dict.fromkeys((host.strip("[]"), int(port)) for host, _, port in pairs))


def servers_problem(text: str) -> str | None:
    """What is wrong with *text* as a list of brokers, or None."""
    if re.fullmatch(SERVER_LIST, text) is None:
        return SERVER_LIST_REASON
    if any(not 1 <= port <= 65_535 for _, port in servers(text)):  # the ports there are
        return "has a port that is not between 1 and 65535"
    return None


def type_problem(text: str, value_type: str) -> str | None:
    """Why *text* cannot be read as *value_type*, or None."""
    match value_type:
        case "BOOLEAN":
            fits = text.lower() in ("true", "false")
        case "INTEGER":
            fits = _is_whole(text, 31)
        case "LONG":
            fits = _is_whole(text, 63)
        case "DOUBLE":
            fits = _is_decimal(text, "d")
        case "FLOAT":
            fits = _is_decimal(text, "f")
        case "URI":
            fits = _URI.fullmatch(text) is not None and not re.search(r"%(?![0-9A-Fa-f]{2})", text)
        case _:
            return None
    return None if fits else f"cannot be read as {value_type}"


def _is_whole(text: str, bits: int) -> bool:
    return _WHOLE.fullmatch(text) is not None and -(2**bits) <= int(text) < 2**bits


def _is_decimal(text: str, width: str) -> bool:
    if not _DECIMAL.fullmatch(text):
        return False
    number = float(text.rstrip("fFdD"))
    try:
        struct.pack(f">{width}", number)
    except OverflowError:
        return False
    return abs(number) != float("inf")
