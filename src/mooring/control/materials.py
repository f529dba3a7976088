"""
What keystores and certificates have in common: stored sealed, followed by the connections that use them, answered
for with what the workers say.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mooring.control import destinations
from mooring.control.access import project_in, require
from mooring.control.auditing import Change, entry
from mooring.control.connections import Ask
from mooring.control.deployments import Deployments
from mooring.control.material_changes import material_changes
from mooring.control.parcels import material_place
from mooring.control.references import named
from mooring.control.retrying import undisturbed
from mooring.control.verdict import MAX_FAILURES, Failure, Tally, worst
from mooring.domain.names import ADMIN_PROJECT, name_key, why_not_a_name
from mooring.domain.records import (
    Actor,
    Deployment,
    Environment,
    Material,
    MaterialContent,
    MaterialSecret,
    Project,
)
from mooring.errors import (
    BadRequest,
    Conflict,
    InUse,
    InvalidConfig,
    PreconditionFailed,
    Problem,
)
from mooring.kit.clock import now_ms
from mooring.kit.keystore.opened import Opened
from mooring.kit.record import record
from mooring.seal.envelope import Ring
from mooring.store.base import (
    DeleteMaterial,
    FinishIdempotency,
    Idempotency,
    IdempotencyRecord,
    KeyGone,
    NoteRequest,
    SaveMaterial,
    Store,
    TrustWatch,
    Used,
)
from mooring.wire.envelope import dumps

OPENED, FILE, PASSWORD = "opened", "file", "password"


@record
class Given:
    """What a material shall have in one environment: what was opened, and the file and password it came from."""

    environment: str
    type: str
    alias: str | None
    opened: Opened
    file: bytes
    password: str | None


@record
class Sealed:
    """The sealed parts of a material as they were read, and what stands in them, by environment and part."""

    parts: Mapping[tuple[str, str], MaterialSecret]
    values: Mapping[tuple[str, str], str]

    def file(self, environment: str) -> bytes:
        return base64.b64decode(self.values[environment, FILE])

    def password(self, environment: str) -> str | None:
        return self.values.get((environment, PASSWORD))


_RENAME_HINT = "Make one of the new name, point them at it, then delete this one"
_DELETE_HINT = "Point them at another one, or delete them, then delete this one"
_CONTENT_FIELD = {"keystore": "/keyStoreEnvironmentList", "certificate": "/pemEncodedFile"}
_WIDER = "connections would trust a certificate that they did not trust before"


class Materials:
    """Keeps materials of both nouns; `keystores` and `certificates` say what bodies and answers look like."""

    def __init__(self, store: Store, ring: Ring, deployments: Deployments, watch: TrustWatch) -> None:
        self._store, self._ring, self._deployments, self._watch = store, ring, deployments, watch

    # who may, and what is there

    async def project(self, actor: Actor, name: str, grant: str) -> Project:
        """The project, where *actor* holds *grant*. Raises `NotFound` in the words that these pages have."""
        project = await project_in(self._store, actor, name, "secrets")
        require(actor, grant, project.id)
        return project

    async def environments(self, project: Project) -> list[Environment]:
        """Those that the project may use."""
        return [
            environment
            for environment in await self._store.environments()
            if not environment.projects or project.id in environment.projects or project.name == ADMIN_PROJECT
        ]

    async def environment(self, project: Project, name: str) -> Environment:
        """The environment *name*, exactly or else ignoring case. Raises `BadRequest`, as documented."""
        usable = await self.environments(project)
        for environment in usable:
            if environment.name == name:
                return environment
        for environment in usable:
            if name_key(environment.name) == name_key(name):
                return environment
        raise BadRequest(f"Environment ({name}) is not found or user does not have privilege to access it!")

    async def opened(self, material: Material) -> Sealed:
        """The sealed parts of a material, opened."""
        parts = {(each.environment, each.key): each for each in await self._store.material_secrets(material.id)}
        values = {
            (environment, key): self._ring.unseal(
                each.sealed, key_id=each.key_id, connection=material.id, key=material_place(environment, key)
            )
            for (environment, key), each in parts.items()
        }
        return Sealed(parts, values)

    # writing

    async def replayed(self, actor: Actor, ask: Ask) -> str | None:
        """The answer that was given, or would have been, to the same Idempotency-Key before."""
        if ask.idempotency_key is None or actor.token is None:
            return None
        found = await self._store.idempotency(actor.token, ask.idempotency_key)
        return None if found is None else await self._replay(actor, found, ask)

    async def save(
        self, actor: Actor, material: Material, before: Material | None, given: Sequence[Given], sealed: Sealed | None,
        changed: Sequence[str], ask: Ask, warnings: Sequence[dict[str, Any]] = (),
    ) -> str:  # fmt: skip
        """
        Store *material* with all that is *given*, and wait for the workers of those that use it; the answer's JSON.

        Raises `NameTaken`, `AliasTaken`, and `Stale` where it moved meanwhile.
        """
        try:
            return await self.keep(
                actor, material, before, *self._sealed(material, given, sealed), changed, ask, warnings,
                environments=[each.environment for each in given],
            )  # fmt: skip
        except KeyGone:  # the data key was rotated and destroyed between sealing and storing
            return await self.save(actor, material, before, given, sealed, changed, ask, warnings)

    async def keep(
        self, actor: Actor, material: Material, before: Material | None, contents: Sequence[MaterialContent],
        secrets: Sequence[MaterialSecret], dropped: Sequence[tuple[str, str]], changed: Sequence[str], ask: Ask,
        warnings: Sequence[dict[str, Any]] = (), *, environments: Iterable[str],
    ) -> str:  # fmt: skip
        """As `save`, with *contents* that are sealed already."""
        action = "create" if before is None else "update"
        changes = await self._changes(before, material, contents, secrets, dropped) if before is not None else None
        change = SaveMaterial(
            material, before.generation if before else None, contents, secrets, dropped,
            entry(actor, action, material.noun, material.id, material.name, project=material.project, changed=tuple(changed), changes=changes),
            self._idempotency(actor, ask), self._watch if material.noun in _CONTENT_FIELD else None,
        )  # fmt: skip
        try:
            committed = await destinations.commit_watched(
                self._store, actor, change, _CONTENT_FIELD.get(material.noun, ""), _WIDER
            )
        except Used as exc:
            # They would be left with a name that leads nowhere.
            raise _in_use(actor, before or material, exc, _RENAME_HINT) from None
        if committed.replayed:
            return await self._replay(actor, committed.replayed, ask)
        deployments: Sequence[Deployment] = committed.deployments
        if before is not None and not deployments:
            deployments = await self._standing(material)
        return await self._answer(actor, material, environments, deployments, ask, warnings)

    async def _changes(
        self, before: Material, after: Material, contents: Sequence[MaterialContent], secrets: Sequence[MaterialSecret],
        dropped: Sequence[tuple[str, str]],
    ) -> dict[str, Change]:  # fmt: skip
        """What an update changes, for the audit."""
        names = await self._store.environment_names()
        had = await self._store.material_contents(before.id)
        held = await self._store.material_secrets(before.id)
        return material_changes(self._ring, names, before, after, had, contents, held, secrets, dropped)

    async def unchanged(self, actor: Actor, material: Material, environments: Iterable[str], ask: Ask) -> str:
        """Nothing to store: how those that use it stand."""
        deployments = await self._standing(material)
        idempotency = self._idempotency(actor, ask)
        if idempotency is not None:
            noted = await self._store.commit(NoteRequest(idempotency, material, deployments))
            if noted.replayed:
                return await self._replay(actor, noted.replayed, ask)
        return await self._answer(actor, material, environments, deployments, ask)

    async def delete(self, actor: Actor, project: Project, noun: str, name: str, missing: BadRequest, ask: Ask) -> str:
        """Destroy a material with all that it held; the answer's JSON."""
        replayed = await self.replayed(actor, ask)
        if replayed is not None:
            return replayed
        return await undisturbed(
            lambda: self._delete_once(actor, project, noun, name, missing, ask), f"{noun.capitalize()} (name: {name})"
        )

    async def _delete_once(
        self, actor: Actor, project: Project, noun: str, name: str, missing: BadRequest, ask: Ask
    ) -> str:
        material = await self.existing(project, noun, name, missing, ask)
        environments = await self._environments_of(material.id)
        audit = entry(actor, "delete", noun, material.id, material.name, project=project.id)
        try:
            committed = await self._store.commit(DeleteMaterial(material, audit, self._idempotency(actor, ask)))
        except Used as exc:
            raise _in_use(actor, material, exc, _DELETE_HINT) from None
        if committed.replayed:
            return await self._replay(actor, committed.replayed, ask)
        return await self._answer(actor, material, environments, (), ask, deleted=True)

    async def existing(self, project: Project, noun: str, name: str, missing: BadRequest, ask: Ask) -> Material:
        """The material of that name. Raises *missing*, or `PreconditionFailed`."""
        material = await self._store.material(project.id, noun, name_key(name))
        if material is None:
            raise missing
        if ask.if_match is not None and ask.if_match != material.generation:
            raise PreconditionFailed(f"{noun.capitalize()} (name: {name}) has changed since")
        return material

    async def _environments_of(self, material: str) -> list[str]:
        """Where a material has something of its own."""
        return [each.environment for each in await self._store.material_contents(material) if each.environment]

    def _sealed(
        self, material: Material, given: Sequence[Given], before: Sealed | None
    ) -> tuple[list[MaterialContent], list[MaterialSecret], list[tuple[str, str]]]:
        """What to store: a part that did not change keeps its ciphertext, and with it its hash."""
        contents, secrets, dropped = [], [], []
        for each in given:
            values = {
                OPENED: dumps({"trusted": each.opened.trusted, "chain": each.opened.chain, "key": each.opened.key}),
                FILE: base64.b64encode(each.file).decode(),
            }
            if each.password is not None:
                values[PASSWORD] = each.password
            elif before is not None and (each.environment, PASSWORD) in before.parts:
                dropped.append((each.environment, PASSWORD))
            blobs = {}
            for key, value in values.items():
                place = (each.environment, key)
                if before is not None and before.values.get(place) == value:
                    blobs[key] = before.parts[place].sealed
                    continue
                blobs[key] = self._ring.seal(value, connection=material.id, key=material_place(each.environment, key))
                secrets.append(MaterialSecret(each.environment, key, blobs[key], self._ring.active))
            digest = self._ring.content_hash(values[OPENED].encode(), {}, owner=f"{material.id}/{each.environment}")
            contents.append(
                MaterialContent(each.environment, each.type, each.alias, dumps(each.opened.entries), digest)
            )
        return contents, secrets, dropped

    # answers

    async def _standing(self, material: Material) -> list[Deployment]:
        """The newest deployments of the connections that use it: how they stand now."""
        found = []
        for connection, _ in await self._store.material_users(material):
            if connection.deploy:
                found += await self._deployments.latest(connection)
        return found

    def _idempotency(self, actor: Actor, ask: Ask) -> Idempotency | None:
        if ask.idempotency_key is None or actor.token is None:
            return None
        return Idempotency(actor.token, ask.idempotency_key, self._ring.request_hash(ask.request), now_ms())

    async def _replay(self, actor: Actor, found: IdempotencyRecord, ask: Ask) -> str:
        if found.request_hash != self._ring.request_hash(ask.request):
            raise Conflict("the Idempotency-Key was used with another request", hint="Use a new key for a new request.")
        if found.body is not None:
            return found.body
        deployments = [await self._store.deployment(each) for each in found.deployments]
        environments = await self._environments_of(found.connection)
        started = [each for each in deployments if each is not None]
        result = await self._result(actor, environments, started, ask.wait_s, found.generation, ())
        return dumps({"success": True, "deploymentResult": result})

    async def _answer(
        self, actor: Actor, material: Material, environments: Iterable[str], deployments: Sequence[Deployment], ask: Ask,
        warnings: Sequence[dict[str, Any]] = (), *, deleted: bool = False,
    ) -> str:  # fmt: skip
        result = await self._result(
            actor, environments, deployments, ask.wait_s, material.generation, warnings, deleted=deleted
        )
        text = dumps({"success": True, "deploymentResult": result})
        if ask.idempotency_key is not None and actor.token is not None:
            await self._store.commit(FinishIdempotency(actor.token, ask.idempotency_key, text))
        return text

    async def _result(
        self, actor: Actor, environments: Iterable[str], deployments: Sequence[Deployment], wait_s: float, generation: int,
        warnings: Sequence[dict[str, Any]], *, deleted: bool = False,
    ) -> dict[str, Any]:  # fmt: skip
        """The documented `deploymentResult`: of each environment, what came of the connections that use it."""
        tallies = await self._deployments.tallies(deployments, wait_s)
        by_environment: dict[str, list[tuple[Deployment, Tally]]] = {each: [] for each in environments}
        for deployment, tally in zip(deployments, tallies, strict=True):
            by_environment.setdefault(deployment.environment, []).append((deployment, tally))
        names = await self._store.environment_names()
        entries = [
            await self._entry(actor, names.get(environment, environment), found, deleted)
            for environment, found in sorted(by_environment.items(), key=lambda each: names.get(each[0], each[0]))
        ]
        success = all(each["success"] for each in entries)
        done = sum(each["success"] for each in entries)
        what = "Undeployment" if deleted else "Deployment"
        result: dict[str, Any] = {
            "success": success,
            "message": f"{what} completed successfully"
            if success
            else f"{done} of {len(entries)} environments are done",
            "state": worst([each["state"] for each in entries]) if entries else "SUCCEEDED",
            "generation": generation,
            "environmentResults": entries,
        }
        if warnings:
            result["warnings"] = list(warnings)
        return result

    async def _entry(
        self, actor: Actor, name: str, found: Sequence[tuple[Deployment, Tally]], deleted: bool
    ) -> dict[str, Any]:
        done = "Undeployed successfully" if deleted else "Deployed successfully"
        if not found:
            tail = "" if deleted else "; no connection uses it yet, so workers get it with the first that does"
            return {"environmentName": name, "success": True, "state": "SUCCEEDED", "message": done + tail}
        success = all(tally.success for _, tally in found)
        if all(tally.state == "NO_WORKERS" for _, tally in found):
            message = f"{_connections(len(found))} that use it: {found[0][1].message}"
        elif success:
            message = f"{done}; {_connections(len(found))} {'uses' if len(found) == 1 else 'use'} it"
        else:
            bad = [tally for _, tally in found if not tally.success]
            message = f"{len(bad)} of {_connections(len(found))}: {bad[0].message}"
        entry: dict[str, Any] = {
            "environmentName": name, "success": success, "state": worst([tally.state for _, tally in found]),
            "message": message,
        }  # fmt: skip
        failures = [(deployment, failure) for deployment, tally in found for failure in tally.failures]
        if failures:
            entry["failures"] = [
                await self._failure(actor, deployment, failure) for deployment, failure in failures[:MAX_FAILURES]
            ]
            if len(failures) > MAX_FAILURES:
                entry["furtherFailures"] = len(failures) - MAX_FAILURES
        return entry

    async def _failure(self, actor: Actor, deployment: Deployment, failure: Failure) -> dict[str, Any]:
        """What a worker said of one connection; of one that *actor* may not see, only that it failed."""
        connection = await self._store.connection_by_id(deployment.connection)
        told: dict[str, Any] = {"connection": None, "worker": failure.worker, "reason": failure.reason}
        if connection is None or not actor.sees(connection.project):
            return {**told, "message": "a connection of another project"}
        return {**told, "connection": connection.name, "message": failure.message}


def _in_use(actor: Actor, material: Material, exc: Used, hint: str) -> InUse:
    return InUse(
        f"{material.noun.capitalize()} (name: {material.name}) is in use by: {named(actor, material.project, exc.users)}",
        hint=hint,
    )


def check_name(name: str | None, field: str) -> str:
    """*name*, where it is one. Raises `InvalidConfig`."""
    if name is None or not name.strip():
        raise InvalidConfig([Problem(f"/{field}", "required", f"{field} value can not be empty!")])
    why = why_not_a_name(name)
    if why:
        raise InvalidConfig([Problem(f"/{field}", "invalid", f"{field} is not valid: {why}")])
    return name


def entries_of(content: MaterialContent) -> list[dict[str, Any]]:
    """What may be shown of a content."""
    return json.loads(content.entries)  # type: ignore[no-any-return]  # written by `Materials`


def kept(content: MaterialContent, sealed: Sealed) -> Given:
    """What is stored, as if it had been sent again."""
    values = json.loads(sealed.values[content.environment, OPENED])
    opened = Opened(entries_of(content), values["trusted"], values["chain"], values["key"])
    return Given(
        content.environment, content.type, content.alias, opened, sealed.file(content.environment),
        sealed.password(content.environment),
    )  # fmt: skip


def _connections(count: int) -> str:
    return f"{count} connection{'' if count == 1 else 's'}"
