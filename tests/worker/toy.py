"""A connection type for tests: what its server does is decided by the test, host by host."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Iterable
from typing import Annotated, Any

from annotated_types import Ge

from mooring.errors import ConnectorError, Rejected, Unreachable
from mooring.kit.aead import encrypt
from mooring.plugin.card import ConnectionType
from mooring.plugin.config import ConnectionConfig
from mooring.plugin.connector import Answer, Bytes, Connector, Context, Request, operation
from mooring.plugin.fields import NonEmpty, OrReference, Secret, field
from mooring.plugin.materials import Store
from mooring.plugin.probe import Probe
from mooring.wire.frames import Put

KEY = bytes(range(32))
PATIENCE_S = 10.0


class World:
    """One server, and every connector that was made for it."""

    def __init__(self) -> None:
        self.up = True
        self.open_error: Exception | None = None
        self.start_error: Exception | None = None
        self.operation_error: BaseException | None = None
        self.translate_error: Exception | None = None
        self.opening = _open_gate()
        self.starting = _open_gate()
        self.probing = _open_gate()
        self.operating = _open_gate()
        self.stopping = _open_gate()
        self.made: list[ToyConnector] = []
        self.operating_now = 0


def _open_gate() -> asyncio.Event:
    gate = asyncio.Event()
    gate.set()
    return gate


WORLDS: dict[str, World] = {}


def world(host: str = "a") -> World:
    """The server called *host*."""
    return WORLDS.setdefault(host, World())


class ToyConfig(ConnectionConfig):
    """A toy."""

    host: NonEmpty = field(description="Server.", destination=True)
    password: Secret | None = field(None, description="Password.")
    size: Annotated[int, Ge(1), OrReference] = field(1, description="Size.")
    key_store_name: NonEmpty | None = field(None, description="Keystore.", reference="keystore")


class Say(Request):
    text: str = "hello"
    times: int = 1


class Said(Answer):
    text: str
    generation: str
    raw: Bytes = b""


class ToyError(Exception):
    """What the toy's driver raises."""


class ToyConnector(Connector[ToyConfig]):
    """Does what its world says, and counts."""

    def __init__(self, config: ToyConfig, context: Context) -> None:
        super().__init__(config, context)
        self.world = world(config.host)
        self.world.made.append(self)
        self.started = self.stopped = self.closed = 0
        self.running = False
        self.store: Store | None = None

    async def open(self) -> None:
        if self.config.key_store_name:
            self.store = self.context.materials.store(self.config.key_store_name)
        await self.world.opening.wait()
        if self.world.open_error:
            raise self.world.open_error

    def hosts(self) -> Iterable[str]:
        return (self.config.host,)

    async def start(self) -> None:
        await self.world.starting.wait()
        if self.world.start_error:
            raise self.world.start_error
        self.started += 1
        self.running = True

    async def stop(self) -> None:
        await self.world.stopping.wait()
        self.stopped += 1
        self.running = False

    async def close(self) -> None:
        self.closed += 1
        await super().close()

    async def probe(self, probe: Probe) -> None:
        async with probe.step("resolve"):
            pass
        async with probe.step("connect"):
            await self.world.probing.wait()
            if not self.world.up:
                raise ToyError("down")

    def native(self) -> Any:
        return self

    def translate(self, error: BaseException) -> ConnectorError | None:
        if self.world.translate_error:
            raise self.world.translate_error
        if isinstance(error, ToyError):
            return Unreachable(f"the toy said: {error}", hint=f"look at {error}")
        if isinstance(error, PermissionError):
            return Rejected("wrong password", hint="ask its owner")
        return None

    @operation
    async def say(self, request: Say) -> Said:
        """Says it again."""
        assert self.running, "used while it was not started"
        self.world.operating_now += 1
        try:
            await self.world.operating.wait()
            if self.world.operation_error:
                raise self.world.operation_error
            assert self.running, "stopped while it was used"
        finally:
            self.world.operating_now -= 1
        password = self.config.password.get_secret_value() if self.config.password else ""
        return Said(text=request.text * request.times, generation=password, raw=b"\xff")


TOY = ConnectionType("toy", "Toy", "Tests", ToyConfig, connector="tests.worker.toy:ToyConnector", operations=("say",))
KEPT = ConnectionType("kept", "Kept", "Tests", ToyConfig)
DRIVERLESS = ConnectionType(
    "driverless", "Driverless", "Tests", ToyConfig, connector="no_such_driver:Connector", extra="nodriver"
)


class ToyRegistry:
    """Knows the types above."""

    def find(self, name: str) -> ConnectionType | None:
        return {"toy": TOY, "kept": KEPT, "driverless": DRIVERLESS}.get(name)

    def __iter__(self) -> Any:
        return iter((TOY, KEPT, DRIVERLESS))


def put(
    generation: int = 1, *, host: str = "a", id: str = "con_1", name: str = "toy", project: str = "P", enabled: bool = True,
    password: str | None = None, key: bytes = KEY, type: str = "toy", **config: Any,
) -> Put:  # fmt: skip
    """A put frame; its password says which generation it is."""
    document = {"type": type, "name": name, "enabled": enabled, "id": id, "host": host, "password": None, **config}
    secret = json.dumps({"password": password or f"secret-of-{generation}"}).encode()
    sealed = encrypt(key, secret, f"{id}|{generation}".encode())
    return Put(
        revision=generation, id=id, project=project, name=name, type=type, generation=generation, enabled=enabled, hash="00",
        config=document, sealed=base64.b64encode(sealed).decode(),
    )  # fmt: skip


async def until(what: Callable[[], object]) -> None:
    """Wait until *what* is true; fail where that takes too long."""
    async with asyncio.timeout(PATIENCE_S):
        while not what():
            await asyncio.sleep(0.002)
