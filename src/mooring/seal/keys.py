"""
Where the master key comes from, and what it is for: wrapping data keys.

A file or a setting holds the key itself; a key service (`mooring.seal.kms`) keeps it and wraps on request.
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Protocol

from mooring.errors import KeyUnavailable, UnknownSeal
from mooring.kit.aead import KEY_BYTES, NotAuthentic, decrypt, encrypt, new_key
from mooring.kit.files import write_private

LOCAL = b"\x01"
"""The first byte of what was wrapped here, with a master key in our hands."""
SERVICE = b"\x02"
"""The first byte of what a key service wrapped."""


class KeyProvider(Protocol):
    """
    Wraps data keys with the master key. `place` says where that is, for messages.

    Both calls raise `KeyUnavailable` where the master key cannot be had, or is another one.
    """

    place: str

    async def wrap(self, key_id: str, key: bytes, *, may_create: bool = False) -> bytes:
        """*key*, for the row *key_id* alone. *may_create* is true only while nothing was sealed yet."""

    async def unwrap(self, key_id: str, wrapped: bytes) -> bytes:
        """What `wrap` was given."""

    async def first_root(self) -> bytes | None:
        """What stores without a root derived everything from: the master key itself; None where it is out of reach."""


class _LocalKey:
    """A master key that this process holds."""

    place: str

    def master_key(self, *, may_create: bool) -> bytes:
        """The key. Raises `KeyUnavailable`."""
        raise NotImplementedError

    async def wrap(self, key_id: str, key: bytes, *, may_create: bool = False) -> bytes:
        return LOCAL + encrypt(self.master_key(may_create=may_create), key, _context(key_id))

    async def unwrap(self, key_id: str, wrapped: bytes) -> bytes:
        master = self.master_key(may_create=False)
        if wrapped[:1] == SERVICE:
            raise KeyUnavailable(
                "the data keys were wrapped by a key service, not by a key that is held here",
                hint="Set MOORING_KEY_PROVIDER=kms and MOORING_KMS_KEY_ID; nothing was written.",
            )
        if wrapped[:1] != LOCAL:
            raise UnknownSeal("the data keys are wrapped in a form this version does not know")
        try:
            return decrypt(master, wrapped[1:], _context(key_id))
        except NotAuthentic:
            raise KeyUnavailable(
                f"the master key from {self.place} is not the one that this data was sealed with",
                hint="Give the right key; nothing was written.",
            ) from None

    async def first_root(self) -> bytes | None:
        return self.master_key(may_create=False)


class FileKey(_LocalKey):
    """A key in a file of mode 0600, made on the first start."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.place = f"the key file {path.name}"

    def next(self) -> FileKey:
        """The key that comes after this one, in a file beside it until `advance`."""
        return FileKey(self.path.with_name(self.path.name + ".next"))

    def advance(self) -> None:
        """The next key takes this one's place."""
        self.next().path.replace(self.path)

    async def unwrap(self, key_id: str, wrapped: bytes) -> bytes:
        try:
            return await super().unwrap(key_id, wrapped)
        except KeyUnavailable:
            # A change of the master key that ended between the database and the file: the next key is the right one.
            if not self.next().path.exists():
                raise
            key = await self.next().unwrap(key_id, wrapped)
            self.advance()
            return key

    def master_key(self, *, may_create: bool) -> bytes:
        try:
            return _decode(self.path.read_text("ascii", "replace").strip(), self.place)
        except FileNotFoundError:
            if not may_create:
                raise KeyUnavailable(
                    f"{self.place} is missing, and secrets were sealed with it",
                    hint="Put the key file back, or give the key in MOORING_MASTER_KEY.",
                ) from None
        except OSError as exc:
            raise KeyUnavailable(
                f"{self.place} cannot be read: {exc.strerror}", hint="Check its owner and mode."
            ) from exc
        key = new_key()
        write_private(self.path, base64.b64encode(key).decode() + "\n")
        return key


class GivenKey(_LocalKey):
    """A key given as base64 text, in the setting MOORING_MASTER_KEY."""

    def __init__(self, text: str, place: str = "MOORING_MASTER_KEY") -> None:
        self._text, self.place = text, place

    def master_key(self, *, may_create: bool) -> bytes:
        return _decode(self._text, self.place)


def _decode(text: str, place: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise KeyUnavailable(
            f"{place} does not hold a key: 32 bytes in base64", hint="openssl rand -base64 32 makes one."
        )
    return key


def _context(key_id: str) -> bytes:
    return f"mooring data key v1|{key_id}".encode()
