"""The routes of the audit."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from mooring.api.errors import JSON
from mooring.api.request import plane_of, whole
from mooring.domain.records import Actor, AuditFilter
from mooring.errors import InvalidConfig, Problem
from mooring.wire.envelope import dumps, listed

NDJSON = "application/x-ndjson;charset=UTF-8"
MAX_PAGE = 1000
MAX_TEXT = 300
CHUNK = 65536

_TEXTS = {
    "actor": "actor", "action": "action", "noun": "noun", "nounId": "noun_id", "name": "name",
    "requestId": "request_id",
}  # fmt: skip
_INSTANTS = {"from": "since", "to": "until"}
_MILLISECONDS = re.compile(r"[0-9]{1,15}")


async def find(request: Request, actor: Actor) -> Response:
    """A page of it, newest first."""
    query = request.query_params
    limit = whole(request, "limit", 100, 1, MAX_PAGE)
    before = whole(request, "before", 0, 1, 10**12 - 1) if query.get("before") else None
    entries, following = await plane_of(request).audit.find(
        actor, query.get("projectName"), _wanted(request), before, limit
    )
    body = listed([dumps(entry) for entry in entries])
    return Response(f'{body[:-1]},"nextBefore":{dumps(following)}}}', media_type=JSON)


async def export(request: Request, actor: Actor) -> Response:
    """All of it, oldest first, in lines."""
    lines = await plane_of(request).audit.export(actor, request.query_params.get("projectName"), _wanted(request))
    return StreamingResponse(_chunks(lines), media_type=NDJSON)


async def head(request: Request, actor: Actor) -> Response:
    """Where the chain ends now."""
    return Response(listed([dumps(plane_of(request).audit.head(actor))]), media_type=JSON)


async def _chunks(lines: AsyncIterator[str]) -> AsyncIterator[str]:
    waiting: list[str] = []
    size = 0
    async for line in lines:
        waiting.append(line)
        size += len(line)
        if size > CHUNK:
            yield "".join(waiting)
            waiting, size = [], 0
    yield "".join(waiting)


def _wanted(request: Request) -> AuditFilter:
    query = request.query_params
    texts = {column: query[name][:MAX_TEXT] for name, column in _TEXTS.items() if query.get(name)}
    instants = {column: _instant(query[name], name) for name, column in _INSTANTS.items() if query.get(name)}
    return AuditFilter(**texts, **instants)  # type: ignore[arg-type]  # the two kinds of columns


def _instant(text: str, name: str) -> int:
    """Milliseconds since 1970, or ISO 8601; without a zone it is UTC."""
    if _MILLISECONDS.fullmatch(text):
        return int(text)
    try:
        at = datetime.fromisoformat(text.replace(" ", "+"))
        return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        told = f"{name} is not valid: must be an instant such as 2026-01-31T08:00:00Z"
        raise InvalidConfig([Problem(f"/{name}", "invalid", told)]) from None
