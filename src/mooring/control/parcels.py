"""
What workers are sent: put frames, with secrets sealed by their environment's content key.

A frame is made once per change and environment, not once per worker. Materials go as frames of their own: opened by
the control plane already, so that a worker never parses a file that a stranger sent.
"""

from __future__ import annotations

import base64
import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from pydantic_core import to_json

from mooring.control.interpolation import VARIABLE
from mooring.domain.digest import with_materials
from mooring.domain.names import name_key
from mooring.domain.records import Connection, DesiredRow, Reference
from mooring.errors import SealError
from mooring.kit.aead import encrypt, new_key
from mooring.kit.ids import new_id
from mooring.kit.log import log
from mooring.kit.record import record
from mooring.seal.envelope import Ring
from mooring.store.base import ForgetEnvironmentKey, KeyGone, SaveEnvironmentKey, Store
from mooring.wire.envelope import dumps
from mooring.wire.frames import MAX_FRAME, Material, Put

KEPT_FRAMES = 2_000
KEPT_BYTES = 32 * 1024 * 1024
MAX_VARIABLES = 128 * 1024
"""Characters of values that go along with one connection; a frame has room for no more."""


@record
class Parcel:
    """A put frame, and the hashes of the materials that must go with it. It is not `whole` where something did not open."""

    text: str
    materials: tuple[bytes, ...] = ()
    whole: bool = True


@record
class Behind:
    """
    What stands behind the references of a connection in one environment.

    `materials` by field; `variables` by name key, each with whether it may be shown; `hashes` of all, in their order.
    `damaged`: a value could not be opened.
    """

    materials: Mapping[str, bytes]
    variables: Mapping[str, tuple[str, bool]]
    hashes: Sequence[tuple[str, bytes | None]]
    damaged: bool = False


NOTHING = Behind({}, {}, ())
UNREADABLE = "AAAA"
"""Stands for what is sealed where that was changed outside of Mooring: the worker says so of that connection alone."""


class Parcels:
    """Makes put frames, and keeps the newest of them."""

    def __init__(self, store: Store, ring: Ring) -> None:
        self._store, self._ring = store, ring
        self._keys: dict[str, tuple[str, bytes]] = {}
        self._frames: OrderedDict[tuple[str, str, int, bytes], Parcel] = OrderedDict()
        self._kept_bytes = 0
        self._project_names: dict[str, str] = {}
        self._offered: OrderedDict[tuple[str, int], tuple[Connection, Mapping[str, str]]] = OrderedDict()
        self._listeners = 0

    def listener_came(self) -> None:
        """A stream began on this node."""
        self._listeners += 1

    def listener_went(self) -> None:
        """A stream ended; with the last one goes what nobody would fetch."""
        self._listeners -= 1
        if self._listeners == 0:
            self._offered.clear()

    async def content_key(self, environment: str) -> tuple[str, bytes]:
        """Id and bytes of the environment's content key; made when first asked for."""
        found = self._keys.get(environment)
        if found is None:
            stored = await self._store.environment_key(environment)
            if stored is None:
                key_id = new_id("ekey")
                text = base64.b64encode(new_key()).decode()
                sealed = self._ring.seal(text, connection=environment, key="contentKey")
                change = SaveEnvironmentKey(environment, key_id, sealed, self._ring.active)
                try:
                    await self._store.commit(change)
                except KeyGone:  # the data key was rotated and destroyed between sealing and storing
                    return await self.content_key(environment)
                stored = await self._store.environment_key(environment)
                assert stored is not None
            key_id, sealed, sealed_by = stored
            try:
                text = self._ring.unseal(sealed, key_id=sealed_by, connection=environment, key="contentKey")
            except SealError as exc:
                # Nothing that is kept was sealed with it: another one serves as well.
                log.error("tampered", environment=environment, reason=exc.message)
                await self._store.commit(ForgetEnvironmentKey(environment, key_id))
                return await self.content_key(environment)
            found = self._keys[environment] = (key_id, base64.b64decode(text))
        return found

    def forget_environment(self, environment: str) -> None:
        """The environment was deleted."""
        self._keys.pop(environment, None)

    def offer(self, connection: Connection, secrets: Mapping[str, str]) -> None:
        """What was just stored, so that it need not be read and opened again when its frame is made."""
        if self._listeners == 0:
            return
        self._offered[connection.id, connection.generation] = (connection, secrets)
        if len(self._offered) > KEPT_FRAMES:
            self._offered.popitem(last=False)

    async def frame(self, environment: str, row: DesiredRow) -> Parcel | None:
        """The put frame for *row*, or None where the connection moved on meanwhile: a newer row will tell."""
        place = (environment, row.connection, row.generation, row.hash)
        kept = self._frames.get(place)
        if kept is not None:
            return kept
        _, key = await self.content_key(environment)
        offered = self._offered.pop((row.connection, row.generation), None)
        if offered is not None:
            made = await self._made(environment, *offered, row, key)
        else:
            connection = await self._store.connection_by_id(row.connection)
            made = None if connection is None else await self.seal_frame(environment, connection, row, key)
        if made is not None and made.whole:
            self._keep(place, made)
        return made

    def _keep(self, place: tuple[str, str, int, bytes], parcel: Parcel) -> None:
        self._frames[place] = parcel
        self._kept_bytes += len(parcel.text)
        while len(self._frames) > KEPT_FRAMES or self._kept_bytes > KEPT_BYTES:
            _, oldest = self._frames.popitem(last=False)
            self._kept_bytes -= len(oldest.text)

    async def seal_frame(self, environment: str, connection: Connection, row: DesiredRow, key: bytes) -> Parcel | None:
        """The put frame for *row* with its secrets under *key*, or None where *connection* moved on meanwhile."""
        secrets: dict[str, str] | None = {}
        try:
            secrets = {
                secret.key: self._ring.unseal(
                    secret.sealed, key_id=secret.key_id, connection=connection.id, key=secret.key
                )
                for secret in await self._store.secrets(connection.id)
            }
        except SealError as exc:
            log.error("tampered", connection=connection.id, name=connection.name, reason=exc.message)
            secrets = None
        # A change between the two reads must not send new secrets to an old address.
        now = await self._store.connection_by_id(connection.id)
        if now is None or now.generation != row.generation or connection.generation != row.generation:
            return None
        return await self._made(environment, connection, secrets, row, key)

    async def behind(self, environment: str, project: str, references: Sequence[Reference]) -> Behind:
        """What stands behind *references* in one environment, with the values of variables in the clear."""
        found = await self._store.found_materials(project, environment, references)
        materials = {
            each.field: material.hash
            for each, material in zip(references, found, strict=True)
            if each.noun != VARIABLE and material is not None and material.hash is not None
        }
        names = {name_key(each.name): each.name for each in references if each.noun == VARIABLE}
        variables: dict[str, tuple[str, bool]] = {}
        value_hashes: dict[str, bytes] = {}
        size, damaged = 0, False
        values = await self._store.variables(project, environment, list(names.values())) if names else []
        for key, value in zip(names, values, strict=True):
            if value is None:
                continue
            place = material_place(value.environment, "value")
            value_hashes[key] = value.hash
            try:
                text = self._ring.unseal(value.sealed, key_id=value.key_id, connection=value.material, key=place)
            except SealError as exc:
                log.error("tampered", variable=value.material, name=value.name, reason=exc.message)
                damaged = True
                continue
            size += len(text.encode())
            if size <= MAX_VARIABLES:
                variables[key] = (text, bool(json.loads(value.entries)["visible"]))
        hashes = [
            (
                each.field,
                value_hashes.get(name_key(each.name)) if each.noun == VARIABLE else materials.get(each.field),
            )
            for each in references
        ]
        return Behind(materials, variables, hashes, damaged)

    async def material(self, environment: str, content: bytes, key: bytes | None = None) -> str | None:
        """
        The frame of the material with that hash, under *key* or the environment's; None where it is gone.

        Where it is gone, so is the state that named it, and a newer row tells.
        """
        found = await self._store.sealed_material(environment, content)
        if found is None:
            return None
        owner, secret = found
        place = material_place(environment, secret.key)
        try:
            text = self._ring.unseal(secret.sealed, key_id=secret.key_id, connection=owner, key=place)
        except SealError as exc:
            log.error("tampered", material=owner, environment=environment, reason=exc.message)
            return Material(hash=content.hex(), sealed=UNREADABLE).text()
        if key is None:
            _, key = await self.content_key(environment)
        sealed = encrypt(key, text.encode(), f"material|{content.hex()}".encode())
        return Material(hash=content.hex(), sealed=base64.b64encode(sealed).decode()).text()

    async def _made(
        self, environment: str, connection: Connection, secrets: Mapping[str, str] | None, row: DesiredRow, key: bytes
    ) -> Parcel | None:
        """The put frame; *secrets* are None where they could not be opened."""
        behind = NOTHING
        if connection.references:
            behind = await self.behind(environment, connection.project, connection.references)
            if with_materials(connection.hash, behind.hashes) != row.hash:
                return None  # a keystore or a variable changed since the row was read
        sealed = UNREADABLE if secrets is None else None
        if secrets:
            context = f"{connection.id}|{row.generation}".encode()
            sealed = base64.b64encode(encrypt(key, to_json(dict(secrets)), context)).decode()
        named = {field: content.hex() for field, content in behind.materials.items()}
        head = dumps(
            {
                "t": "put", "revision": row.revision, "id": connection.id, "name": connection.name,
                "project": await self._project_name(connection.project), "type": connection.type,
                "generation": connection.generation, "enabled": connection.enabled, "hash": row.hash.hex(), "sealed": sealed,
                **({"materials": named} if named else {}),
                **({"variables": self.sealed_variables(behind, key, connection.id, row.hash.hex())} if behind.variables or behind.damaged else {}),
            }
        )  # fmt: skip
        # The document is JSON already: it travels as it is, and the worker picks the typed fields.
        text = f'{head[:-1]},"config":{connection.document}}}'
        assert len(text) <= MAX_FRAME, "a body is at most 256 KiB"
        return Parcel(text, tuple(set(behind.materials.values())), whole=secrets is not None and not behind.damaged)

    def sealed_variables(self, behind: Behind, key: bytes, put: str, hash_: str) -> str:
        """The values in *behind* under *key*, for the put frame of that id and hash."""
        if behind.damaged:
            return UNREADABLE
        context = Put.variables_context_of(put, hash_)
        return base64.b64encode(encrypt(key, to_json(dict(behind.variables)), context)).decode()

    async def _project_name(self, project_id: str) -> str:
        name = self._project_names.get(project_id)
        if name is None:
            for project in await self._store.projects():
                self._project_names[project.id] = project.name
            name = self._project_names.get(project_id, "")
        return name


def material_place(environment: str, key: str) -> str:
    """What a sealed part of a material is bound to, beside the material: its environment, and which part it is."""
    return f"{environment}/{key}"
