"""Certificates: create, read, list, update, delete, export. They are public; what is kept is sealed all the same."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

from mooring.control.connections import Ask
from mooring.control.materials import Given, Materials, check_name, entries_of, kept
from mooring.control.retrying import undisturbed
from mooring.domain.names import name_key
from mooring.domain.records import Actor, Material, MaterialContent, Project
from mooring.errors import AlreadyExists, BadRequest, InvalidConfig, NotFound, Problem
from mooring.kit.clock import now_ms
from mooring.kit.ids import new_id
from mooring.kit.keystore.opened import Unreadable
from mooring.kit.keystore.reader import MAX_FILE
from mooring.kit.keystore.sandbox import Sandbox
from mooring.plugin.problems import invalid
from mooring.store.base import AliasTaken, NameTaken, Stale, Store
from mooring.wire.bodies import read
from mooring.wire.materials import CERTIFICATE_ANSWERS, CertificateBody

NOUN = "certificate"
RESERVED = frozenset({"expiring", "import-file", "truststore"})


class Certificates:
    """The certificates of every project."""

    def __init__(self, store: Store, materials: Materials, sandbox: Sandbox) -> None:
        self._store, self._materials, self._sandbox = store, materials, sandbox

    # reading

    async def list_all(self, actor: Actor, project_name: str) -> list[tuple[Material, dict[str, Any]]]:
        """Every certificate of a project, as the API shows it; without their content."""
        project = await self._materials.project(actor, project_name, "certificates:view")
        names = await self._store.environment_names()
        return [
            (material, _wire(material, project, contents, names, {}))
            for material, contents in await self._store.materials(project.id, NOUN)
        ]

    async def get(self, actor: Actor, project_name: str, name: str) -> tuple[Material, dict[str, Any]]:
        """One certificate, with its content. Raises `BadRequest`, as documented."""
        project = await self._materials.project(actor, project_name, "certificates:view")
        material = await self._materials.existing(project, NOUN, name, _missing(name), Ask(0))
        names = await self._store.environment_names()
        contents = await self._store.material_contents(material.id)
        return material, _wire(material, project, contents, names, await self._der(material))

    async def export(self, actor: Actor, project_name: str, name: str) -> tuple[str, bytes]:
        """The name of a ZIP file and the file: the certificate of each environment, in DER."""
        project = await self._materials.project(actor, project_name, "certificates:view")
        material = await self._materials.existing(project, NOUN, name, _missing(name), Ask(0))
        names = await self._store.environment_names()
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for environment, der in sorted((await self._der(material)).items()):
                # A fixed instant: what did not change is the same file, byte for byte.
                entry = zipfile.ZipInfo(f"{material.name}-{names.get(environment, environment)}.cer")
                archive.writestr(entry, der)
        return f"{material.name}-certificates.zip", file.getvalue()

    async def _der(self, material: Material) -> dict[str, bytes]:
        """The certificate of each environment."""
        sealed = await self._materials.opened(material)
        found = {}
        for (environment, part), value in sealed.values.items():
            if part == "opened":
                lines = json.loads(value)["trusted"].strip().splitlines()
                found[environment] = base64.b64decode("".join(lines[1:-1]))
        return found

    # writing

    async def check_change(self, actor: Actor, project_name: str, path_name: str | None = None) -> Project:
        """The project, where *actor* may change its certificates: what is refused before the body."""
        project = await self._materials.project(actor, project_name, "certificates:manage")
        if path_name is not None:
            check_name(path_name, "certificateName")
        return project

    async def create(self, actor: Actor, project_name: str, values: dict[str, Any], ask: Ask) -> str:
        """Store a new certificate; the answer's JSON."""
        project = await self.check_change(actor, project_name)
        replayed = await self._materials.replayed(actor, ask)
        if replayed is not None:
            return replayed
        name = values.get("certificateName")
        if isinstance(name, str) and await self._store.material(project.id, NOUN, name_key(name)) is not None:
            raise _taken(name)
        body = _body(values)
        empty = [
            Problem(f"/{field}", "required", f"{field} value can not be empty!")
            for field, value in (
                ("certificateName", body.certificate_name), ("alias", body.alias), ("pemEncodedFile", body.pem_encoded_file),
                ("environmentList", body.environment_list),
            )
            if not value or (isinstance(value, str) and not value.strip())
        ]  # fmt: skip
        if empty:
            raise InvalidConfig(empty)
        name = check_name(body.certificate_name, "certificateName")
        if name_key(name) in RESERVED:
            raise InvalidConfig(
                [
                    Problem(
                        "/certificateName", "invalid", "certificateName is not valid: a route of the API has that name"
                    )
                ]
            )
        assert body.alias is not None and body.pem_encoded_file is not None and body.environment_list is not None
        alias = body.alias.strip()
        environments = await self._environments(project, body.environment_list)
        given = await self._given(environments, alias, body.pem_encoded_file)
        now = now_ms()
        material = Material(
            new_id("crt"), project.id, NOUN, name, name_key(name), body.certificate_description or None, 1, now, now,
        )  # fmt: skip
        try:
            return await self._materials.save(actor, material, None, given, None, (), ask)
        except NameTaken:
            raise _taken(name) from None
        except AliasTaken:
            raise _alias_taken(alias) from None
        except Stale:
            raise NotFound(
                f"Project({project_name}) was not found or user does not have privilege to access it!"
            ) from None

    async def update(self, actor: Actor, project_name: str, path_name: str, values: dict[str, Any], ask: Ask) -> str:
        """Replace what the body has, keep what it leaves out; its name stays. The answer's JSON."""
        project = await self.check_change(actor, project_name, path_name)
        replayed = await self._materials.replayed(actor, ask)
        if replayed is not None:
            return replayed
        return await undisturbed(
            lambda: self._update_once(actor, project, path_name, values, ask), f"Certificate (name: {path_name})"
        )

    async def _update_once(
        self, actor: Actor, project: Project, path_name: str, values: dict[str, Any], ask: Ask
    ) -> str:
        before = await self._materials.existing(project, NOUN, path_name, _missing(path_name), ask)
        body = _body(values)
        if body.certificate_name and name_key(body.certificate_name) != before.name_key:
            raise InvalidConfig(
                [Problem("/certificateName", "invalid", "certificateName is not valid: it can not be changed")]
            )
        for field, value in (("alias", body.alias), ("environmentList", body.environment_list), ("pemEncodedFile", body.pem_encoded_file)):  # fmt: skip
            if value is not None and not (value.strip() if isinstance(value, str) else value):
                raise InvalidConfig([Problem(f"/{field}", "required", f"{field} value can not be empty!")])
        contents = await self._store.material_contents(before.id)
        sealed = await self._materials.opened(before)
        old = [kept(content, sealed) for content in contents]
        alias = body.alias.strip() if body.alias else next((each.alias for each in old if each.alias), "")
        if body.environment_list is not None:
            environments = await self._environments(project, body.environment_list)
        else:
            environments = [each.environment for each in old]
        if body.pem_encoded_file is not None:
            given = await self._given(environments, alias, body.pem_encoded_file)
        else:
            by_environment = {each.environment: each for each in old}
            first = old[0] if old else None
            if first is None:
                raise InvalidConfig([Problem("/pemEncodedFile", "required", "pemEncodedFile value can not be empty!")])
            given = [_at(by_environment.get(each, first), each, alias) for each in environments]
        description = before.description
        if body.certificate_description is not None:
            description = body.certificate_description or None
        changed = _changed(before, description, old, given)
        if not changed:
            return await self._materials.unchanged(actor, before, [each.environment for each in given], ask)
        material = Material(
            before.id, project.id, NOUN, before.name, before.name_key, description, before.generation + 1,
            before.created_at, now_ms(),
        )  # fmt: skip
        try:
            return await self._materials.save(actor, material, before, given, sealed, changed, ask)
        except AliasTaken:
            raise _alias_taken(alias) from None

    async def delete(self, actor: Actor, project_name: str, path_name: str, ask: Ask) -> str:
        """Destroy a certificate that nothing uses; the answer's JSON. Raises `InUse`."""
        project = await self.check_change(actor, project_name, path_name)
        return await self._materials.delete(actor, project, NOUN, path_name, _missing(path_name), ask)

    async def _environments(self, project: Project, names: Sequence[str]) -> list[str]:
        """The ids of the environments of those names, each once. Raises `BadRequest`."""
        found: dict[str, None] = {}
        for name in names:
            if not name.strip():
                raise BadRequest("environmentName value can not be empty!")
            found[(await self._materials.environment(project, name)).id] = None
        return list(found)

    async def _given(self, environments: Sequence[str], alias: str, text: str) -> list[Given]:
        data = text.encode()
        if len(data) > MAX_FILE:
            raise InvalidConfig([invalid("pemEncodedFile", f"it is larger than {MAX_FILE // 1024} KiB")])
        try:
            opened = await self._sandbox.open("CERTIFICATE", data)
        except Unreadable as exc:
            raise InvalidConfig([invalid("pemEncodedFile", exc.reason)]) from None
        return [Given(each, "PEM", alias, opened, data, None) for each in environments]


def _at(given: Given, environment: str, alias: str) -> Given:
    return Given(environment, given.type, alias, given.opened, given.file, given.password)


def _changed(
    before: Material, description: str | None, old: Sequence[Given], given: Sequence[Given]
) -> tuple[str, ...]:
    """The names of what an update changes, for the audit."""
    changed = set()
    if description != before.description:
        changed.add("certificateDescription")
    was = {each.environment: each for each in old}
    if {each.environment for each in given} != set(was):
        changed.add("environmentList")
    for each in given:
        if each.environment in was and each.alias != was[each.environment].alias:
            changed.add("alias")
        if each.environment in was and each.file != was[each.environment].file:
            changed.add("pemEncodedFile")
    return tuple(sorted(changed))


def _body(values: dict[str, Any]) -> CertificateBody:
    return read(CertificateBody, {key: value for key, value in values.items() if key not in CERTIFICATE_ANSWERS})


def _wire(
    material: Material, project: Project, contents: Sequence[MaterialContent], names: Mapping[str, str],
    der: Mapping[str, bytes],
) -> dict[str, Any]:  # fmt: skip
    """As the API shows it; the content only where *der* has it."""
    entries = []
    for content in sorted(contents, key=lambda each: names.get(each.environment, "")):
        (about,) = entries_of(content)
        body = der.get(content.environment)
        entries.append(
            {
                "environmentName": names.get(content.environment, content.environment),
                "startDate": about["notBefore"], "endDate": about["notAfter"],
                "base64EncodedContent": None if body is None else base64.b64encode(body).decode(),
                "sha1Thumbprint": about["sha1Thumbprint"], "sha256Thumbprint": about["sha256Thumbprint"],
                "subjectDn": about["subjectDn"], "issuerDn": about["issuerDn"], "serialNumber": about["serialNumber"],
                "subjectAlternativeNames": about["subjectAlternativeNames"], "algorithm": about["algorithm"],
                "alias": content.alias,
            }
        )  # fmt: skip
    return {
        "name": material.name, "description": material.description, "certificateEnvironmentList": entries,
        "projectId": project.id, "projectName": project.name, "id": material.id, "generation": material.generation,
    }  # fmt: skip


def _missing(name: str) -> BadRequest:
    return BadRequest(f"Certificate (name: {name}) is not found!")


def _taken(name: str) -> AlreadyExists:
    return AlreadyExists(f"Certificate (name: {name}) is already exist!")


def _alias_taken(alias: str) -> AlreadyExists:
    return AlreadyExists(f"Alias ({alias}) is already used for another certificate, try changing this value!")
