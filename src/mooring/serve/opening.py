"""The control plane on its store: opened with its keys, or sealed until the master key comes back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from mooring.control.auditing import entry
from mooring.control.plane import Plane
from mooring.control.tokens import first_token, system_actor
from mooring.domain.records import DataKey
from mooring.errors import MooringError, SealError
from mooring.kit.files import write_private
from mooring.kit.ids import new_id
from mooring.kit.log import log
from mooring.kit.rates import parse_rate
from mooring.kit.settings import Settings
from mooring.plugin.registry import Registry
from mooring.seal.choosing import provider_of
from mooring.seal.envelope import LockedRing, Ring
from mooring.seal.keys import KeyProvider
from mooring.seal.opening import missing_root, new_data_key, open_ring
from mooring.store.base import CreateToken, SaveDataKey, SetMeta, Store
from mooring.store.sqlite import SqliteStore

UNLOCK_S = 5.0
AUDIT = "audit"
"""What the key of the audit's chain is derived for."""


@contextlib.asynccontextmanager
async def opened_plane(settings: Settings) -> AsyncIterator[tuple[Plane, str | None]]:
    """The control plane on its store, running; and the administrator's token, on the first start."""
    store = SqliteStore(settings.data_dir)
    await store.open()
    try:
        provider = provider_of(settings)
        ring = await _ring(store, provider)
        if ring.locked is None:
            store.hang_audit(ring.derived(AUDIT))
        plane = Plane(
            store, ring, Registry(settings.types), provider,
            wait_s=settings.wait_seconds, tests=parse_rate(settings.rate_of_tests),
        )  # fmt: skip
        token = None if ring.locked else await _first_start(store, settings)
        await plane.start()
        unlocking = asyncio.create_task(_unlocked(plane, provider, settings))
        try:
            yield plane, token
        finally:
            unlocking.cancel()
            await asyncio.gather(unlocking, return_exceptions=True)
            await plane.stop()
    finally:
        await store.close()


async def _ring(store: Store, provider: KeyProvider) -> Ring:
    """The ring of data keys; the first one is made on the first start. A locked one where the master key is not to be had."""
    try:
        ring, fresh = await opened_ring(store, provider)
    except SealError as exc:
        log.error("sealed", reason=exc.message, hint=exc.hint)
        return LockedRing(exc)
    for key in fresh:
        await store.commit(SaveDataKey(key))
    return ring


async def opened_ring(store: Store, provider: KeyProvider) -> tuple[Ring, list[DataKey]]:
    """The ring, and those of its keys that are to be stored first. Raises `SealError`."""
    stored, fresh = await store.data_keys(), []
    root = await missing_root(provider, stored)
    if root is not None:
        fresh.append(root)
    if all(each.is_root for each in stored):
        key, _ = await new_data_key(provider, may_create=not stored)
        fresh.append(key)
    return await open_ring(provider, [*stored, *fresh]), fresh


async def _unlocked(plane: Plane, provider: KeyProvider, settings: Settings) -> None:
    """While the ring is locked, look again and again whether the master key has come back."""
    while plane.ring.locked is not None:
        await asyncio.sleep(UNLOCK_S)
        try:
            opened, fresh = await opened_ring(plane.store, provider)
        except MooringError as exc:
            log.debug("still_sealed", reason=exc.message)
            continue
        plane.store.hang_audit(opened.derived(AUDIT))
        plane.store.refuse_writes(None)
        for key in fresh:
            await plane.store.commit(SaveDataKey(key))
        await _first_start(plane.store, settings)
        await plane.unlock(opened)
        log.info("unsealed")


async def _first_start(store: Store, settings: Settings) -> str | None:
    """Make the administrator's token where there is no token at all, and leave it in a file of mode 0600."""
    if await store.tokens():
        return None
    preset = settings.admin_token.get_secret_value() if settings.admin_token else None
    token, text = first_token(preset)
    # The file first: a crash between the two leaves a file that the next start replaces, never a lost token.
    write_private(settings.data_dir / "admin-token", text + "\n")
    await store.commit(SetMeta("lineage", new_id("lin")))
    await store.commit(CreateToken(token, entry(system_actor(), "create", "token", token.id, token.name)))
    return text
