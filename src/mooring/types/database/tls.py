"""How a connection of the database room is encrypted."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from mooring.errors import Misconfigured
from mooring.kit.tls import client_context
from mooring.plugin.connector import Context
from mooring.types.database.jdbc import JdbcUrl
from mooring.types.database.model import DatabaseConfig


@dataclass(frozen=True)
class Tls:
    """One of `model.TLS_MODES`, and the context for it; None where the mode is disable."""

    mode: str
    context: ssl.SSLContext | None

    @property
    def is_required(self) -> bool:
        """Whether a connection without TLS is refused."""
        return self.mode in ("require", "verify-ca", "verify-full")


def tls_of(config: DatabaseConfig, target: JdbcUrl, context: Context) -> Tls:
    """What *config* asks for. Raises `MaterialMissing` or `Misconfigured`."""
    mode = config.tls_mode(target)
    if mode == "disable":
        return Tls(mode, None)
    used = config.references()
    trusted = None
    if "trustStoreName" in used:
        trusted = context.materials.store(used["trustStoreName"]).trusted
        if not trusted:
            raise Misconfigured(
                f"the truststore '{used['trustStoreName']}' holds no certificate",
                hint="Put the issuer's certificate into it.",
            )
    try:
        made = client_context(
            verify=mode.startswith("verify"),
            verify_hostname=mode == "verify-full",
            ca_file=context.ca_file,
            trusted_pem=trusted,
            versions=("TLSv1.2", "TLSv1.3"),
            identity_pem=context.materials.store(used["keyStoreName"]).identity() if "keyStoreName" in used else None,
            purpose="sql",
        )
    except ssl.SSLError as exc:
        raise Misconfigured(
            "the certificates of the truststore or keystore cannot be used together",
            hint="Check that a key belongs to its certificate, and upload the stores again.",
        ) from exc
    return Tls(mode, made)
