"""The routes of users, of oneself, and of grants on single connections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from mooring.api.errors import JSON
from mooring.api.request import ask_of, object_of, plane_of
from mooring.domain.records import Actor, Membership, User
from mooring.domain.rights import ROLES
from mooring.errors import BadRequest, InvalidConfig, Problem
from mooring.kit.clock import iso
from mooring.wire.bodies import read
from mooring.wire.envelope import dumps, listed
from mooring.wire.people import MembershipBody, PasswordBody, ShareBody, UserBody, UserChange


def _done() -> Response:
    return Response(dumps({"success": True}), media_type=JSON)


def _list(items: list[dict[str, Any]]) -> Response:
    return Response(listed([dumps(item) for item in items]), media_type=JSON)


# users


def _user(user: User, memberships: Sequence[Membership], projects: dict[str, str]) -> dict[str, Any]:
    return {
        "name": user.name,
        "description": user.description,
        "disabled": user.disabled,
        "memberships": [
            {"projectName": projects.get(each.project) if each.project else None, "roles": sorted(each.roles)}
            for each in memberships
            if each.project is None or each.project in projects
        ],
        "createdAt": iso(user.created_at),
        "updatedAt": iso(user.updated_at),
    }


async def _projects(request: Request) -> dict[str, str]:
    return {project.id: project.name for project in await plane_of(request).store.projects()}


def _roles(memberships: Sequence[MembershipBody]) -> dict[str | None, list[str]]:
    found: dict[str | None, list[str]] = {}
    for each in memberships:
        if each.project_name in found:
            raise InvalidConfig(
                [Problem("/memberships", "invalid", "memberships is not valid: a project stands twice")]
            )
        found[each.project_name] = each.roles
    return found


async def users(request: Request, actor: Actor) -> Response:
    projects = await _projects(request)
    return _list([_user(user, roles, projects) for user, roles in await plane_of(request).users.list_all(actor)])


async def user(request: Request, actor: Actor) -> Response:
    found, roles = await plane_of(request).users.get(actor, request.path_params["user"])
    return _list([_user(found, roles, await _projects(request))])


async def create_user(request: Request, actor: Actor) -> Response:
    body = read(UserBody, await object_of(request))
    name = request.path_params["user"]
    if body.name is not None and body.name != name:
        raise BadRequest("User name in path does not match name in body!")
    await plane_of(request).users.create(
        actor, name, body.password, description=body.description, disabled=body.disabled, roles=_roles(body.memberships)
    )
    return _done()


async def update_user(request: Request, actor: Actor) -> Response:
    body = read(UserChange, await object_of(request))
    await plane_of(request).users.update(
        actor, request.path_params["user"], description=body.description, disabled=body.disabled,
        password=body.password, roles=None if body.memberships is None else _roles(body.memberships),
    )  # fmt: skip
    return _done()


async def delete_user(request: Request, actor: Actor) -> Response:
    await plane_of(request).users.delete(actor, request.path_params["user"])
    return _done()


async def roles(request: Request, actor: Actor) -> Response:
    """What the roles give."""
    return _list([{"name": role, "grants": sorted(grants)} for role, grants in ROLES.items()])


# oneself


async def account(request: Request, actor: Actor) -> Response:
    """Who the token says that one is."""
    projects = await _projects(request)
    project = projects.get(actor.project) if actor.project else None
    return _list([{"name": actor.name, "token": actor.token, "projectName": project, "grants": sorted(actor.grants)}])


async def change_password(request: Request, actor: Actor) -> Response:
    body = read(PasswordBody, await object_of(request))
    await plane_of(request).users.change_password(actor, body.current_password, body.new_password)
    return _done()


# grants on connections


async def shares(request: Request, actor: Actor) -> Response:
    path = request.path_params
    found = await plane_of(request).shares.list_all(actor, path["project"], path["name"])
    return _list([{"kind": share.kind, "subject": name, "grants": sorted(share.grants)} for share, name in found])


async def put_share(request: Request, actor: Actor) -> Response:
    body = read(ShareBody, await object_of(request))
    await _put(request, actor, body.grants)
    return _done()


async def delete_share(request: Request, actor: Actor) -> Response:
    await _put(request, actor, ())
    return _done()


async def _put(request: Request, actor: Actor, grants: Sequence[str]) -> None:
    path = request.path_params
    kind, subject = ("user", path["user"]) if "user" in path else ("token", path["token"])
    await plane_of(request).shares.put(actor, path["project"], path["name"], kind, subject, grants)


# global connections


async def globalize(request: Request, actor: Actor) -> Response:
    path = request.path_params
    answer = await plane_of(request).globals.globalize(actor, path["project"], path["name"], ask_of(request))
    return Response(answer, media_type=JSON)
