"""Grants on single connections, for users and for tokens."""

from __future__ import annotations

from collections.abc import Sequence

from mooring.control.access import ask_grant, require, visible_project
from mooring.control.auditing import entry
from mooring.domain.names import name_key
from mooring.domain.records import Actor, Connection, Share
from mooring.domain.rights import FOR_TYPE, SHAREABLE
from mooring.errors import InvalidConfig, NotFound, Problem
from mooring.store.base import SaveShare, Stale, Store

GRANT = "connections:manage"


class Shares:
    """Who may what with one connection beside those who may it in the whole project."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def list_all(self, actor: Actor, project_name: str, name: str) -> list[tuple[Share, str]]:
        """What is granted on a connection, with the names of the users and tokens."""
        connection = await self._connection(actor, project_name, name)
        names = {user.id: user.name for user in await self._store.users()}
        names |= {token.id: token.id for token in await self._store.tokens()}
        return [(share, names.get(share.subject, share.subject)) for share in await self._store.shares(connection.id)]

    async def put(
        self, actor: Actor, project_name: str, name: str, kind: str, subject: str, grants: Sequence[str]
    ) -> None:
        """
        Grant that, and no more, on the connection; with no grants, nothing.

        Nobody grants what they lack, nor anything on a connection of a type that they may not use.
        """
        connection = await self._connection(actor, project_name, name)
        if any(grant not in SHAREABLE for grant in grants):
            allowed = ", ".join(sorted(SHAREABLE))
            raise InvalidConfig([Problem("/grants", "invalid", f"grants is not valid: must be from {allowed}")])
        asked = [*grants, *([FOR_TYPE[connection.type]] if grants and connection.type in FOR_TYPE else [])]
        for grant in asked:
            require(actor, grant, connection.project, connection.id)
        share = Share(connection.id, kind, await self._subject(kind, subject, connection), frozenset(grants))
        said = entry(
            actor, "grant" if grants else "withdraw", "connection", connection.id, connection.name,
            project=connection.project, changes={f"grants/{kind}s/{subject}": (None, sorted(grants) or None)},
        )  # fmt: skip
        try:
            await self._store.commit(SaveShare(share, said))
        except Stale:
            raise NotFound(f"Connection (name: {name}) was not found!") from None

    async def _subject(self, kind: str, subject: str, connection: Connection) -> str:
        if kind == "user":
            user = await self._store.user(name_key(subject))
            if user is None:
                raise NotFound("User was not found!")
            return user.id
        token = await self._store.token(subject)
        if token is None or token.project not in (None, connection.project):
            raise NotFound("Token was not found!")
        return token.id

    async def _connection(self, actor: Actor, project_name: str, name: str) -> Connection:
        project = await visible_project(self._store, actor, project_name)
        ask_grant(actor.may_on_some(GRANT, project.id), GRANT)
        connection = await self._store.connection(project.id, name_key(name))
        require(actor, GRANT, project.id, connection.id if connection else None)
        if connection is None:
            raise NotFound(f"Connection (name: {name}) was not found!")
        return connection
