"""What `mooring.store.base` promises of data keys and sealed values; see `tests.store.contract`."""

from __future__ import annotations

import pytest

from mooring.domain.records import DataKey
from mooring.domain.sealed_places import SEALED_PLACES, SealedPlace
from mooring.errors import Conflict
from mooring.store.base import (
    DestroyDataKey,
    KeyGone,
    Reseal,
    RewrapDataKeys,
    RotateDataKey,
    SaveDataKey,
    SaveEnvironmentKey,
    SealedRow,
    Store,
)
from tests.store import makers as m

SECRETS: SealedPlace = SEALED_PLACES[0]
FIRST, SECOND = DataKey("key_1", b"one", 1), DataKey("key_2", b"two", 2)


async def rotated(store: Store) -> None:
    await store.commit(SaveDataKey(FIRST))
    await store.commit(RotateDataKey(SECOND, m.entry("rotate")))


class SealsContract:
    """The promises, one by one."""

    async def test_a_rotation_retires_what_was_there(self, store: Store) -> None:
        """All but the new one, and never the root."""
        root = DataKey("root_1", b"root", 0, is_root=True)
        await store.commit(SaveDataKey(root))

        await rotated(store)

        assert [(each.id, each.retired_at, each.is_root) for each in await store.data_keys()] == [
            ("root_1", None, True), ("key_1", 2, False), ("key_2", None, False),
        ]  # fmt: skip

    async def test_values_under_other_keys_are_found_in_pages(self, store: Store) -> None:
        """Each once, in the order of their keys; those under the key that is meant are left out."""
        await m.with_environment(store)
        shop = await m.with_project(store)
        made = [m.connection(shop, name) for name in ("a", "b", "c")]
        for each in made:
            await store.commit(m.save(each, m.secret()))
        await store.commit(SaveEnvironmentKey("env_1", "ekey_1", b"sealed", "key_2"))

        found: list[SealedRow] = []
        while page := await store.sealed_rows(SECRETS, but="key_2", after=found[-1].keys if found else (), limit=2):
            found += page

        assert found == [
            SealedRow((each.id, "password"), b"sealed", "key_1") for each in sorted(made, key=lambda c: c.id)
        ]
        assert await store.seal_counts() == {"key_1": 3, "key_2": 1}

    async def test_a_value_is_sealed_anew_unless_it_changed(self, store: Store) -> None:
        """What was written meanwhile is newer than what was read: it stays."""
        await m.with_environment(store)
        shop = await m.with_project(store)
        one, other = m.connection(shop, "one"), m.connection(shop, "other")
        await store.commit(m.save(one, m.secret()))
        await store.commit(m.save(other, m.secret(sealed=b"newer")))
        rows = [SealedRow((each.id, "password"), b"sealed", "key_1") for each in (one, other)]

        await store.commit(Reseal(SECRETS, [(row, SealedRow(row.keys, b"anew", "key_2")) for row in rows]))

        assert [(each.sealed, each.key_id) for each in await store.secrets(one.id)] == [(b"anew", "key_2")]
        assert [(each.sealed, each.key_id) for each in await store.secrets(other.id)] == [(b"newer", "key_1")]

    async def test_a_key_that_seals_something_is_not_destroyed(self, store: Store) -> None:
        """Wherever that something lies."""
        await rotated(store)
        await store.commit(SaveEnvironmentKey("env_1", "ekey_1", b"sealed", "key_1"))

        with pytest.raises(Conflict):
            await store.commit(DestroyDataKey("key_1", m.entry("destroy")))

        assert [each.id for each in await store.data_keys()] == ["key_1", "key_2"]

    @pytest.mark.parametrize("key_id", ["key_2", "root_1", "key_3"])
    async def test_only_retired_keys_are_destroyed(self, store: Store, key_id: str) -> None:
        """Not the one that seals, not the root, not one that is not there."""
        await store.commit(SaveDataKey(DataKey("root_1", b"root", 0, is_root=True)))
        await rotated(store)

        with pytest.raises(Conflict):
            await store.commit(DestroyDataKey(key_id, m.entry("destroy")))

    async def test_nothing_comes_in_that_was_sealed_with_a_destroyed_key(self, store: Store) -> None:
        """A write that was on its way is refused, and told to seal again."""
        await m.with_environment(store)
        shop = await m.with_project(store)
        await rotated(store)
        await store.commit(DestroyDataKey("key_1", m.entry("destroy")))

        for change in (m.save(m.connection(shop), m.secret()), SaveEnvironmentKey("env_1", "ekey_1", b"s", "key_1")):
            with pytest.raises(KeyGone):
                await store.commit(change)

        assert [each.id for each in await store.data_keys()] == ["key_2"]
        assert await store.connection(shop.id, "orders-db") is None

    async def test_a_new_master_key_wraps_all_or_nothing(self, store: Store) -> None:
        """Data keys that come or go meanwhile refuse it."""
        await rotated(store)

        with pytest.raises(Conflict):
            await store.commit(RewrapDataKeys({"key_1": b"1"}, m.entry("rewrap")))
        with pytest.raises(Conflict):
            await store.commit(RewrapDataKeys({"key_1": b"1", "key_2": b"2", "key_3": b"3"}, m.entry("rewrap")))
        before = [each.wrapped for each in await store.data_keys()]
        await store.commit(RewrapDataKeys({"key_1": b"1", "key_2": b"2"}, m.entry("rewrap")))

        assert before == [b"one", b"two"]
        assert [each.wrapped for each in await store.data_keys()] == [b"1", b"2"]
