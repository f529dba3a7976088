"""Audit entries: who did what to which noun; never the values."""

from __future__ import annotations

from mooring.domain.records import Actor, AuditEntry
from mooring.kit.clock import now_ms


def entry(
    actor: Actor,
    action: str,
    noun: str,
    noun_id: str,
    name: str,
    *,
    project: str | None = None,
    changed: tuple[str, ...] = (),
) -> AuditEntry:
    """What *actor* does now."""
    return AuditEntry(
        now_ms(),
        actor.name,
        actor.token,
        actor.request_id,
        actor.address,
        action,
        noun,
        noun_id,
        name,
        project,
        changed,
    )
