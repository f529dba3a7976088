"""
What runs out soon, and whom it concerns: certificate or keystore, then the connections that use it, then the workers.

Worked out when it is asked for, from what stands behind references now and what workers last reported.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from mooring.control.access import require
from mooring.control.fleet import Fleet, Member
from mooring.control.materials import Materials
from mooring.control.references import instant_of
from mooring.domain.records import Actor, Connection, Environment, Material, MaterialContent, Project
from mooring.errors import InvalidConfig, Problem
from mooring.kit.clock import iso, now_ms
from mooring.store.base import Store

NOUNS = ("keystore", "certificate")
DAY_MS = 24 * 3600 * 1000
_UNITS = {"h": 3600 * 1000, "d": DAY_MS, "w": 7 * DAY_MS}
_LONGEST_MS = 3660 * DAY_MS


class Expiring:
    """Looks ahead."""

    def __init__(self, store: Store, fleet: Fleet, materials: Materials) -> None:
        self._store, self._fleet, self._materials = store, fleet, materials

    async def of_project(self, actor: Actor, project_name: str, within: str) -> list[dict[str, Any]]:
        """What runs out within that time in a project, soonest first."""
        project = await self._materials.project(actor, project_name, "certificates:view")
        return await self._found(actor, [project], within)

    async def everywhere(self, actor: Actor, within: str) -> list[dict[str, Any]]:
        """The same of all projects, for who may see all of them."""
        require(actor, "certificates:view")
        return await self._found(actor, await self._store.projects(), within)

    async def _found(self, actor: Actor, projects: Sequence[Project], within: str) -> list[dict[str, Any]]:
        now = now_ms()
        until = now + _period(within)
        environments = {each.id: each for each in await self._store.environments()}
        found = []
        for project in projects:
            for noun in NOUNS:
                for material, contents in await self._store.materials(project.id, noun):
                    users = None
                    for content in contents:
                        ends = list(_ends(content, now, until))
                        if not ends:
                            continue
                        if users is None:
                            users = await self._store.material_users(material)
                        about = _about(material, project, content, environments, ends, now)
                        found.append({**about, **self._users(actor, users, environments[content.environment])})
        return sorted(found, key=lambda each: (each["expiresAt"], each["projectName"], each["name"]))

    def _users(self, actor: Actor, users: Sequence[tuple[Connection, str]], environment: Environment) -> dict[str, Any]:
        """The connections that use it there, with how they are on each worker; of those one may not see, how many."""
        here = [
            (connection, project)
            for connection, project in users
            if not environment.projects or connection.project in environment.projects
        ]
        seen = [(each, project) for each, project in here if actor.sees(each.project)]
        members = self._fleet.members(environment.id)
        return {
            "connections": [
                {
                    "name": each.name, "projectName": project, "type": each.type, "enabled": each.enabled,
                    "workers": [_worker(member, each) for member in members] if each.deploy else [],
                }
                for each, project in seen
            ],
            "furtherConnections": len(here) - len(seen),
        }  # fmt: skip


def _worker(member: Member, connection: Connection) -> dict[str, Any]:
    """How *connection* is on a worker. What one that is away held when it was last heard of is not known."""
    told: dict[str, Any] = {"workerName": member.worker.name, "state": "offline", "reason": None}
    if member.online(now_ms()):
        trouble = member.exceptions.get(connection.id)
        told["state"], told["reason"] = (trouble.state, trouble.reason) if trouble else ("serving", None)
    return told


def _ends(content: MaterialContent, now: int, until: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """
    The certificates in use that run out before *until*, and when.

    Trusted ones that ran out long ago lie in every bundle and are missed by nobody: they count while nothing else is
    trusted.
    """
    used = [entry for entry in json.loads(content.entries) if entry.get("used") and "notAfter" in entry]
    own = [each for entry in used if entry["kind"] == "key" for each in (entry, *entry.get("chain", ()))]
    trusted = [entry for entry in used if entry["kind"] != "key"]
    some_last = any(instant_of(each["notAfter"]) > now for each in trusted)
    for each in [*own, *trusted]:
        instant = instant_of(each["notAfter"])
        if instant <= until and (each in own or instant > now or not some_last):
            yield instant, each


def _about(
    material: Material, project: Project, content: MaterialContent, environments: dict[str, Environment],
    ends: Sequence[tuple[int, dict[str, Any]]], now: int,
) -> dict[str, Any]:  # fmt: skip
    first = min(instant for instant, _ in ends)
    return {
        "kind": material.noun, "name": material.name, "projectName": project.name,
        "environmentName": environments[content.environment].name, "alias": content.alias, "expiresAt": iso(first),
        "expired": first <= now, "daysLeft": (first - now) // DAY_MS,
        "certificates": [
            {key: each[key] for key in ("subjectDn", "issuerDn", "serialNumber", "notAfter", "sha256Thumbprint")}
            for _, each in sorted(ends, key=lambda end: end[0])
        ],
    }  # fmt: skip


def _period(text: str) -> int:
    """Milliseconds. Raises `InvalidConfig`."""
    match = re.fullmatch(r"([0-9]{1,5})([hdw])", text.strip().lower())
    length = int(match[1]) * _UNITS[match[2]] if match else None
    if length is None or length > _LONGEST_MS:
        raise InvalidConfig(
            [Problem("/within", "invalid", "within is not valid: must be hours, days or weeks, such as 12h, 30d or 8w")]
        )
    return length
