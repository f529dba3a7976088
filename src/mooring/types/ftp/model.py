"""What an FTP connection is made of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, SecretStr, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from mooring.errors import Problem
from mooring.plugin.config import ConnectionConfig
from mooring.plugin.fields import (
    NO_CONTROL,
    Count,
    Flag,
    Milliseconds,
    NonEmpty,
    OrReference,
    Port,
    Secret,
    Text,
    field,
)
from mooring.plugin.problems import explain_pattern, invalid, required

HOST = explain_pattern(r"^[^\s/@\\\x00-\x1f\x7f-\x9f]+$", "must be a host name or address, without scheme or path")
FINGERPRINT = explain_pattern(
    r"^SHA256:[A-Za-z0-9+/]{43}=?$", "must look like SHA256: and 43 characters, as ssh-keygen -l shows it"
)
_ONE_LINE = re.compile(NO_CONTROL)

FTP_PORT, SFTP_PORT, IMPLICIT_FTPS_PORT = 21, 22, 990


def _one_line(value: SecretStr) -> SecretStr:
    # The control channel is read line by line: a line break in a password would begin a command.
    if not _ONE_LINE.fullmatch(value.get_secret_value()):
        raise PydanticCustomError("control", "must not contain control characters")
    return value


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


Host = Annotated[str, StringConstraints(pattern=HOST, min_length=1, max_length=255), OrReference]
Protocol = Annotated[Literal["FTP", "SFTP", "FTPS"], BeforeValidator(_upper), OrReference]
Password = Annotated[Secret, AfterValidator(_one_line)]
Fingerprint = Annotated[str, StringConstraints(pattern=FINGERPRINT), OrReference]


class FtpConfig(ConnectionConfig):
    """Lists, fetches, stores and deletes files on a server."""

    host: Host = field(
        description="Server name or address.", example="files.example.com", group="Server", destination=True
    )
    port: Port = field(
        FTP_PORT,
        description="Server port; left out, it follows the protocol: 22 for SFTP, 990 for implicit FTPS, 21 for the rest.",
        example=21,
        group="Server",
        destination=True,
    )
    username: NonEmpty = field(description="Login name.", example="orders", group="Login", destination=True)
    password: Password = field(description="Login password.", group="Login")
    working_dir: Text = field(
        "/", description="Directory that relative paths begin at.", example="/incoming", group="Files"
    )
    protocol: Protocol = field(
        description="Transfer protocol, in any case.", example="SFTP", group="Server", destination=True
    )
    timeout: Milliseconds = field(
        30_000, description="How long connecting and logging in may take.", example=30000, group="Server", unit="ms"
    )
    retry_count: Count = field(3, description="Attempts after a failed one.", example=3, group="Server")
    use_implicit: Flag = field(
        False,
        description="FTPS with TLS from the first byte; other protocols ignore it.",
        group="Security",
        destination=True,
    )
    use_explicit: Flag = field(
        False,
        description="FTPS with TLS after the AUTH command; other protocols ignore it.",
        group="Security",
        destination=True,
    )
    ssl_protocol: Text | None = field(
        None,
        description="TLS version, for FTPS; left out, the newest that both sides know.",
        example="TLSv1.2",
        group="Security",
        destination=True,
    )
    verify_hostname: Flag = field(
        True, description="Compare the certificate with `host`, for FTPS.", group="Security", destination=True
    )
    trust_store_name: Text | None = field(
        None,
        description="Truststore for the server's certificate, by name, for FTPS.",
        group="Security",
        destination=True,
        reference="truststore",
    )
    key_store_name: Text | None = field(
        None,
        description="Keystore with a client certificate, by name, for FTPS.",
        group="Security",
        destination=True,
        reference="keystore",
    )
    host_key_fingerprint: Fingerprint | None = field(
        None,
        description="Fingerprint that the server's host key must have, for SFTP; without it the key is trusted at first use.",
        example="SHA256:uNiVztksCsDhcc0u9e8BrrJXVGDmoaZyCfm7aBzmOoM",
        group="Security",
        destination=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _port_of_protocol(cls, value: Any) -> Any:
        """Where no port is given, the one that is usual for the protocol."""
        if type(value) is not dict or value.get("port") is not None:
            return value
        protocol = _upper(value.get("protocol"))
        if protocol == "SFTP":
            return {**value, "port": SFTP_PORT}
        if protocol == "FTPS" and value.get("useImplicit") in (True, "true"):
            return {**value, "port": IMPLICIT_FTPS_PORT}
        return value

    def rules(self) -> Iterator[Problem]:
        if not self.password.get_secret_value():
            yield required("password")
        if self.use_implicit and self.use_explicit:
            yield invalid("useImplicit", "useImplicit and useExplicit must not both be true")
        if self.protocol == "FTPS" and not (self.use_implicit or self.use_explicit):
            yield required("useExplicit", "protocol is FTPS, and so useImplicit or useExplicit must be true")

    def warnings(self) -> Iterator[Problem]:
        if self.protocol == "SFTP" and not self.host_key_fingerprint:
            yield invalid(
                "hostKeyFingerprint", "it is not set, so the server's key is trusted at first use", "host_key_unknown"
            )
        if self.protocol == "FTPS" and not self.verify_hostname:
            yield invalid(
                "verifyHostname", "the server's certificate is not compared with its host name", "hostname_not_verified"
            )

    def references(self) -> dict[str, str]:
        return super().references() if self.protocol not in ("FTP", "SFTP") else {}
