"""A connector outside a worker: for the tests of a room."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mooring.kit.egress import ANYWHERE_HERE
from mooring.plugin.config import read_config
from mooring.plugin.connector import Allowed, Context
from mooring.plugin.materials import Materials, NoMaterials
from mooring.plugin.registry import Registry
from mooring.worker.guard import Guard

ALL_ALLOWED = Allowed(linux_script=True, logback_root=Path(tempfile.gettempdir()), egress=ANYWHERE_HERE)
COMMON_KEYS = ("type", "name", "description", "deployToWorker", "enabled")


@asynccontextmanager
async def connected(
    body: Mapping[str, Any],
    *,
    ca_file: str | None = None,
    materials: Materials | None = None,
    allowed: Allowed | None = None,
) -> AsyncIterator[Guard]:
    """The guard around an opened connector for *body* (what POST accepts); closed afterwards."""
    card = Registry().get(body["type"])
    config = read_config(card.config, {key: value for key, value in body.items() if key not in COMMON_KEYS})
    context = Context(
        f"test/{body.get('name', card.name)}", materials or NoMaterials(), ca_file, allowed or ALL_ALLOWED
    )
    guard = Guard(card.load_connector()(config, context))
    try:
        await guard.open()
        yield guard
    finally:
        await guard.close(grace_s=1.0)
