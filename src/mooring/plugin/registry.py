"""Which connection types there are. Found by walking `mooring.types` and the entry points `mooring.types`."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from importlib.metadata import entry_points

from mooring.errors import UnknownType
from mooring.plugin.card import ConnectionType

_ROOMS = "mooring.types"
_LOOKS_LIKE_A_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")


class Registry:
    """
    The types of this process.

    *chosen* is the setting `MOORING_TYPES`: names separated by commas; with a leading `-`, all but those.
    """

    def __init__(self, chosen: str = "") -> None:
        self._types = {
            card.name: card for card in sorted(_chosen(_found(), chosen), key=lambda card: card.name.lower())
        }
        self._spellings = {
            spelling.lower(): card for card in self._types.values() for spelling in (card.name, *card.aliases)
        }

    def __iter__(self) -> Iterator[ConnectionType]:
        return iter(self._types.values())

    def __len__(self) -> int:
        return len(self._types)

    def find(self, name: str) -> ConnectionType | None:
        """The type of that name, in any case or documented spelling."""
        return self._spellings.get(name.lower())

    def get(self, name: str) -> ConnectionType:
        """The type of that name. Raises `UnknownType`."""
        card = self.find(name)
        if card is None:
            # The name is quoted only while it looks like one: anything may have been pasted there.
            shown = f" ({name})" if _LOOKS_LIKE_A_TYPE.fullmatch(name) else ""
            raise UnknownType(f"Connection type{shown} is not valid! Supported types: {', '.join(self._types)}")
        return card


def _found() -> Iterator[ConnectionType]:
    rooms = importlib.import_module(_ROOMS)
    for module in pkgutil.iter_modules(rooms.__path__):
        if module.ispkg:
            yield importlib.import_module(f"{_ROOMS}.{module.name}").TYPE
    for entry in entry_points(group="mooring.types"):
        yield entry.load()


def _chosen(cards: Iterator[ConnectionType], chosen: str) -> list[ConnectionType]:
    names = [name.strip().lower() for name in chosen.split(",") if name.strip()]
    left_out = {name[1:] for name in names if name.startswith("-")}
    wanted = {name for name in names if not name.startswith("-")}
    return [card for card in cards if card.name.lower() not in left_out and (not wanted or card.name.lower() in wanted)]
