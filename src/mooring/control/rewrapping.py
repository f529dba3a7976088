"""Another master key: every data key, and the root, is wrapped by it; what they sealed stays as it is."""

from __future__ import annotations

from mooring.control.auditing import entry
from mooring.control.tokens import system_actor
from mooring.errors import KeyUnavailable
from mooring.seal.keys import KeyProvider
from mooring.store.base import RewrapDataKeys, Store


async def rewrap(store: Store, before: KeyProvider, after: KeyProvider) -> int:
    """
    Wrap all keys of *store* by *after*, in one commit; how many they were.

    Nothing is written unless every one of them opens with *before*, and opens again with *after*. Raises `SealError`.
    """
    stored = await store.data_keys()
    if not stored:
        raise KeyUnavailable("there is nothing here that was sealed", hint="Check --data-dir.")
    wrapped = {}
    for each in stored:
        key = await before.unwrap(each.id, each.wrapped)
        wrapped[each.id] = await after.wrap(each.id, key, may_create=True)
        if await after.unwrap(each.id, wrapped[each.id]) != key:
            raise KeyUnavailable(f"{after.place} does not give back what it was given")
    await store.commit(RewrapDataKeys(wrapped, entry(system_actor(), "rewrap", "data-key", "", after.place)))
    return len(wrapped)
