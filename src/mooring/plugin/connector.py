"""
A connector: the live client to one external system, inside a worker.

Its life: `open` builds (no network); the first operation calls `start`, which may begin threads and pools;
when idle `stop` gives those back; `close` ends it. The guard of the worker stands around every call: it sets
the deadline, counts, translates, and scrubs secrets, so a room need not remember to.
"""

from __future__ import annotations

import base64
import inspect
from abc import ABC
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, PlainSerializer, WithJsonSchema
from pydantic.alias_generators import to_camel

from mooring.errors import ConnectorError
from mooring.kit.egress import Egress
from mooring.plugin.config import ConnectionConfig
from mooring.plugin.materials import Materials, NoMaterials
from mooring.plugin.network import Network

if TYPE_CHECKING:
    from mooring.plugin.probe import Probe


C = TypeVar("C", bound=ConnectionConfig)
M = TypeVar("M", bound=Callable[..., Awaitable["Answer"]])


class Request(BaseModel):
    """What an operation is asked. Keys are camelCase on the wire; unknown ones are refused."""

    model_config = ConfigDict(
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        hide_input_in_errors=True,
    )


# Pydantic's own base64 has `-` and `_` in place of `+` and `/`, which most decoders pass over without a word.
Bytes = Annotated[
    bytes,
    PlainSerializer(lambda value: base64.b64encode(value).decode(), return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
]
"""Bytes in an answer: base64 on the wire."""


class Answer(BaseModel):
    """What an operation answers. Keys are camelCase on the wire."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
    )

    @property
    def is_failure(self) -> bool:
        """Whether it says that the external system failed, as an HTTP 503 does; the circuit breaker counts it."""
        return False


@dataclass(frozen=True)
class Operation:
    """A verb that a connector offers."""

    name: str
    method: str
    request: type[Request]
    answer: type[Answer]
    summary: str


@dataclass(frozen=True)
class Allowed:
    """
    What the operator of this worker allows connections to do on, or from, this machine.

    Attributes:
        linux_script: Whether scripts and commands may be run on other machines.
        logback_root: The folder below which log files may be written; None where none may.
        egress: Where they may connect to.
    """

    linux_script: bool = False
    logback_root: Path | None = None
    egress: Egress = field(default_factory=Egress)


@dataclass(frozen=True)
class Context:
    """
    What a connector is handed beside its config.

    Attributes:
        name: `project/connection`, for messages.
        materials: What its references resolve to.
        ca_file: Certificates that this worker trusts beside the system's (`MOORING_CA_FILE`).
        allowed: What the operator of this worker allows.
    """

    name: str
    materials: Materials = field(default_factory=NoMaterials)
    ca_file: str | None = None
    allowed: Allowed = field(default_factory=Allowed)

    @property
    def network(self) -> Network:
        """The only way out: reaches what the operator of this worker allows."""
        return Network(self.allowed.egress)


def operation(method: M) -> M:
    """
    Marks a method of a connector as an operation; its request and answer types are read from its annotations.

    An underscore at the end of its name is no part of the operation's: so can one be called as a method of the base.
    """
    method.__mooring_operation__ = True  # type: ignore[attr-defined]  # functions take attributes
    return method


class Connector(ABC, Generic[C]):
    """
    Base of all connectors. A room overrides what it needs; the rest is right for a client without sockets of its own.

    `open` and `close` are called once each, `start` and `stop` any number of times in turn, never concurrently.
    """

    operations: ClassVar[dict[str, Operation]] = {}

    def __init__(self, config: C, context: Context) -> None:
        self.config = config
        self.context = context

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.operations = {**cls.operations, **_operations_of(cls)}

    async def open(self) -> None:
        """Validate, and build what needs no network: TLS contexts, client settings. Bounded to 3 s from outside."""

    def hosts(self) -> Iterable[str]:
        """The hosts, as the config spells them, that use dials; asked after `open`, so that a denied one is known early."""
        return ()

    async def start(self) -> None:
        """Begin what use needs (pools, threads, sockets). Called before the first operation, and after `stop`."""

    async def stop(self) -> None:
        """Give back what `start` began, finishing what is in flight. Safe twice, and after a failed `start`."""

    async def close(self) -> None:
        """End of life. Safe twice, and after a failed `open`."""
        await self.stop()

    async def probe(self, probe: Probe) -> None:
        """One honest attempt, step by step, doing what real use would do; without retries. May run before `start`."""
        raise NotImplementedError

    def native(self) -> Any:
        """The live client of the driver, started; what it is, the room's README says."""
        raise NotImplementedError

    def translate(self, error: BaseException) -> ConnectorError | None:
        """The driver's exception as one of ours, or None where this room does not know it."""
        return None

    def secret_values(self) -> set[str]:
        """Values that must not appear in any text that leaves the worker; the guard adds those of the config."""
        return set()


def _operations_of(cls: type[Connector[Any]]) -> dict[str, Operation]:
    found = {}
    for name, method in vars(cls).items():
        if getattr(method, "__mooring_operation__", False):
            hints = get_type_hints(method)
            parameters = [key for key in inspect.signature(method).parameters if key != "self"]
            summary = (inspect.getdoc(method) or name).splitlines()[0]
            # `close_` is the operation close: the method of that name ends the connector.
            wire_name = name.rstrip("_")
            found[wire_name] = Operation(wire_name, name, hints[parameters[0]], hints["return"], summary)
    return found
