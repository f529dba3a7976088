"""Finding people in a directory, and checking their passwords."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Annotated, NoReturn, TypeVar
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, StringConstraints

from mooring.errors import ConnectorError, Misconfigured, Unreachable
from mooring.kit.ber import Unintelligible
from mooring.plugin.connector import Answer, Connector, Context, Request, operation
from mooring.plugin.network import network_error
from mooring.plugin.probe import Probe
from mooring.types.ldap.entries import Entry, Gathering
from mooring.types.ldap.filter import USER, Filter, FilterError, parse
from mooring.types.ldap.messages import Result, filter_of, page, search
from mooring.types.ldap.model import LdapConfig
from mooring.types.ldap.refusals import (
    CUT_SHORT,
    SUCCESS,
    ended,
    login_refused,
    refused,
    search_refused,
    why_not,
)
from mooring.types.ldap.security import check_name, tls_context
from mooring.types.ldap.session import Ended, Lost, NoTls, Session
from mooring.types.ldap.sessions import SHARED, Apart, Shared

PAGE = 500
MAX_ENTRIES = 10_000
EVERYTHING = "(objectClass=*)"
NOTHING = "1.1"
"""The attribute that asks for none (RFC 4511, section 4.5.1.8)."""

T = TypeVar("T")
Person = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
Attribute = Annotated[str, StringConstraints(pattern=r"^(\*|\+|1\.1|[A-Za-z0-9.-]{1,128}(;[A-Za-z0-9=-]{1,64}){0,4})$")]


class Search(Request):
    """What to look for, below `baseDn`."""

    user: Person | None = Field(None, description="The name that takes the place of `{0}` in the filter.")
    filter: Annotated[str, StringConstraints(max_length=4096)] | None = Field(
        None, description="A filter (RFC 4515) instead of the connection's `customFilter`."
    )
    attributes: Annotated[list[Attribute], Field(max_length=100)] = Field(
        [], description="The attributes that are wanted; all ordinary ones when empty."
    )
    limit: Annotated[int, Field(ge=1, le=MAX_ENTRIES)] = Field(100, description="At most so many entries.")


class Found(Answer):
    """What was found."""

    entries: list[Entry] = Field(description="The entries, in the directory's order.")
    count: int = Field(description="How many they are.")
    truncated: bool = Field(description="Whether there are more, which were not fetched.")
    referrals: list[str] = Field(description="Where the directory says that more may be found; nobody went there.")


class Login(Request):
    """Whose password is to be checked."""

    user: Person = Field(description="The name that takes the place of `{0}` in `customFilter`.")
    password: Annotated[SecretStr, Field(max_length=4096)] = Field(description="The password to check.")


class Verdict(Answer):
    """Whether the password is this person's."""

    authenticated: bool = Field(description="Whether the directory let the person in.")
    dn: str | None = Field(description="The entry that was found by the name.")
    reason: str | None = Field(
        description="Why not: `unknown_user`, `wrong_password`, `empty_password`, `no_password`, `refused`; with"
        " Active Directory also `disabled`, `locked`, `password_expired`, `account_expired`, `not_now`, `not_here`."
    )


class LdapConnector(Connector[LdapConfig]):
    """
    Searches over a few sessions that all requests share, logged in as `username`.

    Passwords are checked on sessions of their own, on which nobody searches.
    """

    def __init__(self, config: LdapConfig, context: Context) -> None:
        super().__init__(config, context)
        self._tls: ssl.SSLContext | None = None
        self._shared = Shared(self._logged_in)
        self._paging = Apart(self._logged_in)
        self._checking = Apart(self._connected)

    async def open(self) -> None:
        parts = urlsplit(self.config.server_address)
        self._implicit = self.config.use_ssl or parts.scheme == "ldaps"
        self._starts = self.config.use_start_tls and not self._implicit
        self._host = parts.hostname or ""
        self._port = parts.port or (636 if self._implicit else 389)
        shown = f"[{self._host}]" if ":" in self._host else self._host
        self._address = f"{shown}:{self._port}"
        self._filter = parse(self.config.custom_filter) if self.config.custom_filter else None
        if self._implicit or self._starts:
            self._tls = tls_context(self.config, self.context)

    def hosts(self) -> Iterable[str]:
        return (self._host,)

    async def stop(self) -> None:
        await asyncio.gather(self._shared.close(), self._paging.close(), self._checking.close())

    @operation
    async def search(self, request: Search) -> Found:
        """Find entries below `baseDn`, as deep as `searchScope` says."""
        found = await self._find(self._asked(request), request.attributes, request.limit)
        return Found(
            entries=found.entries, count=len(found.entries), truncated=found.truncated, referrals=found.referrals
        )

    @operation
    async def authenticate(self, request: Login) -> Verdict:
        """Find the one entry of that name, and log in as it."""
        by_name = self._filter
        if by_name is None or USER not in (self.config.custom_filter or ""):
            raise Misconfigured(
                "the connection does not say how a person is found by name",
                hint="Set customFilter, with {0} for the name: (uid={0}), or (sAMAccountName={0}) in Active Directory.",
            )
        password = request.password.get_secret_value()
        if not password:
            # A login without a password succeeds as nobody (RFC 4513, section 5.1.2): it must never be tried.
            return Verdict(authenticated=False, dn=None, reason="empty_password")
        found = await self._find(filter_of(by_name, request.user), [NOTHING], 2)
        if len(found.entries) > 1:
            raise Misconfigured(
                f"customFilter finds more than one entry below {self.config.base_dn}; whose password was meant?",
                hint="Narrow the filter until a name finds one entry.",
            )
        dn = found.entries[0].dn if found.entries else None
        if not dn:
            return Verdict(authenticated=False, dn=None, reason="unknown_user")
        result = await self._with_patience(lambda: self._login(dn, password))
        reason = None if result.code == SUCCESS else why_not(result)
        if result.code != SUCCESS and reason is None:
            # Without the server's own words: they may repeat the password, which is none that we know to hide.
            raise refused(Result(result.code, "", result.referrals), self._address, "the person's login")
        return Verdict(authenticated=reason is None, dn=dn, reason=reason)

    def native(self) -> NoReturn:
        raise Misconfigured(
            "a directory has no driver's client to hand out", hint="Use the operations search and authenticate."
        )

    async def probe(self, probe: Probe) -> None:
        session: Session | None = None
        try:
            async with probe.step("resolve"):
                await self.context.network.resolve(self._host, self._port)
            async with probe.step("connect"):
                session = await Session.connect(self.context.network, self._host, self._port)
            if self._tls is None:
                probe.skip("tls", "neither useSsl nor useStartTls is on: the session is not encrypted")
            else:
                async with probe.step("tls"):
                    await self._secure(session)
            async with probe.step("bind"):
                await self._bind(session)
            async with probe.step("base"):
                asked = search(self.config.base_dn, "OBJECT", filter_of(parse(EVERYTHING), ""), [NOTHING], 1)
                gathering = Gathering(1)
                self._check(await session.ask(asked, gather=gathering), gathering)
            await session.close()
        finally:
            if session is not None:
                session.abort()

    def translate(self, error: BaseException) -> ConnectorError | None:
        match error:
            case Lost():
                return self.translate(error.why)
            case Ended():
                return ended(error.result, self._address)
            case NoTls():
                return Misconfigured(
                    f"{self._address} does not begin TLS when asked to; no password was sent",
                    hint="Give the server a certificate, or use useSsl and the port where it speaks TLS at once.",
                )
            case Unintelligible():
                return Unreachable(
                    f"{self._address} answered with something that is not LDAP",
                    hint="Check the port, and whether it wants TLS from the first byte (useSsl).",
                )
            case OSError() | EOFError():
                return network_error(error, self._address)
        return None

    def _asked(self, request: Search) -> bytes:
        """The filter that *request* means, encoded."""
        try:
            asked: Filter = (
                parse(request.filter) if request.filter else self._filter if self._filter else parse(EVERYTHING)
            )
        except FilterError as exc:
            raise Misconfigured(f"the filter of this search is none: it {exc}", hint="Correct it.") from None
        text = request.filter or self.config.custom_filter or EVERYTHING
        if USER in text and request.user is None:
            raise Misconfigured(
                "the filter asks for a name ({0}), and the search gives none", hint="Give `user` with the search."
            )
        return filter_of(asked, request.user or "")

    async def _find(self, asked: bytes, attributes: list[str], limit: int) -> Gathering:
        """What the filter finds; in pages where it is to be more than one."""
        return await self._with_patience(
            lambda: self._look(asked, attributes, limit) if limit <= PAGE else self._leaf(asked, attributes, limit)
        )

    async def _look(self, asked: bytes, attributes: list[str], limit: int) -> Gathering:
        gathering = Gathering(limit, attributes)
        session = await self._shared.get()
        request = search(self.config.base_dn, self.config.search_scope, asked, attributes, limit)
        self._check(await session.ask(request, gather=gathering), gathering)
        return gathering

    async def _leaf(self, asked: bytes, attributes: list[str], limit: int) -> Gathering:
        # On a session of its own: some servers keep one place per session where a paged search goes on.
        gathering = Gathering(limit, attributes)
        request = search(self.config.base_dn, self.config.search_scope, asked, attributes, 0)
        async with self._paging.session() as session:
            cookie = b""
            while True:
                wanted = min(PAGE, limit - len(gathering.entries))
                result = await session.ask(request, page(wanted, cookie), gathering)
                self._check(result, gathering)
                cookie = result.cookie
                if not cookie or gathering.truncated:
                    return gathering
                if len(gathering.entries) >= limit:
                    gathering.truncated = True
                    return gathering

    def _check(self, result: Result, gathering: Gathering) -> None:
        """Raise unless *result* is one of a search that found something, or honestly nothing."""
        if result.code == SUCCESS:
            return
        if result.code in CUT_SHORT and gathering.entries:
            gathering.truncated = True
            return
        raise search_refused(result, self._address, self.config.base_dn)

    async def _login(self, dn: str, password: str) -> Result:
        async with self._checking.session() as session:
            return await session.bind(dn, password)

    async def _with_patience(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try again where a session was lost that was there before: it may have been dead for a while."""
        for _ in range(SHARED):
            began = time.monotonic()
            try:
                return await attempt()
            except Lost as exc:
                if exc.ready_at > began:
                    raise
        return await attempt()

    async def _connected(self) -> Session:
        """A session, encrypted where it should be, in which nobody is logged in."""
        return await self._opened(login=False)

    async def _logged_in(self) -> Session:
        """A session in which `username` is logged in."""
        return await self._opened(login=True)

    async def _opened(self, *, login: bool) -> Session:
        session: Session | None = None
        try:
            async with asyncio.timeout(int(self.config.connection_timeout) / 1000):
                session = await Session.connect(self.context.network, self._host, self._port)
                await self._secure(session)
                if login:
                    await self._bind(session)
        except BaseException:
            if session is not None:
                session.abort()
            raise
        session.ready_at = time.monotonic()
        return session

    async def _secure(self, session: Session) -> None:
        if self._tls is None:
            return
        if self._starts:
            await session.start_tls()
        await session.secure(self._tls, self._host)
        check_name(session.certificate, self._host, self.config.require_certificate_type, self._address)

    async def _bind(self, session: Session) -> None:
        result = await session.bind(self.config.username, self.config.password.get_secret_value())
        if result.code != SUCCESS:
            raise login_refused(result, self._address, self.config.username)
