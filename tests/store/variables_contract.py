"""What `mooring.store.base` promises of variables; see `tests.store.contract`."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

from mooring.domain.names import ADMIN_PROJECT
from mooring.domain.records import Environment, Material, MaterialContent, MaterialSecret, Project, Reference
from mooring.store.base import SaveMaterial, Store
from tests.store import makers as m

EVERYWHERE = ""


def variable(of: Project, name: str = "HOST") -> Material:
    return m.material(of, name, "variable")


def save(made: Material, values: dict[str, str], was: Material | None = None, *, visible: bool = True) -> SaveMaterial:
    """The change that gives *made* those values, by environment; '' stands for all."""
    contents, secrets = [], []
    for place, value in values.items():
        entries = json.dumps({"visible": visible, **({"value": value} if visible else {})})
        contents.append(MaterialContent(place, "value", None, entries, hashlib.sha256(value.encode()).digest()))
        secrets.append(MaterialSecret(place, "value", value.encode(), "key_1"))
    audit = m.entry("save", "variable", made.id, made.name)
    return SaveMaterial(made, was.generation if was else None, contents, secrets, (), audit)


async def value(store: Store, of: Project, place: Environment, name: str = "HOST") -> bytes | None:
    (found,) = await store.variables(of.id, place.id, [name])
    return found.sealed if found else None


class VariablesContract:
    """The promises, one by one."""

    async def test_the_nearest_value_is_found(self, store: Store) -> None:
        """The project's for the environment, its global one, then those of admin; one that has none here hides nothing."""
        production, shop = await m.with_environment(store), await m.with_project(store)
        test, admin = await m.with_environment(store, "test"), await m.with_project(store, ADMIN_PROJECT)
        await store.commit(save(variable(admin), {EVERYWHERE: "admin's", production.id: "admin's here"}))
        from_admin = [await value(store, shop, place) for place in (production, test)]

        await store.commit(save(variable(shop, "host"), {test.id: "ours in test"}))
        mixed = [await value(store, shop, place) for place in (production, test)]

        assert from_admin == [b"admin's here", b"admin's"]
        assert mixed == [b"admin's here", b"ours in test"]

    async def test_another_project_s_are_never_found(self, store: Store) -> None:
        """Nor a keystore of that name."""
        production, shop = await m.with_environment(store), await m.with_project(store)
        other = await m.with_project(store, "Other")
        await store.commit(save(variable(other), {EVERYWHERE: "theirs"}))
        await store.commit(m.save_material(m.material(shop, "HOST"), production))

        (behind,) = await store.found_materials(shop.id, production.id, m.refers("HOST", noun="variable"))

        assert await value(store, shop, production) is None and behind is None

    async def test_a_keystore_is_no_variable_of_its_name(self, store: Store) -> None:
        """Each noun finds its own."""
        production, shop = await m.with_environment(store), await m.with_project(store)
        await store.commit(save(variable(shop, "mine"), {EVERYWHERE: "text"}))

        assert await store.found_materials(shop.id, production.id, m.refers("mine")) == [None]

    async def test_a_changed_value_makes_its_users_new_where_it_changed(self, store: Store) -> None:
        """A new revision and another hash, in the same generation; the other environment stays as it is."""
        production, test = await m.with_environment(store), await m.with_environment(store, "test")
        shop = await m.with_project(store)
        made = variable(shop)
        await store.commit(save(made, {production.id: "one", test.id: "same"}))
        user = await m.with_connection(store, shop, references=m.refers("Host", noun="variable"))
        before = [await m.hash_of(store, place, user.id) for place in (production, test)]

        committed = await store.commit(save(replace(made, generation=2), {production.id: "two", test.id: "same"}, made))

        after = [await m.hash_of(store, place, user.id) for place in (production, test)]
        assert [each.environment for each in committed.deployments] == [production.id]
        assert after[0][1] == before[0][1] and after[0][2] != before[0][2] and after[1] == before[1]
        assert await m.digest(store, production) == await m.recomputed(store, production)

    async def test_one_that_is_made_or_renamed_is_followed(self, store: Store) -> None:
        """Whoever named it before it was there is desired anew."""
        await m.with_environment(store)
        shop = await m.with_project(store)
        await m.with_connection(store, shop, references=m.refers("HOST", noun="variable"))
        made = variable(shop, "OTHER")
        first = await store.commit(save(made, {EVERYWHERE: "x"}))

        renamed = replace(made, name="HOST", name_key="host", generation=2)
        second = await store.commit(save(renamed, {EVERYWHERE: "x"}, made))

        assert (len(first.deployments), len(second.deployments)) == (0, 1)

    async def test_a_material_is_named_by_way_of_a_variable(self, store: Store) -> None:
        """By a value that may be shown; both are followed, and the material counts as used."""
        production, shop = await m.with_environment(store), await m.with_project(store)
        await store.commit(m.save_material(kept := m.material(shop, "mine"), production))
        made = variable(shop, "KS")
        await store.commit(save(made, {production.id: "ne"}))
        references = (Reference("keyStoreName", "keystore", "mi${ks}"), Reference("keyStoreName", "variable", "ks"))
        user = await m.with_connection(store, shop, references=references)

        (behind, _) = await store.found_materials(shop.id, production.id, references)
        users = await store.material_users(kept)
        replaced = await store.commit(m.save_material(replace(kept, generation=2), production, sealed=b"two", was=kept))
        hidden = await store.commit(save(replace(made, generation=2), {production.id: "nE"}, made, visible=False))
        (gone, _) = await store.found_materials(shop.id, production.id, references)

        assert behind is not None and behind.material == kept.id and gone is None
        assert users == [(user, "Shop")]
        assert [len(each.deployments) for each in (replaced, hidden)] == [1, 1]

    async def test_those_who_name_it_are_found(self, store: Store) -> None:
        """Of every project, and no user of a keystore of that name."""
        shop, other = await m.with_project(store), await m.with_project(store, "Other")
        one = await m.with_connection(store, shop, references=m.refers("HOST", noun="variable"))
        two = await m.with_connection(store, other, references=m.refers("host", noun="variable"))
        await m.with_connection(store, shop, "keystore", references=m.refers("host"))

        found = await store.variable_namers(["host"])

        assert {(each.id, name) for each, name in found} == {(one.id, "Shop"), (two.id, "Other")}
