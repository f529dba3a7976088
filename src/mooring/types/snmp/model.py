"""What an SNMP connection is made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, Self

from annotated_types import MaxLen
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ModelWrapValidatorHandler,
    PrivateAttr,
    SecretStr,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError

from mooring.errors import Problem
from mooring.plugin.config import ConnectionConfig
from mooring.plugin.fields import NO_CONTROL, Count, Flag, Milliseconds, OrReference, Secret, Text, field, has_reference
from mooring.plugin.problems import explain_pattern, invalid, required
from mooring.plugin.secrets import SecretSite
from mooring.types.snmp.community import Community

CONNECTION_STRING = explain_pattern(
    r"^(udp|tcp):[^/\s\x00-\x1f\x7f-\x9f]+/[0-9]{1,5}$", "must look like udp:192.0.2.10/162: udp or tcp, a host, a port"
)
OID = explain_pattern(r"^\.?[0-2](\.[0-9]{1,10}){1,127}$", "must be an object identifier such as .1.3.6.1.2.1.1.6")
DEFAULT_TARGET = "udp:192.168.1.2/162"
MAX_PORT = 65535
MAX_ARC = 2**32 - 1
MAX_SECOND_ARC = 39
MIN_PASSPHRASE = 8
VERSIONS = {"v1": "V1", "v2c": "V2c", "V2C": "V2c", "v3": "V3"}


def _version(value: Any) -> Any:
    return VERSIONS.get(value, value) if isinstance(value, str) else value


def _target(value: str) -> str:
    if not 1 <= int(value.rpartition("/")[2]) <= MAX_PORT:
        raise PydanticCustomError("port", f"must end with a port between 1 and {MAX_PORT}")
    return value


def oid_in_range(value: str) -> str:
    """An identifier, where its numbers are ones that may stand there."""
    arcs = [int(arc) for arc in value.lstrip(".").split(".")]
    if max(arcs) > MAX_ARC or (arcs[0] < 2 and arcs[1] > MAX_SECOND_ARC):  # the root arcs of X.660
        raise PydanticCustomError("oid", "must be an object identifier whose numbers are in range")
    return value


Version = Annotated[Literal["V1", "V2c", "V3"], BeforeValidator(_version), OrReference]
Target = Annotated[
    str, StringConstraints(pattern=CONNECTION_STRING, max_length=300), AfterValidator(_target), OrReference
]
CommunityName = Annotated[str, StringConstraints(pattern=NO_CONTROL, min_length=1, max_length=255), OrReference]
MessageType = Annotated[Literal["TRAP", "INFORM"], OrReference]
Oid = Annotated[str, StringConstraints(pattern=OID, max_length=512), AfterValidator(oid_in_range), OrReference]
OidValue = Annotated[str, StringConstraints(pattern=NO_CONTROL, max_length=1024), OrReference]
SecurityLevel = Annotated[Literal["NOAUTH_NOPRIV", "AUTH_NOPRIV", "AUTH_PRIV"], OrReference]
Privacy = Annotated[
    Literal[
        "PrivAES128", "PrivAES192", "PrivAES192with3DES", "PrivAES256", "PrivAES256with3DES", "PrivDES", "Priv3DES"
    ],
    OrReference,
]
Authentication = Annotated[
    Literal["AuthMD5", "AuthSHA", "AuthHMAC128SHA224", "AuthHMAC192SHA256", "AuthHMAC256SHA384", "AuthHMAC384SHA512"],
    OrReference,
]


class SnmpConfig(ConnectionConfig):
    """Sends SNMP notifications to a management station."""

    SECRET_SITES: ClassVar[tuple[SecretSite, ...]] = (Community(),)

    _clashing: tuple[tuple[str, str], ...] = PrivateAttr(())

    version: Version = field("V1", description="SNMP version: V1, V2c or V3.", example="V3", group="Target")
    connection_string: Target = field(
        DEFAULT_TARGET,
        description="Transport, host and port of the receiver.",
        example="udp:192.0.2.10/162",
        group="Target",
        destination=True,
    )
    security_or_community_name: CommunityName = field(
        description="Community with V1 and V2c, where it is kept as a secret; user name with V3.",
        example="orders",
        group="Target",
    )
    retry_count: Count | None = field(
        None, description="How often an unanswered inform is sent again; 2 when not set.", example=2, group="Target"
    )
    timeout: Milliseconds | None = field(
        None,
        description="How long each answer may take; 0, or not set, is 5000.",
        example=5000,
        group="Target",
        unit="ms",
    )
    message_type: MessageType | None = field(
        None,
        description="TRAP is not answered, INFORM is acknowledged by the receiver; TRAP when not set.",
        example="TRAP",
        group="Message",
    )
    pdu_oid_for_message: Oid = field(
        description="Object identifier that carries the message text.",
        example=".1.3.6.1.2.1.1.6",
        group="Message",
        also=("pduUdpForMessage",),
    )
    pdu_oid_for_time: Oid | None = field(
        None,
        description="Object identifier that carries the time.",
        example=".1.3.6.1.2.1.1.3.0",
        group="Message",
        also=("pduUdpForTime",),
    )
    pdu_variable_map: Annotated[dict[Oid, OidValue], MaxLen(64)] = field(
        {},
        description="More object identifiers with the text each carries.",
        example={".1.3.6.1.2.1.1.5.0": "orders"},
        group="Message",
    )
    security_level: SecurityLevel | None = field(
        None,
        description="With V3: whether messages are authenticated and encrypted; neither when not set.",
        example="AUTH_PRIV",
        group="Security (V3)",
    )
    privacy_protocol_list: Annotated[list[Privacy], MaxLen(16)] = field(
        [],
        description="Encryption algorithms to offer.",
        group="Security (V3)",
        no_effect="usmUserPrivacyProtocol decides.",
    )
    enable_user_authentication: Flag = field(
        False,
        description="With V3: use the USM user named in securityName.",
        group="Security (V3)",
        also=("enabledUserAuthentication",),
    )
    security_name: Text | None = field(
        None, description="USM user name.", example="orders", group="Security (V3)", destination=True
    )
    usm_user_authentication_protocol: Authentication | None = field(
        None, description="USM authentication algorithm.", example="AuthHMAC192SHA256", group="Security (V3)"
    )
    auth_passphrase: Secret | None = field(
        None, description="USM authentication passphrase, at least 8 characters.", group="Security (V3)"
    )
    usm_user_privacy_protocol: Privacy | None = field(
        None, description="USM encryption algorithm.", example="PrivAES256", group="Security (V3)"
    )
    priv_passphrase: Secret | None = field(
        None, description="USM encryption passphrase, at least 8 characters.", group="Security (V3)"
    )

    @model_validator(mode="wrap")
    @classmethod
    def _notice_clashes(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        config = handler(value)
        if isinstance(value, dict):
            config._clashing = tuple(_clashes(value))
        return config

    def rules(self) -> Iterator[Problem]:
        if self.version != "V3":
            return
        if self.enable_user_authentication and not self.security_name:
            yield required("securityName", "version is V3 and enableUserAuthentication is true")
        if self.security_level in ("AUTH_NOPRIV", "AUTH_PRIV"):
            because = "version is V3 and securityLevel asks for authentication"
            if self.usm_user_authentication_protocol is None:
                yield required("usmUserAuthenticationProtocol", because)
            if not _text(self.auth_passphrase):
                yield required("authPassphrase", because)
        if self.security_level == "AUTH_PRIV":
            because = "version is V3 and securityLevel is AUTH_PRIV"
            if self.usm_user_privacy_protocol is None:
                yield required("usmUserPrivacyProtocol", because)
            if not _text(self.priv_passphrase):
                yield required("privPassphrase", because)
        yield from _length("authPassphrase", self.auth_passphrase)
        yield from _length("privPassphrase", self.priv_passphrase)

    def warnings(self) -> Iterator[Problem]:
        if "connection_string" not in self.model_fields_set:
            yield invalid(
                "connectionString", "it is not set; the documented default is an example address", "target_defaulted"
            )
        if self.version == "V1" and self.message_type == "INFORM":
            yield invalid("messageType", "version V1 has no informs, so traps are sent; use V2c or V3", "v1_inform")
        for also, name in self._clashing:
            yield invalid(name, f"{also} was sent too, with another value; {name} counts", "alias_clash")

    def destination(self) -> dict[str, Any]:
        # With V1 and V2c the field is the secret itself; with V3 it chooses the account.
        account = self.security_or_community_name if self.version == "V3" else None
        return {**super().destination(), "securityOrCommunityName": account}


def _clashes(values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for also, name in (
        ("enabledUserAuthentication", "enableUserAuthentication"),
        ("pduUdpForMessage", "pduOidForMessage"),
        ("pduUdpForTime", "pduOidForTime"),
    ):
        one, other = values.get(also), values.get(name)
        if one is not None and other is not None and one != other:
            yield also, name


def _text(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret is not None else ""


def _length(name: str, secret: SecretStr | None) -> Iterator[Problem]:
    text = _text(secret)
    if text and len(text) < MIN_PASSPHRASE and not has_reference(text):
        yield invalid(name, f"it must have at least {MIN_PASSPHRASE} characters (version is V3)", "passphrase_length")
