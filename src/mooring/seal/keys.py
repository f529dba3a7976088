"""Where the master key comes from."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Protocol

from mooring.errors import KeyUnavailable
from mooring.kit.aead import KEY_BYTES, new_key
from mooring.kit.files import write_private


class KeyProvider(Protocol):
    """Hands out the 256-bit master key. `place` says where it comes from, for messages."""

    place: str

    def master_key(self, *, may_create: bool) -> bytes:
        """The key. *may_create* is true only while nothing was sealed yet. Raises `KeyUnavailable`."""


class FileKey:
    """A key in a file of mode 0600, made on the first start."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.place = f"the key file {path.name}"

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


class GivenKey:
    """A key given as base64 text, in the setting MOORING_MASTER_KEY."""

    place = "MOORING_MASTER_KEY"

    def __init__(self, text: str) -> None:
        self._text = text

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
