"""How long to wait before trying again."""

from __future__ import annotations

import random


def full_jitter(attempt: int, *, base_s: float = 1.0, cap_s: float = 60.0) -> float:
    """A random wait in seconds below `base * 2^attempt`, at most *cap_s*: a fleet that fails together comes back apart."""
    return random.uniform(0, min(cap_s, base_s * 2.0 ** min(attempt, 16)))
