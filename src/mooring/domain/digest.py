"""The digest of a set of connections: order does not matter, and one change costs one addition."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

_MODULUS = 1 << 256
EMPTY = bytes(32)


def term(connection_id: str, generation: int, content_hash: bytes) -> int:
    """What one connection adds to the digest."""
    return int.from_bytes(hashlib.sha256(f"{connection_id}|{generation}|".encode() + content_hash).digest())


def add(digest: bytes, value: int) -> bytes:
    """*digest* with *value* added; a negative one takes a connection out."""
    return ((int.from_bytes(digest) + value) % _MODULUS).to_bytes(32)


def with_materials(content_hash: bytes, materials: Iterable[tuple[str, bytes | None]]) -> bytes:
    """
    What workers compare of a connection that uses materials: also which content stands behind each of its fields.

    So a keystore that is replaced makes every connection that uses it another one, without a new generation.
    """
    digest = hashlib.sha256(content_hash)
    for field, material in materials:
        digest.update(f"|{field}|".encode())
        digest.update(material or b"missing")
    return digest.digest()
