"""PEM files: certificates, and perhaps one private key with its chain."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_private_key
from cryptography.x509 import Certificate

from mooring.kit.keystore.ber import NotBer, read_ber
from mooring.kit.keystore.certificates import MAX_CERTIFICATES, chain_of, public_key_of, read_certificate
from mooring.kit.keystore.opened import Contents, KeyEntry, TrustedEntry, Unreadable
from mooring.kit.keystore.work import Budget

_BEGIN, _END, _DASHES = b"-----BEGIN ", b"-----END ", b"-----"
_CERTIFICATES = ("CERTIFICATE", "X509 CERTIFICATE")
_KEYS = ("PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "DSA PRIVATE KEY")
_IDLE = ("EC PARAMETERS", "DH PARAMETERS", "PUBLIC KEY", "X509 CRL")


@dataclass
class _Block:
    label: str
    text: bytes
    body: bytes

    @property
    def der(self) -> bytes:
        try:
            return base64.b64decode(b"".join(self.body.split()), validate=True)
        except (binascii.Error, ValueError):
            raise Unreadable("file", "a block in it is damaged") from None

    @property
    def is_encrypted(self) -> bool:
        return self.label == "ENCRYPTED PRIVATE KEY" or b"ENCRYPTED" in self.body[:200]


def read_pem(data: bytes, password: str | None) -> Contents:
    """What the file holds; a key's certificate is the one with its public key. Raises `Unreadable`."""
    certificates: list[Certificate] = []
    keys: list[_Block] = []
    for block in _blocks(data):
        if block.label in _CERTIFICATES:
            if len(certificates) >= MAX_CERTIFICATES:
                raise Unreadable("file", f"it holds more than {MAX_CERTIFICATES} certificates")
            certificate = read_certificate(block.der)
            if certificate not in certificates:
                certificates.append(certificate)
        elif block.label in _KEYS:
            keys.append(block)
        elif block.label not in _IDLE:
            raise Unreadable("file", "it holds a block that is neither a certificate nor a private key in PKCS#8")
    if len(keys) > 1:
        raise Unreadable("file", "it holds more than one private key; put each into a keystore of its own")
    contents, used = Contents(), []
    if keys:
        opened = _key(keys[0], password)
        leaf = next((each for each in certificates if public_key_of(each) == public_key_of(opened)), None)
        chain = used = chain_of(leaf, certificates) if leaf is not None else []
        contents.keys.append(KeyEntry("key", lambda: opened, chain))
    rest = [certificate for certificate in certificates if certificate not in used]
    contents.trusted += [TrustedEntry(f"certificate-{number}", each) for number, each in enumerate(rest, 1)]
    return contents


def _blocks(data: bytes) -> Iterator[_Block]:
    at = data.find(_BEGIN)
    if at < 0:
        raise Unreadable("file", "there is no PEM block in it")
    while at >= 0:
        name_end = data.find(_DASHES, at + len(_BEGIN), at + len(_BEGIN) + 60)
        label = data[at + len(_BEGIN) : name_end] if name_end > 0 else b""
        end_line = _END + label + _DASHES
        end = data.find(end_line, name_end)
        if name_end < 0 or end < 0:
            raise Unreadable("file", "a block in it has no end")
        after = end + len(end_line)
        yield _Block(label.decode("ascii", "replace"), data[at:after] + b"\n", data[name_end + len(_DASHES) : end])
        at = data.find(_BEGIN, after)


def _key(block: _Block, password: str | None) -> PrivateKeyTypes:
    if block.is_encrypted and not password:
        raise Unreadable("password", "the private key is encrypted, and no password was sent")
    secret = (password or "").encode() if block.is_encrypted else None
    try:
        if block.label == "ENCRYPTED PRIVATE KEY":
            Budget().encrypted_key(read_ber(block.der))
        if block.label.endswith("ENCRYPTED PRIVATE KEY") or block.label == "PRIVATE KEY":
            return load_der_private_key(block.der, secret)
        return load_pem_private_key(block.text, secret)
    except NotBer as exc:
        raise Unreadable("file", f"its private key is damaged: {exc}") from None
    except Unreadable:
        raise
    except Exception as exc:  # whatever a library says of garbage, and of a wrong password
        if block.is_encrypted:
            raise Unreadable("password", "it is wrong, or the private key is damaged") from exc
        raise Unreadable("file", "its private key is damaged, or of a kind that is not known") from exc
