"""
Environment variables: create, read, list, update (also rename), delete.

A variable is a material whose content in an environment is a value; the environment '' stands for all of them. Every
value is sealed. One that may not be shown can never be read again: to show it, it must be sent again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mooring.control import destinations
from mooring.control.connections import Ask
from mooring.control.materials import Materials
from mooring.control.parcels import material_place
from mooring.control.reach import Reach
from mooring.control.references import named
from mooring.control.retrying import undisturbed
from mooring.domain.names import ADMIN_PROJECT, name_key
from mooring.domain.records import Actor, Material, MaterialContent, MaterialSecret, Project
from mooring.domain.variables import why_not_a_variable
from mooring.errors import AlreadyExists, BadRequest, InUse, InvalidConfig, NameMismatch, NotFound, Problem
from mooring.kit.clock import iso, now_ms
from mooring.kit.ids import new_id
from mooring.kit.record import record
from mooring.plugin.problems import invalid, required
from mooring.seal.envelope import Ring
from mooring.store.base import KeyGone, NameTaken, Stale, Store
from mooring.wire.bodies import read
from mooring.wire.envelope import dumps
from mooring.wire.variables import ENTRY_ANSWERS, VARIABLE_ANSWERS, VariableBody

NOUN = "variable"
EVERYWHERE = ""
VALUE = "value"
LIST = "environmentValueList"


@record
class Value:
    """What a variable has in one environment; `text` is None where it was cleared."""

    environment: str
    text: str | None
    visible: bool


@record
class _Held:
    """The values of a stored variable by environment, with how they are stored."""

    values: Mapping[str, Value]
    contents: Mapping[str, MaterialContent]


class Variables:
    """The variables of every project."""

    def __init__(self, store: Store, ring: Ring, materials: Materials, reach: Reach) -> None:
        self._store, self._ring, self._materials, self._reach = store, ring, materials, reach

    # reading

    async def list_all(self, actor: Actor, project_name: str) -> list[tuple[Material, dict[str, Any]]]:
        """Every variable of a project, as the API shows it; for the project `admin`, those of all that *actor* may see."""
        project = await self._materials.project(actor, project_name, "connections:view")
        projects = [project]
        if project.name == ADMIN_PROJECT:
            others = [each for each in await self._store.projects() if each.id != project.id]
            projects += [each for each in others if actor.may("connections:view", each.id)]
        names = await self._store.environment_names()
        return [
            (material, self._wire(material, owner, await self._held(material), names))
            for owner in projects
            for material, _ in await self._store.materials(owner.id, NOUN)
        ]

    async def get(self, actor: Actor, project_name: str, name: str) -> tuple[Material, dict[str, Any]]:
        """One variable. Raises `BadRequest`, as documented."""
        project = await self._materials.project(actor, project_name, "connections:view")
        _check_path(name)
        material = await self._materials.existing(project, NOUN, name, _missing(name), Ask(0))
        names = await self._store.environment_names()
        return material, self._wire(material, project, await self._held(material), names)

    async def _held(self, material: Material) -> _Held:
        contents = {each.environment: each for each in await self._store.material_contents(material.id)}
        texts = (await self._materials.opened(material)).values
        values = {
            place: Value(place, texts.get((place, VALUE)), bool(json.loads(content.entries)["visible"]))
            for place, content in contents.items()
        }
        return _Held(values, contents)

    # writing

    async def check_change(self, actor: Actor, project_name: str, path_name: str) -> Project:
        """The project, where *actor* may change a variable of that name in it: what is refused before the body."""
        project = await self._materials.project(actor, project_name, "connections:manage")
        _check_path(path_name)
        return project

    async def create(self, actor: Actor, project_name: str, path_name: str, sent: dict[str, Any], ask: Ask) -> str:
        """Store a new variable; the answer's JSON."""
        project = await self.check_change(actor, project_name, path_name)
        name = sent.get("name")
        if name is None:
            raise InvalidConfig([required("name")])
        if isinstance(name, str) and name_key(name) != name_key(path_name):
            raise NameMismatch(f"Environment variable name in path ({path_name}) does not match name in body ({name})!")
        replayed = await self._materials.replayed(actor, ask)
        if replayed is not None:
            return replayed
        await self._check_free(project, path_name)
        body = _body(sent)
        _check_name(path_name if body.name is None else body.name)
        values = await self._values(project, body, None)
        now = now_ms()
        name = body.name or path_name
        material = Material(new_id("var"), project.id, NOUN, name, name_key(name), body.description, 1, now, now)
        return await self._keep(actor, project, material, None, None, values, (), ask)

    async def update(self, actor: Actor, project_name: str, path_name: str, sent: dict[str, Any], ask: Ask) -> str:
        """Replace what the body has, keep what it leaves out; the answer's JSON."""
        project = await self.check_change(actor, project_name, path_name)
        replayed = await self._materials.replayed(actor, ask)
        if replayed is not None:
            return replayed
        return await undisturbed(
            lambda: self._update_once(actor, project, path_name, sent, ask),
            f"Environment variable (name: {path_name})",
        )

    async def _update_once(self, actor: Actor, project: Project, path_name: str, sent: dict[str, Any], ask: Ask) -> str:
        before = await self._materials.existing(project, NOUN, path_name, _missing(path_name), ask)
        name = sent.get("name")
        if isinstance(name, str) and name_key(name) != before.name_key:
            await self._check_free(project, name)
        body = _body(sent)
        if body.name:
            _check_name(body.name)
        held = await self._held(before)
        values = await self._values(project, body, held.values)
        description = before.description if body.description is None else body.description or None
        name = body.name or before.name
        changed = _changed(before, name, description, held.values, values)
        if not changed:
            return await self._materials.unchanged(actor, before, await self._places(project, values), ask)
        material = replace(
            before, name=name, name_key=name_key(name), description=description, generation=before.generation + 1,
            updated_at=now_ms(),
        )  # fmt: skip
        return await self._keep(actor, project, material, before, held, values, changed, ask)

    async def delete(self, actor: Actor, project_name: str, path_name: str, ask: Ask) -> str:
        """Destroy a variable that no connection uses; the answer's JSON. Raises `InUse`."""
        project = await self.check_change(actor, project_name, path_name)
        replayed = await self._materials.replayed(actor, ask)
        if replayed is not None:
            return replayed
        material = await self._materials.existing(project, NOUN, path_name, _missing(path_name), ask)
        users = await self._store.material_users(material)
        if users:
            raise InUse(
                f"Environment variable (name: {material.name}) is in use by: {named(actor, project.id, users)}",
                hint="Take it out of these connections first.",
            )
        return await self._materials.delete(actor, project, NOUN, path_name, _missing(path_name), ask)

    async def _check_free(self, project: Project, name: str) -> None:
        if await self._store.material(project.id, NOUN, name_key(name)) is not None:
            raise _taken(name)

    async def _keep(
        self, actor: Actor, project: Project, material: Material, before: Material | None, held: _Held | None,
        values: Sequence[Value], changed: Sequence[str], ask: Ask,
    ) -> str:  # fmt: skip
        await self._check_destinations(actor, material, before, held, values, changed)
        contents, secrets, dropped = self._sealed(material, values, held)
        places = await self._places(project, values)
        try:
            return await self._materials.keep(
                actor, material, before, contents, secrets, dropped, changed, ask, environments=places
            )
        except NameTaken:
            raise _taken(material.name) from None
        except KeyGone:  # the data key was rotated and destroyed between sealing and storing
            return await self._keep(actor, project, material, before, held, values, changed, ask)
        except Stale:
            if before is not None:
                raise
            raise NotFound(
                f"Project({project.name}) was not found or user does not have privilege to access it!"
            ) from None

    async def _check_destinations(
        self, actor: Actor, material: Material, before: Material | None, held: _Held | None, values: Sequence[Value],
        changed: Sequence[str],
    ) -> None:  # fmt: skip
        """A stored secret never follows a variable elsewhere. Raises `SecretRequired`, which names whose."""
        old = _texts(held.values.values()) if held else {}
        found = await self._reach.moved(before, old, material, _texts(values))
        fields = sorted({field for each in found for field in each.fields})
        path = "/name" if set(changed) == {"name"} else "/globalValue" if "globalValue" in changed else f"/{LIST}"
        destinations.check_shared(
            actor, path, f"{material.name} would change where connections go ({', '.join(fields)})", found
        )

    async def _places(self, project: Project, values: Sequence[Value]) -> list[str]:
        """The environments that an answer tells of."""
        if any(each.environment == EVERYWHERE for each in values):
            return [each.id for each in await self._materials.environments(project)]
        return [each.environment for each in values]

    def _sealed(
        self, material: Material, values: Sequence[Value], held: _Held | None
    ) -> tuple[list[MaterialContent], list[MaterialSecret], list[tuple[str, str]]]:
        """What to store: a value that did not change keeps its ciphertext, and with it its hash."""
        contents, secrets, dropped = [], [], []
        for each in values:
            old = held.values.get(each.environment) if held else None
            # What may be shown names keystores too, and that is looked up where nothing can be opened.
            entries = dumps({"visible": each.visible, **({"value": each.text} if each.visible else {})})
            if held is not None and old is not None and old.text == each.text:
                digest = held.contents[each.environment].hash
            elif each.text is None:
                digest = b""
                dropped.append((each.environment, VALUE))
            else:
                sealed = self._ring.seal(each.text, connection=material.id, key=material_place(each.environment, VALUE))
                digest = hashlib.sha256(sealed).digest()
                secrets.append(MaterialSecret(each.environment, VALUE, sealed, self._ring.active))
            contents.append(MaterialContent(each.environment, VALUE, None, entries, digest))
        return contents, secrets, dropped

    # what a body means

    async def _values(self, project: Project, body: VariableBody, before: Mapping[str, Value] | None) -> list[Value]:
        """All values that the variable has from now on. Raises `InvalidConfig`, `BadRequest`."""
        problems: list[Problem] = []
        values: list[Value] = []
        was_global = before is not None and EVERYWHERE in before
        is_global = was_global if body.is_global is None else body.is_global
        everywhere = body.global_value.get_secret_value() if body.global_value is not None else None
        if is_global:
            old = before.get(EVERYWHERE) if before else None
            values += _value(EVERYWHERE, everywhere, body.global_visible, True, old, "globalValue", problems)
        elif everywhere:
            problems.append(invalid("globalValue", "it needs global to be true"))
        if body.environment_value_list is None:
            values += [each for place, each in (before or {}).items() if place != EVERYWHERE]
        for number, entry in enumerate(body.environment_value_list or ()):
            if not entry.environment_name or not entry.environment_name.strip():
                raise BadRequest("environmentName value can not be empty!")
            environment = await self._materials.environment(project, entry.environment_name)
            if any(each.environment == environment.id for each in values):
                problems.append(invalid([LIST, number, "environmentName"], "it stands more than once"))
                continue
            text = entry.value.get_secret_value() if entry.value is not None else None
            old = before.get(environment.id) if before else None
            values += _value(environment.id, text, entry.visible, False, old, f"{LIST}[{number}].value", problems)
        if not is_global and not values and not problems:
            problems.append(required(LIST, "global is false"))
        if problems:
            raise InvalidConfig(problems)
        return values

    def _wire(self, material: Material, project: Project, held: _Held, names: Mapping[str, str]) -> dict[str, Any]:
        everywhere = held.values.get(EVERYWHERE)
        own = [each for place, each in held.values.items() if place != EVERYWHERE]
        return {
            "name": material.name, "description": material.description, "projectId": project.id,
            "projectName": project.name, "global": everywhere is not None,
            "globalValue": _shown(everywhere), "globalVisible": everywhere is None or everywhere.visible,
            LIST: [
                {
                    "environmentName": names.get(each.environment, each.environment), "value": _shown(each),
                    "visible": each.visible, "set": each.text is not None,
                }
                for each in sorted(own, key=lambda each: names.get(each.environment, ""))
            ],
            "id": material.id, "generation": material.generation, "createdAt": iso(material.created_at),
            "updatedAt": iso(material.updated_at),
        }  # fmt: skip


def _texts(values: Iterable[Value]) -> dict[str, str]:
    return {each.environment: each.text for each in values if each.text is not None}


def _value(
    place: str, text: str | None, visible: bool | None, default: bool, old: Value | None, field: str,
    problems: list[Problem],
) -> list[Value]:  # fmt: skip
    """The value that is meant at *place*: null keeps, empty clears. What is wrong is added to *problems*."""
    pointer = "/" + field.replace("[", "/").replace("].", "/")
    is_visible = visible if visible is not None else (old.visible if old else default)
    if not text and old is None:
        problems.append(Problem(pointer, "required", f"{field} value can not be empty!"))
        return []
    if text is None:
        assert old is not None
        if is_visible and not old.visible and old.text is not None:
            problems.append(
                Problem(pointer, "secret_required", f"{field} must be sent again to become visible: it can not be read")
            )
        return [Value(place, old.text, is_visible)]
    return [Value(place, text or None, is_visible)]


def _shown(value: Value | None) -> str | None:
    return value.text if value is not None and value.visible else None


def _changed(
    before: Material, name: str, description: str | None, held: Mapping[str, Value], values: Sequence[Value]
) -> tuple[str, ...]:
    """The names of what an update changes, for the audit."""
    changed = set()
    if name != before.name:
        changed.add("name")
    if description != before.description:
        changed.add("description")
    now = {each.environment: each for each in values}
    for place in held.keys() | now.keys():
        old, new = held.get(place), now.get(place)
        field = "globalValue" if place == EVERYWHERE else LIST
        if old is None or new is None:
            changed.add("global" if place == EVERYWHERE else LIST)
        elif old.text != new.text:
            changed.add(field)
        elif old.visible != new.visible:
            changed.add("globalVisible" if place == EVERYWHERE else "visible")
    return tuple(sorted(changed))


def _body(sent: dict[str, Any]) -> VariableBody:
    """The body that *sent* describes, without what our own answers add. Raises `InvalidConfig`."""
    sent = {key: value for key, value in sent.items() if key not in VARIABLE_ANSWERS}
    entries = sent.get(LIST)
    if isinstance(entries, list):
        sent[LIST] = [
            {key: value for key, value in entry.items() if key not in ENTRY_ANSWERS} if isinstance(entry, dict) else entry
            for entry in entries
        ]  # fmt: skip
    return read(VariableBody, sent)


def _check_path(name: str) -> None:
    if not name.strip():
        raise BadRequest("Environment variable name can not be empty!")


def _check_name(name: str) -> None:
    if not name.strip():
        raise BadRequest("Environment variable name can not be empty!")
    why = why_not_a_variable(name)
    if why:
        raise InvalidConfig([Problem("/name", "invalid", f"name is not valid: {why}")])


def _missing(name: str) -> BadRequest:
    return BadRequest(f"Environment variable (name: {name}) was not found!")


def _taken(name: str) -> AlreadyExists:
    return AlreadyExists(f"Environment variable (name: {name}) already exists!")
