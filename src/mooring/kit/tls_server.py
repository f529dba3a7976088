"""The server's side of TLS: a certificate from files, which may change while connections go on."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from mooring.errors import Unavailable
from mooring.kit.log import log
from mooring.kit.tls import present

LOOK_S = 2.0
WARN_DAYS = 30
WARN_EVERY_S = 24 * 3600.0
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2; 1.3 has none that are weak."""


class ServerIdentity:
    """
    The certificate and the key that this server presents.

    `context` is good for every handshake to come: after `renew` it presents the new certificate, and connections that
    are open do not notice. Raises `Unavailable` where the files are not what they should be.
    """

    def __init__(self, certificate: Path, key: Path | None = None) -> None:
        self._files = (certificate,) if key is None else (certificate, key)
        self._seen = self._look()
        pem = self._read()
        self.context = _context()
        try:
            self.certificate = _load(self.context, pem)
        except ValueError as exc:
            raise Unavailable(
                f"the TLS certificate cannot be used: {exc}",
                hint="MOORING_TLS_CERTIFICATE is a PEM file with the certificate first and its chain behind it;"
                " MOORING_TLS_KEY its key, without a password.",
            ) from None

    @property
    def days_left(self) -> float:
        """Until the certificate ends."""
        return (self.certificate.not_valid_after_utc - datetime.now(UTC)).total_seconds() / 86400

    def notice(self) -> str | None:
        """What an operator should know of the certificate, or None."""
        ends = f"{self.certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
        if self.days_left <= 0:
            return f"The TLS certificate of this port ended on {ends}"
        return f"The TLS certificate of this port ends on {ends}" if self.days_left <= WARN_DAYS else None

    def renew(self) -> bool:
        """
        Take the files as they are now, where they changed. Whether a new certificate is presented.

        What cannot be used is logged, and the one before serves on.
        """
        seen = self._look()
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            pem = self._read()
            _load(_context(), pem)  # into one that nobody uses first: a failure would leave half of it behind
            self.certificate = _load(self.context, pem)
        except (ValueError, Unavailable) as exc:
            log.error("tls_certificate_refused", reason=str(exc), hint="The one before serves on.")
            return False
        log.info("tls_certificate_renewed", serial=f"{self.certificate.serial_number:x}", days_left=int(self.days_left))
        return True

    async def watch(self) -> None:
        """Renew when the files change, and warn before the end; for ever."""
        loop = asyncio.get_running_loop()
        warned = -WARN_EVERY_S
        while True:
            notice = self.notice()
            if notice is not None and loop.time() - warned >= WARN_EVERY_S:
                warned = loop.time()
                log.warning("tls_certificate_ends", reason=notice, hint="Put a new one in its place: it is noticed.")
            await asyncio.sleep(LOOK_S)
            if self.renew():
                warned = -WARN_EVERY_S

    def _look(self) -> tuple[tuple[int, int, int], ...]:
        """What tells a changed file from an unchanged one; a missing one is zeros."""
        found = []
        for path in self._files:
            try:
                status = path.stat()
                found.append((status.st_ino, status.st_mtime_ns, status.st_size))
            except OSError:
                found.append((0, 0, 0))
        return tuple(found)

    def _read(self) -> bytes:
        parts = []
        for path in self._files:
            try:
                parts.append(path.read_bytes())
            except OSError as exc:
                raise Unavailable(
                    f"{path.name} cannot be read: {exc.strerror}",
                    hint="MOORING_TLS_CERTIFICATE and MOORING_TLS_KEY name PEM files that this user may read.",
                ) from None
        return b"\n".join(parts)


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    return context


def _load(context: ssl.SSLContext, pem: bytes) -> x509.Certificate:
    """Have *context* present what is in *pem*; the certificate. Raises `ValueError`, with a reason that quotes nothing."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise ValueError("there is no certificate in it") from None
    try:
        present(context, pem.decode("ascii", "replace"), None)
    except ssl.SSLError as exc:
        reason = (exc.reason or "").replace("_", " ").lower()
        raise ValueError(reason or "its key is missing, or needs a password") from None
    return certificate
