"""
What every room tells the tests that all rooms share: real systems to talk to, and what bad weather looks like there.

`tests/target.py` of a room has `TARGETS`: for each variant a context manager that yields a `Target`. The suites
`tests/e2e/test_every_type.py` (created by the API, used through a worker, read back from the other side) and
`tests/weather` (ten things that go wrong) run over all of them; the latter not over those in `SAME_WEATHER` of a room,
which names for such a variant the other one that fails in just the same way.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NamedTuple

from mooring.errors import ConnectorError, Misconfigured, Rejected, Unreachable
from mooring.plugin.materials import MaterialMissing, Store
from mooring.plugin.registry import Registry


class Ends(NamedTuple):
    """How a use ends (the class of its error), and the step at which a probe stops."""

    error: type[ConnectorError]
    step: str


WEATHER: Mapping[str, Ends] = {
    "wrong_host": Ends(Unreachable, "resolve"),
    "closed_port": Ends(Unreachable, "connect"),
    "wrong_user": Ends(Rejected, "login"),
    "wrong_password": Ends(Rejected, "login"),
    "wrong_ca": Ends(Misconfigured, "tls"),
    "wrong_name": Ends(Misconfigured, "tls"),
    "expired": Ends(Misconfigured, "tls"),
    "black_hole": Ends(Unreachable, "login"),
    "garbage": Ends(Unreachable, "login"),
    "endless": Ends(Unreachable, "login"),
}
"""What goes wrong, and how that ends unless a target says otherwise."""

Body = dict[str, Any]


class StoreFile(NamedTuple):
    """A keystore as a file that somebody uploads: `JKS`, `PKCS12` or `PEM`."""

    kind: str
    content: bytes
    password: str | None = None


@dataclass(frozen=True)
class Target:
    """
    One variant of a type with the system at its other end.

    Attributes:
        body: What POST accepts (without `name`), pointed at the real system.
        operation: One operation that has an effect over there.
        request: What it is asked.
        seen: Given the answer as the wire has it: something true once the effect can be read from the other side with
            that system's own tool. It is asked again for some seconds until then.
        server: What is at the other end, with its version: `RabbitMQ 3.10.8`. A fake is called `fake: ...`.
        tls: How it is protected: `""`, `TLS`, `STARTTLS`, `mutual TLS`, and so on.
        stores: The materials that the body refers to, by name.
        files: Those of them that are uploaded as some other file than a PEM made of them.
        aimed: The body pointed at another host and port.
        with_login: The body with another user or password; None where nobody logs in.
        ends: How the weather of that name ends here: differently from `WEATHER`, or not at all (the reason, as text).
        spoiled: For weather that cannot be made by pointing `aimed` elsewhere (a certificate shown after STARTTLS):
            by its name, a context manager that yields the body.
    """

    body: Body
    operation: str
    request: Body
    seen: Callable[[Body], Any]
    server: str
    tls: str = ""
    stores: Mapping[str, Store] = field(default_factory=dict)
    files: Mapping[str, StoreFile] = field(default_factory=dict)
    aimed: Callable[[Body, str, int], Body] | None = None
    with_login: Callable[[Body, str | None, str | None], Body] | None = None
    ends: Mapping[str, Ends | str] = field(default_factory=dict)
    spoiled: Mapping[str, Callable[[], AbstractContextManager[Body]]] = field(default_factory=dict)

    def store(self, name: str) -> Store:
        """The material of that name; with this, a target is `Materials`."""
        if name not in self.stores:
            raise MaterialMissing(f"the keystore '{name}' does not exist in this project")
        return self.stores[name]

    def ending(self, weather: str) -> Ends | str:
        """How *weather* ends here, or why it cannot be."""
        if weather in self.ends:
            return self.ends[weather]
        if weather in ("wrong_user", "wrong_password") and self.with_login is None:
            return "nobody logs in"
        if weather in ("wrong_ca", "wrong_name", "expired") and not self.tls:
            return "no TLS"
        return WEATHER[weather]


Opening = Callable[[], AbstractContextManager[Target]]


class Variant(NamedTuple):
    """A variant of a type by name, and how its target is had."""

    type: str
    name: str
    opening: Opening
    has_weather: bool

    @property
    def id(self) -> str:
        return f"{self.type}-{self.name}".replace(" ", "_")


def variants() -> Iterator[Variant]:
    """Every variant of every room that has targets."""
    for card in Registry():
        module = target_module(card.config.__module__)
        for name, opening in getattr(module, "TARGETS", {}).items():
            yield Variant(card.name, name, opening, name not in getattr(module, "SAME_WEATHER", {}))


def target_module(config_module: str) -> ModuleType | None:
    """The `tests/target.py` of the room that *config_module* belongs to."""
    name = f"{config_module.rpartition('.')[0]}.tests.target"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        if exc.name != name:
            raise
        return None
