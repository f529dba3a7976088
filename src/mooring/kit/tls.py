"""Client TLS contexts, made the same way by every room."""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from mooring.errors import BadRequest, Unavailable
from mooring.kit.addresses import is_loopback

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
    identity_pem: str | None = None,
    identity_password: str | None = None,
    purpose: str,
) -> ssl.SSLContext:
    """
    A context for connecting to a server. It is shared by all callers of the same *purpose*: never change it.

    *purpose* names the driver: some write into the context that they are given (ALPN, say), the same thing each time.

    With *trusted_pem* only those certificates are trusted; otherwise the system's, and those of *ca_file*.
    *versions* names the allowed protocol versions (`TLSv1.2`); the span between the lowest and the highest
    is allowed, because that is what TLS libraries can express. *identity_pem* is a client certificate with its
    chain and its key; such a context is made anew for every caller.

    Raises:
        ssl.SSLError: certificates or the key cannot be read.
    """
    if identity_pem is not None:
        context = _context(verify, verify_hostname, ca_file, trusted_pem, tuple(versions))
        present(context, identity_pem, identity_password)
        return context
    # A context with the system's certificates takes milliseconds and half a megabyte: thousands of connections share.
    changed = Path(ca_file).stat().st_mtime_ns if ca_file is not None and trusted_pem is None else 0
    return _shared(verify, verify_hostname, ca_file, trusted_pem, tuple(versions), (purpose, changed))


@lru_cache(maxsize=256)
def _shared(
    verify: bool,
    verify_hostname: bool,
    ca_file: str | None,
    trusted_pem: str | None,
    versions: tuple[str, ...],
    _apart: tuple[str, int],
) -> ssl.SSLContext:
    return _context(verify, verify_hostname, ca_file, trusted_pem, versions)


def _context(
    verify: bool, verify_hostname: bool, ca_file: str | None, trusted_pem: str | None, versions: tuple[str, ...]
) -> ssl.SSLContext:
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


def present(context: ssl.SSLContext, identity_pem: str, password: str | None) -> None:
    """
    Load a client certificate. The library reads a path only: one in memory, where the system has such.

    An empty password in place of none: the library would ask for it on the terminal.
    """
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("identity")
        try:
            os.write(descriptor, identity_pem.encode())
            context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=password or "")
        finally:
            os.close(descriptor)
    else:
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:
            file.write(identity_pem.encode())
            file.flush()
            context.load_cert_chain(file.name, password=password or "")


def control_context(url: str, ca_file: Path | str | None) -> ssl.SSLContext | None:
    """
    The context for talking to the control plane at *url*; None where it is plain HTTP.

    The system's certificates are trusted, and those of *ca_file*; the name in *url* must be the certificate's. Raises
    `Unavailable` where *ca_file* cannot be read.
    """
    if not url.lower().startswith("https://"):
        return None
    try:
        return client_context(ca_file=None if ca_file is None else str(ca_file), purpose="control plane")
    except (OSError, ssl.SSLError):
        raise Unavailable(
            "the file of MOORING_CA_FILE cannot be read as certificates", hint="It is a PEM file."
        ) from None


def check_url(url: str, *, allow_plain: bool) -> None:
    """Raises `BadRequest` where *url* is none, or would carry tokens in clear text beyond this machine."""
    parts = urlsplit(url)
    scheme, host = parts.scheme.lower(), parts.hostname or ""
    if scheme not in ("http", "https") or not host:
        raise BadRequest(
            "the control plane's address is not a URL", hint="It is like https://mooring.example.com:8443."
        )
    if scheme == "http" and not allow_plain and not is_loopback(host):
        raise BadRequest(
            f"plain http:// to {host} would carry tokens and secrets in clear text",
            hint="Use https://; or allow it with MOORING_ALLOW_PLAIN_HTTP=true, where the network is to be trusted.",
        )
