"""The client properties announced to a broker: what a value may be, and where a credential among them stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mooring.errors import Problem
from mooring.plugin.problems import invalid
from mooring.plugin.secrets import PLACEHOLDER, is_credential_parameter

FIELD = "connectionFactoryClientProperties"
MAX_DEPTH = 4
MAX_KEY = 128


class ClientPropertySecrets:
    """
    The values of credential-named properties, in tables at any depth.

    A secret's key is the path of names to it, so it does not depend on a position.
    """

    def lift(self, config: dict[str, Any], secrets: dict[str, str]) -> None:
        for key, table, name in _credentials(config.get(FIELD), FIELD):
            if isinstance(table[name], str) and table[name]:
                secrets[key] = table[name]
                table[name] = None

    def fill(self, config: dict[str, Any], secrets: Mapping[str, str], used: set[str]) -> None:
        for key, table, name in _credentials(config.get(FIELD), FIELD):
            if table[name] in (None, PLACEHOLDER) and key in secrets:
                table[name] = secrets[key]
                used.add(key)

    def unfilled(self, config: dict[str, Any]) -> Iterator[str]:
        for key, table, name in _credentials(config.get(FIELD), FIELD):
            if table[name] == PLACEHOLDER:
                yield key


def property_rules(properties: Mapping[str, Any]) -> Iterator[Problem]:
    """What a broker's table cannot hold, and what could not be kept safe in it."""
    yield from _table_rules(properties, [FIELD])


def _table_rules(table: Mapping[str, Any], path: list[str | int]) -> Iterator[Problem]:
    if len(path) > MAX_DEPTH:
        yield invalid(path, f"tables may be nested at most {MAX_DEPTH - 1} deep", "too_deep")
        return
    for name, value in table.items():
        here = [*path, name]
        if not 0 < len(name.encode()) <= MAX_KEY:
            yield invalid(path, f"a property name has between 1 and {MAX_KEY} bytes", "property_name")
        elif value is not None and not isinstance(value, str) and is_credential_parameter(name):
            yield invalid(here, f"{name[:80]} is a credential, which must be text", "credential_text")
        elif isinstance(value, dict):
            yield from _table_rules(value, here)
        elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
            yield invalid(here, "a list may hold plain values only", "plain_list")


def _credentials(table: Any, path: str) -> Iterator[tuple[str, dict[str, Any], str]]:
    if not isinstance(table, dict):
        return
    for name, value in table.items():
        here = f"{path}/{str(name).replace('~', '~0').replace('/', '~1')}"
        if is_credential_parameter(str(name)):
            yield here, table, name
        else:
            yield from _credentials(value, here)
