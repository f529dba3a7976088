"""Oracle, through oracledb in its thin mode: no client of Oracle's, and no thread."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

import oracledb

from mooring.errors import ConnectorError, Misconfigured, Rejected, Unreachable
from mooring.plugin.network import network_error
from mooring.types.database.address import Endpoint
from mooring.types.database.oracle_url import oracle_descriptor
from mooring.types.database.port import CHUNK, Collector, Done, Driver, NothingSent, Parameters, Rows, Settings
from mooring.types.database.statement import ORACLE, bound
from mooring.types.database.values import plain

CONNECT_S: Final = 10.0
Session = oracledb.AsyncConnection
_TEXTS: Final = {
    oracledb.DB_TYPE_CLOB: oracledb.DB_TYPE_LONG,
    oracledb.DB_TYPE_NCLOB: oracledb.DB_TYPE_LONG_NVARCHAR,
    oracledb.DB_TYPE_BLOB: oracledb.DB_TYPE_LONG_RAW,
}


class OracleDriver(Driver[Session]):
    """Sessions of oracledb."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.address = settings.address
        target = settings.target
        if not target.database:
            raise Misconfigured(
                "there is no service or SID to connect to", hint="Put it at the end of jdbcUrl, or into databaseName."
            )
        if not re.fullmatch(r"[A-Za-z0-9_$#.\-]+", target.database):
            raise Misconfigured("the service or SID is not a name", hint="Correct databaseName.")
        if not settings.user:
            raise Misconfigured("there is no user name to connect with", hint="Switch useCredentials on.")
        self._tls = settings.tls
        self._connect_s = settings.seconds("connect_timeout") or CONNECT_S
        # Every argument that the client library would otherwise take from the environment or a file is given.
        self._arguments: dict[str, Any] = {
            "user": settings.user,
            "password": settings.password or "",
            "stmtcachesize": settings.max_statements,
            "tcp_connect_timeout": settings.seconds("transport_connect_timeout") or self._connect_s,
            "program": f"mooring:{settings.name}"[:48],
            "osuser": "mooring",
            "terminal": "unknown",
            "config_dir": "/nonexistent",
            "disable_oob": True,
        }
        if settings.tls.context is not None:
            self._arguments |= {
                "ssl_context": settings.tls.context,
                "ssl_server_dn_match": settings.tls.mode == "verify-full",
            }

    async def connect(self) -> Session:
        try:
            async with asyncio.timeout(self._connect_s):
                descriptor = await self._allowed_descriptor()
                session: Session = await oracledb.connect_async(**self._arguments, dsn=descriptor)
        except TimeoutError as exc:
            raise network_error(exc, self.address) from exc
        session.autocommit = True
        session.outputtypehandler = _output
        return session

    async def _allowed_descriptor(self) -> str:
        """The descriptor for the servers, all judged; by address, unless TLS wants the name, which is then looked up again."""
        target, network = self.settings.target, self.settings.network
        secured = self._tls.context is not None
        places: list[Endpoint] = []
        failure: Unreachable | None = None
        for host, port in target.endpoints:
            try:
                found = await network.resolve(host, port)
            except Unreachable as exc:
                failure = exc
                continue
            places += [Endpoint(host, port)] if secured else [Endpoint(str(entry[0]), port) for entry in found]
        if failure is not None and not places:
            raise failure
        return oracle_descriptor(replace(target, hosts=tuple(places)), secured=secured)

    async def close(self, session: Session) -> None:
        await session.close()

    def abort(self, session: Session) -> None:
        task = asyncio.ensure_future(_closed(session))
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)

    def is_alive(self, session: Session) -> bool:
        return bool(session.is_healthy())

    async def ping(self, session: Session) -> None:
        await session.ping()

    async def tidy(self, session: Session, *, lent: bool) -> None:
        if session.transaction_in_progress:
            await session.rollback()
        session.autocommit = True

    def native(self, session: Session) -> Session:
        return session

    async def fetch(self, session: Session, sql: str, parameters: Parameters, max_rows: int) -> Rows:
        found = Collector(max_rows)
        with session.cursor() as cursor:
            cursor.prefetchrows, cursor.arraysize = found.next_chunk(), found.next_chunk()
            await cursor.execute(*_bound(sql, parameters))
            columns = [column.name for column in cursor.description or ()]
            while columns and not found.is_full:
                chunk = await cursor.fetchmany(found.next_chunk())
                if not chunk:
                    break
                for row in chunk:
                    found.add([plain(value) for value in row])
        return found.result(columns)

    async def execute(self, session: Session, sql: str, parameters: Parameters) -> Done:
        with session.cursor() as cursor:
            await cursor.execute(*_bound(sql, parameters))
            if cursor.description is None:
                return Done(max(cursor.rowcount, 0))
            count = 0
            while chunk := await cursor.fetchmany(CHUNK):
                count += len(chunk)
            return Done(count)

    async def handshake(self, host: str, port: int) -> str | None:
        if self._tls.context is None:
            return "the protocol in jdbcUrl is tcp"
        await self.settings.network.handshake(host, port, self._tls.context)
        return None

    def translate(self, error: BaseException) -> ConnectorError | None:
        return translated(error, self.address)


_tasks: set[asyncio.Task[None]] = set()


async def _closed(session: Session) -> None:
    try:
        async with asyncio.timeout(2):
            await session.close()
    except (oracledb.Error, OSError, TimeoutError):
        return


def _output(cursor: Any, column: Any) -> Any:
    """Large objects whole, instead of by another round trip for each; numbers without loss."""
    if column.type_code in _TEXTS:
        return cursor.var(_TEXTS[column.type_code], arraysize=cursor.arraysize)
    if column.type_code is oracledb.DB_TYPE_NUMBER and column.scale != 0:
        return cursor.var(Decimal, arraysize=cursor.arraysize)
    return None


def _bound(sql: str, parameters: Parameters) -> tuple[str, Any]:
    """The statement with `:1`, `:2`, ... or its own names, and the values."""
    sql = sql.rstrip()
    if not re.match(r"(?i)\s*(begin|declare|create|call)\b", sql):
        sql = sql.removesuffix(";")
    if not parameters:
        return sql, []
    if not isinstance(parameters, dict) and re.search(r"(?<![\w:]):\d", sql) and "?" not in sql:
        return sql, [_argument(number, value) for number, value in enumerate(parameters, 1)]
    marked, values = bound(sql, parameters, ORACLE, lambda number, value: f":{number}")
    return marked, [_argument(number, value) for number, value in enumerate(values, 1)]


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

_UNKNOWN_OUTCOME: Final = "Whether the statement took effect is not known; look before repeating it."
_CODES: Final[tuple[tuple[str, type[ConnectorError], str, str], ...]] = (
    ("ORA-01017 ORA-01005 ORA-01045 ORA-28000 ORA-28001 ORA-28002 ORA-28009 ORA-28040 ORA-01035 ORA-03136 DPY-4001 DPY-3010 DPY-3015",
     Rejected, "{address} refused the login ({code})",
     "Correct username and password; check that the account is open, its password has not expired, and what logins the server takes."),
    ("ORA-12514 ORA-12505 ORA-12504 ORA-12516 DPY-6001 DPY-6003 DPY-6002 ORA-12521",
     Misconfigured, "{address} knows no service or SID of that name ({code})",
     "Correct the service or SID in jdbcUrl or databaseName; the listener's `lsnrctl services` lists them."),
    ("ORA-12528 ORA-12526 ORA-12527 ORA-01033 ORA-01034 ORA-01089 ORA-01090 ORA-12520 ORA-12519 ORA-00018 ORA-00020 ORA-12518",
     Unreachable, "{address} takes no connections now ({code})", "It is starting, stopping or full. Retry later; a smaller maxPoolSize helps."),
    ("ORA-00060 ORA-08177 ORA-00054 ORA-30006 ORA-00051 ORA-04068", Unreachable, "{address}: others held the same rows ({code})",
     "The statement was undone; repeat it."),
    ("ORA-01013 DPY-4024 ORA-00040 ORA-56735", Unreachable, "{address} stopped the statement ({code})", "Make it lighter, or allow more time."),
    ("ORA-03113 ORA-03114 ORA-03135 ORA-00028 ORA-02396 ORA-01012 ORA-12537 ORA-12547 ORA-12570 DPY-4011 DPY-1001 DPY-4010",
     Unreachable, "the connection to {address} was lost ({code})", _UNKNOWN_OUTCOME),
    ("ORA-01653 ORA-01654 ORA-01536 ORA-30036 ORA-01652 ORA-04031", Unreachable, "{address} has no room left ({code})",
     "Make room at the server; then look, and repeat."),
    ("ORA-01031 ORA-01950 ORA-28112", Misconfigured, "{address} does not let the login do that ({code})",
     "Grant the right to the login, or use another login."),
    ("ORA-00942", Misconfigured, "{address}: the table or view does not exist, or the login may not see it ({code})",
     "Correct the name, or grant the right."),
    ("ORA-00001", Misconfigured, "{address} refused the statement: duplicate key ({code})", "Such a row is there already."),
    ("ORA-01400 ORA-02290 ORA-02291 ORA-02292 ORA-12899 ORA-01438 ORA-01722 ORA-01830 ORA-01858", Misconfigured,
     "{address} refused the statement: a value does not fit ({code})", "Correct the values: types, lengths, constraints."),
    ("DPY-3001 DPY-3002 DPY-3016 DPY-3003 DPY-4008 DPY-4009 DPY-4005 DPY-2004 DPY-2007", Misconfigured,
     "the client library cannot do that ({code})", "Check the statement and its parameters."),
    ("DPY-6000 DPY-3017", Misconfigured, "{address} refused the connection as it was asked for ({code})",
     "Look at the listener's log: its valid nodes, its protocols and its version."),
)  # fmt: skip
_CODE: Final = re.compile(r"\b(ORA|DPY|DPI)-(\d{4,5})\b")


def translated(error: BaseException, address: str) -> ConnectorError | None:
    """The client library's exception as one of ours."""
    if isinstance(error, NothingSent) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, oracledb.Error):
        return _said(error, address)
    if isinstance(error, UnicodeError | OverflowError):
        return Misconfigured("a parameter holds a value that cannot be sent", hint="Correct the value.")
    return network_error(error, address) if isinstance(error, OSError | EOFError) else None


def _said(error: oracledb.Error, address: str) -> ConnectorError:
    # The first line says that there is no connection (DPY-6005), the second why.
    codes = [
        f"{kind}-{number:0>5}" if kind == "ORA" else f"{kind}-{number}" for kind, number in _CODE.findall(str(error))
    ]
    # Of a listener's refusal the client library has a number of its own, and tells Oracle's after it.
    for code in sorted(codes, key=lambda code: not code.startswith("ORA")):
        for known, kind, message, hint in _CODES:
            if code in known.split():
                return kind(message.format(address=address, code=code), hint=hint)
    network = _network(error)
    if network is not None:
        return network_error(network, address)
    if "DPY-6005" in codes or not codes:
        text = str(error)
        if "refused" in text:
            return network_error(ConnectionRefusedError(), address)
        if "timed out" in text or "timeout" in text:
            return network_error(TimeoutError(), address)
        return Unreachable(
            f"{address} does not speak Oracle's protocol, or hangs up",
            hint="Check host and port, and the protocol: tcps for TLS, tcp without.",
        )
    return Misconfigured(
        f"{address} refused the statement ({codes[0]})", hint="Correct the statement or its parameters."
    )


def _network(error: BaseException) -> OSError | None:
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError):
            return found
        found = found.__cause__ or found.__context__
    return None
