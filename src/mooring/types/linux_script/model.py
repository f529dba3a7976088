"""What a Linux script connection is made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import StringConstraints

from mooring.errors import Problem
from mooring.plugin.config import ConnectionConfig
from mooring.plugin.fields import NonEmpty, OrReference, Port, Secret, field
from mooring.plugin.problems import explain_pattern, invalid, required

HOST = explain_pattern(r"^[^\s/@\\\x00-\x1f\x7f-\x9f]+$", "must be a host name or address, without scheme or path")
FINGERPRINT = explain_pattern(
    r"^SHA256:[A-Za-z0-9+/]{43}=?$", "must look like SHA256: and 43 characters, as ssh-keygen -l shows it"
)

Host = Annotated[str, StringConstraints(pattern=HOST, min_length=1, max_length=255), OrReference]
Fingerprint = Annotated[str, StringConstraints(pattern=FINGERPRINT), OrReference]


class LinuxScriptConfig(ConnectionConfig):
    """Runs scripts on a Linux server over SSH."""

    host_name: Host = field(
        description="Server name or address.", example="batch.example.com", group="Server", destination=True
    )
    ssh_port: Port = field(22, description="SSH port.", example=22, group="Server", destination=True)
    username: NonEmpty = field(description="Login name.", example="orders", group="Login", destination=True)
    password: Secret = field(description="Login password.", group="Login")
    host_key_fingerprint: Fingerprint | None = field(
        None,
        description="Fingerprint that the server's host key must have; without it the key is trusted at first use.",
        example="SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
        group="Server",
        destination=True,
    )

    def rules(self) -> Iterator[Problem]:
        if not self.password.get_secret_value():
            yield required("password")

    def warnings(self) -> Iterator[Problem]:
        if not self.host_key_fingerprint:
            yield invalid(
                "hostKeyFingerprint", "it is not set, so the server's key is trusted at first use", "host_key_unknown"
            )
