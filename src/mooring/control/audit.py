"""Reading the audit: who may see what of it, the searches people make, and copies that can be checked elsewhere."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import replace
from typing import Any

from mooring.control.access import require, visible_project
from mooring.domain.records import Actor, AuditFilter
from mooring.errors import BadRequest
from mooring.kit.clock import iso
from mooring.kit.log import log
from mooring.store.audit_chain import COLUMNS, EMPTY, Head, Link, Row
from mooring.store.base import Store
from mooring.wire.envelope import dumps

EVERYTHING = AuditFilter()
ENTRY, LINK = "entry", "link"
"""What a line of a copy holds."""


class Audit:
    """The audit of every project, for those who may see it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._told = EMPTY

    async def find(
        self, actor: Actor, project_name: str | None, wanted: AuditFilter, before: int | None, limit: int
    ) -> tuple[list[dict[str, Any]], int | None]:
        """
        The newest entries, and the number under which the others are.

        Raises:
            NotFound: no such project.
            NotPermitted: without `audit:view` there; without a project, everywhere.
        """
        wanted = await self._allowed(actor, project_name, wanted)
        names = {project.id: project.name for project in await self._store.projects()}
        found: list[dict[str, Any]] = []
        async for entry in self._store.audit(wanted, before):
            if len(found) == limit:
                return found, found[-1]["seq"]
            found.append(shown(entry, names))
        return found, None

    async def export(self, actor: Actor, project_name: str | None, wanted: AuditFilter) -> AsyncIterator[str]:
        """
        A copy, oldest first: lines of JSON, an entry or a link of the chain each.

        One of everything has the links, and `mooring audit verify --file` can check it. Raises as `find` does.
        """
        wanted = await self._allowed(actor, project_name, wanted)
        return self._lines(wanted)

    async def _lines(self, wanted: AuditFilter) -> AsyncIterator[str]:
        async for link, entries in self._store.audit_records(wanted):
            for entry in entries:
                yield dumps({ENTRY: entry}) + "\n"
            if wanted == EVERYTHING:  # a part can not be checked, and links tell how much others do
                yield dumps({LINK: _link_shown(link)}) + "\n"

    def head(self, actor: Actor) -> dict[str, Any]:
        """Where the chain ends now. Raises `NotPermitted`."""
        require(actor, "audit:view")
        return head_shown(self._store.audit_head())

    async def tell_head(self) -> None:
        """Say in the log where the chain ends, if it has moved: whoever keeps the log sees when its end is cut off."""
        head = self._store.audit_head()
        if head != self._told and head.mac:
            self._told = head
            log.info("audit_head", **head_shown(head))

    async def _allowed(self, actor: Actor, project_name: str | None, wanted: AuditFilter) -> AuditFilter:
        if project_name is not None:
            project = await visible_project(self._store, actor, project_name)
            require(actor, "audit:view", project.id)
            return replace(wanted, project=project.id)
        require(actor, "audit:view")
        return wanted


def shown(entry: Mapping[str, Any], projects: Mapping[str, str]) -> dict[str, Any]:
    """An entry as people read it."""
    return {
        "seq": entry["seq"], "at": iso(entry["at"]), "actor": entry["actor"], "token": entry["token"],
        "requestId": entry["request_id"], "address": entry["address"], "action": entry["action"],
        "noun": entry["noun"], "nounId": entry["noun_id"], "name": entry["name"],
        "projectName": projects.get(entry["project"]) if entry["project"] else None, "project": entry["project"],
        "changed": entry["changed"], "changes": entry["changes"],
    }  # fmt: skip


def head_shown(head: Head) -> dict[str, Any]:
    """A head for safekeeping."""
    return {"seq": head.seq, "at": iso(head.at) if head.at else None, "mac": head.mac.hex()}


def read_head(values: Any) -> Head:
    """A head that was kept. Raises `BadRequest`."""
    try:
        return Head(int(values["seq"]), 0, bytes.fromhex(values["mac"]))
    except (TypeError, KeyError, ValueError):
        raise BadRequest("this is no head of an audit", hint="mooring audit head prints one.") from None


def read_copy(lines: Iterable[str]) -> tuple[list[Link], list[tuple[int, Row]]]:
    """The links of a copy, and its records. Raises `BadRequest` naming the first line that is none."""
    links: list[Link] = []
    records: list[tuple[int, Row]] = []
    for number, line in enumerate(lines, 1):
        try:
            values = json.loads(line)
            if LINK in values:
                link = values[LINK]
                links.append(
                    Link(
                        link["first"], link["last"], link["at"], bytes.fromhex(link["tags"]), bytes.fromhex(link["mac"])
                    )
                )
            else:
                entry = values[ENTRY]
                records.append((entry["seq"], _row(entry)))
        except (ValueError, KeyError, TypeError):
            raise BadRequest(f"line {number} of the copy is not one of an audit") from None
    if records and not links:
        raise BadRequest(
            "the copy is one of a part of the audit, which can not be checked",
            hint="Make one without conditions, with a token that sees every project.",
        )
    return links, records


def _row(entry: Mapping[str, Any]) -> Row:
    """The columns of an entry as they are stored."""
    values = dict(entry)
    values["changed"] = dumps(entry["changed"])
    values["changes"] = dumps(entry["changes"]) if entry["changes"] else None
    return [values[name] for name in COLUMNS]


def _link_shown(link: Link) -> dict[str, Any]:
    return {"first": link.first, "last": link.last, "at": link.at, "tags": link.tags.hex(), "mac": link.mac.hex()}
