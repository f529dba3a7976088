"""
Keystores and certificates on the worker: what arrived, who holds it, and how a connector finds it.

They arrive opened: the control plane parsed the file, so a worker never parses what a stranger sent. Connections
that use the same one share it; when the last of them lets go of it, it is gone.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from weakref import WeakValueDictionary

from mooring.kit.aead import NotAuthentic, decrypt
from mooring.plugin.materials import MaterialMissing, Store
from mooring.wire.frames import Material, Put

Held = Mapping[str, Store | None]
"""By field of a connection what it names; None where it arrived and does not open."""


class Shelf:
    """The materials that came since the last commit, and those that somebody still holds, by hash."""

    def __init__(self) -> None:
        self._arrived: dict[str, Material] = {}
        self._held: WeakValueDictionary[str, Store] = WeakValueDictionary()

    def receive(self, frame: Material) -> None:
        """Keep *frame* until `clear`."""
        self._arrived[frame.hash] = frame

    def clear(self) -> None:
        """The commit is over, or a new stream begins: what nobody took is dropped."""
        self._arrived.clear()

    def held(self, put: Put, key: bytes) -> dict[str, Store | None]:
        """What *put* names, opened with the environment's *key*."""
        return {field: self._store(content, key) for field, content in put.materials.items()}

    def _store(self, content: str, key: bytes) -> Store | None:
        found = self._held.get(content)
        if found is not None:
            return found
        frame = self._arrived.get(content)
        if frame is None:
            return None
        try:
            plain = json.loads(decrypt(key, base64.b64decode(frame.sealed), f"material|{content}".encode()))
            store = Store(plain["trusted"], plain["chain"], plain["key"])
        except (NotAuthentic, ValueError, KeyError, TypeError):
            return None
        self._held[content] = store
        return store


class OwnMaterials:
    """The materials of one connection, found by the names that its config gives."""

    def __init__(self, references: Mapping[str, str], held: Held) -> None:
        self._references, self._held = references, held

    def store(self, name: str) -> Store:
        """The keystore, truststore or certificate *name*. Raises `MaterialMissing`, naming the field too."""
        fields = [field for field, wanted in self._references.items() if wanted == name]
        for field in fields:
            found = self._held.get(field)
            if found is not None:
                return found
        where = f"{', '.join(fields)}: " if fields else ""
        raise MaterialMissing(
            f"{where}the keystore '{name}' does not exist in this project for this environment",
            hint="Create it, or choose another in the connection.",
        )
