"""
The guard stands around one connector: deadlines, starting on first use, counting, translating, scrubbing.

Rooms need not remember any of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from mooring.errors import (
    ConnectorBug,
    ConnectorError,
    InvalidConfig,
    Misconfigured,
    OperationUnknown,
    Rejected,
    Unreachable,
    UseError,
)
from mooring.kit.log import log
from mooring.kit.redact import scrub
from mooring.plugin.connector import Answer, Connector, Operation, Request
from mooring.plugin.network import network_error
from mooring.plugin.probe import Probe, ProbeStopped, Step
from mooring.plugin.problems import problems_of
from mooring.plugin.resolution import split_resolved
from mooring.worker.breaker import Breaker

OPERATION_S = 30.0
OPERATION_LIMIT_S = 300.0
PROBE_S = 10.0
OPEN_S = 3.0
STOP_S = 10.0


class Closing(UseError):
    """Nothing was begun: this client is on its way out. Whoever looks again finds its successor."""

    code = "closing"


@dataclass
class Counts:
    """How a connector was used: whole numbers, and total milliseconds of operations."""

    operations: int = 0
    errors: int = 0
    total_ms: float = 0.0


@dataclass(frozen=True)
class ProbeReport:
    """How a probe went, step by step. `ok` is True where no step failed; `took_ms` is wall time."""

    steps: list[Step]
    took_ms: float

    @property
    def failure(self) -> Step | None:
        """The step that failed, if one did."""
        return next((step for step in self.steps if step.state == "failed"), None)

    @property
    def ok(self) -> bool:
        """Whether no step failed."""
        return self.failure is None


class Guard:
    """
    Around one connector. Opened once, used by many at a time, closed once; idle ones give their sockets back.

    *hidden* are values beside the secrets that no message may show; `borrowed` are secrets that live elsewhere, by their
    references, as they were when it was built.
    """

    def __init__(
        self, connector: Connector[Any], breaker: Breaker | None = None, hidden: frozenset[str] = frozenset()
    ) -> None:
        self.connector, self._hidden = connector, hidden
        self.borrowed: Mapping[str, str] = {}
        self.breaker = breaker
        self.counts = Counts()
        self.health = "unknown"
        self.last_used = time.monotonic()
        self._started = False
        self._step: asyncio.Future[None] | None = None
        self._closing = False
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._lock = asyncio.Lock()

    @property
    def in_flight(self) -> int:
        """Operations running now."""
        return self._in_flight

    @property
    def started(self) -> bool:
        """Whether the connector holds sockets, threads or pools."""
        return self._started

    async def open(self) -> None:
        """Build the client; no network. Raises `ConnectorError`."""
        try:
            async with asyncio.timeout(OPEN_S):
                await self.connector.open()
            for host in self.connector.hosts():
                self.connector.context.allowed.egress.check_host(host)
        except TimeoutError as exc:
            raise Misconfigured(f"the client was not built within {OPEN_S:g} s") from exc
        except Exception as exc:
            raise self.explain(exc) from exc

    async def use(self, name: str, request: Request | Mapping[str, Any], timeout_s: float = OPERATION_S) -> Answer:
        """
        Perform the operation *name*.

        Raises:
            OperationUnknown: the type has no such operation.
            InvalidConfig: the request is not what the operation takes.
            CircuitOpen: it was not tried, because of what happened just before.
            ConnectorError: it was tried and failed; the message holds no secret.
        """
        operation = self.operation(name)
        request = read_request(operation, request)
        self._enter()
        try:
            deciding = self.breaker is not None and self.breaker.admit()
            started = time.monotonic()
            self.counts.operations += 1
            deadline = asyncio.timeout(timeout_s)
            try:
                async with deadline:
                    if not self._started:
                        await self._start()
                    answer: Answer = await getattr(self.connector, operation.method)(request)
            except asyncio.CancelledError:
                self._note(deciding, None)
                raise
            except UseError:
                # A bounded queue is full: ours already, and no word about the external system's health.
                self.counts.errors += 1
                self._note(deciding, None)
                raise
            except Exception as exc:
                self.counts.errors += 1
                error = self._timed_out(timeout_s) if deadline.expired() else self.explain(exc)
                self.health = health_of(error) or self.health
                self._note(deciding, error)
                raise error from exc
            finally:
                self.counts.total_ms += (time.monotonic() - started) * 1000
            self.health = "healthy"
            self._note(deciding, answer)
            return answer
        finally:
            self._leave()

    def _note(self, deciding: bool, outcome: Answer | ConnectorError | None) -> None:
        """Tell the breaker how an attempt ended; None where that says nothing."""
        if self.breaker is None:
            return
        if outcome is None:
            self.breaker.abandoned(deciding)
        elif isinstance(outcome, ConnectorError):
            self.breaker.failed(deciding, outcome)
        elif outcome.is_failure:
            self.breaker.failed(deciding, None)
        else:
            self.breaker.succeeded(deciding)

    async def native(self, timeout_s: float = OPERATION_S) -> Any:
        """The driver's live client, started. It stays valid until the connection changes."""
        self._enter()
        try:
            async with asyncio.timeout(timeout_s):
                await self._start()
                return self.connector.native()
        except TimeoutError as exc:
            raise self._timed_out(timeout_s) from exc
        except Exception as exc:
            raise self.explain(exc) from exc
        finally:
            self._leave()

    def operation(self, name: str) -> Operation:
        """The operation of that name. Raises `OperationUnknown`."""
        operation = self.connector.operations.get(name)
        if operation is None:
            known = ", ".join(self.connector.operations) or "none"
            raise OperationUnknown(f"there is no operation of that name; this connection offers: {known}")
        return operation

    async def probe(self, timeout_s: float = PROBE_S) -> ProbeReport:
        """One honest attempt. Never raises for what it finds; that is in the report."""
        started = time.monotonic()
        probe = Probe(translate=self.explain)
        try:
            async with asyncio.timeout(timeout_s):
                await self.connector.probe(probe)
        except ProbeStopped:
            pass
        except TimeoutError:
            if probe.failure is None:
                probe.steps.append(
                    Step(
                        "deadline",
                        "failed",
                        message=f"the probe did not end within {timeout_s:g} s",
                        code="unreachable",
                    )
                )
        except Exception as exc:
            error = self.explain(exc)
            probe.steps.append(Step("probe", "failed", code=error.code, message=error.message, remedy=error.hint))
        return ProbeReport(probe.steps, (time.monotonic() - started) * 1000)

    async def rest(self) -> bool:
        """Give back sockets and threads if nothing is running; the next use starts them anew."""
        async with self._lock:
            if self._in_flight or not self._started:
                return False
            self._started = False
            self._step = asyncio.ensure_future(self._bounded(self.connector.stop(), "stop"))
            await asyncio.wait([self._step])
            return True

    async def close(self, grace_s: float = 30.0, stop_s: float = STOP_S) -> None:
        """No new operations; those running may finish for *grace_s*; then the connector is closed. Safe twice."""
        self._closing = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), grace_s)
        if self._step is not None:
            self._step.cancel()  # a start or stop that hangs must not keep the connector from its end
        async with self._lock:
            self._started = False
            await self._bounded(self.connector.close(), "close", stop_s)

    def explain(self, error: BaseException) -> ConnectorError:
        """*error* as one of ours, with every secret of this connection taken out."""
        found = error if isinstance(error, ConnectorError) else self._translate(error)
        return self._scrubbed(found)

    def _translate(self, error: BaseException) -> ConnectorError:
        try:
            known = self.connector.translate(error)
        except Exception as exc:  # a room's own bug must not hide what happened
            log.error("translate_failed", connection=self.connector.context.name, error=type(exc).__name__)
            known = None
        if known is not None:
            return known
        if isinstance(error, OSError | EOFError):
            return network_error(error, "the server")
        log.error("connector_bug", connection=self.connector.context.name, error=type(error).__name__)
        return ConnectorBug(
            f"the driver raised {type(error).__name__}, which this version does not understand",
            hint="Report it, with the worker's log.",
        )

    def _scrubbed(self, error: ConnectorError) -> ConnectorError:
        secrets = _secrets_of(self.connector) | self.connector.secret_values() | self._hidden
        message = scrub(error.message, secrets)
        hint = scrub(error.hint, secrets) if error.hint else None
        if (message, hint) == (error.message, error.hint):
            return error
        return type(error)(message, hint=hint)

    def _timed_out(self, timeout_s: float) -> Unreachable:
        return Unreachable(
            f"no answer within {timeout_s:g} s",
            hint="Check that the server is up and not overloaded, or allow more time.",
        )

    async def _start(self) -> None:
        if self._started:
            return
        async with self._lock:
            if self._closing:
                raise _closing()
            if not self._started:
                self._step = asyncio.ensure_future(self.connector.start())
                try:
                    await self._step
                except asyncio.CancelledError:
                    if not self._closing:
                        await self._bounded(self.connector.stop(), "stop")
                        raise
                    if _is_cancelled():
                        raise
                    raise _closing() from None
                except BaseException:
                    await self._bounded(self.connector.stop(), "stop")
                    raise
                self._started = True

    def _enter(self) -> None:
        """Something uses the connector, which stays until `_leave`. Raises `Closing`."""
        if self._closing:
            raise _closing()
        self._in_flight += 1
        self._idle.clear()

    def _leave(self) -> None:
        self.last_used = time.monotonic()
        self._in_flight -= 1
        if self._in_flight == 0:
            self._idle.set()

    async def _bounded(self, ending: Awaitable[None], what: str, seconds: float = STOP_S) -> None:
        try:
            async with asyncio.timeout(seconds):
                await ending
        except Exception as exc:
            log.warning(f"connector_{what}_failed", connection=self.connector.context.name, error=type(exc).__name__)


def _closing() -> Closing:
    return Closing("the connection is being closed", hint="Retry: its successor serves already, if it has one.")


def _is_cancelled() -> bool:
    """Whether it is the running task itself that shall end, and not what it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def read_request(operation: Operation, request: Request | Mapping[str, Any]) -> Request:
    """The request of *operation* that a mapping describes. Raises `InvalidConfig`."""
    if isinstance(request, operation.request):
        return request
    try:
        return operation.request.model_validate(dict(request))
    except ValidationError as exc:
        raise InvalidConfig(
            problems_of(exc, lambda path: [info.alias or name for name, info in operation.request.model_fields.items()])
        ) from None


def health_of(error: ConnectorError) -> str | None:
    """What an error says about the connection's health; None where it says nothing."""
    if isinstance(error, Unreachable):
        return "unreachable"
    if isinstance(error, Rejected):
        return "auth_failed"
    return None


def _secrets_of(connector: Connector[Any]) -> frozenset[str]:
    _, secrets = split_resolved(connector.config)
    return frozenset(secrets.values())
