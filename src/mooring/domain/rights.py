"""
Grants, the roles that bundle them, and what somebody may by them.

A grant is held everywhere, in a project, or on one connection. Whoever acts by a token may what the token carries and
its owner may at that moment: both, always.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import NamedTuple

from mooring.kit.record import record

EVERY_GRANT: frozenset[str] = frozenset(
    {
        "connections:view", "connections:manage", "connections:test", "connections:use", "connections:attach",
        "connections:globalize", "linux-script:use", "certificates:view", "certificates:manage", "secrets:reveal",
        "projects:manage", "environments:view", "environments:manage", "workers:view", "workers:manage",
        "tokens:manage", "users:manage", "audit:view", "seal:manage",
    }
)  # fmt: skip
"""What there is to be granted. The administrator's token of the first start has all but `secrets:reveal`."""

ALL_BUT_REVEAL = EVERY_GRANT - {"secrets:reveal"}

COVERED_BY: Mapping[str, str] = {
    "certificates:view": "connections:view",
    "certificates:manage": "connections:manage",
}
"""Grants that come with another one: whoever keeps connections keeps the certificates that they use."""

SHAREABLE: frozenset[str] = frozenset({"connections:view", "connections:use", "connections:test", "connections:manage"})
"""What can be granted on a single connection."""

FOR_TYPE: Mapping[str, str] = {"linux-script": "linux-script:use"}
"""Types whose connections ask for a grant of their own, because they run commands."""

ROLES: Mapping[str, frozenset[str]] = {
    "ROLE_ADMIN": ALL_BUT_REVEAL,
    "ROLE_API_SECURITY": frozenset(
        {"connections:view", "connections:manage", "connections:test", "connections:use", "connections:attach"}
    ),
    "ROLE_DEPLOY_UNDEPLOY_PROXIES": frozenset({"connections:view", "connections:test"}),
    "ROLE_MANAGE_PROXIES": frozenset({"certificates:view", "certificates:manage"}),
    "ROLE_VIEWER": frozenset({"connections:view"}),
    "ROLE_CONSUMER": frozenset({"connections:view", "connections:use", "connections:attach"}),
    "ROLE_LINUX_SCRIPT": frozenset({"linux-script:use"}),
    "ROLE_SECRETS": frozenset({"secrets:reveal"}),
}
"""
The documented roles, and four of ours. Deploying is part of managing a connection, so the documented role for it adds
nothing there; scripts and showing secrets are in no other role, because they must be given on purpose.
"""


def covers(grants: frozenset[str], grant: str) -> bool:
    """Whether *grant* is among *grants*, or comes with one of them."""
    return grant in grants or (grant in COVERED_BY and COVERED_BY[grant] in grants)


def grants_of(roles: Iterable[str]) -> frozenset[str]:
    """What all of *roles* give together."""
    return frozenset().union(*(ROLES[role] for role in roles))


class OnConnection(NamedTuple):
    """What is granted on one connection, and the project that it is in."""

    project: str
    grants: frozenset[str]


@record
class Rights:
    """Grants that are held everywhere, in projects, and on connections (by their ids)."""

    everywhere: frozenset[str] = frozenset()
    projects: Mapping[str, frozenset[str]] = field(default_factory=dict)
    connections: Mapping[str, OnConnection] = field(default_factory=dict)

    def may(self, grant: str, project_id: str | None = None, connection_id: str | None = None) -> bool:
        """Whether *grant* is held there: without a project, everywhere."""
        if covers(self.everywhere, grant):
            return True
        if project_id is not None and covers(self.projects.get(project_id, frozenset()), grant):
            return True
        shared = self.connections.get(connection_id) if connection_id is not None else None
        return shared is not None and grant in shared.grants

    def may_somewhere(self, grant: str) -> bool:
        """Whether *grant* is held in any place at all."""
        return (
            covers(self.everywhere, grant)
            or any(covers(grants, grant) for grants in self.projects.values())
            or any(grant in shared.grants for shared in self.connections.values())
        )

    def sees(self, project_id: str) -> bool:
        """Whether the project exists for whoever holds these: where anything is held in it."""
        return (
            bool(self.everywhere)
            or bool(self.projects.get(project_id))
            or any(shared.project == project_id for shared in self.connections.values())
        )
