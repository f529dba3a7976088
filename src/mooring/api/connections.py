"""The routes of connections and of their types."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from mooring.api.errors import JSON, Json
from mooring.api.request import ask_of, body_of, json_body_of, plane_of, require_json, whole
from mooring.control.connections import Ask
from mooring.domain.records import Actor
from mooring.errors import BadRequest, InvalidConfig, Problem
from mooring.wire.envelope import dumps, listed

MAX_PAGE = 1000
ORDERS = ("name", "type", "createdAt", "updatedAt")


async def create(request: Request, actor: Actor) -> Response:
    path = request.path_params
    raw, ask = await _asked(request, actor)
    return Json(await plane_of(request).connections.create(actor, path["project"], path["name"], raw, ask))


async def update(request: Request, actor: Actor) -> Response:
    path = request.path_params
    raw, ask = await _asked(request, actor)
    return Json(await plane_of(request).connections.update(actor, path["project"], path["name"], raw, ask))


async def delete(request: Request, actor: Actor) -> Response:
    path = request.path_params
    _, ask = await _asked(request, actor, has_body=False)
    return Json(await plane_of(request).connections.delete(actor, path["project"], path["name"], ask))


async def _asked(request: Request, actor: Actor, *, has_body: bool = True) -> tuple[bytes, Ask]:
    """
    The body and what is asked beside it.

    Where one of them is wrong, the project, the permission and the name are looked at first: the order of refusals.
    """
    try:
        raw = await json_body_of(request) if has_body else b""
        return raw, ask_of(request, raw)
    except BadRequest:
        path = request.path_params
        await plane_of(request).connections.check_change(actor, path["project"], path["name"])
        raise


async def get(request: Request, actor: Actor) -> Response:
    path = request.path_params
    document, generation = await plane_of(request).connections.get(actor, path["project"], path["name"])
    return Json(listed([document]), ((b"etag", b'"%d"' % generation),))


async def find(request: Request, actor: Actor) -> Response:
    """All of them, streamed; or a page, where one is asked for by page and size, or by cursor and limit."""
    try:
        return await _found(request, actor)
    except InvalidConfig:
        # A parameter is wrong; a missing project or permission is said first.
        await plane_of(request).connections.list_all(actor, request.path_params["project"], None)
        raise


async def _found(request: Request, actor: Actor) -> Response:
    query = request.query_params
    type_name = query.get("type") or None
    project = request.path_params["project"]
    connections = plane_of(request).connections
    limit = whole(request, "limit", 100, 1, MAX_PAGE)
    order, descending = _sort(query.get("sort", "name,asc"))
    page, size = whole(request, "page", 1, 1, 10**6), whole(request, "size", 100, 1, MAX_PAGE)
    if "cursor" in query or "limit" in query:
        after = query.get("cursor") or None
        rows = [row async for row in await connections.list_all(actor, project, type_name, after, limit + 1)]
        body = listed([document for _, document in rows[:limit]])
        following = dumps(rows[limit - 1][0]) if len(rows) > limit else "null"
        return Response(f'{body[:-1]},"nextCursor":{following}}}', media_type=JSON)
    if "page" in query or "size" in query or "sort" in query:
        return Response(
            listed(await connections.page(actor, project, type_name, order, descending, page, size)), media_type=JSON
        )
    rows_of = await connections.list_all(actor, project, type_name)
    return StreamingResponse(_streamed(rows_of), media_type=JSON)


def _sort(text: str) -> tuple[str, bool]:
    order, _, direction = text.partition(",")
    if order not in ORDERS or direction.lower() not in ("", "asc", "desc"):
        raise InvalidConfig(
            [Problem("/sort", "invalid", f"sort is not valid: must be one of {', '.join(ORDERS)}, then ,asc or ,desc")]
        )
    return order, direction.lower() == "desc"


async def _streamed(rows: AsyncIterator[tuple[str, str]]) -> AsyncIterator[str]:
    """The list envelope, a few documents at a time."""
    count = 0
    waiting = ['{"success":true,"resultList":[']
    size = 0
    async for _, document in rows:
        if count:
            waiting.append(",")
        waiting.append(document)
        count += 1
        size += len(document)
        if size > 65536:
            yield "".join(waiting)
            waiting, size = [], 0
    waiting.append(f'],"resultCount":{count}}}')
    yield "".join(waiting)


async def test(request: Request, actor: Actor) -> Response:
    """The body is optional: without one, the stored settings are tested."""
    path, query = request.path_params, request.query_params
    plane = plane_of(request)
    try:
        raw = await body_of(request)
        if raw:
            require_json(request)
    except BadRequest:
        await plane.connections.check_change(actor, path["project"], path["name"])
        raise
    answer = await plane.probes.test(
        actor, path["project"], path["name"], raw or None, query.get("environmentName"), query.get("worker")
    )
    return Json(answer)


async def deployments(request: Request, actor: Actor) -> Response:
    path = request.path_params
    found = await plane_of(request).deployments.history(
        actor, path["project"], path["name"], whole(request, "limit", 20, 1, MAX_PAGE)
    )
    return Json(listed([dumps(deployment) for deployment in found]))


async def deployment(request: Request, actor: Actor) -> Response:
    path = request.path_params
    found = await plane_of(request).deployments.one(actor, path["project"], path["name"], path["deployment"])
    return Json(listed([dumps(found)]))


async def types(request: Request, actor: Actor) -> Response:
    return Json(listed([dumps(card.summary()) for card in plane_of(request).registry]))


async def one_type(request: Request, actor: Actor) -> Response:
    registry = plane_of(request).registry
    card = registry.get(request.path_params["type"])
    return Response(
        listed([dumps({**card.summary(), "schema": card.schema, "example": card.example})]), media_type=JSON
    )
