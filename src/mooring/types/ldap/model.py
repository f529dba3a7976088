"""What an LDAP connection is made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from pydantic import AfterValidator, BeforeValidator, StringConstraints
from pydantic_core import PydanticCustomError

from mooring.errors import Problem
from mooring.plugin.config import ConnectionConfig
from mooring.plugin.fields import NO_CONTROL, Flag, NonEmpty, OrReference, Secret, Text, field, has_reference
from mooring.plugin.problems import explain_pattern, invalid, required
from mooring.types.ldap.filter import FilterError, parse

SERVER = explain_pattern(
    r"^ldaps?://([^\s/?#@\\:\[\]\x00-\x1f\x7f-\x9f]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?$",
    "must be ldap://host:port or ldaps://host:port, without a path",
)
_TYPE = r"([A-Za-z][A-Za-z0-9-]*|[0-9]+(\.[0-9]+)*)"
_VALUE = r'([^,+"\\<>;\x00-\x1f\x7f-\x9f]|\\[ "#+,;<=>\\]|\\[0-9A-Fa-f]{2})*'
_PAIR = rf" *{_TYPE} *={_VALUE}"
DN = explain_pattern(
    rf"^{_PAIR}([,+]{_PAIR})*$",
    "must be a distinguished name such as ou=people,dc=example,dc=com, with special characters escaped by a backslash",
)
DEFAULT_TIMEOUT_MS = 30_000
HIGHEST_PORT = 65_535


def _port_in_range(address: str) -> str:
    port = address.rstrip("/").rpartition(":")[2]
    if port.isdecimal() and not 1 <= int(port) <= HIGHEST_PORT:
        raise PydanticCustomError("port", "must have a port from 1 to 65535")
    return address


def _no_timeout_is_the_default(value: Any) -> Any:
    try:
        chosen = value if type(value) is int else int(value) if isinstance(value, str) else None
    except ValueError:
        return value
    return DEFAULT_TIMEOUT_MS if chosen is not None and chosen <= 0 else value


ServerAddress = Annotated[
    str, StringConstraints(pattern=SERVER, min_length=1, max_length=512), AfterValidator(_port_in_range), OrReference
]
DistinguishedName = Annotated[str, StringConstraints(pattern=DN, min_length=1, max_length=2048), OrReference]
FilterText = Annotated[str, StringConstraints(pattern=NO_CONTROL, max_length=4096), OrReference]
CertificateCheck = Annotated[Literal["NOT_REQUIRED", "REQUIRED_CN", "REQUIRED_AN_PN"], OrReference]
Scope = Annotated[Literal["OBJECT", "ONE_LEVEL", "SUBTREE"], OrReference]
ConnectTimeout = Annotated[int, Ge(1000), Le(300_000), BeforeValidator(_no_timeout_is_the_default), OrReference]


class LdapConfig(ConnectionConfig):
    """Finds entries, and checks passwords, in a directory."""

    server_address: ServerAddress = field(
        description="The directory's address, with the port where it is not 389 or 636.",
        example="ldaps://ldap.example.com:636",
        group="Server",
        destination=True,
    )
    require_certificate_type: CertificateCheck = field(
        "NOT_REQUIRED",
        description="How the server's certificate is checked: not at all, by its common name, or by its alternative names.",
        group="Security",
        destination=True,
    )
    username: NonEmpty = field(
        description="The account that searches: a DN, or what the directory takes in its place.",
        example="cn=reader,dc=example,dc=com",
        group="Login",
        destination=True,
    )
    password: Secret = field(description="Password of that account.", group="Login")
    custom_filter: FilterText | None = field(
        None,
        description="Search filter (RFC 4515); `{0}` stands for the user name.",
        example="(&(objectClass=person)(uid={0}))",
        group="Search",
    )
    search_scope: Scope = field(
        "SUBTREE", description="The base entry alone, the level below it, or everything below it.", group="Search"
    )
    base_dn: DistinguishedName = field(
        description="Entry that searches begin at.", example="ou=people,dc=example,dc=com", group="Search"
    )
    certificate_id: Text | None = field(
        None,
        description="Certificate trusted for the server, by id.",
        group="Security",
        no_effect="address it by name.",
    )
    certificate_name: Text | None = field(
        None,
        description="Certificate trusted for the server, by name.",
        example="directory-ca",
        group="Security",
        destination=True,
        reference="certificate",
    )
    use_ssl: Flag = field(False, description="TLS from the first byte (ldaps).", group="Security", destination=True)
    selected_environment_id: Text | None = field(
        None,
        description="Environment that a form tests in.",
        group="Advanced",
        no_effect="a test names its environment.",
    )
    connection_timeout: ConnectTimeout = field(
        DEFAULT_TIMEOUT_MS,
        description="How long connecting may take; 0 or less means the default.",
        example=30000,
        group="Server",
        unit="ms",
    )
    use_start_tls: Flag = field(
        False,
        description="Upgrade a plain session with StartTLS before logging in.",
        group="Security",
        destination=True,
    )
    trust_store_name: Text | None = field(
        None,
        description="Truststore for the server's certificate, by name.",
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
        if not self.password.get_secret_value():
            yield required("password")
        if self.custom_filter and not has_reference(self.custom_filter):
            try:
                parse(self.custom_filter)
            except FilterError as exc:
                yield invalid("customFilter", str(exc))
        named = self.certificate_id or self.certificate_name or self.trust_store_name
        if self.use_ssl and self.checks_certificate() and not named:
            yield required(
                "certificateId",
                "useSsl is true and requireCertificateType asks for a check, and neither certificateName nor trustStoreName is given",
            )

    def warnings(self) -> Iterator[Problem]:
        plain = self.server_address.startswith("ldap://")
        if self.use_ssl and plain:
            yield invalid("serverAddress", "useSsl is true, so it should begin with ldaps://", "scheme_matches_ssl")
        if self.use_ssl and self.use_start_tls:
            yield invalid("useStartTls", "useSsl is on too; TLS from the first byte is used", "ssl_xor_starttls")
        if self.speaks_tls() and self.require_certificate_type == "NOT_REQUIRED":
            yield invalid(
                "requireCertificateType",
                "NOT_REQUIRED lets any server pass for the directory",
                "certificate_not_checked",
            )
        if self.certificate_id and not self.certificate_name and self.speaks_tls() and self.checks_certificate():
            yield invalid(
                "certificateId", "a certificate is found by its name; give certificateName", "certificate_by_id"
            )

    def references(self) -> dict[str, str]:
        if not self.speaks_tls():
            return {}
        unchecked = () if self.checks_certificate() else ("certificateName", "trustStoreName")
        return {name: store for name, store in super().references().items() if name not in unchecked}

    def speaks_tls(self) -> bool:
        """Whether the session is, or may be, encrypted."""
        return self.use_ssl or self.use_start_tls or not self.server_address.startswith("ldap://")

    def checks_certificate(self) -> bool:
        """Whether the server's certificate is, or may be, checked."""
        return self.require_certificate_type != "NOT_REQUIRED"
