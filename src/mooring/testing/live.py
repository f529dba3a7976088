"""A connector outside a worker: for the tests of a room."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from mooring.plugin.config import read_config
from mooring.plugin.connector import Context
from mooring.plugin.materials import Materials, NoMaterials
from mooring.plugin.registry import Registry
from mooring.worker.guard import Guard

COMMON_KEYS = ("type", "name", "description", "deployToWorker", "enabled")


@asynccontextmanager
async def connected(
    body: Mapping[str, Any], *, ca_file: str | None = None, materials: Materials | None = None
) -> AsyncIterator[Guard]:
    """The guard around an opened connector for *body* (what POST accepts); closed afterwards."""
    card = Registry().get(body["type"])
    config = read_config(card.config, {key: value for key, value in body.items() if key not in COMMON_KEYS})
    context = Context(f"test/{body.get('name', card.name)}", materials=materials or NoMaterials(), ca_file=ca_file)
    guard = Guard(card.load_connector()(config, context))
    try:
        await guard.open()
        yield guard
    finally:
        await guard.close(grace_s=1.0)
