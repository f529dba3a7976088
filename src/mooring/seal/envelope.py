"""
The ring of keys, and what is sealed with them.

A sealed value is bound to its connection and its place in the config (the additional data), so that one that
was moved to another row, field or project does not open. The first byte is the version of the form.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from mooring.errors import KeyUnavailable, SealError, Tampered, UnknownSeal
from mooring.kit.aead import NotAuthentic, decrypt, derive, encrypt, new_key
from mooring.kit.ids import new_id

_VERSION = b"\x01"


class Ring:
    """The opened data keys; seals with the newest, unseals with any."""

    def __init__(self, master: bytes, keys: dict[str, bytes], active: str) -> None:
        self._keys = keys
        self.active = active
        self._fingerprints = derive(master, "mooring fingerprints")
        self._requests = derive(master, "mooring request hashes")
        self._receipts = derive(master, "mooring receipts")

    @property
    def locked(self) -> SealError | None:
        """Why nothing can be sealed, or None."""
        return None

    def seal(self, value: str, *, connection: str, key: str) -> bytes:
        """*value* for the row (*connection*, *key*)."""
        return _VERSION + encrypt(self._keys[self.active], value.encode(), _context(self.active, connection, key))

    def unseal(self, sealed: bytes, *, key_id: str, connection: str, key: str) -> str:
        """The value. Raises `Tampered`, `UnknownSeal`, `KeyUnavailable`."""
        if sealed[:1] != _VERSION:
            raise UnknownSeal(f"the secret '{key}' of {connection} is sealed in a form this version does not know")
        data_key = self._keys.get(key_id)
        if data_key is None:
            raise KeyUnavailable(f"the key that sealed '{key}' of {connection} is not in the ring")
        try:
            return decrypt(data_key, sealed[1:], _context(key_id, connection, key)).decode()
        except NotAuthentic:
            raise Tampered(
                f"the secret '{key}' of {connection} was changed or moved outside of Mooring",
                hint="Send the secret again with PUT, or restore a backup; find out who can write the database.",
            ) from None

    def fingerprint(self, value: str, *, connection: str, key: str) -> str:
        """Four hex digits that change with the value; keyed and bound to their place, so no oracle for guessing."""
        return _mac(self._fingerprints, f"{connection}|{key}|{value}".encode())[:2].hex()

    def request_hash(self, body: bytes) -> bytes:
        """A keyed hash of a request, which may hold secrets."""
        return _mac(self._requests, body)

    def receipt(self, worker: str, epoch: str, revision: int) -> str:
        """What proves that this control plane once told *worker* of *revision*."""
        return _mac(self._receipts, f"{worker}|{epoch}|{revision}".encode()).hex()


class LockedRing(Ring):
    """A ring that cannot be opened: everything that needs a key says why."""

    def __init__(self, reason: SealError) -> None:
        self._reason = reason

    @property
    def locked(self) -> SealError | None:
        return self._reason

    def seal(self, value: str, *, connection: str, key: str) -> bytes:
        raise self._reason

    def unseal(self, sealed: bytes, *, key_id: str, connection: str, key: str) -> str:
        raise self._reason

    def fingerprint(self, value: str, *, connection: str, key: str) -> str:
        raise self._reason

    def request_hash(self, body: bytes) -> bytes:
        raise self._reason

    def receipt(self, worker: str, epoch: str, revision: int) -> str:
        raise self._reason


def new_data_key(master: bytes) -> tuple[str, bytes]:
    """A new data key: its id, and the key wrapped by *master*."""
    key_id = new_id("key")
    return key_id, _VERSION + encrypt(master, new_key(), _wrapping_context(key_id))


def open_ring(master: bytes, wrapped: Iterable[tuple[str, bytes]], place: str) -> Ring:
    """The ring of *wrapped* data keys, oldest first. Raises `KeyUnavailable` where *master* is another key."""
    keys: dict[str, bytes] = {}
    for key_id, blob in wrapped:
        if blob[:1] != _VERSION:
            raise UnknownSeal("the data keys are wrapped in a form this version does not know")
        try:
            keys[key_id] = decrypt(master, blob[1:], _wrapping_context(key_id))
        except NotAuthentic:
            raise KeyUnavailable(
                f"the master key from {place} is not the one that this data was sealed with",
                hint="Give the right key; nothing was written.",
            ) from None
    return Ring(master, keys, next(reversed(keys)))


def content_hash(public: bytes, sealed: Iterable[bytes]) -> bytes:
    """What workers compare: the public half and the ids of the ciphertexts, never anything of a secret."""
    digest = hashlib.sha256(public)
    for blob in sealed:
        digest.update(hashlib.sha256(blob).digest())
    return digest.digest()


def _mac(key: bytes, message: bytes) -> bytes:
    """A keyed hash: BLAKE2b's own keyed mode (RFC 7693), 256 bits."""
    return hashlib.blake2b(message, key=key, digest_size=32).digest()


def _context(key_id: str, connection: str, key: str) -> bytes:
    return f"mooring secret v1|{key_id}|{connection}|{key}".encode()


def _wrapping_context(key_id: str) -> bytes:
    return f"mooring data key v1|{key_id}".encode()
