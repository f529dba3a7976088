"""
A probe: one honest attempt, step by step.

    async with probe.step("connect"):
        ...

A step that raises has failed and ends the probe; steps not reached are reported as skipped. A step whose
outcome cannot be known (a datagram was sent; nobody answers) says `probe.unknown(...)`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from mooring.errors import ConnectorError

State = Literal["passed", "failed", "skipped", "unknown"]


@dataclass
class Step:
    """How one step went. `took_ms` is wall time; `remedy` says what to do next."""

    name: str
    state: State
    took_ms: float = 0.0
    code: str | None = None
    message: str | None = None
    remedy: str | None = None

    def wire(self) -> dict[str, Any]:
        return {
            "step": self.name, "state": self.state, "tookMs": round(self.took_ms, 1),
            "code": self.code, "message": self.message, "remedy": self.remedy,
        }  # fmt: skip


class ProbeStopped(Exception):
    """A step failed; the report has the rest."""


@dataclass
class Probe:
    """The report while it is being written. *translate* turns any exception into one of ours that people may read."""

    translate: Callable[[BaseException], ConnectorError]
    steps: list[Step] = field(default_factory=list)
    _unknown: str | None = None

    @asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[None]:
        """Do one step inside; what it raises is its failure, and ends the probe."""
        started = time.monotonic()
        self._unknown = None
        step = Step(name, "passed")
        self.steps.append(step)
        try:
            yield
        except Exception as exc:
            error = self.translate(exc)
            step.state, step.code, step.message, step.remedy = "failed", error.code, error.message, error.hint
            raise ProbeStopped from exc
        except asyncio.CancelledError:
            step.state, step.code, step.message = "failed", "unreachable", f"{name} did not end within the deadline"
            step.remedy = "Check that the address is right and that nothing on the way drops packets silently."
            raise
        else:
            if self._unknown is not None:
                step.state, step.message = "unknown", self._unknown
        finally:
            step.took_ms = (time.monotonic() - started) * 1000

    def unknown(self, why: str) -> None:
        """Inside a step: it was done, and nobody can tell whether it worked."""
        self._unknown = why

    def skip(self, name: str, why: str) -> None:
        """A step that does not apply to this config."""
        self.steps.append(Step(name, "skipped", message=why))

    @property
    def failure(self) -> Step | None:
        """The step that failed, if one did."""
        return next((step for step in self.steps if step.state == "failed"), None)
