"""SQL Server, through python-tds in threads, over a channel of ours."""

from __future__ import annotations

import asyncio
import re
import ssl
from copy import copy
from typing import Any, Final

import pytds
from pytds import tds_base
from pytds.instance_browser_client import resolve_instance_port

from mooring.errors import ConnectorError, Misconfigured, Rejected, Unreachable
from mooring.plugin.network import network_error
from mooring.types.database.blocking import UNKNOWN_OUTCOME, BlockingDriver, Line, Session, dialled
from mooring.types.database.port import Collector, Done, NothingSent, Parameters, Rows, Settings
from mooring.types.database.statement import SQL_SERVER, bound
from mooring.types.database.tds import Channel, NoTds
from mooring.types.database.values import plain

BROWSER: Final = 1434


class Routed(Misconfigured):
    """The server sends to another one, which is dialled as the first was: where the policy allows."""

    def __init__(self, message: str, *, hint: str | None = None, to: tuple[str, int] = ("", 0)) -> None:
        super().__init__(message, hint=hint)
        self.to = to


class _Unrouted(pytds._TdsSocket):  # type: ignore[misc]  # the library has no types
    """Tells where a server sends to, where the client library would open a socket to it by itself."""

    def login(self) -> None:
        route = super().login()
        if route is not None:
            raise Routed(
                "the server sends to another one, which sends on",
                hint="Put the address of the server that it means into jdbcUrl.",
                to=(str(route["server"]), int(route["port"])),
            )


pytds._TdsSocket = _Unrouted


class SqlServerDriver(BlockingDriver[Any]):
    """Sessions of python-tds. Each statement is sent as sp_executesql, with its values beside it."""

    _route: tuple[str, int] | None = None

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        parameters = settings.target.parameters
        self._strict = parameters.get("encrypt", "").lower() == "strict"
        self._instance = parameters.get("instanceName", "")
        self.connect_s = settings.seconds("loginTimeout") or self.connect_s
        limits = [settings.seconds("queryTimeout"), settings.seconds("socketTimeout", milli=True)]
        self.statement_s = min((limit for limit in limits if limit), default=None)
        lock_ms = int(parameters.get("lockTimeout", "-1"))
        self._first = f"set lock_timeout {lock_ms}" if lock_ms >= 0 else ""

    async def endpoints(self) -> list[tuple[str, int]]:
        if self._route is not None:
            return [self._route]
        host, port = self.settings.target.hosts[0]
        if not self._instance or port is not None:
            return self.settings.target.endpoints
        # SQL Server Browser tells the port of a named instance, by UDP.
        place = str((await self.settings.network.resolve(host, BROWSER))[0][0])
        asking = Line("mooring-instance")
        try:
            async with asyncio.timeout(self.connect_s):
                found = await asking.run(lambda: resolve_instance_port(place, None, self._instance.upper(), timeout=3))
        except (OSError, RuntimeError, tds_base.Error) as exc:
            raise Unreachable(
                f"SQL Server Browser on {host} does not tell the port of the instance {self._instance}",
                hint="Name the port in jdbcUrl, or start SQL Server Browser and let UDP 1434 pass.",
            ) from exc
        finally:
            asking.end(lambda: None)
        return [(host, int(found))]

    async def connect(self) -> Session[Any]:
        try:
            return await super().connect()
        except Routed as exc:
            if self._route is not None:
                raise
            other = copy(self)
            other._route = exc.to
            return await other.connect()

    def _channel(self, below: Any, host: str) -> Channel:
        shown = self.settings.target.parameters.get("hostNameInCertificate", "")
        return Channel(below, shown or host, self.settings.tls, strict=self._strict, address=self.address)

    # --- in the thread -------------------------------------------------------------------------------------------

    def on_login(self, session: Session[Any]) -> Any:
        channel = self._channel(session.socket, session.host)
        channel.open()
        try:
            connection = self._logged_in(session, channel)
        except TimeoutError as exc:
            # Ours is the limit that counts: the client library is given none, so that it tries once, and says this then.
            raise (exc.__cause__ or exc) from exc
        if self._first:
            with connection.cursor() as cursor:
                cursor.execute(self._first)
        return connection

    def _logged_in(self, session: Session[Any], channel: Channel) -> Any:
        settings = self.settings
        parameters = settings.target.parameters
        return pytds.connect(
            dsn=session.host,
            port=1,  # not dialled: the channel is there already
            database=settings.target.database,
            user=settings.user,
            password=settings.password,
            appname=parameters.get("applicationName") or f"mooring:{settings.name}"[:128],
            readonly=parameters.get("applicationIntent", "").lower() == "readonly",
            sock=channel,
            autocommit=True,
            login_timeout=0,
            timeout=None,
            disable_connect_retry=True,
            pooling=False,
            use_tz=None,
        )

    def _execute(self, cursor: Any, sql: str, parameters: Parameters) -> None:
        if not parameters:
            cursor.execute(sql)
            return
        # The client library puts its own names in by `%`; every other one is doubled for it.
        marked, values = bound(sql.replace("%", "%%"), parameters, SQL_SERVER, lambda number, value: "%s")
        cursor.execute(marked, tuple(_argument(number, value) for number, value in enumerate(values, 1)))

    def on_fetch(self, session: Session[Any], sql: str, parameters: Parameters, max_rows: int) -> Rows:
        found = Collector(max_rows)
        with session.opened().cursor() as cursor:
            self._execute(cursor, sql, parameters)
            while cursor.description is None and cursor.nextset():
                pass
            columns = [column[0] for column in cursor.description or ()]
            while columns and not found.is_full:
                chunk = cursor.fetchmany(found.next_chunk())
                if not chunk:
                    break
                for row in chunk:
                    found.add([plain(value) for value in row])
            # What is left is called off by an attention, which the end of the cursor sends.
        return found.result(columns)

    def on_execute(self, session: Session[Any], sql: str, parameters: Parameters) -> Done:
        count = 0
        with session.opened().cursor() as cursor:
            self._execute(cursor, sql, parameters)
            while True:
                if cursor.description is None:
                    count += max(cursor.rowcount, 0)
                else:
                    while chunk := cursor.fetchmany(200):
                        count += len(chunk)
                if not cursor.nextset():
                    break
        return Done(count)

    def on_ping(self, session: Session[Any]) -> None:
        with session.opened().cursor() as cursor:
            cursor.execute("select 1")
            cursor.fetchall()

    def on_tidy(self, session: Session[Any], lent: bool) -> None:
        connection = session.opened()
        if connection._tds_socket.tds72_transaction or lent:
            with connection.cursor() as cursor:
                cursor.execute("if @@trancount > 0 rollback")

    def on_leave(self, session: Session[Any]) -> None:
        session.opened().close()

    # --- outside -------------------------------------------------------------------------------------------------

    async def handshake(self, host: str, port: int) -> str | None:
        trying: Session[Any] = Session(Line("mooring-tls"))
        below, name = await dialled(self.settings.network, [(host, port)])
        trying.socket = below
        try:
            secured = await trying.line.run(self._channel(below, name).open)
        finally:
            trying.shut()
            trying.line.end(below.close)
        return None if secured else "the server speaks no TLS, and encrypt does not ask for it"

    def translate(self, error: BaseException) -> ConnectorError | None:
        return translated(error, self.address)


def _argument(number: int, value: Any) -> Any:
    if isinstance(value, list | dict):
        raise Misconfigured(
            f"parameter {number} is a list or an object, which the server has no type for",
            hint="Send it as JSON text, or one parameter for each value.",
        )
    if isinstance(value, str):
        value.encode()  # a lone surrogate has no place in a statement
    return value


# --- errors ----------------------------------------------------------------------------------------------------

_LOGIN: Final = {18452, 18456, 18470, 18486, 18487, 18488, 18489}
_CODES: Final[tuple[tuple[set[int], type[ConnectorError], str, str], ...]] = (
    ({4060, 911, 4064}, Misconfigured, "{address} has no database of that name that the login may open ({code})",
     "Correct databaseName in jdbcUrl, or let the login into the database."),
    (_LOGIN, Rejected, "{address} refused the login ({code})",
     "Correct username and password; check that the server takes SQL logins, and that this one is not locked."),
    ({229, 230, 262, 297, 300, 916}, Misconfigured, "{address} does not let the login do that ({code})",
     "Grant the right to the login, or use another login."),
    ({1205, 1222, 3960}, Unreachable, "{address}: others held the same rows ({code})",
     "The statement was undone; repeat it."),
    ({17809, 10928, 10929, 10936, 40501}, Unreachable, "{address} has no room for another connection or statement ({code})",
     "Lower maxPoolSize here or elsewhere, or retry later."),
    ({596, 6005, 6104, 17142, 40197, 40613, 4221}, Unreachable, "{address} ended the connection ({code})", UNKNOWN_OUTCOME),
    ({1105, 9002, 701, 802}, Unreachable, "{address} has no room left ({code})", "Make room at the server; then look, and repeat."),
    ({2627, 2601}, Misconfigured, "{address} refused the statement: duplicate key ({code})", "Such a row is there already."),
    ({547, 515}, Misconfigured, "{address} refused the statement: a constraint of the table ({code})", "Correct the values."),
)  # fmt: skip
_NAMES_ONLY: Final = {207, 208, 2714, 2812, 3701, 4902, 15151, 195, 201, 213, 4104}
"""Messages that quote names of tables and columns, and no data."""


def translated(error: BaseException, address: str) -> ConnectorError | None:
    """The client library's exception as one of ours."""
    if isinstance(error, NothingSent) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, NoTds):
        return Unreachable(
            f"{address} does not speak SQL Server's protocol",
            hint="Check host and port; encrypt=strict is for 2022 and later.",
        )
    if isinstance(error, ssl.SSLError):
        return network_error(error, address)
    if isinstance(error, tds_base.DatabaseError) and error.msg_no:
        return _said(error, address)
    if isinstance(error, tds_base.LoginError):
        return Rejected(f"{address} refused the login", hint="Correct username and password.")
    if isinstance(error, tds_base.ClosedConnectionError):
        return Unreachable(f"the connection to {address} was lost", hint=UNKNOWN_OUTCOME)
    if isinstance(error, tds_base.Error):
        return Misconfigured("the client library refused the call", hint="Check the statement and its parameters.")
    if isinstance(error, UnicodeError | OverflowError):
        return Misconfigured("a parameter holds a value that cannot be sent", hint="Correct the value.")
    return network_error(error, address) if isinstance(error, OSError | EOFError) else None


def _said(error: Any, address: str) -> ConnectorError:
    code = int(error.msg_no)
    text = str(getattr(error, "text", "") or "").splitlines()
    said = (
        re.sub(r"'[^']*'", "'…'", text[0])[:200]
        if text and code not in _NAMES_ONLY
        else (text[0][:200] if text else "")
    )
    if code not in _NAMES_ONLY:
        said = re.split(r"[:'\"]", said, maxsplit=1)[0].strip() or "an error"
    known = next((entry[1:] for entry in _CODES if code in entry[0]), None)
    if known is None:
        return Misconfigured(
            f"{address} refused the statement: {said} ({code})", hint="Correct the statement or its parameters."
        )
    kind, message, hint = known
    return kind(message.format(address=address, code=code), hint=hint)
