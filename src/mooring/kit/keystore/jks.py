"""
Java's own keystore format, JKS, versions 1 and 2.

    magic, version, number of entries
    entry: tag (1 key, 2 trusted), alias, milliseconds,
           key: EncryptedPrivateKeyInfo, certificates          trusted: certificate
    SHA-1 of password, "Mighty Aphrodite" and everything before

Nothing but the private keys is encrypted, so the structure is read without the password; the digest at the end then
tells whether the password fits.
"""

from __future__ import annotations

import hashlib
import hmac
import struct

from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_der_private_key
from cryptography.x509 import Certificate

from mooring.kit.keystore.ber import OCTETS, SEQUENCE, NotBer, read_ber
from mooring.kit.keystore.certificates import MAX_CERTIFICATES, MAX_CHAIN, read_certificate
from mooring.kit.keystore.opened import Contents, KeyEntry, TrustedEntry, Unreadable

MAGIC, JCEKS_MAGIC = bytes.fromhex("feedfeed"), bytes.fromhex("cececece")
_SALT, _DIGEST = 20, 20
_PROTECTOR = "1.3.6.1.4.1.42.2.17.1.1"
_KEY, _TRUSTED = 1, 2


def read_jks(data: bytes, password: str | None) -> Contents:
    """What the keystore holds; without a password only where it holds no key. Raises `Unreadable`."""
    reader = _Reader(data[:-_DIGEST])
    contents = reader.contents(password)
    if password is None:
        if contents.keys:
            raise Unreadable("password", "the file holds a private key, and no password was sent")
        return contents  # as Java does: trusted certificates can be read, and not be checked, without it
    found = _sha1(_wide(password) + b"Mighty Aphrodite" + data[:-_DIGEST])
    if not hmac.compare_digest(found, data[-_DIGEST:]):
        raise Unreadable("password", "it is wrong, or the file was changed after it was made")
    return contents


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0
        self._certificates = 0

    def contents(self, password: str | None) -> Contents:
        magic, version, count = self._take(4), self._number(), self._number()
        if magic != MAGIC or version not in (1, 2) or count > MAX_CERTIFICATES:
            raise _damaged()
        contents = Contents()
        for _ in range(count):
            tag, alias = self._number(), self._text()
            self._take(8)  # when it was made
            if tag == _TRUSTED:
                contents.trusted.append(TrustedEntry(alias, self._certificate(version)))
            elif tag == _KEY:
                protected = self._take(self._number())
                length = self._number()
                if not 1 <= length <= MAX_CHAIN:
                    raise Unreadable("file", "a key in it has no certificate, or too many")
                chain = [self._certificate(version) for _ in range(length)]
                contents.keys.append(KeyEntry(alias, _Opening(protected, password), chain))
            else:
                raise _damaged()
        if self._at != len(self._data):
            raise _damaged()
        return contents

    def _take(self, size: int) -> bytes:
        if size > len(self._data) - self._at:
            raise _damaged()
        self._at += size
        return self._data[self._at - size : self._at]

    def _number(self) -> int:
        return int(struct.unpack(">I", self._take(4))[0])

    def _text(self) -> str:
        raw = self._take(struct.unpack(">H", self._take(2))[0])
        return raw.decode("utf-8", "replace")

    def _certificate(self, version: int) -> Certificate:
        self._certificates += 1
        if self._certificates > MAX_CERTIFICATES:
            raise Unreadable("file", f"it holds more than {MAX_CERTIFICATES} certificates")
        if version == 2 and self._text() not in ("X.509", "X509"):
            raise Unreadable("file", "a certificate in it is of a kind that is not known")
        return read_certificate(self._take(self._number()))


class _Opening:
    """Opens one private key when it is asked for: another key may have another password."""

    def __init__(self, protected: bytes, password: str | None) -> None:
        self._protected, self._password = protected, password

    def __call__(self) -> PrivateKeyTypes:
        try:
            info = read_ber(self._protected).expect(SEQUENCE, 2)
            algorithm = info.children[0].expect(SEQUENCE, 1).children[0].oid()
            sealed = info.children[1].expect(OCTETS).content
        except NotBer:
            raise _damaged() from None
        if algorithm != _PROTECTOR or len(sealed) < _SALT + _DIGEST:
            raise _damaged()
        plain = self._opened(sealed)
        try:
            return load_der_private_key(plain, None)
        except Exception as exc:
            raise Unreadable("file", "a private key in it is damaged, or of a kind that is not known") from exc

    def _opened(self, sealed: bytes) -> bytes:
        password = _wide(self._password or "")
        digest, body = sealed[:_SALT], sealed[_SALT:-_DIGEST]
        stream = bytearray()
        while len(stream) < len(body):
            digest = _sha1(password + digest)
            stream += digest
        plain = (int.from_bytes(body) ^ int.from_bytes(stream[: len(body)])).to_bytes(len(body))
        if not hmac.compare_digest(_sha1(password + plain), sealed[-_DIGEST:]):
            raise Unreadable(
                "password",
                "the private key has a password of its own; give it the keystore's with keytool -keypasswd",
            )
        return plain


def _sha1(data: bytes) -> bytes:
    # The format's choice; what is opened here is sealed anew with something better.
    return hashlib.sha1(data, usedforsecurity=False).digest()


def _wide(password: str) -> bytes:
    return password.encode("utf-16-be", "surrogatepass")


def _damaged() -> Unreadable:
    return Unreadable("file", "it is damaged or cut off")
