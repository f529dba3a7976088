"""Audit entries: who did what to which noun, and how public values changed; of a secret, only that it did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json

from mooring.domain.records import Actor, AuditEntry
from mooring.kit.clock import now_ms

MAX_VALUE = 300
MAX_CHANGES = 8192

Change = tuple[Any, Any]
"""The value before and after. Of a secret these are keyed fingerprints; None says that there was, or is, nothing."""


def entry(
    actor: Actor,
    action: str,
    noun: str,
    noun_id: str,
    name: str,
    *,
    project: str | None = None,
    changed: tuple[str, ...] = (),
    changes: Mapping[str, Change] | None = None,
) -> AuditEntry:
    """What *actor* does now; *changed* are the names of what it changed, where *changes* does not name them itself."""
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
        changed or tuple(sorted(changes or ())),
        _told(changes) if changes else None,
    )


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Change]:
    """What differs between two public documents; entries of a list that have names are told apart by them."""
    found: dict[str, Change] = {}
    for name in before.keys() | after.keys():
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        was, now = _named(old), _named(new)
        if was is None or now is None:
            found[name] = (old, new)
        else:
            found.update(
                {
                    f"{name}/{key}": (was.get(key), now.get(key))
                    for key in was.keys() | now.keys()
                    if was.get(key) != now.get(key)
                }
            )
            if not any(key.startswith(f"{name}/") for key in found):
                found[name] = (None, None)  # only their order
    return found


def _named(value: Any) -> dict[str, Any] | None:
    """The values of a list of `{name, value}` entries by their names; None where it is something else."""
    if value is None:
        return {}
    if not isinstance(value, list):
        return None
    named = {}
    for entry in value:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            return None
        rest = {key: part for key, part in entry.items() if key != "name"}
        named[entry["name"]] = rest.get("value") if set(rest) <= {"value"} else rest
    return named if len(named) == len(value) else None


def _told(changes: Mapping[str, Change]) -> str | None:
    """As JSON, bounded: an audit is no second copy of everything. None where nothing is short enough."""
    told: dict[str, Any] = {}
    left = MAX_CHANGES
    for name in sorted(changes):
        old, new = (_bounded(value) for value in changes[name])
        left -= len(name) + len(to_json((old, new)))
        if left < 0:
            break
        told[name] = {"old": old, "new": new}
    return to_json(told).decode() if told else None


def _bounded(value: Any) -> Any:
    text = to_json(value).decode()
    return value if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]}… ({len(text)} characters)"
