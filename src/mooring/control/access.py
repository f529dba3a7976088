"""Who asks, and whether they may."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping

from mooring.domain.names import ADMIN_PROJECT, name_key
from mooring.domain.records import Actor, Connection, Project, Standing, Token
from mooring.domain.rights import FOR_TYPE
from mooring.errors import BadRequest, MooringError, NotAuthenticated, NotFound, NotPermitted
from mooring.kit.clock import now_ms
from mooring.kit.tokens import parse_token
from mooring.store.base import Store, TouchTokens

HERE = "in this project"


class Access:
    """Turns tokens into actors. Every cause of failure has the same answer."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._used: dict[str, int] = {}

    async def actor(self, text: str, *, request_id: str = "", address: str = "") -> Actor:
        """The holder of the personal token *text*. Raises `NotAuthenticated`."""
        return await self.holder(await self.valid_token(text), request_id=request_id, address=address)

    async def holder(self, token: Token, *, request_id: str = "", address: str = "") -> Actor:
        """Whose *token* is, with what they may now. Raises `NotAuthenticated` where that is a user who is let in no more."""
        standing = await self._store.standing(token)
        if standing is None:
            raise NotAuthenticated("Invalid token")
        return Actor(
            token.owner, token.id, token.project, token.grants, request_id, address, token.user, standing.owner,
            standing.shared,
        )  # fmt: skip

    async def standing(self, token_id: str) -> Standing | None:
        """What counts beside the grants of a token; None where it lets nobody in any more."""
        token = await self._store.token(token_id)
        return None if token is None or token.revoked_at is not None else await self._store.standing(token)

    async def may_hold(self, actor: Actor, connection: Connection) -> bool:
        """Whether *actor* may use *connection*, and so hold it in a process of their own."""
        shared = await self._store.project(ADMIN_PROJECT)
        is_global = shared is not None and shared.id == connection.project
        wanted = ["connections:use", *([FOR_TYPE[connection.type]] if connection.type in FOR_TYPE else [])]
        return all(
            actor.may(grant, connection.project, connection.id) or (is_global and actor.may_somewhere(grant))
            for grant in wanted
        )

    async def valid_token(self, text: str) -> Token:
        """The record of the personal token *text*. Raises `NotAuthenticated`."""
        parts = parse_token(text)
        token = await self._store.token(parts.id) if parts and parts.kind == "pat" else None
        if parts is None or token is None or not hmac.compare_digest(token.secret_hash, parts.secret_hash):
            raise NotAuthenticated("Invalid token")
        now = now_ms()
        if token.revoked_at is not None or (token.expires_at is not None and token.expires_at <= now):
            raise NotAuthenticated("Invalid token")
        self._used[token.id] = now
        return token

    async def remember_use(self) -> None:
        """Write down when tokens were last used."""
        if self._used:
            used, self._used = self._used, {}
            await self._store.commit(TouchTokens(used))


def require(actor: Actor, grant: str, project_id: str | None = None, connection_id: str | None = None) -> None:
    """Raises `NotPermitted` unless *actor* holds *grant*: there, or, without a project, everywhere."""
    if not actor.may(grant, project_id, connection_id):
        # Where one connection is asked about, the words are the same: they say nothing about whether it exists.
        ask_grant(False, grant, "in every project" if project_id is None else HERE)


def ask_grant(is_held: bool, grant: str, where: str = HERE) -> None:
    """Raises `NotPermitted`, naming *grant* and *where* it is missing, unless it is held."""
    if not is_held:
        raise NotPermitted(
            "You do not have permission to perform this action", hint=f"It needs the grant {grant} {where}."
        )


async def require_on(store: Store, actor: Actor, grant: str, project: Project, name: str) -> None:
    """Raises `NotPermitted` unless *actor* holds *grant* in *project*, or on the connection *name* of it."""
    if actor.may(grant, project.id) or readable_by_all(actor, grant, project):
        return
    singly = actor.connections_with(grant, project.id)
    connection = await store.connection(project.id, name_key(name)) if singly else None
    ask_grant(connection is not None and connection.id in singly, grant)


def require_type(actor: Actor, type_name: str, project: Project) -> None:
    """Raises `NotPermitted` where connections of that type ask for a grant of their own, which *actor* lacks."""
    if type_name in FOR_TYPE:
        require(actor, FOR_TYPE[type_name], project.id)


async def visible_project(store: Store, actor: Actor, name: str) -> Project:
    """The project *name*. One that is invisible to *actor* and one that is missing have the same answer: `NotFound`."""
    return await project_in(store, actor, name, "connections")


async def project_in(store: Store, actor: Actor, name: str, family: str) -> Project:
    """
    The project *name*, for routes of *family*, which differ in what they answer where it is missing or invisible.

    The project of what is global exists for everybody.
    """
    project = await store.project(name)
    if project is None or not (actor.sees(project.id) or name == ADMIN_PROJECT):
        raise _MISSING[family](name)
    return project


def readable_by_all(actor: Actor, grant: str, project: Project) -> bool:
    """What is global may be seen and used by whoever may see and use anything of that kind in any project."""
    return project.name == ADMIN_PROJECT and grant in FOR_ALL and actor.may_somewhere(grant)


FOR_ALL = frozenset({"connections:view", "connections:use", "connections:test"})
"""What everybody who may do it in some project may do with global connections."""

_MISSING: Mapping[str, Callable[[str], MooringError]] = {
    "connections": lambda name: NotFound(f"Project '{name}' not found"),
    "secrets": lambda name: NotFound(f"Project({name}) was not found or user does not have privilege to access it!"),
    "environments": lambda name: BadRequest(
        f"Project not found for name: ({name}) or user has not privilege to access it!"
    ),
}
"""The documented words of each family of routes."""
