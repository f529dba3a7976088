"""A machine that may not be connected to, and what comes of pointing a connection at it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from mooring.errors import ConnectorError
from mooring.kit.egress import Egress
from mooring.plugin.connector import Allowed
from mooring.plugin.probe import Step
from mooring.testing.live import ALL_ALLOWED, connected
from tests.support.services import service_state
from tests.support.targets import Body, Target, Variant

DEADLINE_S = 4.0
PLACE = "127.0.0.2"
NAME = "denied.example"
WITHOUT_THE_PLACE = Egress.read("", PLACE, loopback=True)
"""A policy under which the real systems, on loopback, can be used, and one address cannot."""

WITHOUT_LOOPBACK = Egress()


@dataclass
class Listener:
    """Listens for connections and datagrams at one port, and only counts them."""

    place: str = PLACE
    port: int = 0
    touched: int = 0
    _socks: list[socket.socket] = field(default_factory=list)

    def __enter__(self) -> Listener:
        while True:
            tcp = socket.create_server((self.place, 0))
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.port = tcp.getsockname()[1]
            try:
                udp.bind((self.place, self.port))
            except OSError:
                tcp.close()
                udp.close()
                continue
            self._socks = [tcp, udp]
            for sock in self._socks:
                sock.setblocking(False)
            return self

    def __exit__(self, *_: object) -> None:
        for sock in self._socks:
            sock.close()

    def look(self) -> int:
        """How many connections and datagrams came."""
        tcp, udp = self._socks
        for take in (tcp.accept, lambda: udp.recvfrom(1)):
            with contextlib.suppress(BlockingIOError):
                while True:
                    taken = take()
                    self.touched += 1
                    if isinstance(taken[0], socket.socket):
                        taken[0].close()
        return self.touched


@contextlib.contextmanager
def looked_up(answer: Callable[[str], str | None]) -> Iterator[list[str]]:
    """Answers look-ups of Python code with what *answer* gives for a name, where that is not None; and which there were."""
    real, asked = socket.getaddrinfo, list[str]()

    def patched(host: Any, *rest: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        asked.append(name)
        return real((answer(name) if isinstance(name, str) else None) or host, *rest, **options)

    socket.getaddrinfo = patched
    try:
        yield asked
    finally:
        socket.getaddrinfo = real


@dataclass
class Outcome:
    """What came of it: at building, at use, at probing; and how often the listener was touched."""

    built: Exception | None = None
    used: Exception | None = None
    used_s: float = 0.0
    stopped_at: Step | None = None
    touched: int = 0
    beside: str = ""


async def tried(variant: Variant) -> Outcome | None:
    """Point *variant* at a denied address, by itself and by name; None where it goes nowhere."""
    found = Outcome()
    with variant.opening() as target, Listener() as listener, Listener("127.0.0.1") as here:
        if target.aimed is None:
            return None
        try:
            await _used(target, target.aimed(dict(target.body), "127.0.0.1", here.port), WITHOUT_LOOPBACK)
        except ConnectorError as exc:
            found.built = exc
        with looked_up(lambda name: PLACE if name == NAME else None):
            body = target.aimed(dict(target.body), NAME, listener.port)
            (found.used, found.used_s), found.stopped_at, found.beside = await asyncio.gather(
                _ended(target, body), _probed(target, body), _beside(target, variant.has_weather)
            )
        found.touched = listener.look() + here.look()
    return found


async def _used(target: Target, body: Body, egress: Egress) -> None:
    async with connected({**body, "name": "x"}, ca_file=_ca(), materials=target, allowed=allowed(egress)) as guard:
        await guard.use(target.operation, dict(target.request), DEADLINE_S)


async def _ended(target: Target, body: Body) -> tuple[Exception | None, float]:
    began, error = time.monotonic(), None
    try:
        await _used(target, body, WITHOUT_THE_PLACE)
    except Exception as exc:
        error = exc
    return error, time.monotonic() - began


async def _beside(target: Target, wanted: bool) -> str:
    """How a use of the real system ends on a worker with the same policy."""
    if not wanted:
        return "ok"
    try:
        body = {**target.body, "name": "beside"}
        async with connected(body, ca_file=_ca(), materials=target, allowed=allowed(WITHOUT_THE_PLACE)) as guard:
            await guard.use(target.operation, dict(target.request), 20.0)
    except ConnectorError as exc:
        return f"{type(exc).__name__}: {exc.message}"
    return "ok"


async def _probed(target: Target, body: Body) -> Step | None:
    async with connected(
        {**body, "name": "x"}, ca_file=_ca(), materials=target, allowed=allowed(WITHOUT_THE_PLACE)
    ) as guard:
        return (await guard.probe(DEADLINE_S)).failure


def allowed(egress: Egress) -> Allowed:
    """Everything, and what *egress* says."""
    return Allowed(ALL_ALLOWED.linux_script, ALL_ALLOWED.logback_root, egress)


def _ca() -> str | None:
    return service_state().get("ca")
