"""From the wrapped keys in the store to a ring, and the making of new ones."""

from __future__ import annotations

from collections.abc import Sequence

from mooring.domain.records import DataKey
from mooring.kit.aead import new_key
from mooring.kit.clock import now_ms
from mooring.kit.ids import new_id
from mooring.seal.envelope import Ring
from mooring.seal.keys import KeyProvider


async def new_data_key(provider: KeyProvider, *, may_create: bool = False) -> tuple[DataKey, bytes]:
    """A new data key, wrapped and as it is. Raises `KeyUnavailable`."""
    key_id, key = new_id("key"), new_key()
    wrapped = await provider.wrap(key_id, key, may_create=may_create)
    return DataKey(key_id, wrapped, now_ms()), key


async def missing_root(provider: KeyProvider, stored: Sequence[DataKey]) -> DataKey | None:
    """The root that a store lacks; what an earlier version derived from the master key stays as it was."""
    if any(each.is_root for each in stored):
        return None
    key = (await provider.first_root() if stored else None) or new_key()
    key_id = new_id("root")
    return DataKey(key_id, await provider.wrap(key_id, key, may_create=not stored), now_ms(), is_root=True)


async def open_ring(provider: KeyProvider, stored: Sequence[DataKey]) -> Ring:
    """The ring of the *stored* keys, oldest first, a root among them. Raises `KeyUnavailable`, `UnknownSeal`."""
    keys = {each.id: await provider.unwrap(each.id, each.wrapped) for each in stored}
    (root,) = (each.id for each in stored if each.is_root)
    active = [each.id for each in stored if not each.is_root and each.retired_at is None][-1]
    return Ring(keys.pop(root), keys, active)
