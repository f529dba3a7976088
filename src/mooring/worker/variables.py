"""The variables of one connection on the worker: they come sealed with it, and are looked up while it is built."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Self

from mooring.domain.names import name_key
from mooring.domain.variables import is_secret_reference
from mooring.kit.aead import NotAuthentic, decrypt
from mooring.plugin.resolution import NoValue
from mooring.wire.frames import Put

SHOWN_NAME = 80


class Unreadable(Exception):
    """They came, and do not open."""


class Variables:
    """Values by name key, each with whether it may be shown."""

    def __init__(self, values: Mapping[str, tuple[str, bool]], borrowed: Mapping[str, str] | None = None) -> None:
        self._values, self._borrowed = values, borrowed or {}

    @classmethod
    def of(cls, frame: Put, key: bytes) -> Self:
        """Those of *frame*, opened with the environment's *key*. Raises `Unreadable`."""
        if frame.variables is None:
            return cls({})
        try:
            context = Put.variables_context_of(frame.id, frame.hash)
            opened = json.loads(decrypt(key, base64.b64decode(frame.variables), context))
            return cls({name: (str(text), bool(visible)) for name, (text, visible) in opened.items()})
        except (NotAuthentic, ValueError, TypeError, AttributeError):
            raise Unreadable from None

    def beside(self, borrowed: Mapping[str, str]) -> Variables:
        """These, and the secrets *borrowed* from elsewhere, by their references."""
        return Variables(self._values, borrowed)

    def value_of(self, name: str) -> str:
        """The value of `${name}`. Raises `NoValue`."""
        if is_secret_reference(name):
            if name not in self._borrowed:
                raise NoValue("a reference to a secret may stand in fields that are secrets only")
            return self._borrowed[name]
        found = self._values.get(name_key(name))
        if found is None:
            raise NoValue(f"the variable {name[:SHOWN_NAME]} has no value in this environment")
        return found[0]

    @property
    def hidden(self) -> frozenset[str]:
        """The values that no message may show."""
        kept = (text for text, visible in self._values.values() if not visible and text)
        return frozenset((*kept, *self._borrowed.values()))
