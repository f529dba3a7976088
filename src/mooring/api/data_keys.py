"""The routes of the keys that secrets are sealed with; never the keys themselves."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from mooring.api.errors import JSON
from mooring.api.request import plane_of
from mooring.domain.records import Actor
from mooring.kit.clock import iso
from mooring.wire.envelope import dumps, listed


async def find(request: Request, actor: Actor) -> Response:
    """Every data key: since when, whether it is retired, and how many values it still seals."""
    found = await plane_of(request).data_keys.list_all(actor)
    items = [
        {
            "id": each.key.id,
            "state": "ACTIVE" if each.key.retired_at is None else "RETIRED",
            "createdAt": iso(each.key.created_at),
            "retiredAt": iso(each.key.retired_at),
            "sealedCount": each.sealed,
            "unreadableCount": each.unreadable,
        }
        for each in found
    ]
    return Response(listed([dumps(item) for item in items]), media_type=JSON)


async def rotate(request: Request, actor: Actor) -> Response:
    """Answers when the new key seals; what was sealed before is sealed anew afterwards, beside everything else."""
    await plane_of(request).data_keys.rotate(actor)
    return await find(request, actor)
