"""What a search found, as the wire has it, and no more of it than was asked for."""

from __future__ import annotations

import base64
from collections.abc import Collection

from pydantic import Field

from mooring.plugin.connector import Answer
from mooring.types.ldap import messages

MAX_RESULT = 4 * 1024 * 1024
MAX_REFERRALS = 16
PASSWORDS = frozenset(
    {"userpassword", "authpassword", "unicodepwd", "ntpassword", "lmpassword", "sambantpassword", "sambalmpassword"}
)
"""Attributes that hold passwords; they are left out unless they are asked for by name."""

_BINARY = frozenset(
    {
        "audio", "cacertificate", "certificaterevocationlist", "jpegphoto", "msexchmailboxguid", "ntsecuritydescriptor",
        "objectguid", "objectsid", "photo", "sidhistory", "thumbnaillogo", "thumbnailphoto", "usercertificate",
        "userpkcs12", "usersmimecertificate",
    }
)  # fmt: skip


class Entry(Answer):
    """An entry of the directory."""

    dn: str = Field(description="Its distinguished name.")
    attributes: dict[str, list[str]] = Field(description="The values of each attribute that is text.")
    binary: dict[str, list[str]] = Field(description="The values of each other attribute, in base64.")


class Gathering:
    """Takes what a search finds until there is enough of it. `truncated`: there was more."""

    def __init__(self, limit: int, asked: Collection[str] = ()) -> None:
        self.limit = limit
        self.entries: list[Entry] = []
        self.referrals: list[str] = []
        self.truncated = False
        self._hidden = PASSWORDS - {name.lower() for name in asked}
        self._size = 0

    def __call__(self, item: messages.Entry | messages.Reference, size: int) -> bool:
        """Take *item*, which had *size* bytes; False when that is enough."""
        if isinstance(item, messages.Reference):
            self.referrals = [*self.referrals, *item.urls][:MAX_REFERRALS]
            return True
        self._size += size
        if len(self.entries) >= self.limit or self._size > MAX_RESULT:
            self.truncated = True
            return False
        self.entries.append(_entry(item, self._hidden))
        return True


def _entry(item: messages.Entry, hidden: Collection[str]) -> Entry:
    texts: dict[str, list[str]] = {}
    binary: dict[str, list[str]] = {}
    for name, values in item.attributes:
        kind = name.lower().partition(";")[0]
        if kind in hidden:
            continue
        decoded = None if kind in _BINARY or ";binary" in name.lower() else _texts(values)
        if decoded is None:
            binary[name] = [base64.b64encode(value).decode() for value in values]
        else:
            texts[name] = decoded
    # Built without validation: it is all checked, and there may be thousands.
    return Entry.model_construct(dn=item.dn, attributes=texts, binary=binary)


def _texts(values: tuple[bytes, ...]) -> list[str] | None:
    """The values as texts; None where one of them is none."""
    try:
        found = [value.decode() for value in values]
    except UnicodeDecodeError:
        return None
    return None if any("\0" in value for value in found) else found
