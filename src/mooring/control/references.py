"""
What connections use: their references to keystores, certificates and variables, and what is to be said of them.

A warning is worked out when a connection is read, because it changes by itself: a keystore is made or destroyed,
a certificate runs out.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

from mooring.control.interpolation import VARIABLE, variables_in
from mooring.domain.records import Actor, Connection, Environment, FoundMaterial, Project, Reference
from mooring.domain.variables import references_in as names_in
from mooring.errors import InvalidConfig, MooringError, Problem
from mooring.kit.clock import iso, now_ms
from mooring.kit.log import log
from mooring.plugin.config import ConnectionConfig, join, read_config, reference_kinds, split
from mooring.plugin.problems import as_warning
from mooring.plugin.registry import Registry
from mooring.seal.envelope import Ring
from mooring.store.base import IndexReferences, SetMeta, Store, TrustWatch
from mooring.wire.body import typed_fields
from mooring.wire.envelope import dumps

MAX_NAMED = 20
SOON_MS = 30 * 24 * 3600 * 1000
USES = ',"uses":['
"""What stands in a document that uses materials, and in no other: a text of its own would have its quotes escaped."""

_CODES = frozenset({"reference_missing", "variable_missing", "material_expired", "material_expires"})
_INDEXED = "variables indexed"
_PAGE = 200


def references_in(config: ConnectionConfig) -> tuple[Reference, ...]:
    """The materials that *config* really uses. A name may have variables in it."""
    named = config.references()
    if not named:
        return ()
    kinds = reference_kinds(type(config))
    return tuple(
        Reference(field, "certificate" if kinds[field] == "certificate" else "keystore", name)
        for field, name in named.items()
    )


def trust_watch(registry: Registry) -> TrustWatch:
    """The fields of every type that say what its connections trust; a keystore says who they are, which widens nothing."""
    kinds = {card.name: reference_kinds(card.config) for card in registry}
    return TrustWatch(
        {name: frozenset(field for field, kind in of.items() if kind != "keystore") for name, of in kinds.items()}
    )


def shown(references: Sequence[Reference]) -> list[dict[str, str]]:
    """*references* as a connection's document shows them."""
    return [{"field": each.field, "kind": each.noun, "name": each.name} for each in references]


def named(actor: Actor, home: str | None, users: Sequence[tuple[Connection, str]]) -> str:
    """
    The connections among *users* (each with its project's name) that *actor* may know of, and how many others there are.

    Those of the project *home* go by their name alone.
    """
    seen = [
        connection.name if connection.project == home else f"{project}/{connection.name}"
        for connection, project in users
        if actor.sees(connection.project)
    ]
    told = seen[:MAX_NAMED]
    more = len(users) - len(told)
    return ", ".join([*told, *([f"{more} more"] if more else [])])


class References:
    """Looks behind references."""

    def __init__(self, store: Store, ring: Ring, registry: Registry) -> None:
        self._store, self._ring, self._registry = store, ring, registry

    async def warnings(self, project_id: str, references: Sequence[Reference]) -> list[dict[str, Any]]:
        """What is missing, has expired or expires soon, in the environments that the project may use."""
        if not references:
            return []
        environments = [
            environment
            for environment in await self._store.environments()
            if environment.status != "UNPUBLISHED" and (not environment.projects or project_id in environment.projects)
        ]
        behind = [
            await self._store.found_materials(project_id, environment.id, references) for environment in environments
        ]
        told: list[Problem] = []
        for number, reference in enumerate(references):
            told += _about(reference, [(env, found[number]) for env, found in zip(environments, behind, strict=True)])
        return [as_warning(problem) for problem in told]

    async def filled(self, project_id: str, document: str) -> str:
        """*document* with the warnings that hold now. One that uses nothing is left as it is."""
        if USES not in document:
            return document
        values = json.loads(document)
        references = [Reference(each["field"], each["kind"], each["name"]) for each in values.get("uses", ())]
        values["warnings"] = [*values["warnings"], *await self.warnings(project_id, references)]
        return dumps(values)

    async def all_filled(self, project_id: str, rows: AsyncIterator[tuple[str, str]]) -> AsyncIterator[tuple[str, str]]:
        """*rows* of a list, each filled."""
        async for key, document in rows:
            yield key, (await self.filled(project_id, document) if USES in document else document)

    async def index(self) -> None:
        """
        Once for data of a version that kept no variables, or no materials either: note what its connections use.

        From then on it is noted whenever a connection is stored.
        """
        if await self._store.meta(_INDEXED):
            return
        for project in await self._store.projects():
            waiting = []
            async for key, document in self._store.documents(project.id):
                found = await self._indexed(project, key, document)
                if found is not None:
                    waiting.append(found)
                if len(waiting) >= _PAGE:
                    await self._store.commit(IndexReferences(waiting, now_ms()))
                    waiting = []
            if waiting:
                await self._store.commit(IndexReferences(waiting, now_ms()))
        await self._store.commit(SetMeta(_INDEXED, "1"))

    async def _indexed(self, project: Project, key: str, document: str) -> Any:
        connection = await self._store.connection(project.id, key)
        if connection is None:
            return None
        card = self._registry.find(connection.type)
        values = json.loads(connection.document)
        if card is None:
            return None
        try:
            secrets = {
                each.key: self._ring.unseal(each.sealed, key_id=each.key_id, connection=connection.id, key=each.key)
                for each in await self._store.secrets(connection.id)
            }
            names_one = any(values.get(field) for field in reference_kinds(card.config))
            if not names_one and "${" not in connection.document and not any("${" in each for each in secrets.values()):
                return None
            config = read_config(card.config, join(card.config, typed_fields(values), secrets)[0])
            references = (*references_in(config), *variables_in(*split(card.config, config.wire())))
        except (InvalidConfig, MooringError) as exc:
            log.warning("references_not_indexed", connection=connection.id, why=type(exc).__name__)
            return None
        if not references or references == connection.references:
            return None
        values["warnings"] = [each for each in values["warnings"] if each.get("code") not in _CODES]
        values["uses"] = shown(references)
        return connection, dumps(values), references


def _about(reference: Reference, found: Sequence[tuple[Environment, FoundMaterial | None]]) -> list[Problem]:
    """What there is to say of one reference."""
    field = reference.field
    if reference.noun == VARIABLE:
        missing = [env.name for env, material in found if material is None or material.hash is None]
        where = "yet" if len(missing) == len(found) else f"for {', '.join(missing)}"
        text = f"the variable {reference.name[:80]} has no value {where}"
        return [_problem(field, "variable_missing", text)] if missing else []
    if names_in(reference.name) and all(material is None for _, material in found):
        return [
            _problem(
                field,
                "reference_missing",
                "its variables make no name of a keystore or certificate here (their values must be visible)",
            )
        ]
    if all(material is None for _, material in found):
        return [
            _problem(field, "reference_missing", "there is no keystore or certificate of that name in this project yet")
        ]
    problems = []
    missing = [env.name for env, material in found if material is None or material.hash is None]
    if missing:
        problems.append(
            _problem(field, "reference_missing", f"the {reference.noun} has nothing for {', '.join(missing)}")
        )
    for environment, material in found:
        if material is not None and material.entries is not None:
            instant = expiry(json.loads(material.entries))
            if instant is not None and instant < now_ms():
                problems.append(_problem(field, "material_expired", f"it expired {iso(instant)} ({environment.name})"))
            elif instant is not None and instant < now_ms() + SOON_MS:
                problems.append(_problem(field, "material_expires", f"it expires {iso(instant)} ({environment.name})"))
    return problems


def _problem(field: str, code: str, reason: str) -> Problem:
    return Problem(f"/{field}", code, f"{field}: {reason}")


def expiry(entries: Sequence[dict[str, Any]]) -> int | None:
    """
    When what is used of a material stops working.

    A key with its certificates: when the first of these runs out. Trusted certificates alone: when the last one does,
    or the first within the next days; roots that ran out long ago lie in every bundle, and nobody misses them.
    """
    used = [entry for entry in entries if entry.get("used") and "notAfter" in entry]
    keys = [entry for entry in used if entry["kind"] == "key"]
    if keys:
        return min(instant_of(each["notAfter"]) for entry in keys for each in (entry, *entry.get("chain", ())))
    instants = [instant_of(entry["notAfter"]) for entry in used]
    now = now_ms()
    soon = [instant for instant in instants if now <= instant < now + SOON_MS]
    return min(soon) if soon else max(instants, default=None)


def instant_of(text: str) -> int:
    """An instant of an entry in milliseconds."""
    return int(datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.000Z").replace(tzinfo=UTC).timestamp()) * 1000
