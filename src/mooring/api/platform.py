"""The routes around connections: token exchange, projects, environments, workers, tokens, health."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from mooring.api.errors import JSON
from mooring.api.limits import name_of
from mooring.api.request import address_of, body_of, limits_of, object_of, plane_of
from mooring.domain.records import Actor, Environment, Project, Token
from mooring.errors import BadRequest, NotAuthenticated
from mooring.kit.clock import iso
from mooring.wire.bodies import Body, EnrolmentBody, EnvironmentBody, EnvironmentChange, ProjectBody, TokenBody, read
from mooring.wire.envelope import dumps, listed
from mooring.wire.frames import Enrolment


async def _asked(request: Request, model: type[Body]) -> Body:
    """The body; what the route demands was checked before it."""
    return read(model, await object_of(request))


def _done(**more: Any) -> Response:
    return Response(dumps({"success": True, **more}), media_type=JSON)


def _list(items: list[dict[str, Any]]) -> Response:
    return Response(listed([dumps(item) for item in items]), media_type=JSON)


# tokens


async def exchange(request: Request) -> Response:
    """The documented form post; its errors are the documented ones."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise BadRequest("Content-Type must be application/x-www-form-urlencoded")
    limits, address = limits_of(request), address_of(request)
    limits.check_failures(address)
    try:
        form = parse_qs((await body_of(request)).decode("utf-8"), keep_blank_values=True, max_num_fields=20)
    except (UnicodeDecodeError, ValueError):
        raise BadRequest("Request body is not a valid form") from None
    client_id = form.get("client_id", [""])[0]
    limits.check_name(address, client_id)
    try:
        text, seconds = await plane_of(request).tokens.exchange(
            form.get("grant_type", [None])[0],
            client_id,
            form.get("client_secret", [""])[0],
            request_id=request.scope["mooring.request_id"],
            address=address,
        )
    except NotAuthenticated:
        limits.failed(address, client_id)
        raise
    body = dumps({"access_token": text, "token_type": "Bearer", "expires_in": seconds})
    return Response(body, headers={"Cache-Control": "no-store"}, media_type=JSON)


def _token(token: Token, projects: dict[str, str]) -> dict[str, Any]:
    return {
        "id": token.id,
        "name": token.name,
        "owner": token.owner,
        "projectName": projects.get(token.project) if token.project else None,
        "grants": sorted(token.grants),
        "createdAt": iso(token.created_at),
        "expiresAt": iso(token.expires_at),
        "revokedAt": iso(token.revoked_at),
        "lastUsedAt": iso(token.last_used_at),
    }


async def tokens(request: Request, actor: Actor) -> Response:
    plane = plane_of(request)
    names = {project.id: project.name for project in await plane.projects.list_all(actor)}
    return _list([_token(token, names) for token in await plane.tokens.list_all(actor)])


async def create_token(request: Request, actor: Actor) -> Response:
    body = await _asked(request, TokenBody)
    plane = plane_of(request)
    token, text = await plane.tokens.create(
        actor, body.name, grants=body.grants, project_name=body.project_name, expires_in_s=body.expires_in_seconds
    )
    names = {project.id: project.name for project in await plane.projects.list_all(actor)}
    response = _done(token=text, **{"resultList": [_token(token, names)], "resultCount": 1})
    response.headers["Cache-Control"] = "no-store"
    return response


async def revoke_token(request: Request, actor: Actor) -> Response:
    await plane_of(request).tokens.revoke(actor, request.path_params["token"])
    return _done()


# projects


def _project(project: Project) -> dict[str, Any]:
    return {"name": project.name, "description": project.description}


async def projects(request: Request, actor: Actor) -> Response:
    """The one list that says `status` and not `success`, as documented."""
    items = [_project(project) for project in await plane_of(request).projects.list_all(actor)]
    return Response(dumps({"status": "SUCCESS", "resultList": items, "resultCount": len(items)}), media_type=JSON)


async def project(request: Request, actor: Actor) -> Response:
    found = await plane_of(request).projects.get(actor, request.path_params["project"])
    return _list([{**_project(found), "id": found.id, "createdAt": iso(found.created_at)}])


async def create_project(request: Request, actor: Actor) -> Response:
    body = await _asked(request, ProjectBody)
    name = request.path_params["project"]
    if body.name is not None and body.name != name:
        raise BadRequest(f"Project name in path ({name}) does not match name in body ({body.name})!")
    await plane_of(request).projects.create(actor, name, body.description)
    return _done()


async def delete_project(request: Request, actor: Actor) -> Response:
    await plane_of(request).projects.delete(actor, request.path_params["project"])
    return _done()


# environments


def _environment(environment: Environment) -> dict[str, Any]:
    return {
        "name": environment.name,
        "description": environment.description,
        "type": environment.type,
        "status": environment.status,
        "accessUrl": environment.access_url,
    }


async def environments(request: Request, actor: Actor) -> Response:
    return _list([_environment(environment) for environment in await plane_of(request).environments.list_all(actor)])


async def environments_of_project(request: Request, actor: Actor) -> Response:
    path = request.path_params
    _, found = await plane_of(request).environments.of_project(actor, path.get("project") or path["name"])
    return _list([_environment(environment) for environment in found])


async def create_environment(request: Request, actor: Actor) -> Response:
    body = await _asked(request, EnvironmentBody)
    name = request.path_params["name"]
    if body.name is not None and body.name != name:
        raise BadRequest(f"Environment name in path ({name}) does not match name in body ({body.name})!")
    await plane_of(request).environments.create(
        actor, name, description=body.description, type_name=body.type, status=body.status, access_url=body.access_url,
        projects=body.projects,
    )  # fmt: skip
    return _done()


async def update_environment(request: Request, actor: Actor) -> Response:
    body = await _asked(request, EnvironmentChange)
    await plane_of(request).environments.update(
        actor, request.path_params["name"], name=body.name, description=body.description, type_name=body.type,
        status=body.status, access_url=body.access_url, projects=body.projects,
    )  # fmt: skip
    return _done()


async def delete_environment(request: Request, actor: Actor) -> Response:
    await plane_of(request).environments.delete(actor, request.path_params["name"])
    return _done()


async def environment_status(request: Request, actor: Actor) -> Response:
    plane = plane_of(request)
    environment = await plane.environments.get(actor, request.path_params["name"])
    workers = await plane.workers.list_all(actor, environment.name)
    return _list(
        [
            {
                **_environment(environment),
                "id": environment.id,
                "epoch": environment.epoch,
                "headRevision": environment.head_revision,
                "workers": workers,
            }
        ]
    )


# workers


async def workers(request: Request, actor: Actor) -> Response:
    return _list(await plane_of(request).workers.list_all(actor, request.query_params.get("environmentName")))


async def create_enrolment(request: Request, actor: Actor) -> Response:
    body = await _asked(request, EnrolmentBody)
    text, expires_at = await plane_of(request).workers.enrolment(actor, body.environment_name, body.valid_seconds)
    response = _done(token=text, environmentName=body.environment_name, expiresAt=iso(expires_at))
    response.headers["Cache-Control"] = "no-store"
    return response


async def forget_worker(request: Request, actor: Actor) -> Response:
    await plane_of(request).workers.forget(actor, request.path_params["worker"])
    return _done()


async def enrol(request: Request) -> Response:
    """A worker's first word; its one-time token is in the body."""
    limits, address = limits_of(request), address_of(request)
    limits.check_failures(address)
    body = read(Enrolment, await object_of(request))
    try:
        enrolled = await plane_of(request).workers.enrol(
            body, request_id=request.scope["mooring.request_id"], address=address
        )
    except NotAuthenticated:
        limits.failed(address, name_of(body.token))
        raise
    return Response(enrolled.model_dump_json(by_alias=True), headers={"Cache-Control": "no-store"}, media_type=JSON)


# health


async def healthcheck(request: Request) -> Response:
    return PlainTextResponse("OK")


async def hello(request: Request, actor: Actor) -> Response:
    return PlainTextResponse(f"Hello {request.path_params['word']}")


async def healthz(request: Request) -> Response:
    """This process runs and answers."""
    return Response('{"status":"ok"}', media_type=JSON)


async def readyz(request: Request) -> Response:
    """This node can serve; where not, why."""
    why = await plane_of(request).why_not_ready()
    if why is not None:
        return Response(dumps({"status": "unavailable", "reason": why}), 503, media_type=JSON)
    notices = request.app.state.notices()
    return Response(dumps({"status": "ok", **({"notices": notices} if notices else {})}), media_type=JSON)
