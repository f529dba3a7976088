"""
Where a change of a variable would take the secrets of those that use it.

A connection is looked at in each environment as it is there now and as it would be: with the values that it finds, not
with the references that it holds. A secret that the change leaves alone, and that has a value there, must not follow to
another destination; see `mooring.control.destinations`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from mooring.control import destinations
from mooring.control.interpolation import VARIABLE
from mooring.control.parcels import Parcels, material_place
from mooring.domain.names import ADMIN_PROJECT, name_key
from mooring.domain.records import Connection, Material
from mooring.domain.variables import is_secret_reference, substitute
from mooring.errors import InvalidConfig
from mooring.plugin.config import ConnectionConfig
from mooring.plugin.fields import resolved_values
from mooring.plugin.registry import Registry
from mooring.plugin.resolution import NoValue, Unresolved, resolve
from mooring.seal.envelope import Ring
from mooring.store.base import Moved, Store
from mooring.wire.body import typed_fields

Texts = Mapping[str, str]
"""The values of one variable by environment; '' stands for all of them."""

_ELSEWHERE = "a-secret-that-lives-elsewhere"
"""Stands for what only workers can read: long enough for every rule, and the same before and after."""


class Reach:
    """Looks where changes of variables lead."""

    def __init__(self, store: Store, ring: Ring, registry: Registry, parcels: Parcels) -> None:
        self._store, self._ring, self._registry, self._parcels = store, ring, registry, parcels

    async def moved(
        self, before: Material | None, texts_before: Texts, after: Material, texts_after: Texts
    ) -> list[Moved]:
        """The connections that go elsewhere where the variable *before* becomes *after*, and would take a secret along."""
        keys = {after.name_key, *([before.name_key] if before else [])}
        names = {project.id: project.name for project in await self._store.projects()}
        is_admins = names.get(after.project) == ADMIN_PROJECT
        environments = await self._store.environments()
        admin = next((each for each, name in names.items() if name == ADMIN_PROJECT), None)
        found = []
        for connection, project_name in await self._store.variable_namers(sorted(keys)):
            if connection.project != after.project and not is_admins:
                continue
            secrets = await self._secrets(connection)
            if not secrets:
                continue
            fields: set[str] = set()
            kept: set[str] = set()
            for environment in environments:
                # What the project admin has goes to every environment, also to those bound to others.
                if environment.projects and connection.project not in (*environment.projects, admin):
                    continue
                place = environment.id
                now: dict[str, str | None] = {}
                then: dict[str, str | None] = {}
                for key in keys:
                    chain = await self._chain(connection.project, admin, key, after.id)
                    mine = 1 if connection.project != after.project else 0
                    now[key] = _first(place, chain, mine, texts_before if before and before.name_key == key else {})
                    then[key] = _first(place, chain, mine, texts_after if after.name_key == key else {})
                if now == then:
                    continue
                went, would_keep = await self._difference(connection, secrets, place, now, then)
                fields |= set(went)
                kept |= set(would_keep)
            if fields and kept:
                found.append(Moved(connection, project_name, tuple(sorted(fields)), tuple(sorted(kept))))
        return found

    async def _secrets(self, connection: Connection) -> dict[str, str]:
        return {
            each.key: self._ring.unseal(each.sealed, key_id=each.key_id, connection=connection.id, key=each.key)
            for each in await self._store.secrets(connection.id)
        }

    async def _chain(self, project: str, admin: str | None, key: str, changing: str) -> list[Texts]:
        """The values of the variables of that name that *project* finds, its own first; none of the one that changes."""
        chain: list[Texts] = []
        for owner in (project, admin):
            variable = await self._store.material(owner, VARIABLE, key) if owner is not None else None
            if variable is None or variable.id == changing or (chain and owner == project):
                chain.append({})
                continue
            chain.append(
                {
                    each.environment: self._ring.unseal(
                        each.sealed, key_id=each.key_id, connection=variable.id,
                        key=material_place(each.environment, each.key),
                    )
                    for each in await self._store.material_secrets(variable.id)
                }
            )  # fmt: skip
        return chain

    async def _difference(
        self, connection: Connection, secrets: Mapping[str, str], environment: str, now: Mapping[str, str | None],
        then: Mapping[str, str | None],
    ) -> tuple[Sequence[str], Sequence[str]]:  # fmt: skip
        """Of one environment: which destinations move, and which secrets would follow."""
        behind = await self._parcels.behind(environment, connection.project, connection.references)
        values = {key: text for key, (text, _) in behind.variables.items()}
        before, after = _lookup(values, now), _lookup(values, then)
        kept = [key for key, text in secrets.items() if _text(text, before) == _text(text, after) is not None]
        if not kept:
            return (), ()
        model = self._registry.get(connection.type).config
        public = typed_fields(json.loads(connection.document))
        old, new = _config(model, public, secrets, before), _config(model, public, secrets, after)
        if new is None:
            return (), kept  # no worker takes it: what serves goes on serving, and no secret goes anywhere
        with resolved_values():
            if old is None:
                # Nothing was sent anywhere yet, and nobody said that it should be sent there.
                return [name for name, value in new.destination().items() if value not in (None, "", False)], kept
            return destinations.moved(old, new), kept


def _first(environment: str, chain: Sequence[Texts], mine: int, texts: Texts) -> str | None:
    """What a connection finds in *chain*, in which the variable that changes stands at *mine* with *texts*."""
    for number, each in enumerate(chain):
        for place in (environment, ""):
            text = (texts if number == mine else each).get(place)
            if text is not None:
                return text
    return None


def _lookup(values: Mapping[str, str], changed: Mapping[str, str | None]) -> Callable[[str], str]:
    def value_of(inner: str) -> str:
        if is_secret_reference(inner):
            return _ELSEWHERE
        key = name_key(inner)
        text = changed[key] if key in changed else values.get(key)
        if text is None:
            raise NoValue(inner)
        return text

    return value_of


def _text(text: str, value_of: Callable[[str], str]) -> str | None:
    try:
        return substitute(text, value_of)
    except NoValue:
        return None


def _config(
    model: type[ConnectionConfig], public: Mapping[str, object], secrets: Mapping[str, str],
    value_of: Callable[[str], str],
) -> ConnectionConfig | None:  # fmt: skip
    try:
        return resolve(model, public, secrets, value_of)
    except (Unresolved, InvalidConfig):
        return None
