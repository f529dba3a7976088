"""How a session to a directory is protected: the TLS context, and whose certificate it has to be."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from mooring.errors import Misconfigured
from mooring.kit.tls import client_context
from mooring.plugin.connector import Context
from mooring.types.ldap.model import LdapConfig


def tls_context(config: LdapConfig, context: Context) -> ssl.SSLContext:
    """The context for this connection. Raises `Misconfigured`, `MaterialMissing`."""
    find = context.materials.store
    checked = config.checks_certificate()
    names = (config.certificate_name, config.trust_store_name) if checked else ()
    stores = [find(name) for name in names if name]
    trusted = "\n".join(store.trusted for store in stores if store.trusted)
    if stores and not trusted:
        raise Misconfigured(
            "the chosen truststore holds no certificate to trust",
            hint="Add the issuer of the directory's certificate.",
        )
    try:
        return client_context(
            verify=checked,
            # A common name is compared afterwards, by `check_name`: the library looks at it only where nothing else is.
            verify_hostname=config.require_certificate_type == "REQUIRED_AN_PN",
            ca_file=context.ca_file,
            trusted_pem=trusted or None,
            identity_pem=find(config.key_store_name).identity() if config.key_store_name else None,
            purpose="ldap",
        )
    except (ssl.SSLError, ValueError) as exc:
        raise Misconfigured(
            "the certificates of this connection cannot be used for TLS",
            hint="Check the truststore and the keystore.",
        ) from exc


def check_name(certificate: Mapping[str, Any], host: str, kind: str, address: str) -> None:
    """Raise `Misconfigured` unless the certificate names *host* where *kind* (`requireCertificateType`) looks."""
    if kind == "REQUIRED_AN_PN" and not certificate.get("subjectAltName"):
        raise Misconfigured(
            f"{address}: the server's certificate has no alternative names",
            hint="Choose REQUIRED_CN to compare its common name.",
        )
    if kind != "REQUIRED_CN":
        return
    names = [value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"]
    if not names:
        raise Misconfigured(
            f"{address}: the server's certificate has no common name",
            hint="Choose REQUIRED_AN_PN to compare its alternative names.",
        )
    if not any(_is_named(host.lower(), name.lower()) for name in names):
        raise Misconfigured(
            f"{address}: the common name of the server's certificate is another host's",
            hint="Use the host that it names, or choose REQUIRED_AN_PN to compare its alternative names.",
        )


def _is_named(host: str, name: str) -> bool:
    """Whether *name* is *host*, or has an asterisk for its first label (RFC 6125, section 6.4.3)."""
    if name.startswith("*.") and name.count(".") >= 2:
        return host.partition(".")[2] == name[2:] and not host.replace(".", "").isdigit()
    return host == name
