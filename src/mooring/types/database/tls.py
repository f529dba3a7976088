"""How a connection of the database room is encrypted."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

from mooring.errors import Misconfigured
from mooring.kit.tls import client_context
from mooring.plugin.connector import Context
from mooring.types.database.address import JdbcUrl
from mooring.types.database.model import DatabaseConfig


@dataclass(frozen=True)
class Tls:
    """
    One of `modes.TLS_MODES`, and the context for it; None where the mode is disable.

    *trusted* and *ca_file* say the same in PEM and by path, for client libraries that take no context.
    """

    mode: str
    context: ssl.SSLContext | None
    trusted: str | None = None
    ca_file: str | None = None

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
    purpose, versions = _manner(target)
    try:
        made = client_context(
            verify=mode.startswith("verify"),
            verify_hostname=mode == "verify-full",
            ca_file=context.ca_file,
            trusted_pem=trusted,
            versions=versions,
            identity_pem=context.materials.store(used["keyStoreName"]).identity() if "keyStoreName" in used else None,
            purpose=purpose,
        )
    except ssl.SSLError as exc:
        raise Misconfigured(
            "the certificates of the truststore or keystore cannot be used together",
            hint="Check that a key belongs to its certificate, and upload the stores again.",
        ) from exc
    if purpose == STRICT:
        made.set_alpn_protocols(["tds/8.0"])
    return Tls(mode, made, trusted, context.ca_file)


STRICT = "sql server, strict"


def _manner(target: JdbcUrl) -> tuple[str, tuple[str, ...]]:
    """Who shares the context, and the versions that may be spoken."""
    if target.dialect == "SQL_SERVER":
        if target.parameters.get("encrypt", "").lower() == "strict":
            return STRICT, ("TLSv1.2", "TLSv1.3")
        # Inside its own packets SQL Server shakes hands by 1.2 only.
        return "sql server", ("TLSv1.2",)
    if target.dialect == "MONGODB":
        # The client library leaves the last session of its server in the context.
        return f"mongodb {target.hosts}", ("TLSv1.2", "TLSv1.3")
    return f"sql {target.dialect}", ("TLSv1.2", "TLSv1.3")
