"""Certificates: reading them, what is shown of them, and which of them issued which."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import Certificate

from mooring.kit.keystore.opened import Unreadable

MAX_CERTIFICATES = 500
MAX_CHAIN = 20
MAX_NAMES = 100
MAX_TEXT = 500


def read_certificate(der: bytes) -> Certificate:
    """The certificate in *der*. Raises `Unreadable`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of numbers that the standard forbids and authorities issued
            certificate = x509.load_der_x509_certificate(der)
            certificate.public_key()
            shown(certificate)  # most of a certificate is read when it is asked for: what breaks then, breaks here
    except Exception as exc:  # whatever a library says of garbage
        raise Unreadable("file", "a certificate in it is damaged, or of a kind that is not known") from exc
    return certificate


def shown(certificate: Certificate) -> dict[str, Any]:
    """What people are shown of a certificate."""
    der = certificate.public_bytes(Encoding.DER)
    digest = hashes.Hash(hashes.SHA1())  # noqa: S303  # a thumbprint, as others show it, protects nothing
    digest.update(der)
    return {
        "subjectDn": _name(certificate.subject),
        "issuerDn": _name(certificate.issuer),
        "serialNumber": f"{certificate.serial_number:x}"[:80],
        "subjectAlternativeNames": _alternative_names(certificate),
        "notBefore": _iso(certificate.not_valid_before_utc),
        "notAfter": _iso(certificate.not_valid_after_utc),
        "algorithm": _algorithm(certificate),
        "sha1Thumbprint": digest.finalize().hex(),
        "sha256Thumbprint": certificate.fingerprint(hashes.SHA256()).hex(),
        "publicKeySha256": hashlib.sha256(public_key_of(certificate)).hexdigest(),
    }


def chain_of(leaf: Certificate, others: Iterable[Certificate]) -> list[Certificate]:
    """*leaf*, its issuer, the issuer's issuer, and so on, as far as *others* know them."""
    chain, left = [leaf], [other for other in others if other != leaf]
    while chain[-1].issuer != chain[-1].subject and len(chain) < MAX_CHAIN:
        above = next((other for other in left if _issued(other, chain[-1])), None)
        if above is None:
            break
        chain.append(above)
        left.remove(above)
    return chain


def is_own_issuer(certificate: Certificate) -> bool:
    """Whether it signed itself."""
    return certificate.issuer == certificate.subject


def public_key_of(holder: Any) -> bytes:
    """The public key of a certificate or a private key, for comparing. Raises `Unreadable`."""
    try:
        return holder.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[no-any-return]  # of either
    except Exception as exc:
        raise Unreadable("file", "a key in it is of a kind that is not known") from exc


def pem_of(certificates: Iterable[Certificate]) -> str | None:
    """*certificates* as one PEM text; None where there are none."""
    return "".join(each.public_bytes(Encoding.PEM).decode() for each in certificates) or None


def _issued(issuer: Certificate, certificate: Certificate) -> bool:
    if issuer.subject != certificate.issuer:
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except Exception:  # another key, or an algorithm that is not known: not shown to be the issuer
        return False
    return True


def _algorithm(certificate: Certificate) -> str:
    key = certificate.public_key()
    match key:
        case rsa.RSAPublicKey():
            return f"RSA {key.key_size}"
        case ec.EllipticCurvePublicKey():
            return f"EC {key.curve.name}"
        case dsa.DSAPublicKey():
            return f"DSA {key.key_size}"
        case ed25519.Ed25519PublicKey():
            return "Ed25519"
        case ed448.Ed448PublicKey():
            return "Ed448"
    return type(key).__name__.removesuffix("PublicKey")


def _alternative_names(certificate: Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError, x509.DuplicateExtension):
        return []
    kinds: dict[type, str] = {
        x509.DNSName: "dns", x509.IPAddress: "ip", x509.RFC822Name: "email", x509.UniformResourceIdentifier: "uri",
    }  # fmt: skip
    return [f"{kinds[type(name)]}:{printable(str(name.value))}" for name in names if type(name) in kinds][:MAX_NAMES]


def _name(name: x509.Name) -> str:
    return printable(name.rfc4514_string())


def printable(text: str) -> str:
    """*text* without what would confuse a terminal or a page, and not too long."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text[:MAX_TEXT])


def _iso(instant: datetime) -> str:
    return f"{instant:%Y-%m-%dT%H:%M:%S}.000Z"
