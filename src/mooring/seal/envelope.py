"""
The ring of keys, and what is sealed with them.

A sealed value is bound to its connection and its place in the config (the additional data), so that one that
was moved to another row, field or project does not open. The first byte is the version of the form.

What is hashed with a key (fingerprints, requests, receipts, contents) hangs on the *root*, a random key that is
wrapped like the data keys and never replaced: it outlives every rotation and every master key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from mooring.errors import KeyUnavailable, SealError, Tampered, UnknownSeal
from mooring.kit.aead import NotAuthentic, decrypt, derive, encrypt

_VERSION = b"\x01"


class Ring:
    """
    The opened data keys; seals with the active one, unseals with any.

    One ring lives as long as its process. While it is locked, everything that needs a key raises why.
    """

    def __init__(self, root: bytes, keys: Mapping[str, bytes], active: str) -> None:
        self.locked: SealError | None = None
        self._open(root, keys, active)

    def _open(self, root: bytes, keys: Mapping[str, bytes], active: str) -> None:
        self._root, self._keys, self.active = root, dict(keys), active
        self._fingerprints = derive(root, "mooring fingerprints")
        self._requests = derive(root, "mooring request hashes")
        self._receipts = derive(root, "mooring receipts")
        self._contents = derive(root, "mooring contents")

    def become(self, opened: Ring) -> None:
        """The keys of *opened* from now on: a locked ring opens."""
        self._open(opened._root, opened._keys, opened.active)
        self.locked = None

    def add(self, key_id: str, key: bytes) -> None:
        """Seal with this data key from now on."""
        self._keys[key_id] = key
        self.active = key_id

    def forget(self, key_id: str) -> None:
        """That data key was destroyed: nothing is sealed with it any more."""
        self._keys.pop(key_id, None)

    def seal(self, value: str, *, connection: str, key: str) -> bytes:
        """*value* for the row (*connection*, *key*), under the data key `active`."""
        if self.locked is not None:
            raise self.locked
        return _VERSION + encrypt(self._keys[self.active], value.encode(), _context(self.active, connection, key))

    def unseal(self, sealed: bytes, *, key_id: str, connection: str, key: str) -> str:
        """The value. Raises `Tampered`, `UnknownSeal`, `KeyUnavailable`."""
        if self.locked is not None:
            raise self.locked
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
        if self.locked is not None:
            raise self.locked
        return _mac(self._fingerprints, f"{connection}|{key}|{value}".encode())[:2].hex()

    def content_hash(self, public: bytes, secrets: Mapping[str, str], *, owner: str) -> bytes:
        """
        What workers compare: the public half and the secrets of *owner*, keyed and bound to it, so no oracle.

        It covers the values and not their ciphertexts: a secret that is sealed anew under another data key is the
        same content, and no worker has to hear of it.
        """
        if self.locked is not None:
            raise self.locked
        digest = hashlib.blake2b(f"{owner}|{len(public)}|".encode(), key=self._contents, digest_size=32)
        digest.update(public)
        for key in sorted(secrets):
            name, value = key.encode(), secrets[key].encode()
            digest.update(b"%d|%d|%b%b" % (len(name), len(value), name, value))
        return digest.digest()

    def request_hash(self, body: bytes) -> bytes:
        """A keyed hash of a request, which may hold secrets."""
        if self.locked is not None:
            raise self.locked
        return _mac(self._requests, body)

    def receipt(self, worker: str, epoch: str, revision: int) -> str:
        """What proves that this control plane once told *worker* of *revision*."""
        if self.locked is not None:
            raise self.locked
        return _mac(self._receipts, f"{worker}|{epoch}|{revision}".encode()).hex()

    def derived(self, purpose: str) -> bytes:
        """A key of its own for *purpose*, which survives every rotation and every change of the master key."""
        if self.locked is not None:
            raise self.locked
        return derive(self._root, f"mooring {purpose}")


class LockedRing(Ring):
    """A ring that cannot be opened yet: everything that needs a key says why."""

    def __init__(self, reason: SealError) -> None:
        self.locked = reason
        self._keys, self.active = {}, ""


def _mac(key: bytes, message: bytes) -> bytes:
    """A keyed hash: BLAKE2b's own keyed mode (RFC 7693), 256 bits."""
    return hashlib.blake2b(message, key=key, digest_size=32).digest()


def _context(key_id: str, connection: str, key: str) -> bytes:
    return f"mooring secret v1|{key_id}|{connection}|{key}".encode()
