"""
Certificates and keystores for tests, made by those who make them elsewhere: this machine's keytool and openssl, and
the library `cryptography`.
"""

from __future__ import annotations

import base64
import datetime
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import NameOID

PASSWORD = "changeit"
DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Identity:
    """A private key, its certificate, and those that issued it."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    issuers: tuple[x509.Certificate, ...] = ()

    @property
    def certificate_pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def chain_pem(self) -> str:
        return "".join(each.public_bytes(Encoding.PEM).decode() for each in (self.certificate, *self.issuers))

    def key_pem(self, password: str | None = None, form: PrivateFormat = PrivateFormat.PKCS8) -> str:
        how: KeySerializationEncryption = (
            NoEncryption() if password is None else BestAvailableEncryption(password.encode())
        )
        return self.key.private_bytes(Encoding.PEM, form, how).decode()

    def pem(self, password: str | None = None) -> bytes:
        """Key and chain in one file."""
        return (self.key_pem(password) + self.chain_pem).encode()

    def p12(self, password: str | None = PASSWORD, name: str = "me") -> bytes:
        how: KeySerializationEncryption = (
            NoEncryption() if password is None else BestAvailableEncryption(password.encode())
        )
        return pkcs12.serialize_key_and_certificates(name.encode(), self.key, self.certificate, self.issuers, how)


def authority(name: str = "Test authority", **more: Any) -> Identity:
    """A certificate that signed itself and may sign others."""
    return _issued(name, None, authority=True, **more)


def issued(by: Identity, name: str = "me.example.com", **more: Any) -> Identity:
    """A certificate of *by* for the host *name*; *days* until it expires, which may be past."""
    return _issued(name, by, authority=False, **more)


def _issued(name: str, by: Identity | None, *, authority: bool, days: float = 365) -> Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 400 * DAY)
        .not_valid_after(now + days * DAY)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if not authority:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    certificate = builder.sign(by.key if by else key, hashes.SHA256())
    return Identity(key, certificate, (by.certificate, *by.issuers) if by else ())


def server_context(identity: Identity, *, clients_of: Identity | None = None) -> ssl.SSLContext:
    """The TLS of a server with *identity*, which asks its clients for a certificate of *clients_of* where given."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(identity.pem())
        file.flush()
        context.load_cert_chain(file.name)
    if clients_of is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=clients_of.certificate_pem)
    return context


def b64(data: bytes | str) -> str:
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


# what other programs make


class Tools:
    """keytool and openssl, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keytool(self, *arguments: str) -> None:
        """Run keytool, which must be there."""
        self._run("keytool", *arguments)

    def openssl(self, *arguments: str) -> None:
        self._run("openssl", *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [program, *arguments], cwd=self.folder, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def write(self, name: str, content: bytes | str) -> str:
        (self.folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return name

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def converted(self, identity: Identity, kind: str, *, name: str = "me", password: str = PASSWORD) -> bytes:
        """The keystore of *identity* as keytool makes one of the type *kind*."""
        source, target = self.write("source.p12", identity.p12(password, name)), f"converted.{kind}"
        (self.folder / target).unlink(missing_ok=True)
        self.keytool(
            "-importkeystore", "-noprompt", "-srckeystore", source, "-srcstoretype", "PKCS12", "-srcstorepass", password,
            "-destkeystore", target, "-deststoretype", kind, "-deststorepass", password,
        )  # fmt: skip
        return self.read(target)

    def trusting(
        self, kind: str, *certificates: Identity, password: str = PASSWORD, java: tuple[str, ...] = ()
    ) -> bytes:
        """A truststore as keytool makes one."""
        target = f"trust.{kind}"
        (self.folder / target).unlink(missing_ok=True)
        for number, each in enumerate(certificates):
            file = self.write(f"{number}.pem", each.certificate_pem)
            self.keytool(
                *(f"-J{option}" for option in java), "-importcert", "-noprompt", "-alias", f"ca-{number}", "-file", file,
                "-keystore", target, "-storetype", kind, "-storepass", password,
            )  # fmt: skip
        return self.read(target)


@pytest.fixture(scope="session")
def tools() -> Iterator[Tools]:
    """keytool and openssl; a test that needs them is skipped where they are not installed."""
    for program in ("keytool", "openssl"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    with tempfile.TemporaryDirectory() as folder:
        yield Tools(Path(folder))


# the API


def keystore(
    name: str, file: bytes, kind: str = "PEM", environment: str = "development", **more: Any
) -> dict[str, Any]:
    """A body that POST accepts, for one environment."""
    entry = {"environmentName": environment, "keyStoreType": kind, "file": b64(file), **more}
    return {"name": name, "keyStoreEnvironmentList": [entry]}


def keystores_path(name: str = "", project: str = "MyProject") -> str:
    return f"/apiops/projects/{project}/keystores/{name + '/' if name else ''}"


def certificates_path(name: str = "", project: str = "MyProject") -> str:
    return f"/apiops/projects/{project}/certificates/{name + '/' if name else ''}"
