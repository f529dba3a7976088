"""Trino, through its HTTP protocol: a statement is posted, and its pages are fetched from the same server."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NoReturn
from urllib.parse import quote
from zoneinfo import ZoneInfo

import httpx2

from mooring.errors import ConnectorError, Misconfigured, Rejected, Unreachable
from mooring.plugin.http import client as http_client
from mooring.plugin.network import network_error
from mooring.types.database.literals import for_trino
from mooring.types.database.port import Collector, Done, Driver, NothingSent, Parameters, Rows, Settings
from mooring.types.database.statement import STANDARD, bound
from mooring.types.database.values import plain

CONNECT_S: Final = 10.0
IDLE_CONNECTION_S: Final = 5.0
MOST_PAGE: Final = 64 * 1024 * 1024
"""The largest answer that is read; a page of Trino is about 1 MB."""

BUSY: Final = (429, 502, 503, 504)
"""What its protocol says to repeat after a moment, where nothing was sent but a question for the next page."""

_GONE: Final = (httpx2.ConnectError, httpx2.ConnectTimeout)


@dataclass(eq=False)
class Session:
    """One HTTP connection, and the page that comes next of a statement that is not finished."""

    client: httpx2.AsyncClient
    next_uri: str | None = None
    is_over: bool = False


class TrinoDriver(Driver[Session]):
    """Sessions of one HTTP connection each. Whoever logs in is told apart by every request."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.address = settings.address
        target = settings.target
        parameters = target.parameters
        self._tls = settings.tls.context
        host = f"[{target.host}]" if ":" in target.host else target.host
        self._base = httpx2.URL(f"{'https' if self._tls else 'http'}://{host}:{target.port}")
        if settings.password and self._tls is None:
            raise Misconfigured(
                "Trino takes a password over TLS only, and jdbcUrl switches it off or does not ask for it",
                hint="Write SSL=true into jdbcUrl, or leave the password out (useCredentials off, user=... in jdbcUrl).",
            )
        user = settings.user or ""
        token = parameters.get("accessToken")
        if not user and not token:
            raise Misconfigured(
                "there is no user name to connect with",
                hint="Switch useCredentials on, or put user=... into jdbcUrl.",
            )
        catalog, _, schema = (target.database or "").partition("/")
        headers = {
            "X-Trino-User": parameters.get("sessionUser") or user,
            "X-Trino-Source": parameters.get("source") or f"{parameters.get('applicationNamePrefix', '')}mooring",
            "X-Trino-Client-Info": parameters.get("clientInfo") or settings.name,
            "X-Trino-Client-Capabilities": "PARAMETRIC_DATETIME",
            "X-Trino-Catalog": catalog,
            "X-Trino-Schema": schema,
            "X-Trino-Time-Zone": parameters.get("timezone", ""),
            "X-Trino-Client-Tags": parameters.get("clientTags", ""),
            "X-Trino-Trace-Token": parameters.get("traceToken", ""),
        }
        if token:
            headers["Authorization"] = f"Bearer {token}"
        elif settings.password:
            login = base64.b64encode(f"{user}:{settings.password}".encode()).decode()
            headers["Authorization"] = f"Basic {login}"
        self._headers = {name: _header(value) for name, value in headers.items() if value}

    async def connect(self) -> Session:
        client = http_client(
            self.settings.network,
            self._tls,
            connections=1,
            timeout=httpx2.Timeout(None, connect=CONNECT_S),
            idle_s=IDLE_CONNECTION_S,
            headers=self._headers,
        )
        session = Session(client)
        try:
            # An empty statement costs the server nothing, and is refused only after the login was looked at.
            async with asyncio.timeout(CONNECT_S):
                status, _ = await self._ask(session, "POST", self._base.join("/v1/statement"), b"")
            if status != 400:
                self._refuse(status)
        except TimeoutError as exc:
            await client.aclose()
            raise network_error(exc, self.address) from exc
        except BaseException:
            await client.aclose()
            raise
        return session

    async def close(self, session: Session) -> None:
        session.is_over = True
        try:
            await self._cancel(session)
        finally:
            await session.client.aclose()

    def abort(self, session: Session) -> None:
        session.is_over = True
        # Its connection belongs to the loop; closing it waits for nobody.
        _in_background(session.client.aclose())

    def is_alive(self, session: Session) -> bool:
        return not session.is_over and session.next_uri is None

    async def ping(self, session: Session) -> None:
        # A session is a place for one HTTP connection, which is dialled anew where it is gone: nothing to test.
        pass

    async def ask(self, session: Session) -> None:
        await self.fetch(session, "select 1", [], 1)

    async def tidy(self, session: Session, *, lent: bool) -> None:
        pass

    def native(self, session: Session) -> httpx2.AsyncClient:
        return session.client

    async def fetch(self, session: Session, sql: str, parameters: Parameters, max_rows: int) -> Rows:
        found = Collector(max_rows)
        columns: list[str] = []
        converts: list[Callable[[Any], Any]] = []
        async for page in self._pages(session, sql, parameters):
            if not columns and page.get("columns"):
                columns = [str(column["name"]) for column in page["columns"]]
                converts = [_converter(str(column.get("type", ""))) for column in page["columns"]]
            for row in page.get("data") or ():
                found.add([convert(value) for convert, value in zip(converts, row, strict=True)])
            if found.is_full:
                await self._cancel(session)
                break
        return found.result(columns)

    async def execute(self, session: Session, sql: str, parameters: Parameters) -> Done:
        count, updated = 0, None
        async for page in self._pages(session, sql, parameters):
            count += len(page.get("data") or ())
            updated = page.get("updateCount", updated)
        return Done(count if updated is None else int(updated))

    async def _pages(self, session: Session, sql: str, parameters: Parameters) -> Any:
        """Every page of what *sql* came to."""
        marked, values = bound(sql, parameters, STANDARD)
        if values:
            using = ", ".join(for_trino(number, value) for number, value in enumerate(values, 1))
            marked = f"EXECUTE IMMEDIATE {for_trino(0, marked)} USING {using}"
        try:
            status, page = await self._ask(session, "POST", self._base.join("/v1/statement"), marked.encode())
        except _GONE as exc:
            raise NothingSent from exc
        while True:
            if status != 200 or not isinstance(page, dict):
                self._refuse(status)
            following = page.get("nextUri")
            session.next_uri = self._checked(following) if following else None
            if page.get("error"):
                session.next_uri = None
                raise _said(page["error"], self.address)
            yield page
            if session.next_uri is None:
                return
            wait_s = 0.05
            status, page = await self._ask(session, "GET", httpx2.URL(session.next_uri))
            while status in BUSY:
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, 1.0)
                status, page = await self._ask(session, "GET", httpx2.URL(session.next_uri))

    def _checked(self, following: Any) -> str:
        """The address of the next page, where it is of the server that was asked; nobody else gets the login."""
        try:
            url = httpx2.URL(str(following))
        except httpx2.InvalidURL:
            url = httpx2.URL()
        mine = self._base
        if (url.scheme, url.host, url.port or _PORTS.get(url.scheme)) != (
            mine.scheme, mine.host, mine.port or _PORTS[mine.scheme],
        ) or url.userinfo:  # fmt: skip
            raise Misconfigured(
                f"{self.address} names another server for the next page, which is not followed",
                hint="Use the address that the server gives for itself, or correct the proxy before it"
                " (http-server.process-forwarded=true on the coordinator).",
            )
        return str(url)

    async def _ask(
        self, session: Session, method: str, url: httpx2.URL, content: bytes | None = None
    ) -> tuple[int, Any]:
        """The status, and the page that came with it, where one did."""
        request = session.client.build_request(method, url, content=content)
        response = await session.client.send(request, stream=True)
        try:
            read = bytearray()
            async for chunk in response.aiter_raw():
                read += chunk
                if len(read) > MOST_PAGE:
                    raise Misconfigured(
                        f"{self.address} sends pages of more than {MOST_PAGE >> 20} MB",
                        hint="Select less, or lower the size of pages at the server.",
                    )
        finally:
            await response.aclose()
        if response.status_code == 200 and response.headers.get("content-type", "").startswith("application/json"):
            try:
                return response.status_code, json.loads(read, parse_constant=str)
            except (ValueError, RecursionError):
                raise self._no_trino() from None
        return response.status_code, None

    async def _cancel(self, session: Session) -> None:
        """End at the server what nobody wants any more."""
        following, session.next_uri = session.next_uri, None
        if following is not None:
            await self._ask(session, "DELETE", httpx2.URL(following))

    def _refuse(self, status: int) -> NoReturn:
        if status in (401, 403):
            raise Rejected(
                f"{self.address} refused the login (HTTP {status})",
                hint="Correct username and password; check that the user may act as sessionUser, where there is one.",
            )
        if status in BUSY:
            raise Unreachable(
                f"{self.address} takes no statements now (HTTP {status})",
                hint="It is starting, or overloaded. Retry.",
            )
        if status in (301, 302, 303, 307, 308):
            raise Misconfigured(
                f"{self.address} sends elsewhere (HTTP {status}), which is not followed",
                hint="Use the final address; SSL=true in jdbcUrl where the server speaks HTTPS.",
            )
        raise self._no_trino(status)

    def _no_trino(self, status: int | None = None) -> Misconfigured:
        how = "in no way that Trino does" if status is None or status == 200 else f"with HTTP {status}"
        return Misconfigured(
            f"{self.address} answered {how}",
            hint="Check that the address is that of a Trino coordinator, and SSL in jdbcUrl.",
        )

    async def handshake(self, host: str, port: int) -> str | None:
        if self._tls is None:
            return "SSL is off in jdbcUrl"
        await self.settings.network.handshake(host, port, self._tls)
        return None

    def translate(self, error: BaseException) -> ConnectorError | None:
        if isinstance(error, NothingSent) and error.__cause__ is not None:
            error = error.__cause__
        if isinstance(error, httpx2.ConnectTimeout | httpx2.ReadTimeout | httpx2.WriteTimeout | httpx2.PoolTimeout):
            return network_error(TimeoutError(), self.address)
        if isinstance(error, httpx2.ConnectError):
            return network_error(_root(error), self.address)
        if isinstance(error, httpx2.RemoteProtocolError) and "disconnected" not in str(error):
            return Unreachable(
                f"{self.address} does not speak HTTP as it should",
                hint="Check that the address is that of a Trino coordinator, and SSL in jdbcUrl.",
            )
        if isinstance(error, httpx2.TransportError):
            return Unreachable(
                f"the connection to {self.address} was lost",
                hint="Whether the statement took effect is not known; look before repeating it.",
            )
        if isinstance(error, UnicodeError):
            return Misconfigured("a text holds characters that cannot be encoded", hint="Remove lone surrogates.")
        return network_error(error, self.address) if isinstance(error, OSError | EOFError) else None


_PORTS: Final = {"http": 80, "https": 443}
_tasks: set[asyncio.Task[None]] = set()


def _in_background(work: Any) -> None:
    task = asyncio.ensure_future(work)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


def _header(value: str) -> str:
    """Text outside ASCII is percent-encoded, as the protocol has it."""
    return value if value.isascii() and value.isprintable() else quote(value, safe=" ,=:/@")


def _root(error: BaseException) -> BaseException:
    """What the network said, below the wrappings of the client library."""
    found: BaseException = error
    while (below := found.__cause__ or found.__context__) is not None:
        found = below
        if isinstance(found, OSError):
            return found
    return found if isinstance(found, OSError) else ConnectionError()


# --- values ----------------------------------------------------------------------------------------------------

_ZONED = re.compile(r"(.*\d)(?: ([A-Za-z][A-Za-z0-9_/+\-]*)| ?([+-]\d\d:\d\d))")


def _converter(kind: str) -> Callable[[Any], Any]:
    if kind.startswith("timestamp"):
        return _timestamp
    if kind == "json":
        return lambda value: None if value is None else json.loads(value)
    return plain


def _timestamp(value: Any) -> Any:
    """ISO 8601 for `2026-01-31 10:30:00.000 Europe/Istanbul`; a zone that is not known here stays as it is."""
    if not isinstance(value, str):
        return value
    zoned = _ZONED.fullmatch(value)
    if zoned is None:
        return value.replace(" ", "T", 1)
    moment, zone, offset = zoned[1].replace(" ", "T", 1), zoned[2], zoned[3]
    if zone in ("UTC", "Z"):
        offset = "+00:00"
    elif zone is not None:
        offset = _offset(moment, zone)
    return value if offset is None else moment + offset


def _offset(moment: str, zone: str) -> str | None:
    try:
        local = datetime.fromisoformat(moment[:26]).replace(tzinfo=ZoneInfo(zone))
    except (ValueError, OSError, LookupError):
        return None
    return local.isoformat()[-6:]


# --- errors ----------------------------------------------------------------------------------------------------

_NAMES_ONLY: Final = {
    "TABLE_NOT_FOUND", "COLUMN_NOT_FOUND", "SCHEMA_NOT_FOUND", "CATALOG_NOT_FOUND", "FUNCTION_NOT_FOUND",
    "TABLE_ALREADY_EXISTS", "COLUMN_ALREADY_EXISTS", "SCHEMA_ALREADY_EXISTS", "SCHEMA_NOT_EMPTY", "TYPE_MISMATCH",
    "MISSING_CATALOG_NAME", "MISSING_SCHEMA_NAME", "MISSING_TABLE", "PERMISSION_DENIED", "NOT_SUPPORTED",
    "AMBIGUOUS_NAME", "MISMATCHED_COLUMN_ALIASES", "READ_ONLY_VIOLATION",
}  # fmt: skip
"""Errors whose messages quote names of tables and columns, and no data."""

_UNKNOWN_OUTCOME: Final = "Whether the statement took effect is not known; look before repeating it."


def _said(error: Any, address: str) -> ConnectorError:
    found = error if isinstance(error, dict) else {}
    name, kind = str(found.get("errorName") or "UNKNOWN")[:60], str(found.get("errorType") or "")
    text = str(found.get("message") or "").splitlines()[0][:300] if found.get("message") else ""
    place = found.get("errorLocation")
    where = f" in line {place['lineNumber']}" if isinstance(place, dict) and "lineNumber" in place else ""
    what = text if name in _NAMES_ONLY and text else name.lower().replace("_", " ") + where
    if name == "PERMISSION_DENIED":
        return Misconfigured(f"{address}: {what}", hint="Grant the right to the login, or use another login.")
    if name in ("CATALOG_NOT_FOUND", "SCHEMA_NOT_FOUND", "MISSING_CATALOG_NAME", "MISSING_SCHEMA_NAME"):
        return Misconfigured(
            f"{address}: {what}",
            hint="Correct catalog/schema at the end of jdbcUrl (or databaseName), or the statement.",
        )
    if name in ("EXCEEDED_TIME_LIMIT", "USER_CANCELED", "ADMINISTRATIVELY_KILLED", "ADMINISTRATIVELY_PREEMPTED"):
        return Unreachable(f"{address} stopped the statement ({name})", hint="Make it lighter, or allow more time.")
    if name == "TRANSACTION_CONFLICT":
        return Unreachable(f"{address}: {what}", hint="Somebody else changed the same; repeat the statement.")
    if kind == "USER_ERROR":
        return Misconfigured(
            f"{address} refused the statement: {what} ({name})", hint="Correct the statement or its parameters."
        )
    if kind == "INSUFFICIENT_RESOURCES":
        return Unreachable(f"{address} has no room for the statement ({name})", hint="Make it lighter, or retry later.")
    return Unreachable(f"{address} failed at the statement ({name})", hint=_UNKNOWN_OUTCOME)
