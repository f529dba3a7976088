"""
The live connectors of a worker, and how one generation takes the place of another.

Make before break: the new client is built first; where the old one works, the new one must show that it does
too (a probe), and only then serves. Otherwise the old one serves on, and the report says why.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mooring.domain.names import ADMIN_PROJECT, name_key
from mooring.errors import (
    ConnectionDisabled,
    ConnectionFailed,
    ConnectionUnknown,
    ConnectorError,
    DriverMissing,
    EgressDenied,
    InvalidConfig,
    MooringError,
    Rejected,
    Unreachable,
)
from mooring.kit.aead import NotAuthentic, decrypt
from mooring.kit.backoff import full_jitter
from mooring.kit.clock import now_ms
from mooring.kit.log import log
from mooring.plugin.connector import Allowed, Answer, Context
from mooring.plugin.fields import resolved_values
from mooring.plugin.materials import MaterialMissing
from mooring.plugin.probe import Step
from mooring.plugin.registry import Registry
from mooring.plugin.resolution import Unresolved, resolve, secret_references
from mooring.wire.body import typed_fields
from mooring.wire.frames import ExceptionFrame, Material, ProbeJob, ProbeResult, Put, StepFrame
from mooring.worker.breaker import BreakerSettings
from mooring.worker.elsewhere import Elsewhere, NotRead
from mooring.worker.guard import Closing, Guard, ProbeReport
from mooring.worker.materials import Held, OwnMaterials, Shelf
from mooring.worker.variables import Unreadable, Variables

SWAP_PROBE_S = 5.0
DRAIN_S = 30.0
DISABLE_GRACE_S = 3.0
DISABLE_STOP_S = 1.5
MAX_STARTED = 500
BUILDS_AT_ONCE = 32
TESTS_AT_ONCE = 8
BATCH_AT_ONCE = 64
MAX_TEXT = 1000
LOOK_AFTER_REFUSAL_S = 5.0
UNWELL = ("pending", "failed", "held")


class BuildFailed(Exception):
    """A generation that cannot serve; `reason` is one of the closed set of delivery. `again`: it may work later."""

    def __init__(self, reason: str, message: str, *, again: bool = False) -> None:
        super().__init__(message)
        self.reason, self.message, self.again = reason, message, again


@dataclass
class Entry:
    """One connection on this worker. `live` serves `serving_generation`; `wanted` is what should."""

    wanted: Put
    live: Guard | None = None
    serving_generation: int | None = None
    state: str = "pending"
    reason: str = ""
    message: str = ""
    since: int = field(default_factory=now_ms)
    task: asyncio.Task[None] | None = None
    held: Held = field(default_factory=dict)
    looked_at: float = field(default_factory=time.monotonic)


@dataclass
class Opened:
    """The secrets and the variables of one connection; `borrowed` are those read elsewhere, by their references."""

    secrets: dict[str, str]
    variables: Variables
    borrowed: dict[str, str]


class Pool:
    """Every connection that this worker was told to hold."""

    def __init__(
        self,
        registry: Registry,
        *,
        ca_file: str | None = None,
        idle_s: float = 300.0,
        breaker: BreakerSettings | None = None,
        allowed: Allowed | None = None,
        elsewhere: Elsewhere | None = None,
        look_again_s: float = 300.0,
    ) -> None:
        self._elsewhere, self._look_again_s = elsewhere or Elsewhere(), look_again_s
        self._breaker, self._allowed = breaker or BreakerSettings(), allowed or Allowed()
        self._registry, self._ca_file, self._idle_s = registry, ca_file, idle_s
        self._entries: dict[str, Entry] = {}
        self._names: dict[tuple[str, str], str] = {}
        self._unwell: dict[str, Entry] = {}
        self._pending = 0
        self._key: bytes = b""
        self._shelf = Shelf()
        self._closing: set[asyncio.Task[None]] = set()
        self._leaving: dict[str, ExceptionFrame] = {}
        self._builds = asyncio.Semaphore(BUILDS_AT_ONCE)
        self._tests = asyncio.Semaphore(TESTS_AT_ONCE)
        self.changed: Callable[[], None] = lambda: None

    @property
    def egress(self) -> str:
        """Where the connections held here may go, in words."""
        return str(self._allowed.egress)

    def use_key(self, key: bytes) -> None:
        """The environment's content key: opens the secrets in put frames."""
        self._key = key
        self._shelf.clear()

    def receive(self, frame: Material) -> None:
        """A material for the puts, or the test, that come with it; `puts_end` forgets those that nobody took."""
        self._shelf.receive(frame)

    def puts_end(self) -> None:
        """All puts of a commit were taken."""
        self._shelf.clear()

    # what the control plane wants

    def put(self, frame: Put) -> asyncio.Task[None]:
        """Hold *frame*'s generation; the task ends when it serves, or it is known why not."""
        entry = self._entries.get(frame.id)
        if entry is None:
            entry = self._entries[frame.id] = Entry(frame)
        else:
            self._forget_name(entry)
            entry.wanted = frame
        self._names[frame.project, name_key(frame.name)] = frame.id
        self._become(entry, "pending", "APPLIED", "being applied")
        entry.held = self._shelf.held(frame, self._key)
        return self._begin(entry)

    def _begin(self, entry: Entry, *, fresh: bool = False) -> asyncio.Task[None]:
        """Apply what is wanted; *fresh*: with secrets as they are elsewhere now."""
        before = entry.task
        entry.task = asyncio.create_task(self._apply(entry, entry.wanted, entry.held, before, fresh))
        if before is not None and not before.done():
            before.cancel()
        return entry.task

    def remove(
        self, connection: str, generation: int = 0, *, grace_s: float = DISABLE_GRACE_S
    ) -> asyncio.Task[None] | None:
        """
        Let go of a connection, as *generation* says; the task ends when its client is closed.

        Until then it is reported as pending: nobody shall be told that it is gone while it still works.
        """
        entry = self._entries.pop(connection, None)
        if entry is None:
            return None
        if self._unwell.pop(connection, None) is not None and entry.state == "pending":
            self._pending -= 1
        self._forget_name(entry)
        if entry.task is not None:
            entry.task.cancel()
        serving = entry.serving_generation
        closing = self._retire(entry, grace_s, DISABLE_STOP_S)
        if closing is not None:
            left = self._leaving[connection] = ExceptionFrame(
                id=connection, generation=max(generation, entry.wanted.generation), serving_generation=serving,
                state="pending", reason="APPLIED", message="being closed", since=now_ms(),
            )  # fmt: skip
            closing.add_done_callback(lambda _: self._has_left(connection, left))
        return closing

    def _has_left(self, connection: str, left: ExceptionFrame) -> None:
        if self._leaving.get(connection) is left:
            del self._leaving[connection]
            self.changed()

    @property
    def pending(self) -> int:
        """How many connections are still being applied."""
        return self._pending

    def _become(self, entry: Entry, state: str, reason: str = "", message: str = "") -> None:
        connection = entry.wanted.id
        if self._entries.get(connection) is not entry:
            return  # it was let go of meanwhile
        self._pending += (state == "pending") - (connection in self._unwell and entry.state == "pending")
        if state in UNWELL:
            self._unwell[connection] = entry
        else:
            self._unwell.pop(connection, None)
        if (state, reason, message) != (entry.state, entry.reason, entry.message):
            entry.state, entry.reason, entry.message, entry.since = state, reason, message, now_ms()

    def exceptions(self) -> list[ExceptionFrame]:
        """Every connection that is not well, or not gone yet."""
        leaving = [frame for connection, frame in self._leaving.items() if connection not in self._entries]
        return leaving + [
            ExceptionFrame(
                id=connection, generation=entry.wanted.generation, serving_generation=entry.serving_generation,
                state=entry.state, reason=entry.reason, message=entry.message[:MAX_TEXT], since=entry.since,  # type: ignore[arg-type]  # unwell states only
            )
            for connection, entry in self._unwell.items()
        ]  # fmt: skip

    async def _apply(
        self, entry: Entry, frame: Put, held: Held, before: asyncio.Task[None] | None, fresh: bool
    ) -> None:
        if before is not None:
            await asyncio.wait([before])
        attempt = 0
        while True:
            again = await self._apply_once(entry, frame, held, fresh or attempt > 0)
            self.changed()
            if not again:
                return
            attempt += 1
            await asyncio.sleep(max(1.0, full_jitter(attempt)))

    async def _apply_once(self, entry: Entry, frame: Put, held: Held, fresh_secrets: bool) -> bool:
        """Try to let *frame* serve. True where it may work later and should be tried again."""
        if not frame.enabled:
            await self._settle(self._retire(entry, DISABLE_GRACE_S, DISABLE_STOP_S))
            self._become(entry, "disabled")
            return False
        entry.looked_at = time.monotonic()
        try:
            opened = await self._open(frame, fresh_secrets)
            async with self._builds:
                fresh = await self._build(frame, held, opened)
        except BuildFailed as exc:
            self._become(entry, "held" if entry.live else "failed", exc.reason, exc.message)
            return exc.again
        except Exception as exc:  # one bad connection must not take others with it
            log.error("build_failed", connection=frame.id, error=type(exc).__name__)
            self._become(
                entry,
                "held" if entry.live else "failed",
                "INTERNAL",
                f"an unexpected {type(exc).__name__}; see the worker's log",
            )
            return False
        try:
            why_not = await self._why_not_swap(entry.live, fresh)
        except asyncio.CancelledError:
            await fresh.close(0)
            raise
        if why_not is not None:
            await fresh.close(0)
            self._become(entry, "held", "PROBE_FAILED", why_not)
            return True
        old = entry.live
        entry.live, entry.serving_generation = fresh, frame.generation
        self._become(entry, "applied")
        if old is not None:
            self._spawn(old.close(DRAIN_S))
        return False

    async def _open(self, frame: Put, fresh: bool) -> Opened:
        """What *frame* has sealed, and the secrets that live elsewhere. Raises `BuildFailed`."""
        secrets = self._secrets(frame)
        try:
            variables = Variables.of(frame, self._key)
        except Unreadable:
            raise BuildFailed("SECRET_UNREADABLE", "its variables do not open with this environment's key") from None
        references = secret_references(secrets)
        if not references:
            return Opened(secrets, variables, {})
        wanted = [each for inners in references.values() for each in inners]
        try:
            borrowed = await self._elsewhere.read(frame.project, wanted, fresh=fresh)
        except NotRead as exc:
            fields = [field for field, inners in references.items() if exc.reference in inners]
            message = f"{', '.join(fields)}: {exc.message}"
            raise BuildFailed("SECRET_UNREADABLE", message, again=exc.again) from None
        return Opened(secrets, variables.beside(borrowed), borrowed)

    async def _build(self, frame: Put, held: Held, opened: Opened) -> Guard:
        """A client for *frame*, built without any network. Raises `BuildFailed`."""
        card = self._registry.find(frame.type)
        if card is None:
            raise BuildFailed("UNSUPPORTED_TYPE", f"this worker does not know the type {frame.type}")
        if card.connector is None:
            raise BuildFailed(
                "UNSUPPORTED_TYPE", f"{card.title} connections can be kept, and not used yet, by this version"
            )
        variables = opened.variables
        try:
            config = resolve(card.config, typed_fields(frame.config), opened.secrets, variables.value_of)
        except Unresolved as exc:
            raise BuildFailed("VARIABLE_MISSING", str(exc)) from None
        except InvalidConfig as exc:
            raise BuildFailed("INVALID_CONFIG", exc.message) from exc
        references = config.references()
        closed = [field for field, store in held.items() if store is None]
        if closed:
            named = ", ".join(f"{field} '{references.get(field, '')}'" for field in closed)
            raise BuildFailed("KEYSTORE_UNREADABLE", f"{named} does not open with this environment's key")
        try:
            connector_class = card.load_connector()
            materials = OwnMaterials(references, held)
            context = Context(f"{frame.project}/{frame.name}", materials, self._ca_file, self._allowed)
            with resolved_values():
                guard = Guard(connector_class(config, context), self._breaker.of(config), variables.hidden)
                guard.borrowed = opened.borrowed
            try:
                with resolved_values():
                    await guard.open()
            except BaseException:
                self._spawn(guard.close(0))
                raise
        except MaterialMissing as exc:
            raise BuildFailed("KEYSTORE_MISSING", exc.message) from exc
        except DriverMissing as exc:
            raise BuildFailed("DRIVER_MISSING", f"{exc.message}. {exc.hint}" if exc.hint else exc.message) from exc
        except EgressDenied as exc:
            raise BuildFailed("EGRESS_DENIED", f"{exc.message}. {exc.hint}") from exc
        except ConnectorError as exc:
            is_slow = isinstance(exc.__cause__, TimeoutError)
            raise BuildFailed("BUILD_TIMEOUT" if is_slow else "INVALID_CONFIG", exc.message, again=is_slow) from exc
        return guard

    def held_by(self, job: ProbeJob) -> Held:
        """The materials that came with *job*; to be taken before anything else arrives."""
        return self._shelf.held(job.put, self._key)

    async def test(self, job: ProbeJob, held: Held | None = None) -> ProbeResult:
        """Probe settings once, on a throw-away client that is built just as one that serves."""
        try:
            async with self._tests:
                guard = await self._build(job.put, held or {}, await self._open(job.put, True))
                try:
                    report = await guard.probe(job.deadline_s)
                finally:
                    self._spawn(guard.close(0))
        except BuildFailed as exc:
            return ProbeResult(job=job.job, success=False, reason=exc.reason, message=exc.message[:MAX_TEXT])
        except Exception as exc:  # whatever it is, somebody waits for an answer
            log.error("test_failed", connection=job.put.name, error=type(exc).__name__)
            message = f"an unexpected {type(exc).__name__}; see the worker's log"
            return ProbeResult(job=job.job, success=False, reason="INTERNAL", message=message)
        steps = [_step_frame(step) for step in report.steps]
        return ProbeResult(job=job.job, success=report.ok, took_ms=round(report.took_ms, 1), steps=steps)

    def _secrets(self, frame: Put) -> dict[str, str]:
        if frame.sealed is None:
            return {}
        try:
            plain = decrypt(self._key, base64.b64decode(frame.sealed), f"{frame.id}|{frame.generation}".encode())
            return json.loads(plain)  # type: ignore[no-any-return]  # made by the control plane's `parcels`
        except (NotAuthentic, ValueError):
            raise BuildFailed("SECRET_UNREADABLE", "its secrets do not open with this environment's key") from None

    async def _why_not_swap(self, live: Guard | None, fresh: Guard) -> str | None:
        """None where *fresh* may serve; else why *live*, which works, should go on."""
        if live is None:
            return None
        if live.health == "healthy":
            report = await fresh.probe(SWAP_PROBE_S)
            return None if report.ok else _told(report)
        report, old = await asyncio.gather(fresh.probe(SWAP_PROBE_S), live.probe(SWAP_PROBE_S))
        # Where neither works, the one that is wanted serves: its errors are those of the config that people see.
        return _told(report) if not report.ok and old.ok else None

    def _retire(self, entry: Entry, grace_s: float, stop_s: float) -> asyncio.Task[None] | None:
        live, entry.live, entry.serving_generation = entry.live, None, None
        return None if live is None else self._spawn(live.close(grace_s, stop_s))

    async def _settle(self, task: asyncio.Task[None] | None) -> None:
        if task is not None:
            await asyncio.wait([task])

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        return task

    def _forget_name(self, entry: Entry) -> None:
        key = (entry.wanted.project, name_key(entry.wanted.name))
        if self._names.get(key) == entry.wanted.id:
            del self._names[key]

    # use

    def entry(self, project: str, name: str) -> Entry:
        """The connection *name* of *project*, else the global one. Raises `ConnectionUnknown`."""
        key = name_key(name)
        connection = self._names.get((project, key)) or self._names.get((ADMIN_PROJECT, key))
        if connection is None:
            raise ConnectionUnknown(
                f"this worker holds no connection {project}/{name}",
                hint="Check the spelling, that deployToWorker is true, and that the project may use this worker's environment.",
            )
        return self._entries[connection]

    def live(self, project: str, name: str) -> Guard:
        """The client that serves now. Raises `UseError` saying why there is none, and what to do."""
        entry = self.entry(project, name)
        if entry.live is not None:
            return entry.live
        if not entry.wanted.enabled:
            raise ConnectionDisabled(
                f"the connection {project}/{name} is disabled", hint='Enable it with PUT ("enabled": true).'
            )
        raise ConnectionFailed(
            f"the connection {project}/{name} cannot serve: {entry.message}",
            reason=entry.reason,
            hint="Correct the connection with PUT, or wait if it is still being applied.",
        )

    async def use(self, project: str, name: str, operation: str, request: Any, timeout_s: float) -> Any:
        """Perform an operation on the client that serves now."""
        while True:
            guard = self.live(project, name)
            try:
                return await guard.use(operation, request, timeout_s)
            except Closing:
                if self.entry(project, name).live is guard:
                    raise
            except Rejected:
                self._look_after_refusal(project, name, guard)
                raise

    async def use_many(
        self, project: str, name: str, operation: str, requests: Sequence[Any], timeout_s: float
    ) -> list[Answer | MooringError]:
        """
        Perform an operation once for each of *requests*, in their order and some at a time, all within *timeout_s*.

        What came of each, at its place: its answer, or why there is none.

        Raises:
            UseError: nothing was begun: there is no such connection or operation, or nothing serves it.
        """
        self.live(project, name).operation(operation)
        outcomes: list[Answer | MooringError] = [Unreachable("not begun within the time")] * len(requests)
        waiting = iter(enumerate(requests))
        until = time.monotonic() + timeout_s

        async def perform() -> None:
            for index, request in waiting:
                left_s = until - time.monotonic()
                if left_s <= 0:
                    return
                try:
                    outcomes[index] = await self.use(project, name, operation, request, left_s)
                except MooringError as exc:
                    outcomes[index] = exc

        await asyncio.gather(*(perform() for _ in range(min(BATCH_AT_ONCE, len(requests)))))
        return outcomes

    async def native(self, project: str, name: str) -> Any:
        """The driver's live client that serves now."""
        return await self.live(project, name).native()

    def listing(self) -> list[dict[str, Any]]:
        """What the worker holds, by project and name."""
        return [
            {
                "project": entry.wanted.project, "name": entry.wanted.name, "type": entry.wanted.type,
                "state": entry.state, "reason": entry.reason or None, "message": entry.message or None,
                "generation": entry.wanted.generation, "servingGeneration": entry.serving_generation,
                "health": entry.live.health if entry.live else ("disabled" if entry.state == "disabled" else "unknown"),
                "circuit": entry.live.breaker.circuit if entry.live and entry.live.breaker else None,
                "operations": list(entry.live.connector.operations) if entry.live else [],
            }
            for entry in sorted(self._entries.values(), key=lambda entry: (entry.wanted.project, name_key(entry.wanted.name)))
        ]  # fmt: skip

    def _look_after_refusal(self, project: str, name: str, guard: Guard) -> None:
        """A secret that lives elsewhere may have been changed there: look, but not for every refusal."""
        entry = self._entries.get(self._names.get((project, name_key(name)), ""))
        if entry is None or entry.live is not guard or not guard.borrowed:
            return
        if time.monotonic() - entry.looked_at >= LOOK_AFTER_REFUSAL_S:
            entry.looked_at = time.monotonic()
            self._spawn(self._look_again(entry))

    async def look_again(self) -> None:
        """Take up secrets that were changed elsewhere, make before break."""
        now = time.monotonic()
        due = [
            entry
            for entry in self._entries.values()
            if entry.live and entry.live.borrowed and now - entry.looked_at >= self._look_again_s
        ]
        for entry in due:
            entry.looked_at = now
            await self._look_again(entry)

    async def _look_again(self, entry: Entry) -> None:
        live, frame = entry.live, entry.wanted
        if live is None or (entry.task is not None and not entry.task.done()):
            return  # what is being applied reads them anyway
        try:
            found = await self._elsewhere.read(frame.project, live.borrowed, fresh=True)
        except NotRead as exc:
            log.warning("secret_not_read", connection=frame.id, why=exc.message)
            return  # what serves goes on serving
        if found != live.borrowed and entry.live is live and entry.wanted is frame:
            log.info("secret_changed_elsewhere", connection=frame.id)
            self._begin(entry)

    async def tidy(self) -> None:
        """Give back sockets and threads of connections that nobody used for a while, and of the longest unused over the cap."""
        now = time.monotonic()
        started = sorted(
            (e.live for e in self._entries.values() if e.live and e.live.started), key=lambda live: live.last_used
        )
        surplus = max(0, len(started) - MAX_STARTED)
        for index, live in enumerate(started):
            if index < surplus or now - live.last_used > self._idle_s:
                await live.rest()

    async def close(self, grace_s: float = DISABLE_GRACE_S) -> None:
        """Close everything; operations that run may finish for *grace_s*."""
        for connection in list(self._entries):
            self.remove(connection, grace_s=grace_s)
        if self._closing:
            await asyncio.wait(self._closing)
        await self._elsewhere.close()


def _step_frame(step: Step) -> StepFrame:
    told = step.wire()
    for name in ("message", "remedy"):
        told[name] = told[name][:MAX_TEXT] if told[name] else None
    return StepFrame.model_validate(told)


def _told(report: ProbeReport) -> str:
    step = report.failure
    assert step is not None
    return f"the new settings do not work ({step.name}: {step.message}); the old ones serve on"


def describe(error: MooringError) -> dict[str, Any]:
    """An error as this worker's API answers it."""
    body: dict[str, Any] = {"error": error.code, "error_description": error.message}
    if error.hint:
        body["hint"] = error.hint
    if isinstance(error, ConnectionFailed):
        body["reason"] = error.reason
    if isinstance(error, InvalidConfig):
        body["errors"] = [{"path": p.path, "code": p.code, "message": p.message} for p in error.problems]
    return body
