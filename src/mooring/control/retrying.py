"""Changes that read before they write: while somebody else is faster, they begin again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from mooring.errors import Conflict
from mooring.store.base import Stale

TRIES = 5


async def undisturbed(attempt: Callable[[], Awaitable[str]], what: str) -> str:
    """What *attempt* gives, tried again where it was `Stale`. Raises `Conflict`, where *what* has no rest."""
    for _ in range(TRIES):
        try:
            return await attempt()
        except Stale:
            continue
    raise Conflict(f"{what} is being changed by others; try again")
