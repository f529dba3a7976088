"""
The user-based security of SNMP v3 (RFC 3414, 3826, 7860): keys from passphrases, digests, encryption.

With 256 and 192 bits of AES there are two ways to stretch a key that is too short: the one of Blumenthal's draft, and
with `...with3DES` the one of Reeder's draft for 3DES, which Cisco and others use.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import secrets
from dataclasses import dataclass, field
from typing import Literal

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from mooring.kit.ber import Unintelligible

DIGESTS = {
    "AuthMD5": ("md5", 12),
    "AuthSHA": ("sha1", 12),
    "AuthHMAC128SHA224": ("sha224", 16),
    "AuthHMAC192SHA256": ("sha256", 24),
    "AuthHMAC256SHA384": ("sha384", 32),
    "AuthHMAC384SHA512": ("sha512", 48),
}
"""The hash function of each protocol, and how much of the HMAC goes with a message."""


@dataclass(frozen=True)
class _Privacy:
    kind: Literal["aes", "des", "3des"]
    key_size: int
    stretch: Literal["blumenthal", "reeder"]


PRIVACIES = {
    "PrivDES": _Privacy("des", 16, "reeder"),
    "Priv3DES": _Privacy("3des", 32, "reeder"),
    "PrivAES128": _Privacy("aes", 16, "blumenthal"),
    "PrivAES192": _Privacy("aes", 24, "blumenthal"),
    "PrivAES256": _Privacy("aes", 32, "blumenthal"),
    "PrivAES192with3DES": _Privacy("aes", 24, "reeder"),
    "PrivAES256with3DES": _Privacy("aes", 32, "reeder"),
}

_MEBIBYTE = 1024 * 1024
_BLOCK = 8
_KEPT_ENGINES = 4
# Two workers that send with one key must not use one salt; a random beginning in 64 bits sees to that.
_salts = itertools.count(secrets.randbits(64))


@dataclass(frozen=True)
class Keys:
    """The keys of a user at one engine; empty where the level does without."""

    authentication: bytes = field(default=b"", repr=False)
    privacy: bytes = field(default=b"", repr=False)


class User:
    """A user and its secrets. Asking for keys takes some milliseconds for an engine that is new."""

    def __init__(
        self,
        name: str,
        digest: str | None = None,
        passphrase: str = "",
        privacy: str | None = None,
        privacy_passphrase: str = "",
    ) -> None:
        self.name = name
        self._hash, self.digest_size = DIGESTS[digest] if digest else ("", 0)
        self._privacy = PRIVACIES[privacy] if privacy else None
        self._passphrases = passphrase.encode(), privacy_passphrase.encode()
        self._keys: dict[bytes, Keys] = {}

    @property
    def authenticates(self) -> bool:
        """Whether its messages carry a digest."""
        return bool(self._hash)

    @property
    def encrypts(self) -> bool:
        """Whether its messages are encrypted."""
        return self._privacy is not None

    def keys(self, engine: bytes) -> Keys:
        """Its keys at *engine*."""
        found = self._keys.get(engine)
        if found is None:
            found = self._derived(engine)
            while len(self._keys) >= _KEPT_ENGINES:
                self._keys.pop(next(iter(self._keys)))
            self._keys[engine] = found
        return found

    def knows(self, engine: bytes) -> bool:
        """Whether the keys at *engine* are there already."""
        return not self._hash or engine in self._keys

    def digest(self, keys: Keys, message: bytes) -> bytes:
        """What proves that *message*, with zeros in the digest's place, is of this user."""
        return hmac.new(keys.authentication, message, self._hash).digest()[: self.digest_size]

    def encrypt(self, keys: Keys, boots: int, time: int, data: bytes) -> tuple[bytes, bytes]:
        """*data* encrypted, and the parameters that go with it."""
        number = next(_salts)
        if self._privacy is not None and self._privacy.kind == "aes":
            salt = (number % 2**64).to_bytes(8, "big")
        else:
            salt = boots.to_bytes(4, "big") + (number % 2**32).to_bytes(4, "big")
            data += b"\0" * (-len(data) % _BLOCK)
        encryptor = self._cipher(keys, boots, time, salt).encryptor()
        return encryptor.update(data) + encryptor.finalize(), salt

    def decrypt(self, keys: Keys, boots: int, time: int, salt: bytes, data: bytes) -> bytes:
        """What *data* says. Raises `Unintelligible`."""
        if len(salt) != 8:
            raise Unintelligible
        try:
            decryptor = self._cipher(keys, boots, time, salt).decryptor()
            return decryptor.update(data) + decryptor.finalize()
        except (ValueError, OverflowError) as exc:
            raise Unintelligible from exc

    def _cipher(self, keys: Keys, boots: int, time: int, salt: bytes) -> Cipher[CFB] | Cipher[CBC]:
        assert self._privacy is not None
        key = keys.privacy
        if self._privacy.kind == "aes":
            return Cipher(AES(key), CFB(boots.to_bytes(4, "big") + time.to_bytes(4, "big") + salt))
        length = 8 if self._privacy.kind == "des" else 24
        start = bytes(one ^ other for one, other in zip(key[length : length + 8], salt, strict=True))
        # Single DES is the triple one with one key three times.
        return Cipher(TripleDES(key[:length] * (24 // length)), CBC(start))

    def _derived(self, engine: bytes) -> Keys:
        if not self._hash:
            return Keys()
        first, second = self._passphrases
        authentication = self._localized(first, engine)
        if self._privacy is None:
            return Keys(authentication)
        key = self._localized(second, engine)
        while len(key) < self._privacy.key_size:
            if self._privacy.stretch == "blumenthal":
                key += hashlib.new(self._hash, key, usedforsecurity=False).digest()
            else:
                key += self._localized(key, engine)
        return Keys(authentication, key[: self._privacy.key_size])

    def _localized(self, passphrase: bytes, engine: bytes) -> bytes:
        """The key of *passphrase* at *engine* (RFC 3414, appendix A.2)."""
        repeated = (passphrase * (_MEBIBYTE // len(passphrase) + 1))[:_MEBIBYTE]
        master = hashlib.new(self._hash, repeated, usedforsecurity=False).digest()
        return hashlib.new(self._hash, master + engine + master, usedforsecurity=False).digest()
