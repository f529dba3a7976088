"""Everything that can go wrong, at once, beside a connection that works; and what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mooring.errors import ConnectorError
from mooring.plugin.probe import Step
from mooring.testing.live import connected
from tests.support.services import closed_port, service_state
from tests.support.targets import WEATHER, Body, Ends, Target, Variant
from tests.weather import peers

DEADLINE_S = 3.0
MARGIN_S = 2.0
NOWHERE = "no-such-host.invalid"
WRONG = "not-the-right-one"
HEALTHY_USES = 5


@dataclass(frozen=True)
class Outcome:
    """How a use and a probe ended in some weather."""

    error: Exception | None
    used_s: float
    stopped_at: Step | None
    probed_s: float

    @property
    def ends(self) -> tuple[str, str]:
        """The class of the error and the step of the probe, for comparison."""
        return type(self.error).__name__, self.stopped_at.name if self.stopped_at else "nowhere"


@dataclass
class Storm:
    """
    What a storm over one variant left behind.

    `endings` says how each weather should end, or why it cannot be; `grown_mb` is how much memory this process gained
    at most.
    """

    endings: dict[str, Ends | str] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    healthy: list[str] = field(default_factory=list)
    grown_mb: float = 0.0
    failure: BaseException | None = None


async def storm(variant: Variant) -> Storm:
    """All weather at once over *variant*, while its real system is used beside it."""
    with variant.opening() as target:
        found = Storm({weather: target.ending(weather) for weather in WEATHER})
        with contextlib.ExitStack() as stack:
            bodies = {
                weather: stack.enter_context(spoiled(target, weather))
                for weather, ending in found.endings.items()
                if isinstance(ending, Ends)
            }
            # What the first use loads is not what bad weather costs.
            found.healthy.append(await healthy(target))
            gc.collect()
            before, highest = resident_mb(), Highest()
            watching = asyncio.create_task(highest.watch())
            results = await asyncio.gather(
                *(endure(target, body, weather) for weather, body in bodies.items()),
                *(healthy(target) for _ in range(HEALTHY_USES)),
            )
            watching.cancel()
        found.outcomes = dict(zip(bodies, results, strict=False))  # type: ignore[arg-type]
        found.healthy += results[len(bodies) :]  # type: ignore[arg-type]
        found.grown_mb = max(0.0, highest.mb - before)
        return found


async def endure(target: Target, body: Body, weather: str) -> Outcome:
    """Use and probe a connection in some weather."""
    (error, used_s), (stopped_at, probed_s) = await asyncio.gather(
        used(target, {**body, "name": weather}), probed(target, {**body, "name": weather})
    )
    return Outcome(error, used_s, stopped_at, probed_s)


async def used(target: Target, body: Body) -> tuple[Exception | None, float]:
    """How a use ended, and after how many seconds."""
    async with connected(body, ca_file=service_state().get("ca"), materials=target) as guard:
        began, error = time.monotonic(), None
        try:
            await guard.use(target.operation, dict(target.request), DEADLINE_S)
        except Exception as exc:
            error = exc
        return error, time.monotonic() - began


async def probed(target: Target, body: Body) -> tuple[Step | None, float]:
    """At which step a probe stopped, and after how many seconds."""
    async with connected(body, ca_file=service_state().get("ca"), materials=target) as guard:
        report = await guard.probe(DEADLINE_S)
        return report.failure, report.took_ms / 1000


async def healthy(target: Target) -> str:
    """Use the real system; `ok`, or how it failed."""
    try:
        async with connected(
            {**target.body, "name": "healthy"}, ca_file=service_state().get("ca"), materials=target
        ) as guard:
            await guard.use(target.operation, dict(target.request), 15.0)
    except ConnectorError as exc:
        return f"{type(exc).__name__}: {exc.message}"
    return "ok"


@contextlib.contextmanager
def spoiled(target: Target, weather: str) -> Iterator[Body]:
    """The body of *target* in that weather."""
    special = target.spoiled.get(weather)
    if special is not None:
        with special() as body:
            yield body
        return
    if weather in ("wrong_user", "wrong_password"):
        assert target.with_login is not None
        user, password = (WRONG, None) if weather == "wrong_user" else (None, WRONG)
        yield target.with_login(dict(target.body), user, password)
        return
    assert target.aimed is not None, f"{target.body['type']}: this target cannot be aimed elsewhere"
    if weather == "wrong_host":
        yield target.aimed(dict(target.body), NOWHERE, 6543)
    elif weather == "closed_port":
        yield target.aimed(dict(target.body), "localhost", closed_port())
    else:
        with peers.serving(treatment(weather)) as port:
            yield target.aimed(dict(target.body), "localhost", port)


def treatment(weather: str) -> peers.Treatment:
    """What the peer does in that weather."""
    known: dict[str, Any] = {"black_hole": peers.silent, "garbage": peers.garbage, "endless": peers.endless}
    if weather in known:
        return known[weather]  # type: ignore[no-any-return]
    return peers.showing(*peers.certificate_of(weather, service_state()["certificates"]))


class Highest:
    """The most memory that was resident while it watched."""

    mb = 0.0

    async def watch(self) -> None:
        while True:
            self.mb = max(self.mb, resident_mb())
            await asyncio.sleep(0.05)


def resident_mb() -> float:
    """Resident memory of this process in MB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
