"""
Keystores and truststores: create, read, list, update (also rename), delete.

What is uploaded is opened at once, in a child process with limits, so that a wrong password is said to whoever sent it
and not to an operator at night. The file, its password and what it holds are sealed; names and dates are shown.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Sequence
from typing import Any

from mooring.control.connections import Ask
from mooring.control.materials import Given, Materials, Sealed, check_name, entries_of, kept
from mooring.control.references import expiry
from mooring.control.retrying import undisturbed
from mooring.domain.names import name_key
from mooring.domain.records import Actor, Environment, Material, MaterialContent, Project
from mooring.errors import AlreadyExists, BadRequest, InvalidConfig, NotFound, Problem
from mooring.kit.clock import iso, now_ms
from mooring.kit.ids import new_id
from mooring.kit.keystore.opened import Opened, Unreadable
from mooring.kit.keystore.reader import MAX_FILE
from mooring.kit.keystore.sandbox import Sandbox
from mooring.plugin.problems import invalid
from mooring.store.base import NameTaken, Stale, Store
from mooring.wire.bodies import read
from mooring.wire.materials import ENTRY_ANSWERS, KEYSTORE_ANSWERS, KeystoreBody, KeystoreEnvironment

NOUN = "keystore"
LIST = "keyStoreEnvironmentList"
RESERVED = frozenset({"import-file"})


class Keystores:
    """The keystores of every project."""

    def __init__(self, store: Store, materials: Materials, sandbox: Sandbox) -> None:
        self._store, self._materials, self._sandbox = store, materials, sandbox

    # reading

    async def list_all(self, actor: Actor, project_name: str) -> list[tuple[Material, dict[str, Any]]]:
        """Every keystore of a project, as the API shows it."""
        project = await self._materials.project(actor, project_name, "connections:view")
        names = await self._store.environment_names()
        return [
            (material, _wire(material, project, contents, names, full=False))
            for material, contents in await self._store.materials(project.id, NOUN)
        ]

    async def get(self, actor: Actor, project_name: str, name: str) -> tuple[Material, dict[str, Any]]:
        """One keystore, with its entries. Raises `BadRequest`, as documented."""
        project = await self._materials.project(actor, project_name, "connections:view")
        material = await self._materials.existing(project, NOUN, name, _missing(name), Ask(0))
        names = await self._store.environment_names()
        contents = await self._store.material_contents(material.id)
        return material, _wire(material, project, contents, names, full=True)

    async def exists(self, actor: Actor, project_name: str, name: str) -> bool:
        """Whether *actor* may change a keystore of that name, and there is one."""
        project = await self.check_change(actor, project_name)
        return await self._store.material(project.id, NOUN, name_key(name)) is not None

    # writing

    async def check_change(self, actor: Actor, project_name: str, path_name: str | None = None) -> Project:
        """The project, where *actor* may change its keystores: what is refused before the body."""
        project = await self._materials.project(actor, project_name, "connections:manage")
        if path_name is not None and not path_name.strip():
            raise InvalidConfig([Problem("/name", "required", "name value can not be empty!")])
        return project

    async def create(self, actor: Actor, project_name: str, values: dict[str, Any], ask: Ask) -> str:
        """Store a new keystore; the answer's JSON."""
        project = await self.check_change(actor, project_name)
        replayed = await self._materials.replayed(actor, ask)
        if replayed is not None:
            return replayed
        name = values.get("name")
        if isinstance(name, str):
            await self._check_free(project, name)
        body = _body(values)
        name = _checked(body.name)
        if not body.key_store_environment_list:
            raise InvalidConfig([Problem(f"/{LIST}", "required", f"{LIST} value can not be empty!")])
        given = await self._given(project, body.key_store_environment_list, {}, None)
        now = now_ms()
        material = Material(
            new_id("kst"), project.id, NOUN, name, name_key(name), body.description, 1, now, now
        )  # fmt: skip
        try:
            return await self._materials.save(actor, material, None, given, None, (), ask)
        except NameTaken:
            raise _taken(name) from None
        except Stale:
            raise NotFound(
                f"Project({project_name}) was not found or user does not have privilege to access it!"
            ) from None

    async def update(self, actor: Actor, project_name: str, path_name: str, values: dict[str, Any], ask: Ask) -> str:
        """Replace what the body has, keep what it leaves out; the answer's JSON."""
        project = await self.check_change(actor, project_name, path_name)
        replayed = await self._materials.replayed(actor, ask)
        if replayed is not None:
            return replayed
        return await undisturbed(
            lambda: self._update_once(actor, project, path_name, values, ask), f"Keystore (name: {path_name})"
        )

    async def _update_once(
        self, actor: Actor, project: Project, path_name: str, values: dict[str, Any], ask: Ask
    ) -> str:
        before = await self._materials.existing(project, NOUN, path_name, _missing(path_name), ask)
        name = values.get("name")
        if isinstance(name, str) and name_key(name) != before.name_key:
            await self._check_free(project, name)
        body = _body(values)
        name = _checked(body.name) if body.name else before.name
        contents = {each.environment: each for each in await self._store.material_contents(before.id)}
        sealed = await self._materials.opened(before)
        if body.key_store_environment_list is None:
            given = [kept(each, sealed) for each in contents.values()]
        elif not body.key_store_environment_list:
            raise InvalidConfig([Problem(f"/{LIST}", "required", f"{LIST} value can not be empty!")])
        else:
            given = await self._given(project, body.key_store_environment_list, contents, sealed)
        description = before.description if body.description is None else body.description or None
        changed = _changed(before, name, description, given, contents, sealed)
        if not changed:
            return await self._materials.unchanged(actor, before, [each.environment for each in given], ask)
        material = Material(
            before.id, project.id, NOUN, name, name_key(name), description, before.generation + 1, before.created_at, now_ms(),
        )  # fmt: skip
        try:
            return await self._materials.save(actor, material, before, given, sealed, changed, ask)
        except NameTaken:
            raise _taken(name) from None

    async def _check_free(self, project: Project, name: str) -> None:
        if await self._store.material(project.id, NOUN, name_key(name)) is not None:
            raise _taken(name)

    async def delete(self, actor: Actor, project_name: str, path_name: str, ask: Ask) -> str:
        """Destroy a keystore that nothing uses; the answer's JSON. Raises `InUse`."""
        project = await self.check_change(actor, project_name, path_name)
        return await self._materials.delete(actor, project, NOUN, path_name, _missing(path_name), ask)

    # the files

    async def _given(
        self, project: Project, entries: Sequence[KeystoreEnvironment], before: dict[str, MaterialContent],
        sealed: Sealed | None,
    ) -> list[Given]:  # fmt: skip
        """What *entries* say, opened; what an entry leaves out is as it was. Raises `InvalidConfig`, `BadRequest`."""
        problems: list[Problem] = []
        wanted: list[_Wanted] = []
        seen: set[str] = set()
        for number, entry in enumerate(entries):
            if not entry.environment_name or not entry.environment_name.strip():
                raise BadRequest("environmentName value can not be empty!")
            environment = await self._materials.environment(project, entry.environment_name)
            if environment.id in seen:
                problems.append(invalid([LIST, number, "environmentName"], "it stands more than once"))
                continue
            seen.add(environment.id)
            found = _wanted(number, entry, environment, before.get(environment.id), sealed, problems)
            if found is not None:
                wanted.append(found)
        if problems:
            raise InvalidConfig(problems)
        opened = await asyncio.gather(*(self._open(each) for each in wanted), return_exceptions=True)
        given = []
        for each, result in zip(wanted, opened, strict=True):
            if isinstance(result, Unreadable):
                problems.append(invalid([LIST, each.number, _FIELDS.get(result.field, "file")], result.reason))
            elif isinstance(result, BaseException):
                raise result
            else:
                given.append(Given(each.environment, each.type, each.alias, result, each.file, each.password))
        if problems:
            raise InvalidConfig(problems)
        return given

    async def _open(self, wanted: _Wanted) -> Opened:
        if wanted.known is not None:
            return wanted.known
        return await self._sandbox.open(wanted.type, wanted.file, wanted.password, wanted.alias)


_FIELDS = {"file": "file", "password": "password", "alias": "alias", "type": "type"}


class _Wanted:
    """What one entry means, before its file is opened. `known` where it was opened before and nothing changed."""

    def __init__(
        self, number: int, environment: str, kind: str, file: bytes, password: str | None, alias: str | None, known: Opened | None
    ) -> None:  # fmt: skip
        self.number, self.environment, self.type, self.file = number, environment, kind, file
        self.password, self.alias, self.known = password, alias, known


def _wanted(
    number: int, entry: KeystoreEnvironment, environment: Environment, before: MaterialContent | None, sealed: Sealed | None,
    problems: list[Problem],
) -> _Wanted | None:  # fmt: skip
    """The entry with what it leaves out; None where it is wrong, which is added to *problems*."""
    place: tuple[str, int] = (LIST, number)
    count = len(problems)
    if entry.type and entry.key_store_type and entry.type != entry.key_store_type:
        problems.append(invalid([*place, "keyStoreType"], "it is not what type says"))
    kind = entry.type or entry.key_store_type or (before.type if before else None)
    if kind is None:
        problems.append(Problem(f"/{LIST}/{number}/type", "required", f"{LIST}[{number}].type value can not be empty!"))
    text = entry.file.get_secret_value() if entry.file is not None else ""
    old = sealed if sealed is not None and before is not None and (environment.id, "file") in sealed.values else None
    file = old.file(environment.id) if old is not None else b""
    if text:
        file = _decoded(text, number, problems)
    elif old is None:
        problems.append(Problem(f"/{LIST}/{number}/file", "required", f"{LIST}[{number}].file value can not be empty!"))
    password = old.password(environment.id) if old is not None else None
    if entry.password is not None:
        password = entry.password.get_secret_value() or None
    alias = before.alias if before is not None else None
    if entry.alias is not None:
        alias = entry.alias.strip() or None
    if len(problems) > count or kind is None:
        return None
    same = (
        old is not None
        and before is not None
        and (kind, alias, password) == (before.type, before.alias, old.password(environment.id))
        and file == old.file(environment.id)
    )
    known = kept(before, old).opened if same and before is not None and old is not None else None
    return _Wanted(number, environment.id, kind, file, password, alias, known)


def _decoded(text: str, number: int, problems: list[Problem]) -> bytes:
    if "-----BEGIN " in text:
        return text.encode()  # PEM as it is: base64 twice would help nobody
    try:
        file = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        problems.append(invalid([LIST, number, "file"], "it must be base64"))
        return b""
    if len(file) > MAX_FILE:
        problems.append(invalid([LIST, number, "file"], f"it is larger than {MAX_FILE // 1024} KiB"))
    return file


def _changed(
    before: Material, name: str, description: str | None, given: Sequence[Given], contents: dict[str, MaterialContent],
    sealed: Sealed,
) -> tuple[str, ...]:  # fmt: skip
    """The names of what an update changes, for the audit."""
    changed = set()
    if name != before.name:
        changed.add("name")
    if description != before.description:
        changed.add("description")
    if {each.environment for each in given} != set(contents):
        changed.add(LIST)
    for each in given:
        old = contents.get(each.environment)
        if old is None:
            continue
        if each.type != old.type:
            changed.add("type")
        if each.alias != old.alias:
            changed.add("alias")
        if each.password != sealed.password(each.environment):
            changed.add("password")
        if each.file != sealed.file(each.environment):
            changed.add("file")
    return tuple(sorted(changed))


def _body(values: dict[str, Any]) -> KeystoreBody:
    """The body that *values* describe, without what our own answers add. Raises `InvalidConfig`."""
    values = {key: value for key, value in values.items() if key not in KEYSTORE_ANSWERS}
    entries = values.get(LIST)
    if isinstance(entries, list):
        values[LIST] = [
            {key: value for key, value in entry.items() if key not in ENTRY_ANSWERS} if isinstance(entry, dict) else entry
            for entry in entries
        ]  # fmt: skip
    return read(KeystoreBody, values)


def _checked(name: str | None) -> str:
    name = check_name(name, "name")
    if name_key(name) in RESERVED:
        raise InvalidConfig([Problem("/name", "invalid", "name is not valid: a route of the API has that name")])
    return name


def _wire(
    material: Material, project: Project, contents: Sequence[MaterialContent], names: Any, *, full: bool
) -> dict[str, Any]:
    """As the API shows it: never the file, never the password."""
    entries = []
    for content in sorted(contents, key=lambda each: names.get(each.environment, "")):
        held = entries_of(content)
        shown = {
            "environmentName": names.get(content.environment, content.environment), "type": content.type,
            "keyStoreType": content.type, "file": None, "password": None, "alias": content.alias,
            "expiresAt": iso(expiry(held)), "entryCount": len(held),
        }  # fmt: skip
        entries.append({**shown, "entries": held} if full else shown)
    return {
        "name": material.name, "description": material.description, "projectId": project.id, "projectName": project.name,
        LIST: entries, "id": material.id, "generation": material.generation, "createdAt": iso(material.created_at),
        "updatedAt": iso(material.updated_at),
    }  # fmt: skip


def _missing(name: str) -> BadRequest:
    return BadRequest(f"Keystore (name: {name}) is not found!")


def _taken(name: str) -> AlreadyExists:
    return AlreadyExists(f"Keystore (name: {name}) is already exist! Try update operation if want to change its value.")
