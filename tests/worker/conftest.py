"""A pool of toys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from mooring.worker.pool import Pool
from tests.worker.toy import KEY, WORLDS, ToyRegistry


@pytest.fixture(autouse=True)
def worlds() -> Iterator[None]:
    """Every test begins with servers that are up."""
    WORLDS.clear()
    yield
    WORLDS.clear()


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    """An empty pool; nothing of it hangs when the test ends."""
    pool = Pool(ToyRegistry())  # type: ignore[arg-type]
    pool.use_key(KEY)
    yield pool
    for world in WORLDS.values():
        for gate in (world.opening, world.starting, world.probing, world.operating, world.stopping):
            gate.set()
    async with asyncio.timeout(10):
        await pool.close()
