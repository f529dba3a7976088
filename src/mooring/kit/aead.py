"""Authenticated encryption: AES-256-GCM for values, X25519 for handing a key to one receiver."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
_NONCE_BYTES = 12
_nonces: list[bytes] = []
os.register_at_fork(after_in_child=_nonces.clear)  # two processes must never draw from one stock


class NotAuthentic(Exception):
    """The ciphertext, its key or its context is not the one it was made with."""


def new_key() -> bytes:
    """A random 256-bit key."""
    return os.urandom(KEY_BYTES)


def encrypt(key: bytes, plaintext: bytes, context: bytes) -> bytes:
    """*plaintext* as nonce and ciphertext; opens only with the same key and *context*."""
    nonce = _nonce()
    return nonce + AESGCM(key).encrypt(nonce, plaintext, context)


def _nonce() -> bytes:
    """Twelve random bytes; the system is asked for many at a time."""
    try:
        return _nonces.pop()  # atomic: no two threads get the same one
    except IndexError:
        pool = os.urandom(_NONCE_BYTES * 256)
        _nonces.extend(pool[at : at + _NONCE_BYTES] for at in range(_NONCE_BYTES, len(pool), _NONCE_BYTES))
        return pool[:_NONCE_BYTES]


def decrypt(key: bytes, sealed: bytes, context: bytes) -> bytes:
    """The plaintext of `encrypt`. Raises `NotAuthentic`."""
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context)
    except (InvalidTag, ValueError):
        raise NotAuthentic("the sealed value does not open") from None


def new_receiver_key() -> tuple[bytes, bytes]:
    """A key pair for receiving wrapped keys: (private, public), 32 raw bytes each."""
    private = X25519PrivateKey.generate()
    return private.private_bytes_raw(), private.public_key().public_bytes_raw()


def public_key_of(private: bytes) -> bytes:
    """The public half of a receiver's private key."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def wrap(receiver_public: bytes, key: bytes, context: bytes) -> bytes:
    """*key* for the holder of the private half of *receiver_public* alone."""
    ephemeral = X25519PrivateKey.generate()
    public = ephemeral.public_key().public_bytes_raw()
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(receiver_public))
    return public + encrypt(_wrapping_key(shared, public + receiver_public), key, context)


def unwrap(receiver_private: bytes, wrapped: bytes, context: bytes) -> bytes:
    """The key that `wrap` was given. Raises `NotAuthentic`."""
    private = X25519PrivateKey.from_private_bytes(receiver_private)
    public = wrapped[:32]
    try:
        shared = private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise NotAuthentic("the wrapped key does not open") from None
    own_public = private.public_key().public_bytes_raw()
    return decrypt(_wrapping_key(shared, public + own_public), wrapped[32:], context)


def derive(key: bytes, purpose: str) -> bytes:
    """A 256-bit key for one *purpose*, from which *key* cannot be found."""
    return HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=purpose.encode()).derive(key)


def _wrapping_key(shared: bytes, publics: bytes) -> bytes:
    return HKDF(hashes.SHA256(), KEY_BYTES, salt=publics, info=b"mooring key wrap v1").derive(shared)
