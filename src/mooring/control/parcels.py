"""
What workers are sent: put frames, with secrets sealed by their environment's content key.

A frame is made once per change and environment, not once per worker.
"""

from __future__ import annotations

import base64
from collections import OrderedDict
from collections.abc import Mapping

from pydantic_core import to_json

from mooring.domain.records import Connection, DesiredRow
from mooring.kit.aead import encrypt, new_key
from mooring.kit.ids import new_id
from mooring.seal.envelope import Ring
from mooring.store.base import SaveEnvironmentKey, Store
from mooring.wire.envelope import dumps
from mooring.wire.frames import MAX_FRAME

KEPT_FRAMES = 2_000
KEPT_BYTES = 32 * 1024 * 1024


class Parcels:
    """Makes put frames, and keeps the newest of them."""

    def __init__(self, store: Store, ring: Ring) -> None:
        self._store, self._ring = store, ring
        self._keys: dict[str, tuple[str, bytes]] = {}
        self._frames: OrderedDict[tuple[str, str, int], str] = OrderedDict()
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
                await self._store.commit(SaveEnvironmentKey(environment, key_id, sealed, self._ring.active))
                stored = await self._store.environment_key(environment)
                assert stored is not None
            key_id, sealed, sealed_by = stored
            text = self._ring.unseal(sealed, key_id=sealed_by, connection=environment, key="contentKey")
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

    async def frame(self, environment: str, row: DesiredRow) -> str | None:
        """The put frame for *row*, or None where the connection moved on meanwhile: a newer row will tell."""
        kept = self._frames.get((environment, row.connection, row.generation))
        if kept is not None:
            return kept
        _, key = await self.content_key(environment)
        offered = self._offered.pop((row.connection, row.generation), None)
        if offered is not None:
            text = await self._made(*offered, row, key)
        else:
            connection = await self._store.connection_by_id(row.connection)
            sealed = None if connection is None else await self.seal_frame(connection, row, key)
            if sealed is None:
                return None
            text = sealed
        self._keep((environment, row.connection, row.generation), text)
        return text

    def _keep(self, key: tuple[str, str, int], text: str) -> None:
        self._frames[key] = text
        self._kept_bytes += len(text)
        while len(self._frames) > KEPT_FRAMES or self._kept_bytes > KEPT_BYTES:
            _, oldest = self._frames.popitem(last=False)
            self._kept_bytes -= len(oldest)

    async def seal_frame(self, connection: Connection, row: DesiredRow, key: bytes) -> str | None:
        """The put frame for *row* with its secrets under *key*, or None where *connection* moved on meanwhile."""
        secrets = {
            secret.key: self._ring.unseal(secret.sealed, key_id=secret.key_id, connection=connection.id, key=secret.key)
            for secret in await self._store.secrets(connection.id)
        }
        # A change between the two reads must not send new secrets to an old address.
        now = await self._store.connection_by_id(connection.id)
        if now is None or now.generation != row.generation or connection.generation != row.generation:
            return None
        return await self._made(connection, secrets, row, key)

    async def _made(self, connection: Connection, secrets: Mapping[str, str], row: DesiredRow, key: bytes) -> str:
        sealed = None
        if secrets:
            context = f"{connection.id}|{row.generation}".encode()
            sealed = base64.b64encode(encrypt(key, to_json(dict(secrets)), context)).decode()
        head = dumps(
            {
                "t": "put", "revision": row.revision, "id": connection.id, "name": connection.name,
                "project": await self._project_name(connection.project), "type": connection.type,
                "generation": connection.generation, "enabled": connection.enabled, "hash": row.hash.hex(), "sealed": sealed,
            }
        )  # fmt: skip
        # The document is JSON already: it travels as it is, and the worker picks the typed fields.
        text = f'{head[:-1]},"config":{connection.document}}}'
        assert len(text) <= MAX_FRAME, "a body is at most 256 KiB"
        return text

    async def _project_name(self, project_id: str) -> str:
        name = self._project_names.get(project_id)
        if name is None:
            for project in await self._store.projects():
                self._project_names[project.id] = project.name
            name = self._project_names.get(project_id, "")
        return name
