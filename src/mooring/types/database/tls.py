"""How a connection of the database room is encrypted."""

from __future__ import annotations

import os
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
    made = client_context(
        verify=mode.startswith("verify"),
        verify_hostname=mode == "verify-full",
        ca_file=context.ca_file,
        trusted_pem=trusted,
        versions=("TLSv1.2", "TLSv1.3"),
    )
    if "keyStoreName" in used:
        store = context.materials.store(used["keyStoreName"])
        if not store.chain or not store.key:
            raise Misconfigured(
                f"the keystore '{used['keyStoreName']}' holds no certificate with its key",
                hint="Choose a keystore with a client certificate and its private key.",
            )
        _present(made, store.chain, store.key)
    return Tls(mode, made)


def _present(context: ssl.SSLContext, chain: str, key: str) -> None:
    """Have *context* present a client certificate. The library reads files only; this one is in memory."""
    handle = os.memfd_create("client-certificate")
    try:
        with open(handle, "w", closefd=False) as file:
            file.write(f"{chain}\n{key}")
        context.load_cert_chain(f"/proc/self/fd/{handle}")
    except ssl.SSLError as exc:
        raise Misconfigured(
            "the client certificate and its key do not belong together", hint="Upload the keystore again."
        ) from exc
    finally:
        os.close(handle)
