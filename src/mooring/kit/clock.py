"""Time, in the two forms that the house uses."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache


def now_ms() -> int:
    """Milliseconds since 1970, UTC: how instants are stored."""
    return time.time_ns() // 1_000_000


def iso(instant_ms: int | None) -> str | None:
    """The instant as `2026-01-31T12:00:00.000Z`: how instants are shown."""
    if instant_ms is None:
        return None
    seconds, milliseconds = divmod(instant_ms, 1000)
    return f"{_whole(seconds)}.{milliseconds:03d}Z"


@lru_cache(maxsize=16)
def _whole(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
