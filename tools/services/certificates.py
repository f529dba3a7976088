"""The certificates of the test servers: a CA that tests trust, and one that nobody does."""

from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Certificates:
    """
    Paths of PEM files; each ``*_key`` is the PKCS#8 key of the certificate before it.

    Keys are readable by us alone: a server that runs as another user is given
    a copy in its own folder.
    """

    ca: Path
    server: Path
    server_key: Path
    server_rsa: Path
    """The same names with an RSA key, for programs that know no elliptic curves."""
    server_rsa_key: Path
    wrong_name: Path
    """Signed by the CA, but for a host that none of the servers is."""
    wrong_name_key: Path
    expired: Path
    """Signed by the CA for the right names, and over since yesterday."""
    expired_key: Path
    client: Path
    client_key: Path
    unknown_ca: Path
    """A CA that nobody trusts, with a server and a client of its own."""
    unknown_server: Path
    unknown_server_key: Path
    unknown_client: Path
    unknown_client_key: Path

    @classmethod
    def ensure(cls, folder: Path) -> "Certificates":
        """The certificates in *folder*, made anew unless all of them are there."""
        names = [field.name for field in fields(cls)]
        certificates = cls(**{name: folder / f"{name.replace('_', '-')}.pem" for name in names})
        if not all(path.exists() for path in certificates.paths().values()):
            folder.mkdir(mode=0o755, exist_ok=True)
            certificates._issue()
        return certificates

    def paths(self) -> dict[str, Path]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def _issue(self) -> None:
        ca = trustme.CA(organization_name="Mooring test CA")
        unknown = trustme.CA(organization_name="Unknown CA")
        ca.cert_pem.write_to_path(self.ca)
        unknown.cert_pem.write_to_path(self.unknown_ca)
        rsa = trustme.KeyType.RSA
        _write(ca.issue_cert(*_LOOPBACK), self.server, self.server_key)
        _write(ca.issue_cert(*_LOOPBACK, key_type=rsa), self.server_rsa, self.server_rsa_key)
        _write(ca.issue_cert("wrong.name.invalid"), self.wrong_name, self.wrong_name_key)
        yesterday = datetime.now(UTC) - timedelta(days=1)
        expired = ca.issue_cert(*_LOOPBACK, not_before=yesterday - timedelta(days=30), not_after=yesterday)
        _write(expired, self.expired, self.expired_key)
        _write(_client(ca), self.client, self.client_key)
        _write(unknown.issue_cert(*_LOOPBACK), self.unknown_server, self.unknown_server_key)
        _write(_client(unknown), self.unknown_client, self.unknown_client_key)


def _client(ca: trustme.CA) -> trustme.LeafCert:
    return ca.issue_cert("client@mooring.test", common_name="mooring-client")


def _write(leaf: trustme.LeafCert, certificate: Path, key: Path) -> None:
    certificate.write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
    # Java reads keys in PKCS#8 only, and so does everybody else.
    private_key = load_pem_private_key(leaf.private_key_pem.bytes(), password=None)
    key.touch(mode=0o600)
    key.write_bytes(private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
