"""What to say of a deployment: pure functions from counts to the documented answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mooring.domain.records import Deployment
from mooring.kit.record import record

MAX_FAILURES = 20


@record
class Failure:
    """One worker that could not apply the change."""

    worker: str
    reason: str
    message: str


@dataclass(slots=True)
class Tally:
    """
    How far one deployment is, in one environment.

    `registered` counts workers that ever enrolled and were not forgotten; `expected` those that were online.
    """

    registered: int = 0
    expected: int = 0
    applied: int = 0
    offline: int = 0
    failures: list[Failure] = field(default_factory=list)

    @property
    def pending(self) -> int:
        return self.expected - self.applied - len(self.failures)

    @property
    def state(self) -> str:
        if self.registered == 0:
            return "NO_WORKERS"
        if self.expected == 0:
            return "PENDING"
        if self.failures:
            return "PARTIAL" if self.applied or self.pending else "FAILED"
        return "SUCCEEDED" if self.applied == self.expected else "PENDING"

    @property
    def success(self) -> bool:
        return self.state in ("SUCCEEDED", "NO_WORKERS")

    @property
    def message(self) -> str:
        match self.state:
            case "NO_WORKERS":
                return "will be deployed when a worker connects"
            case "PENDING" if self.expected == 0:
                return f"no worker is online ({self.offline} offline); it will be applied when one comes back"
            case "PENDING":
                return f"{self.applied} of {self.expected} workers applied"
            case "SUCCEEDED":
                tail = f", {self.offline} offline" if self.offline else ""
                return f"{self.applied} of {self.expected} workers applied{tail}"
        reasons = sorted({failure.reason for failure in self.failures})
        one = len(self.failures) == 1
        return f"{len(self.failures)} worker{'' if one else 's'} failed: {', '.join(reasons)}"

    def wire(self, environment: str, revision: int | None) -> dict[str, Any]:
        """The entry of one environment."""
        entry: dict[str, Any] = {
            "environmentName": environment,
            "success": self.success,
            "state": self.state,
            "revision": revision,
            "message": self.message,
            "workers": {
                "expected": self.expected,
                "applied": self.applied,
                "failed": len(self.failures),
                "pending": self.pending,
                "offline": self.offline,
            },
        }
        if self.failures:
            entry["failures"] = [
                {"worker": failure.worker, "reason": failure.reason, "message": failure.message}
                for failure in self.failures[:MAX_FAILURES]
            ]
            if len(self.failures) > MAX_FAILURES:
                entry["furtherFailures"] = len(self.failures) - MAX_FAILURES
        return entry


def overall(
    entries: Sequence[dict[str, Any]],
    deployments: Sequence[Deployment],
    generation: int,
    warnings: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """The `deploymentResult` of a create, update or delete: the AND over its environments."""
    result: dict[str, Any] = {
        "success": all(entry["success"] for entry in entries),
        "state": worst([entry["state"] for entry in entries]),
    }
    if deployments:
        result["deploymentId"] = deployments[0].id
    result["generation"] = generation
    if not entries:
        result["message"] = "no environment holds it"
    elif len(entries) == 1:
        result["message"] = f"{entries[0]['environmentName']}: {entries[0]['message']}"
    else:
        done = sum(entry["success"] for entry in entries)
        result["message"] = f"{done} of {len(entries)} environments are done"
    if entries:
        result["deploymentResults"] = list(entries)
    if warnings:
        result["warnings"] = list(warnings)
    return result


_ORDER = ("FAILED", "PARTIAL", "PENDING", "SUCCEEDED", "NO_WORKERS")


def worst(found: Sequence[str]) -> str:
    """The state of several that belong together."""
    states = set(found)
    if not states:
        return "NO_WORKERS"
    if states == {"FAILED"}:
        return "FAILED"
    if "FAILED" in states:
        return "PARTIAL"
    return next(state for state in _ORDER if state in states)
