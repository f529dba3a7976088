"""From a file and its password to what may be shown of it, and what connections use of it."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mooring.kit.keystore.certificates import is_own_issuer, pem_of, printable, public_key_of, shown
from mooring.kit.keystore.jks import JCEKS_MAGIC, MAGIC, read_jks
from mooring.kit.keystore.opened import Contents, KeyEntry, Opened, TrustedEntry, Unreadable
from mooring.kit.keystore.pem import read_pem
from mooring.kit.keystore.pkcs12 import read_pkcs12

TYPES = ("JKS", "PKCS12", "PEM")
MAX_FILE = 512 * 1024
MAX_OPENED = 700 * 1024
"""What is used of a file travels to workers in one frame of at most 1 MiB, sealed, in base64."""


def open_file(kind: str, data: bytes, password: str | None, alias: str | None) -> Opened:
    """
    What *data* holds. *alias* chooses where there are several keys.

    A keystore of Java's is read as what it is: as in Java, the name of the type does not decide between JKS and
    PKCS12. Raises `Unreadable`.
    """
    contents = _contents(kind, data, password)
    key, trusted = _chosen(contents, alias, named=kind != "PEM")
    if key is not None and not key.chain:
        raise Unreadable("file", "its private key comes without a certificate that belongs to it")
    private = None if key is None else _private(key)
    # Whoever issued our own certificate may be trusted too; Java reads a keystore for trust in much the same way.
    issuers = [
        certificate
        for entry in contents.keys
        for place, certificate in enumerate(entry.chain)
        if place > 0 or is_own_issuer(certificate)
    ]
    believed = list(dict.fromkeys([*(entry.certificate for entry in trusted), *issuers]))
    if key is None and not believed:
        raise Unreadable("file", "it holds neither a private key nor a certificate")
    opened = Opened(_entries(contents, key, trusted), pem_of(believed), pem_of(key.chain) if key else None, private)
    if sum(len(part or "") for part in (opened.trusted, opened.chain, opened.key)) > MAX_OPENED:
        raise Unreadable("file", "it holds too many certificates")
    return opened


def _contents(kind: str, data: bytes, password: str | None) -> Contents:
    if len(data) > MAX_FILE:
        raise Unreadable("file", f"it is larger than {MAX_FILE // 1024} KiB")
    if data[:4] == JCEKS_MAGIC:
        raise Unreadable("file", "it is a JCEKS keystore; keytool -importkeystore -deststoretype PKCS12 converts it")
    if kind == "PEM":
        if data[:4] == MAGIC or data[:1] == b"\x30":
            raise Unreadable("file", "it is not a PEM file; say JKS or PKCS12")
        return read_pem(data, password)
    if data[:4] == MAGIC:
        return read_jks(data, password)
    if data.lstrip()[:11] == b"-----BEGIN ":
        raise Unreadable("file", "it is a PEM file; say PEM")
    return read_pkcs12(data, password)


def _chosen(contents: Contents, alias: str | None, *, named: bool) -> tuple[KeyEntry | None, list[TrustedEntry]]:
    """The key that is used, if there is one, and the certificates that are trusted beside its issuers."""
    if not named or alias is None:
        if len(contents.keys) > 1:
            raise Unreadable("alias", f"the file holds {len(contents.keys)} private keys; say which one is meant")
        if not named and contents.keys and alias is not None:
            contents.keys[0].alias = alias  # a PEM file has no names of its own
        return (contents.keys[0] if contents.keys else None), contents.trusted
    wanted = alias.casefold()
    for key in contents.keys:
        if key.alias.casefold() == wanted:
            return key, contents.trusted
    for trusted in contents.trusted:
        if trusted.alias.casefold() == wanted:
            return None, [trusted]
    raise Unreadable("alias", "the file holds no entry of that name")


def _private(key: KeyEntry) -> str:
    """The private key in PKCS#8. Raises `Unreadable` where it is not that of its certificate."""
    opened = key.key()
    if public_key_of(opened) != public_key_of(key.chain[0]):
        raise Unreadable("file", "its private key does not belong to its certificate")
    try:
        return opened.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    except Exception as exc:
        raise Unreadable("file", "its private key is of a kind that is not known") from exc


def _entries(contents: Contents, key: KeyEntry | None, trusted: list[TrustedEntry]) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    for entry in contents.keys:
        about = shown(entry.chain[0]) if entry.chain else {}
        issuers = [shown(certificate) for certificate in entry.chain[1:]]
        entries.append(
            {"alias": printable(entry.alias), "kind": "key", "used": entry is key, **about, "chain": issuers}
        )
    for each in contents.trusted:
        used = each in trusted
        entries.append({"alias": printable(each.alias), "kind": "certificate", "used": used, **shown(each.certificate)})
    return entries


def open_certificate(data: bytes) -> Opened:
    """The one certificate that the PEM text *data* is. Raises `Unreadable`."""
    contents = _contents("PEM", data, None) if b"PRIVATE KEY-" not in data else None
    if contents is None:
        raise Unreadable("file", "it holds a private key, and certificates are public; make a keystore of it")
    if len(contents.trusted) != 1:
        raise Unreadable("file", "it must hold one certificate; several make a keystore of type PEM")
    return Opened(_entries(contents, None, contents.trusted), pem_of([contents.trusted[0].certificate]), None, None)
