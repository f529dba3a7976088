"""The community of SNMP v1 and v2c: a password in all but name, in a field that holds a user name with v3."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mooring.plugin.secrets import PLACEHOLDER

FIELD = "securityOrCommunityName"


class Community:
    """
    `securityOrCommunityName`, unless the version is V3.

    A version that is left out is V1; one that is a variable may become V1. So only a plain V3 makes it public.
    """

    def lift(self, config: dict[str, Any], secrets: dict[str, str]) -> None:
        if self._is_secret(config) and config.get(FIELD) is not None:
            if config[FIELD]:
                secrets[FIELD] = config[FIELD]
            config[FIELD] = None

    def fill(self, config: dict[str, Any], secrets: Mapping[str, str], used: set[str]) -> None:
        if self._is_secret(config) and config.get(FIELD) in (None, PLACEHOLDER) and FIELD in secrets:
            config[FIELD] = secrets[FIELD]
            used.add(FIELD)

    def unfilled(self, config: dict[str, Any]) -> Iterator[str]:
        if config.get(FIELD) == PLACEHOLDER:
            yield FIELD

    @staticmethod
    def _is_secret(config: Mapping[str, Any]) -> bool:
        return str(config.get("version")).lower() != "v3"
