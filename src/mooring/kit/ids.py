"""Identifiers that sort by the time they were made. They name things and protect nothing: ordinary chance will do."""

from __future__ import annotations

import random
import time
from functools import lru_cache

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: no I, L, O, U
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]


def new_id(prefix: str) -> str:
    """
    A new identifier such as `con_01JB3Z...`: 48 bits of milliseconds, then 80 random bits.

    Two ids made by one process in different milliseconds sort in the order they were made.
    """
    number = random.getrandbits(80)
    pairs = [_when(time.time_ns() // 1_000_000)]
    for _ in range(8):
        pairs.append(_PAIRS[number & 1023])
        number >>= 10
    return f"{prefix}_{''.join(pairs)}"


@lru_cache(maxsize=4)
def _when(milliseconds: int) -> str:
    pairs = []
    for _ in range(5):
        pairs.append(_PAIRS[milliseconds & 1023])
        milliseconds >>= 10
    return "".join(reversed(pairs))
