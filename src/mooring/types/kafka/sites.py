"""Where the secrets of a property map stand: whole values, and the credentials inside a JAAS line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mooring.plugin.secrets import SecretSite, TextParts, WholeField
from mooring.types.kafka import jaas
from mooring.types.kafka.properties import is_secret

JAAS = "sasl.jaas.config"


class PropertySecrets:
    """
    The secrets in a map of properties, known by their property: `propertiesMap/ssl.key.password`.

    Whole values are those of type `SECRET` and of credential-named keys. In a JAAS line of another type only
    the credentials are taken out (`propertiesMap/sasl.jaas.config/password`), and the rest reads back unchanged.
    """

    def __init__(self, field: str) -> None:
        self.field = field

    def lift(self, config: dict[str, Any], secrets: dict[str, str]) -> None:
        for site, key, entry in self._places(config):
            value = entry.get("value")
            if isinstance(value, str) and value:
                held = {key: value}
                site.lift(held, secrets)
                entry["value"] = held[key]

    def fill(self, config: dict[str, Any], secrets: Mapping[str, str], used: set[str]) -> None:
        for site, key, entry in self._places(config):
            held = {key: entry.get("value")}
            site.fill(held, secrets, used)
            if held[key] is not None:
                entry["value"] = held[key]

    def unfilled(self, config: dict[str, Any]) -> Iterator[str]:
        for site, key, entry in self._places(config):
            yield from site.unfilled({key: entry.get("value")})

    def _places(self, config: dict[str, Any]) -> Iterator[tuple[SecretSite, str, dict[str, Any]]]:
        entries = config.get(self.field)
        for name, entry in entries.items() if isinstance(entries, dict) else ():
            if not isinstance(name, str) or not isinstance(entry, dict):
                continue
            key = f"{self.field}/{name.replace('~', '~0').replace('/', '~1')}"
            if is_secret(name, entry.get("valueType")):
                yield WholeField(key), key, entry
            if name == JAAS:
                yield TextParts(key, jaas.credential_spans), key, entry
