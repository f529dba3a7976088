"""The digest of a set of connections: order does not matter, and one change costs one addition."""

from __future__ import annotations

import hashlib

_MODULUS = 1 << 256
EMPTY = bytes(32)


def term(connection_id: str, generation: int, content_hash: bytes) -> int:
    """What one connection adds to the digest."""
    return int.from_bytes(hashlib.sha256(f"{connection_id}|{generation}|".encode() + content_hash).digest())


def add(digest: bytes, value: int) -> bytes:
    """*digest* with *value* added; a negative one takes a connection out."""
    return ((int.from_bytes(digest) + value) % _MODULUS).to_bytes(32)
