"""Personal API access tokens."""

from __future__ import annotations

from collections.abc import Sequence

from mooring.control.access import Access, ask_grant
from mooring.control.auditing import entry
from mooring.control.passwords import Passwords
from mooring.control.streams import Streams
from mooring.domain.names import name_key
from mooring.domain.records import Actor, Token
from mooring.domain.rights import ALL_BUT_REVEAL, EVERY_GRANT
from mooring.errors import BadRequest, InvalidConfig, NotAuthenticated, NotFound, NotPermitted, Problem
from mooring.kit.clock import now_ms
from mooring.kit.ids import new_id
from mooring.kit.tokens import NewToken, is_well_formed, make_token, parse_token
from mooring.store.base import CreateToken, RevokeToken, Store

SESSION_S = 3600


class Tokens:
    """Create, list, revoke; and the exchange of a token's id and text for a short-lived one."""

    def __init__(self, store: Store, access: Access, streams: Streams, passwords: Passwords) -> None:
        self._store, self._access, self._streams, self._passwords = store, access, streams, passwords

    async def list_all(self, actor: Actor) -> list[Token]:
        """All tokens; without `tokens:manage` one's own. Never the secret."""
        found = await self._store.tokens()
        if actor.may("tokens:manage"):
            return found
        return [token for token in found if _own(actor, token)]

    async def create(
        self,
        actor: Actor,
        name: str,
        *,
        grants: Sequence[str] | None = None,
        project_name: str | None = None,
        expires_in_s: int | None = None,
    ) -> tuple[Token, str]:
        """A new token of the actor's, and its text, which is shown this once. Nobody can grant what they lack."""
        ask_grant(actor.carries("tokens:manage"), "tokens:manage", "with this token")
        own = actor.grants
        if actor.owner is not None:
            own = frozenset(
                grant
                for grant in EVERY_GRANT
                if actor.owner.may_somewhere(grant) and (actor.carries(grant) or grant == "secrets:reveal")
            )
        wanted = frozenset(own - {"secrets:reveal"} if grants is None else grants)
        unknown = sorted(wanted - EVERY_GRANT)
        if unknown:
            raise InvalidConfig(
                [Problem("/grants", "invalid", f"grants is not valid: must be from {', '.join(sorted(EVERY_GRANT))}")]
            )
        # The administrator of the first start may hand out secrets:reveal without holding it: each reveal is audited.
        is_administrator = actor.owner is None and actor.project is None and actor.grants >= ALL_BUT_REVEAL
        beyond = wanted - own - ({"secrets:reveal"} if is_administrator else set())
        if beyond:
            raise NotPermitted(
                "You do not have permission to perform this action", hint="A token can not grant what it lacks."
            )
        project = actor.project
        if project_name is not None:
            found = await self._store.project(project_name)
            if found is None or not actor.sees(found.id):
                raise NotFound(f"Project '{project_name}' not found")
            project = found.id
        made = make_token("pat")
        now = now_ms()
        expires_at = None if expires_in_s is None else now + expires_in_s * 1000
        token = Token(
            made.id, name, actor.name, project, wanted, now, expires_at, None, None, made.secret_hash, None, actor.user
        )
        await self._store.commit(CreateToken(token, entry(actor, "create", "token", token.id, name, project=project)))
        return token, made.text

    async def revoke(self, actor: Actor, token_id: str) -> None:
        """It stops working at once, also for streams opened with it. Raises `NotFound`."""
        token = await self._store.token(token_id)
        own = token is not None and (
            token.id == actor.token
            or (actor.user is not None and _own(actor, token) and actor.carries("tokens:manage"))
        )
        if token is None or not (own or actor.may("tokens:manage", token.project)):
            raise NotFound("Token was not found!")
        await self._store.commit(RevokeToken(token.id, now_ms(), entry(actor, "revoke", "token", token.id, token.name)))
        for ended in await self._store.tokens():
            if token.id in (ended.id, ended.parent):
                self._streams.close_token(ended.id)

    async def exchange(
        self, grant_type: str | None, client_id: str, client_secret: str, *, request_id: str, address: str
    ) -> tuple[str, int]:
        """
        A token for an hour, in exchange for a token's public id and its text; and its life in seconds.

        Raises `BadRequest` (with the documented code), `NotAuthenticated`.
        """
        if grant_type != "client_credentials":
            error = BadRequest("GrantType value must be client_credentials!")
            error.code = "unsupported_grant_type"
            raise error
        parts = parse_token(client_secret)
        if parts is None:
            return await self._log_in(client_id, client_secret, request_id, address)
        try:
            token = await self._access.valid_token(client_secret)
            await self._access.holder(token)
        except NotAuthenticated:
            raise NotAuthenticated("Bad credentials") from None
        if parts.id != client_id:
            raise NotAuthenticated("Bad credentials")
        made = make_token("pat")
        now = now_ms()
        expires_at = min(now + SESSION_S * 1000, token.expires_at or now + SESSION_S * 1000)
        session = Token(
            made.id,
            f"session of {token.name}",
            token.owner,
            token.project,
            token.grants,
            now,
            expires_at,
            None,
            None,
            made.secret_hash,
            token.parent or token.id,
            token.user,
        )
        actor = Actor(token.owner, token.id, token.project, token.grants, request_id, address)
        await self._store.commit(
            CreateToken(session, entry(actor, "exchange", "token", session.id, session.name, project=token.project))
        )
        return made.text, (expires_at - now) // 1000

    async def _log_in(self, name: str, password: str, request_id: str, address: str) -> tuple[str, int]:
        """A token of a user's for an hour, which may what the user may. One answer, as quick, for all that is wrong."""
        user = await self._store.user(name_key(name))
        matches = await self._passwords.matches(user.password_hash if user else None, password)
        if user is None or not matches or user.disabled:
            raise NotAuthenticated("Bad credentials")
        made = make_token("pat")
        now = now_ms()
        session = Token(
            made.id, f"session of {user.name}", user.name, None, ALL_BUT_REVEAL, now, now + SESSION_S * 1000, None, None,
            made.secret_hash, user.id, user.id,
        )  # fmt: skip
        actor = Actor(user.name, None, None, frozenset(), request_id, address, user.id)
        await self._store.commit(CreateToken(session, entry(actor, "login", "user", user.id, user.name)))
        return made.text, SESSION_S


def _own(actor: Actor, token: Token) -> bool:
    """Whether *token* is the actor's own: a user's is known by the user, others by who made them, and for where."""
    if actor.user is not None or token.user is not None:
        return token.user == actor.user and actor.project in (None, token.project)
    return token.owner == actor.name and token.project == actor.project


def first_token(preset: str | None) -> tuple[Token, str]:
    """The administrator's token of the first start, and its text. Raises `BadRequest` where *preset* is malformed."""
    if preset is None:
        made = make_token("pat")
    else:
        parts = parse_token(preset)
        if parts is None or parts.kind != "pat" or not is_well_formed(preset):
            raise BadRequest(
                "MOORING_ADMIN_TOKEN is not a well-formed token", hint="mooring token generate prints one."
            )
        made = NewToken(preset, parts.id, parts.secret_hash)
    token = Token(
        made.id,
        "first start",
        "admin",
        None,
        ALL_BUT_REVEAL,
        now_ms(),
        None,
        None,
        None,
        made.secret_hash,
    )
    return token, made.text


def system_actor() -> Actor:
    """Who acts when the program itself does, at its first start."""
    return Actor("mooring", None, None, EVERY_GRANT, new_id("req"), "")
