"""The routes of environment variables."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from mooring.api.errors import Json
from mooring.api.materials import asked, listed_page, one, without_body
from mooring.api.request import plane_of
from mooring.domain.records import Actor


async def find(request: Request, actor: Actor) -> Response:
    return listed_page(request, await plane_of(request).variables.list_all(actor, request.path_params["project"]))


async def get(request: Request, actor: Actor) -> Response:
    path = request.path_params
    return one(*await plane_of(request).variables.get(actor, path["project"], path["name"]))


async def create(request: Request, actor: Actor) -> Response:
    variables, path = plane_of(request).variables, request.path_params
    values, ask = await asked(request, None, lambda: variables.check_change(actor, path["project"], path["name"]))
    return Json(await variables.create(actor, path["project"], path["name"], values, ask))


async def update(request: Request, actor: Actor) -> Response:
    variables, path = plane_of(request).variables, request.path_params
    values, ask = await asked(request, None, lambda: variables.check_change(actor, path["project"], path["name"]))
    return Json(await variables.update(actor, path["project"], path["name"], values, ask))


async def delete(request: Request, actor: Actor) -> Response:
    variables, path = plane_of(request).variables, request.path_params
    ask = await without_body(request, b"", lambda: variables.check_change(actor, path["project"], path["name"]))
    return Json(await variables.delete(actor, path["project"], path["name"], ask))
