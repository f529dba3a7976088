"""What `mooring.store.base` promises of keystores and certificates; see `tests.store.contract`."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from mooring.domain.names import ADMIN_PROJECT
from mooring.domain.records import Reference
from mooring.errors import Conflict
from mooring.store.base import (
    AliasTaken,
    DeleteEnvironment,
    DeleteProject,
    IndexReferences,
    NameTaken,
    SaveEnvironment,
    Stale,
    Store,
    Used,
)
from tests.store import makers as m
from tests.store.contract import Reopened


class MaterialsContract:
    """The promises, one by one."""

    async def test_a_material_is_there_after_a_restart(self, store: Store, reopened: Reopened) -> None:
        """The material, what it has, its sealed parts and its audit entry."""
        production, shop = await m.with_environment(store), await m.with_project(store)
        made = m.material(shop)
        change = m.save_material(made, production)
        await store.commit(change)

        store = await reopened()

        assert await store.material(shop.id, "keystore", "mine") == made
        assert await store.material_contents(made.id) == list(change.contents)
        assert await store.material_secrets(made.id) == list(change.secrets)
        assert await store.materials(shop.id, "keystore") == [(made, list(change.contents))]
        assert ("save", made.id) in await m.audited(store)

    async def test_a_taken_name_is_taken_in_every_spelling(self, store: Store) -> None:
        """Within a project and a noun, ignoring case; nothing is left of the refused one."""
        shop, other = await m.with_project(store), await m.with_project(store, "Other")
        await store.commit(m.save_material(m.material(shop)))
        late = m.material(shop, "MINE")

        with pytest.raises(NameTaken):
            await store.commit(m.save_material(late))

        assert ("save", late.id) not in await m.audited(store)
        await store.commit(m.save_material(m.material(shop, noun="certificate")))
        await store.commit(m.save_material(m.material(other)))

    async def test_of_two_updates_of_one_generation_one_is_stale(self, store: Store) -> None:
        """And leaves nothing."""
        shop = await m.with_project(store)
        made = m.material(shop)
        await store.commit(m.save_material(made))
        await store.commit(m.save_material(replace(made, generation=2, name="first", name_key="first"), was=made))

        with pytest.raises(Stale):
            await store.commit(m.save_material(replace(made, generation=2, name="second", name_key="second"), was=made))

        assert await store.material(shop.id, "keystore", "second") is None
        assert await store.material(shop.id, "keystore", "first") is not None

    async def test_what_an_update_leaves_out_is_destroyed(self, store: Store) -> None:
        """An environment that is not named any more loses its content and its sealed parts."""
        production, test = await m.with_environment(store), await m.with_environment(store, "test")
        made = m.material(await m.with_project(store))
        await store.commit(m.save_material(made, production, test))

        await store.commit(m.save_material(replace(made, generation=2), test, was=made))

        assert [content.environment for content in await store.material_contents(made.id)] == [test.id]
        assert [secret.environment for secret in await store.material_secrets(made.id)] == [test.id]

    async def test_a_deleted_material_leaves_nothing_sealed(self, store: Store) -> None:
        """The secrets go with it."""
        production = await m.with_environment(store)
        made = m.material(await m.with_project(store))
        await store.commit(m.save_material(made, production))

        await store.commit(m.delete_material(made))

        assert await store.material_secrets(made.id) == []
        assert await store.material_contents(made.id) == []

    async def test_an_alias_is_free_once_in_each_environment(self, store: Store) -> None:
        """Of certificates, in one project, ignoring case."""
        production, test = await m.with_environment(store), await m.with_environment(store, "test")
        shop, other = await m.with_project(store), await m.with_project(store, "Other")

        def certificate(name: str, of: object = shop) -> object:
            return m.material(of, name, "certificate")  # type: ignore[arg-type]  # the makers take any of these

        await store.commit(m.save_material(certificate("a"), production, alias="ca"))  # type: ignore[arg-type]  # the makers take any of these
        with pytest.raises(AliasTaken):
            await store.commit(m.save_material(certificate("b"), test, production, alias="CA"))  # type: ignore[arg-type]  # the makers take any of these
        await store.commit(m.save_material(certificate("c"), test, alias="ca"))  # type: ignore[arg-type]  # the makers take any of these
        await store.commit(m.save_material(certificate("d", other), production, alias="ca"))  # type: ignore[arg-type]  # the makers take any of these

        assert await store.material(shop.id, "certificate", "b") is None

    async def test_a_project_with_materials_stays(self, store: Store) -> None:
        """Deleting it would leave them where nobody finds them."""
        shop = await m.with_project(store)
        made = m.material(shop)
        await store.commit(m.save_material(made))

        with pytest.raises(Conflict, match="keystores"):
            await store.commit(DeleteProject(shop, m.entry()))

        await store.commit(m.delete_material(made))
        await store.commit(DeleteProject(shop, m.entry()))

    async def test_an_environment_takes_its_contents_with_it(self, store: Store) -> None:
        """What was sealed for it is destroyed."""
        production = await m.with_environment(store)
        made = m.material(await m.with_project(store))
        await store.commit(m.save_material(made, production))

        await store.commit(DeleteEnvironment(production, m.entry()))

        assert await store.material_secrets(made.id) == []

    # what stands behind a reference

    async def test_the_own_material_comes_before_that_of_admin(self, store: Store) -> None:
        """And those of other projects are never found."""
        production = await m.with_environment(store)
        shop, other = await m.with_project(store), await m.with_project(store, "Other")
        admin = await m.with_project(store, ADMIN_PROJECT)
        references = m.refers("mine")
        await store.commit(m.save_material(m.material(other), production, sealed=b"other's"))
        assert await store.found_materials(shop.id, production.id, references) == [None]

        await store.commit(m.save_material(theirs := m.material(admin), production, sealed=b"admin's"))
        (found,) = await store.found_materials(shop.id, production.id, references)
        await store.commit(m.save_material(ours := m.material(shop, "MINE"), production, sealed=b"ours"))
        (nearer,) = await store.found_materials(shop.id, production.id, references)

        assert found is not None and nearer is not None
        assert (found.material, nearer.material) == (theirs.id, ours.id)

    async def test_an_own_material_without_content_hides_that_of_admin(self, store: Store) -> None:
        """Somebody who made one of that name does not mean another's."""
        production, test = await m.with_environment(store), await m.with_environment(store, "test")
        shop, admin = await m.with_project(store), await m.with_project(store, ADMIN_PROJECT)
        await store.commit(m.save_material(m.material(admin), production, test))
        await store.commit(m.save_material(ours := m.material(shop), test))

        (found,) = await store.found_materials(shop.id, production.id, m.refers("mine"))

        assert found is not None and (found.material, found.hash) == (ours.id, None)

    async def test_the_noun_decides_between_two_of_one_name(self, store: Store) -> None:
        """A field that names a certificate finds a certificate first, another one a keystore; each finds the other too."""
        production, shop = await m.with_environment(store), await m.with_project(store)
        await store.commit(m.save_material(kept := m.material(shop), production, sealed=b"k"))
        (fallback,) = await store.found_materials(shop.id, production.id, m.refers("mine", noun="certificate"))
        await store.commit(m.save_material(public := m.material(shop, noun="certificate"), production, sealed=b"c"))

        both = (Reference("a", "keystore", "mine"), Reference("b", "certificate", "mine"))
        found = await store.found_materials(shop.id, production.id, both)

        assert fallback is not None and fallback.material == kept.id
        assert [each.material for each in found if each] == [kept.id, public.id]

    async def test_users_are_those_whose_references_find_it(self, store: Store) -> None:
        """A name alone makes nobody a user of another project's material."""
        await m.with_environment(store)
        shop, other = await m.with_project(store), await m.with_project(store, "Other")
        await store.commit(m.save_material(made := m.material(shop)))
        user = await m.with_connection(store, shop, references=m.refers("Mine"))
        await m.with_connection(store, shop, "no-user")
        await m.with_connection(store, other, references=m.refers("mine"))

        assert await store.material_users(made) == [(user, "Shop")]

    # what workers should hold

    async def test_a_replaced_material_makes_its_users_new(self, store: Store) -> None:
        """A new revision and another hash, in the same generation; nobody else moves, and the digest fits."""
        production, test = await m.with_environment(store), await m.with_environment(store, "test")
        shop = await m.with_project(store)
        await store.commit(m.save_material(made := m.material(shop), production, test))
        user = await m.with_connection(store, shop, references=m.refers("mine"))
        other = await m.with_connection(store, shop, "other")
        before = [await m.hash_of(store, production, each.id) for each in (user, other)]

        second = replace(made, generation=2)
        committed = await store.commit(m.save_material(second, production, test, sealed=b"two", was=made))

        after = [await m.hash_of(store, production, each.id) for each in (user, other)]
        assert after[0][0] > before[0][0] and after[0][1] == before[0][1] and after[0][2] != before[0][2]
        assert after[1] == before[1]
        assert {each.environment for each in committed.deployments} == {production.id, test.id}
        assert await m.digest(store, production) == await m.recomputed(store, production)

    async def test_what_changes_nothing_for_workers_moves_nothing(self, store: Store) -> None:
        """A new description leaves the content as it is, and everybody in peace."""
        production, shop = await m.with_environment(store), await m.with_project(store)
        await store.commit(m.save_material(made := m.material(shop), production))
        user = await m.with_connection(store, shop, references=m.refers("mine"))
        before = await m.hash_of(store, production, user.id)

        second = replace(made, generation=2, description="ours")
        committed = await store.commit(m.save_material(second, production, was=made))

        assert committed.deployments == ()
        assert await m.hash_of(store, production, user.id) == before

    async def test_what_comes_to_stand_behind_a_name_moves_its_users(self, store: Store) -> None:
        """Made under it, or renamed to it."""
        production, shop = await m.with_environment(store), await m.with_project(store)
        user = await m.with_connection(store, shop, references=m.refers("mine"))
        hashes = [(await m.hash_of(store, production, user.id))[2]]

        made = m.material(shop, "yours")
        renamed = replace(made, generation=2, name="mine", name_key="mine")
        for change in (m.save_material(made, production), m.save_material(renamed, production, was=made)):
            await store.commit(change)
            hashes.append((await m.hash_of(store, production, user.id))[2])

        missing, same, there = hashes
        assert missing == same != there
        assert await m.digest(store, production) == await m.recomputed(store, production)

    async def test_one_in_use_keeps_its_name_and_stays(self, store: Store) -> None:
        """Renaming and deleting it are refused, with those who use it; nothing is written."""
        production, shop = await m.with_environment(store), await m.with_project(store)
        user = await m.with_connection(store, shop, references=m.refers("mine"))
        made = m.material(shop)
        await store.commit(m.save_material(made, production))
        renamed = replace(made, generation=2, name="yours", name_key="yours")

        for change in (m.save_material(renamed, production, was=made), m.delete_material(made)):
            with pytest.raises(Used) as raised:
                await store.commit(change)
            assert [(each.id, project) for each, project in raised.value.users] == [(user.id, shop.name)]

        assert await store.material(shop.id, "keystore", "mine") == made
        assert await store.material_contents(made.id)

    async def test_a_change_at_admin_moves_users_everywhere(self, store: Store) -> None:
        """Save where an own one of that name stands before it."""
        production = await m.with_environment(store)
        shop, other = await m.with_project(store), await m.with_project(store, "Other")
        admin = await m.with_project(store, ADMIN_PROJECT)
        await store.commit(m.save_material(m.material(other), production, sealed=b"other's"))
        user = await m.with_connection(store, shop, references=m.refers("mine"))
        proof = await m.with_connection(store, other, references=m.refers("mine"))

        committed = await store.commit(m.save_material(m.material(admin), production, sealed=b"admin's"))

        assert [each.connection for each in committed.deployments] == [user.id]
        assert proof.id in await m.present(store, production)

    async def test_a_new_environment_gets_what_stands_behind_there(self, store: Store) -> None:
        """The hash is that of the environment from the start, so that nothing has to be sent twice."""
        shop = await m.with_project(store)
        user = await m.with_connection(store, shop, references=m.refers("mine"))
        production = m.environment()

        await store.commit(SaveEnvironment(production, True, m.entry()))
        before = await m.hash_of(store, production, user.id)
        await store.commit(m.save_material(m.material(shop), production))

        assert (await m.hash_of(store, production, user.id))[2] != before[2]
        assert await m.digest(store, production) == await m.recomputed(store, production)

    async def test_a_connection_saved_with_its_material_in_one_batch_agrees(self, store: Store) -> None:
        """Whichever of the two comes first, the hash is that of both."""
        production, shop = await m.with_environment(store), await m.with_project(store)
        made, user = m.material(shop), m.connection(shop, references=m.refers("mine"))
        late = m.connection(shop, "late", references=m.refers("mine"), hash=user.hash)
        await asyncio.gather(
            store.commit(m.save(user)), store.commit(m.save_material(made, production)), store.commit(m.save(late))
        )

        assert (await m.hash_of(store, production, user.id))[2] == (await m.hash_of(store, production, late.id))[2]
        assert await m.digest(store, production) == await m.recomputed(store, production)

    async def test_what_older_data_uses_is_noted_once(self, store: Store) -> None:
        """A connection that moved meanwhile is left alone: whoever moved it said what it uses."""
        production, shop = await m.with_environment(store), await m.with_project(store)
        old, moved = await m.with_connection(store, shop), await m.with_connection(store, shop, "moved")
        await store.commit(m.change(m.newer(moved), was=moved))
        references = m.refers("mine")

        await store.commit(IndexReferences([(old, '{"uses":1}', references), (moved, "{}", references)], m.AT))

        found = await store.connection_by_id(old.id)
        left = await store.connection_by_id(moved.id)
        assert found is not None and (found.document, found.references) == ('{"uses":1}', references)
        assert left is not None and left.references == ()
        committed = await store.commit(m.save_material(m.material(shop), production))
        assert [each.connection for each in committed.deployments] == [old.id]
        assert await m.digest(store, production) == await m.recomputed(store, production)

    async def test_an_idempotency_key_has_one_effect(self, store: Store) -> None:
        """The second of two equal requests finds the first."""
        made = m.material(await m.with_project(store))
        await store.commit(m.save_material(made, key=m.once()))

        again = await store.commit(m.save_material(m.material(await m.with_project(store, "X")), key=m.once()))

        assert again.replayed is not None and again.replayed.connection == made.id
