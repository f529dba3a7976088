"""Who asks, and whether they may."""

from __future__ import annotations

import hmac

from mooring.domain.records import Actor, Project, Token
from mooring.errors import NotAuthenticated, NotFound, NotPermitted
from mooring.kit.clock import now_ms
from mooring.kit.tokens import parse_token
from mooring.store.base import Store, TouchTokens


class Access:
    """Turns tokens into actors. Every cause of failure has the same answer."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._used: dict[str, int] = {}

    async def actor(self, text: str, *, request_id: str = "", address: str = "") -> Actor:
        """The holder of the personal token *text*. Raises `NotAuthenticated`."""
        token = await self.valid_token(text)
        return Actor(token.owner, token.id, token.project, token.grants, request_id, address)

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


def require(actor: Actor, grant: str, project_id: str | None = None) -> None:
    """Raises `NotPermitted` unless *actor* holds *grant*: in that project, or, without one, everywhere."""
    if not actor.may(grant, project_id):
        raise NotPermitted(
            "You do not have permission to perform this action", hint=f"The token needs the grant {grant}."
        )


async def visible_project(store: Store, actor: Actor, name: str) -> Project:
    """The project *name*. One that is invisible to *actor* and one that is missing have the same answer: `NotFound`."""
    project = await store.project(name)
    if project is None or not actor.sees(project.id):
        raise NotFound(f"Project '{name}' not found")
    return project
