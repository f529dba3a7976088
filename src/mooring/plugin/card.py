"""The name card of a connection type: all that the house knows of it before it opens the door."""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mooring.errors import DriverMissing
from mooring.plugin.config import ConnectionConfig, secret_fields

if TYPE_CHECKING:
    from mooring.plugin.connector import Connector


@dataclass(frozen=True)
class ConnectionType:
    """
    One sort of external system.

    Attributes:
        name: The discriminator on the wire, such as `rabbitMq`. The only place where this spelling stands.
        title: For people.
        group: The heading it is listed under.
        config: The model of its typed fields.
        connector: `module:Class`, imported when first needed, because it imports the driver. None while a type
            can be described and kept, and not yet used.
        operations: The verbs that the connector offers; here too, so that asking imports no driver.
        extra: What to install for the driver: `pip install "mooring[<extra>]"`.
        aliases: Other spellings of the name that requests may use; case never matters.
        note: What a person should know before choosing it, such as the end of a vendor's service.
    """

    name: str
    title: str
    group: str
    config: type[ConnectionConfig]
    connector: str | None = None
    operations: tuple[str, ...] = ()
    extra: str | None = None
    aliases: tuple[str, ...] = ()
    note: str | None = None

    def load_connector(self) -> type[Connector[Any]]:
        """The connector's class. Raises `DriverMissing` where its driver is not installed."""
        if self.connector is None:
            raise DriverMissing(f"{self.title} connections can be kept, and not used yet, by this version")
        module, _, name = self.connector.partition(":")
        try:
            return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]  # a name from a card
        except ModuleNotFoundError as exc:
            if exc.name and exc.name.startswith("mooring"):
                raise
            raise DriverMissing(
                f"the driver for {self.title} is not installed ({exc.name})",
                hint=f'pip install "mooring[{self.extra}]"' if self.extra else None,
            ) from exc

    @cached_property
    def folder(self) -> Path:
        """The room's folder."""
        module = importlib.import_module(self.config.__module__)
        return Path(str(module.__file__)).parent

    @cached_property
    def example(self) -> dict[str, Any]:
        """A body that POST accepts."""
        return json.loads((self.folder / "example.json").read_text("utf-8"))  # type: ignore[no-any-return]  # an object

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the typed fields, in wire names."""
        schema = self.config.model_json_schema(by_alias=True, mode="validation")
        for name in secret_fields(self.config):
            schema["properties"][name] |= {"x-secret": True, "writeOnly": True}
        return schema

    def summary(self) -> dict[str, Any]:
        """What there is to know without the schema, for the API."""
        properties = self.schema["properties"]
        return {
            "name": self.name,
            "title": self.title,
            "group": self.group,
            "aliases": list(self.aliases),
            "note": self.note,
            "usable": self.connector is not None,
            "operations": list(self.operations),
            "secretFields": list(secret_fields(self.config)),
            "destinationFields": [name for name, schema in properties.items() if schema.get("x-destination")],
            "fieldsWithoutEffect": [name for name, schema in properties.items() if schema.get("x-noEffect")],
        }
