"""
Names of connections.

Two spellings are one name when their *name keys* are equal; the unique index of every store is on the key,
compared byte by byte. The key is made here and nowhere else: SQL's own ideas of case differ between databases.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

MAX_LENGTH = 255
ADMIN_PROJECT = "admin"
"""The project whose keystores and certificates every other project may use too."""

_FORBIDDEN = frozenset("/\\?#%")


@lru_cache(maxsize=4096)
def name_key(name: str) -> str:
    """
    What two spellings of one name have in common.

    >>> name_key("Orders-DB") == name_key("orders-db")
    True
    >>> name_key("Straße") == name_key("STRASSE")
    True
    """
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def why_not_a_name(name: str) -> str | None:
    """The reason why *name* cannot name anything, or None."""
    if not name:
        return "it is empty"
    if len(name) > MAX_LENGTH:
        return f"it is longer than {MAX_LENGTH} characters"
    if name != name.strip() or not name.strip():
        return "it begins or ends with a blank"
    if name in (".", ".."):
        return "it is a path segment"
    for character in name:
        if character in _FORBIDDEN:
            return f"it contains {character!r}"
        if not character.isprintable() and unicodedata.category(character) in ("Cc", "Cs", "Cn", "Zl", "Zp"):
            return "it contains a control character"
    return None
