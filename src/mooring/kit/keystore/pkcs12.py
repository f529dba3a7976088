"""
PKCS12 files, whoever made them: Java, OpenSSL, browsers.

The library that opens them hands out one key; others are found by walking the file, which is done anyway to see how
much work its password would be.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_der_private_key
from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12KeyAndCertificates, load_pkcs12
from cryptography.x509 import Certificate

from mooring.kit.keystore.ber import BMP_STRING, CONTEXT_0, SEQUENCE, SET, Node, NotBer, read_ber
from mooring.kit.keystore.certificates import MAX_CERTIFICATES, chain_of, public_key_of, read_certificate
from mooring.kit.keystore.opened import Contents, KeyEntry, TrustedEntry, Unreadable
from mooring.kit.keystore.work import Budget

_DATA, _ENCRYPTED = "1.2.840.113549.1.7.1", "1.2.840.113549.1.7.6"
_KEY_BAG, _SHROUDED, _NESTED = (f"1.2.840.113549.1.12.10.1.{number}" for number in (1, 2, 6))
_FRIENDLY_NAME = "1.2.840.113549.1.9.20"


@dataclass
class _Bag:
    """A private key as it stands in the file."""

    name: str | None
    info: bytes
    encrypted: bool


def read_pkcs12(data: bytes, password: str | None) -> Contents:
    """What the file holds. Raises `Unreadable`."""
    try:
        bags = list(_Walk().keys(read_ber(data)))
    except NotBer as exc:
        raise Unreadable("file", f"it is not a PKCS12 file, or damaged: {exc}") from None
    try:
        opened, secret = _opened(data, password)
        return _contents(opened, bags, secret)
    except Unreadable:
        raise
    except Exception as exc:  # whatever a library says of garbage
        raise Unreadable("file", "it is damaged, or made in a way that is not known") from exc


class _Walk:
    """Goes through the parts that can be read without the password."""

    def __init__(self) -> None:
        self._budget = Budget()

    def keys(self, file: Node) -> Iterator[_Bag]:
        file.expect(SEQUENCE, 2)
        file.children[0].number()
        for part in file.children[2:3]:
            self._mac(part)
        content = self._data(file.children[1])
        for info in read_ber(content).expect(SEQUENCE).children:
            info.expect(SEQUENCE, 2)
            if info.children[0].oid() == _ENCRYPTED:
                data = info.children[1].expect(CONTEXT_0, 1).children[0].expect(SEQUENCE, 2)
                self._budget.algorithm(data.children[1].expect(SEQUENCE, 2).children[1])
            else:
                yield from self._bags(read_ber(self._data(info)))

    def _mac(self, node: Node) -> None:
        node.expect(SEQUENCE, 2)
        self._budget.algorithm(node.children[0].expect(SEQUENCE, 2).children[0])
        self._budget.spend(node.children[2].number() if len(node.children) > 2 else 1)

    def _data(self, info: Node) -> bytes:
        info.expect(SEQUENCE, 2)
        if info.children[0].oid() != _DATA:
            raise NotBer("it is protected by a public key")
        return info.children[1].expect(CONTEXT_0, 1).children[0].octets()

    def _bags(self, contents: Node) -> Iterator[_Bag]:
        for bag in contents.expect(SEQUENCE).children:
            bag.expect(SEQUENCE, 2)
            kind, value = bag.children[0].oid(), bag.children[1].expect(CONTEXT_0, 1).children[0]
            if kind == _SHROUDED:
                self._budget.encrypted_key(value)
                yield _Bag(_friendly_name(bag), value.raw, True)
            elif kind == _KEY_BAG:
                yield _Bag(_friendly_name(bag), value.raw, False)
            elif kind == _NESTED:
                yield from self._bags(value)


def _friendly_name(bag: Node) -> str | None:
    for attribute in bag.children[2].children if len(bag.children) > 2 else ():
        attribute.expect(SEQUENCE, 2)
        if attribute.children[0].oid() == _FRIENDLY_NAME:
            for value in attribute.children[1].expect(SET).children:
                return value.expect(BMP_STRING).content.decode("utf-16-be", "replace")
    return None


def _opened(data: bytes, password: str | None) -> tuple[PKCS12KeyAndCertificates, bytes | None]:
    """The library's view, and the password that fitted: no password and an empty one are two things to some."""
    tries = [password.encode()] if password else [None, b""]
    for secret in tries:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return load_pkcs12(data, secret), secret
        except Exception as exc:
            failure = exc
    if isinstance(failure, ValueError) and "password" in str(failure).lower():
        if not password:
            raise Unreadable("password", "the file is protected by a password, and none was sent") from None
        raise Unreadable("password", "it is wrong, or the file was changed after it was made") from None
    raise failure


def _contents(opened: PKCS12KeyAndCertificates, bags: list[_Bag], secret: bytes | None) -> Contents:
    held = [*([opened.cert] if opened.cert else []), *opened.additional_certs]
    if len(held) > MAX_CERTIFICATES:
        raise Unreadable("file", f"it holds more than {MAX_CERTIFICATES} certificates")
    certificates = [each.certificate for each in held]
    for certificate in certificates:
        read_certificate(_der(certificate))
    keys: list[tuple[str | None, PrivateKeyTypes]] = []
    if opened.key is not None:
        name = opened.cert.friendly_name if opened.cert else None
        keys.append((name.decode("utf-8", "replace") if name else None, opened.key))
    known = {public_key_of(key) for _, key in keys}
    for bag in bags if len(bags) > 1 else ():
        key = load_der_private_key(bag.info, secret if bag.encrypted else None)
        if public_key_of(key) not in known:
            known.add(public_key_of(key))
            keys.append((bag.name, key))
    contents, used = Contents(), []
    by_key = {public_key_of(certificate): certificate for certificate in reversed(certificates)}
    for number, (alias, key) in enumerate(keys, 1):
        leaf = by_key.get(public_key_of(key))
        chain = chain_of(leaf, certificates) if leaf is not None else []
        used += chain
        contents.keys.append(KeyEntry(alias or _name(number, len(keys)), _Known(key), chain))
    for number, each in enumerate((each for each in held if each.certificate not in used), 1):
        name = each.friendly_name
        alias = name.decode("utf-8", "replace") if name else f"certificate-{number}"
        contents.trusted.append(TrustedEntry(alias, each.certificate))
    return contents


def _name(number: int, count: int) -> str:
    return "key" if count == 1 else f"key-{number}"


def _der(certificate: Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.DER)


class _Known:
    def __init__(self, key: PrivateKeyTypes) -> None:
        self._key = key

    def __call__(self) -> PrivateKeyTypes:
        return self._key
