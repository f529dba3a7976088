"""Client TLS contexts, made the same way by every room."""

from __future__ import annotations

import ssl
from collections.abc import Sequence

_VERSIONS = {
    "TLSv1": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}


def client_context(
    *,
    verify: bool = True,
    verify_hostname: bool = True,
    ca_file: str | None = None,
    trusted_pem: str | None = None,
    versions: Sequence[str] = (),
) -> ssl.SSLContext:
    """
    A context for connecting to a server.

    With *trusted_pem* only those certificates are trusted; otherwise the system's, and those of *ca_file*.
    *versions* names the allowed protocol versions (`TLSv1.2`); the span between the lowest and the highest
    is allowed, because that is what TLS libraries can express.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if trusted_pem is not None:
        context.load_verify_locations(cadata=trusted_pem)
    elif verify:
        context.load_default_certs()
        if ca_file is not None:
            context.load_verify_locations(cafile=ca_file)
    context.check_hostname = verify and verify_hostname
    context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
    known = sorted(_VERSIONS[name] for name in versions if name in _VERSIONS)
    if known:
        context.minimum_version, context.maximum_version = known[0], known[-1]
    return context
