"""PostgreSQL, through asyncpg."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import socket
import ssl
import struct
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NoReturn, TypeVar

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

from mooring.errors import ConnectorError, EgressDenied, Misconfigured, Rejected, Unreachable
from mooring.plugin.network import Network, network_error
from mooring.types.database.port import CHUNK, Collector, Done, Driver, NothingSent, Parameters, Rows, Settings
from mooring.types.database.statement import for_postgres
from mooring.types.database.values import plain

T = TypeVar("T")
CONNECT_S: Final = 10.0
_SSL_REQUEST: Final = struct.pack("!ii", 8, 80877103)
_LOST: Final = (asyncpg.PostgresConnectionError, asyncpg.AdminShutdownError, asyncpg.CrashShutdownError, OSError)
_STANDBY: Final = {
    "primary": "primary", "master": "primary", "secondary": "standby", "slave": "standby",
    "preferSecondary": "prefer-standby", "preferSlave": "prefer-standby",
}  # fmt: skip


SMALL_ROWS: Final = 100
"""An answer of fewer rows is small: the same statement may be fetched at once the next time."""


class Connection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg has no types
    """asyncpg's connection, and what its public face lacks: the first rows of a statement in one round trip."""

    async def at_most(self, statement: PreparedStatement, arguments: list[Any], limit: int) -> list[asyncpg.Record]:
        """The first *limit* rows of *statement*, which then has ended."""
        # What `fetchrow` does with a limit of one.
        rows, _, _ = await self._protocol.bind_execute(statement._state, arguments, "", limit, True, None)
        return rows  # type: ignore[no-any-return]  # records


@dataclass(eq=False)
class Session:
    """A connection, and the statements that are prepared on it, the most recently used last."""

    connection: Connection
    statements: OrderedDict[str, PreparedStatement] = field(default_factory=OrderedDict)
    is_spent: bool = False
    """A statement was left unfinished: the session ends, and takes the statement with it."""


class _Dialling:
    """An event loop as the client library sees it: the same, but that TCP connections go where the policy allows."""

    def __init__(self, loop: asyncio.AbstractEventLoop, network: Network) -> None:
        self._loop, self._network = loop, network
        # What every statement asks for is no slower than on the loop itself.
        self.create_future, self.call_later, self.call_soon = loop.create_future, loop.call_later, loop.call_soon
        self.start_tls, self.is_closed, self.get_debug = loop.start_tls, loop.is_closed, loop.get_debug

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    async def create_connection(self, factory: Any, host: str, port: int, **options: Any) -> Any:
        try:
            sock = await self._network.connect(host, port)
        except Unreachable as exc:
            # The library goes on with the next host.
            raise socket.gaierror(str(exc)) from None
        try:
            return await self._loop.create_connection(factory, sock=sock, **options)
        except BaseException:
            sock.close()
            raise

    async def create_unix_connection(self, factory: Any, path: str, **options: Any) -> NoReturn:
        raise EgressDenied("a path is no host name", hint="Correct the host in jdbcUrl.")


class PostgresDriver(Driver[Session]):
    """Sessions of asyncpg."""

    def __init__(self, settings: Settings) -> None:
        target, user, password = settings.target, settings.user, settings.password
        parameters = target.parameters
        if not user:
            raise Misconfigured(
                "there is no user name to connect with", hint="Switch useCredentials on, or put user=... into jdbcUrl."
            )
        self.settings = settings
        self.address = settings.address
        self._tls = settings.tls
        self._met = False
        self._small: OrderedDict[str, None] = OrderedDict()
        self._max_statements = 0 if parameters.get("prepareThreshold") == "0" else settings.max_statements
        self._connect_s = settings.seconds("connectTimeout", "loginTimeout") or CONNECT_S
        self._statement_s = settings.seconds("socketTimeout")
        server = {"application_name": parameters.get("ApplicationName", f"mooring:{settings.name}"[:63])}
        if "currentSchema" in parameters:
            server["search_path"] = parameters["currentSchema"]
        if parameters.get("readOnly", "false").lower() == "true":
            server["default_transaction_read_only"] = "on"
        # Every argument that the client library would otherwise take from the environment or a file is given.
        self._arguments: dict[str, Any] = {
            "host": [host for host, _ in target.endpoints],
            "port": [port for _, port in target.endpoints],
            "user": user,
            "password": password or "",
            "database": target.database or user,
            "server_settings": server,
            "statement_cache_size": self._max_statements,
            "target_session_attrs": _STANDBY.get(parameters.get("targetServerType", "any"), "any"),
            "direct_tls": False,
            "connection_class": Connection,
            "krbsrvname": "postgres",
            "gsslib": "gssapi",
        }

    async def connect(self) -> Session:
        met, self._met = self._met, False
        try:
            async with asyncio.timeout(self._connect_s):
                if not met:
                    await self._greet()
                session = Session(await self._connected())
        except TimeoutError as exc:
            raise network_error(exc, self.address) from exc
        self._met = True
        return session

    async def _greet(self) -> None:
        """
        Where TLS is off, ask for it all the same, on a connection of its own: only PostgreSQL knows an answer.

        What answers anything else would be read by the client library for as long as it goes on.
        """
        if self._tls.mode != "disable":
            return
        for host, port in self.settings.target.endpoints:
            answer = b""
            with suppress(OSError, Unreachable):
                reader, writer = await self.settings.network.open_connection(host, port, limit=1024)
                try:
                    writer.write(_SSL_REQUEST)
                    answer = await reader.read(1)
                finally:
                    writer.close()
            if answer not in (b"S", b"N", b"E", b""):
                raise _no_postgres(f"{host}:{port}")

    async def _connected(self) -> asyncpg.Connection:
        dials = {"loop": _Dialling(asyncio.get_running_loop(), self.settings.network), "timeout": None}
        if self._tls.mode not in ("allow", "prefer"):
            return await asyncpg.connect(**self._arguments, ssl=self._tls.context or False, **dials)
        first, second = (self._tls.context, False) if self._tls.mode == "prefer" else (False, self._tls.context)
        try:
            return await asyncpg.connect(**self._arguments, ssl=first, **dials)
        except asyncpg.InvalidPasswordError:
            raise
        except (ConnectionError, ssl.SSLError, asyncpg.InvalidAuthorizationSpecificationError):
            return await asyncpg.connect(**self._arguments, ssl=second, **dials)

    async def close(self, session: Session) -> None:
        await session.connection.close()

    def abort(self, session: Session) -> None:
        session.connection.terminate()

    def is_alive(self, session: Session) -> bool:
        return not session.is_spent and not session.connection.is_closed()

    async def ping(self, session: Session) -> None:
        await session.connection.execute("select 1")

    async def tidy(self, session: Session, *, lent: bool) -> None:
        if session.connection.is_in_transaction():
            await session.connection.execute("ROLLBACK")
        if lent:
            await session.connection.reset()

    def native(self, session: Session) -> asyncpg.Connection:
        return session.connection

    async def fetch(self, session: Session, sql: str, parameters: Parameters, max_rows: int) -> Rows:
        sql, values = for_postgres(sql, parameters)
        return await self._run(session, lambda: self._fetch(session, sql, values, max_rows))

    async def execute(self, session: Session, sql: str, parameters: Parameters) -> Done:
        sql, values = for_postgres(sql, parameters)
        return await self._run(session, lambda: self._execute(session, sql, values))

    async def _run(self, session: Session, attempt: Callable[[], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(self._statement_s):
                try:
                    return await attempt()
                except (asyncpg.InvalidCachedStatementError, asyncpg.OutdatedSchemaCacheError):
                    # A table changed under a prepared statement; the server refused before running anything.
                    session.statements.clear()
                    return await attempt()
        except asyncpg.InternalClientError:
            # The server's farewell came in the middle of something, and the library waits for the rest of it.
            session.is_spent = True
            raise
        except TimeoutError as exc:
            session.is_spent = True
            raise Unreachable(
                f"{self.address} did not answer within the socketTimeout of jdbcUrl",
                hint="Whether the statement took effect is not known. Make it lighter, or allow more time.",
            ) from exc

    async def _fetch(self, session: Session, sql: str, values: list[Any], max_rows: int) -> Rows:
        if sql in self._small:
            rows = await self._fetch_at_once(session, sql, values, max_rows)
        else:
            rows = await self._fetch_in_pieces(session, sql, values, max_rows)
        self._note_size(sql, len(rows.rows) < SMALL_ROWS and not rows.truncated)
        return rows

    async def _fetch_at_once(self, session: Session, sql: str, values: list[Any], max_rows: int) -> Rows:
        """In one round trip, for a statement whose answer was small so far. Its rows are bounded, their size is not."""
        statement, arguments, columns = await self._prepared(session, sql, values)
        found = Collector(max_rows)
        for record in await session.connection.at_most(statement, arguments, max_rows + 1):
            found.add(_row(record, columns))
        return found.result([column.name for column in columns])

    async def _fetch_in_pieces(self, session: Session, sql: str, values: list[Any], max_rows: int) -> Rows:
        """Through a cursor, which takes four round trips: nobody knows how much there is."""
        async with _Transaction(session.connection):
            statement, arguments, columns = await self._prepared(session, sql, values)
            cursor = await statement.cursor(*arguments)
            found = Collector(max_rows)
            while not found.is_full and (chunk := await cursor.fetch(found.next_chunk())):
                for record in chunk:
                    found.add(_row(record, columns))
        return found.result([column.name for column in columns])

    def _note_size(self, sql: str, small: bool) -> None:
        if not small or not self._max_statements:
            self._small.pop(sql, None)
            return
        self._small[sql] = None
        self._small.move_to_end(sql)
        while len(self._small) > self._max_statements:
            self._small.popitem(last=False)

    async def _execute(self, session: Session, sql: str, values: list[Any]) -> Done:
        statement, arguments, columns = await self._prepared(session, sql, values)
        if not columns:
            await statement.fetch(*arguments)
            return Done(_row_count(statement.get_statusmsg()))
        # It returns rows, which are counted and dropped a few at a time: there may be millions.
        async with _Transaction(session.connection):
            count = 0
            cursor = await statement.cursor(*arguments)
            while chunk := await cursor.fetch(CHUNK):
                count += len(chunk)
        return Done(count)

    async def _prepared(self, session: Session, sql: str, values: list[Any]) -> tuple[Any, list[Any], Sequence[Any]]:
        """The prepared statement, its arguments in the server's types, and its columns. Nothing was run after this."""
        statement = session.statements.pop(sql, None)
        if statement is None:
            try:
                statement = await session.connection.prepare(sql)
            except _LOST as exc:
                raise NothingSent from exc
            except asyncpg.InterfaceError as exc:
                if session.connection.is_closed():
                    raise NothingSent from exc
                raise
        if self._max_statements:
            session.statements[sql] = statement
            while len(session.statements) > self._max_statements:
                session.statements.popitem(last=False)
        return statement, _arguments(statement.get_parameters(), values), statement.get_attributes()

    async def handshake(self, host: str, port: int) -> str | None:
        if self._tls.context is None:
            return "the TLS mode is disable"
        reader, writer = await self.settings.network.open_connection(host, port)
        try:
            writer.write(_SSL_REQUEST)
            if await reader.readexactly(1) != b"S":
                if self._tls.is_required:
                    raise _no_tls(f"{host}:{port}", self._tls.mode)
                return "the server speaks no TLS, and the TLS mode does not ask for it"
            await writer.start_tls(self._tls.context, server_hostname=host)
        finally:
            writer.close()
        return None

    def translate(self, error: BaseException) -> ConnectorError | None:
        if isinstance(error, NothingSent) and error.__cause__ is not None:
            error = error.__cause__
        if isinstance(error, asyncpg.PostgresError):
            return _server_error(error, self.address)
        if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError):
            return _client_error(error, self.address)
        if isinstance(error, ConnectionError) and "rejected SSL upgrade" in str(error):
            return _no_tls(self.address, self._tls.mode)
        if isinstance(error, UnicodeError):
            return Misconfigured("a text holds characters that cannot be encoded", hint="Remove lone surrogates.")
        return network_error(error, self.address) if isinstance(error, OSError | EOFError) else None


class _Transaction:
    """BEGIN and COMMIT around a block; losing the connection at BEGIN means that nothing was run."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._transaction = connection.transaction()

    async def __aenter__(self) -> None:
        try:
            await self._transaction.start()
        except _LOST as exc:
            raise NothingSent from exc
        except asyncpg.InterfaceError as exc:
            if self._connection.is_closed():
                raise NothingSent from exc
            raise

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None:
            await self._transaction.commit()
        elif not self._connection.is_closed() and not isinstance(error, asyncio.CancelledError):
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError):
                await self._transaction.rollback()


def _row(record: asyncpg.Record, columns: Sequence[Any]) -> list[Any]:
    return [
        _value(value, column.type.name in ("json", "jsonb"))
        for value, column in zip(record.values(), columns, strict=True)
    ]


def _value(value: Any, is_json: bool) -> Any:
    if is_json and isinstance(value, str):
        return json.loads(value)
    if isinstance(value, asyncpg.Record):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, asyncpg.BitString):
        return value.as_string().replace(" ", "")
    return plain(value)


def _row_count(status: str | None) -> int:
    """The number at the end of a command's tag, such as `INSERT 0 3`."""
    last = (status or "").rpartition(" ")[2]
    return int(last) if last.isdigit() else 0


# --- arguments: JSON has fewer types than PostgreSQL, which is strict about them -------------------------------


def _moment(value: str) -> datetime:
    return datetime.fromisoformat(value)


def _number(value: Any) -> Decimal:
    return Decimal(str(value)) if isinstance(value, float) else Decimal(value)


def _base64(value: str) -> bytes:
    return base64.b64decode(value, validate=True)


_FROM_TEXT: Final[dict[str, Callable[[str], Any]]] = {
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "timetz": time.fromisoformat,
    "timestamp": _moment,
    "timestamptz": _moment,
    "bytea": _base64,
}


def _arguments(types: Sequence[Any], values: list[Any]) -> list[Any]:
    if len(types) != len(values):
        raise Misconfigured(
            f"the statement has {len(types)} placeholders, and {len(values)} parameters were given",
            hint="Give one parameter for each placeholder.",
        )
    return [
        _argument(index, kind.name, value) for index, (kind, value) in enumerate(zip(types, values, strict=True), 1)
    ]


def _argument(index: int, kind: str, value: Any) -> Any:
    try:
        if kind in ("json", "jsonb"):
            return value if value is None or isinstance(value, str) else json.dumps(value)
        if kind == "numeric" and isinstance(value, int | float | str) and not isinstance(value, bool):
            return _number(value)
        if isinstance(value, str) and kind in _FROM_TEXT:
            return _FROM_TEXT[kind](value)
    except (ValueError, InvalidOperation):
        raise Misconfigured(
            f"parameter {index} is no {kind}",
            hint="Dates and times are ISO 8601 text, bytes are base64, numbers are numbers.",
        ) from None
    return value


# --- errors ----------------------------------------------------------------------------------------------------


def _no_postgres(address: str) -> Unreachable:
    return Unreachable(
        f"{address} does not speak PostgreSQL's protocol",
        hint="Check that the address is that of a PostgreSQL server.",
    )


def _no_tls(address: str, mode: str) -> Misconfigured:
    return Misconfigured(
        f"{address} speaks no TLS, and the TLS mode {mode} asks for it",
        hint="Switch TLS on at the server, or choose another sslmode in jdbcUrl.",
    )


_ARGUMENT = re.compile(r"query argument \$(\d+)")
_QUOTED = re.compile(r"'[^']*'|\"'[^\"]*\"")
_VALUE_CLASSES: Final = ("22",)
"""Classes of SQLSTATE whose messages repeat the value."""


def _said(error: asyncpg.PostgresError, state: str) -> str:
    """The server's message, without data."""
    text = str(getattr(error, "message", None) or error).splitlines()[0]
    if state.startswith(_VALUE_CLASSES):
        return re.split(r"[:\"']", text, maxsplit=1)[0].strip()
    return _QUOTED.sub("'…'", text)[:300]


_UNKNOWN_OUTCOME: Final = "Whether the statement took effect is not known; look before repeating it."
_STATES: Final[tuple[tuple[str, type[ConnectorError], str, str], ...]] = (
    ("28P01", Rejected, "{address} refused the login: the password is wrong", "Correct username and password."),
    ("28", Rejected, "{address} refused the login: {said}",
     "Check the user, and that the server's pg_hba.conf lets it in from here."),
    ("3D000", Misconfigured, "{address}: {said}", "Correct the database in jdbcUrl or databaseName, or create it."),
    ("42501", Misconfigured, "{address}: {said}", "Grant the right to the login, or use another login."),
    ("25001", Misconfigured, "{address}: {said}", "Use the operation execute for this statement."),
    ("53300", Unreachable, "{address} has no connection left: {said}",
     "Lower maxPoolSize here or elsewhere, or raise max_connections at the server."),
    ("57014", Unreachable, "{address} cancelled the statement: {said}", "Make it lighter, or allow more time."),
    ("57P03", Unreachable, "{address} does not take connections now: {said}", "Wait until it has started, then retry."),
    ("40", Unreachable, "{address}: {said}", "Somebody else held the same rows; nothing was changed. Repeat the statement."),
    ("55P03", Unreachable, "{address}: {said}", "Somebody else held the same rows; nothing was changed. Repeat the statement."),
    ("08", Unreachable, "the connection to {address} was lost", _UNKNOWN_OUTCOME),
    ("25P", Unreachable, "{address} ended the connection: {said}", _UNKNOWN_OUTCOME),
    ("57P", Unreachable, "{address} ended the connection: {said}", _UNKNOWN_OUTCOME),
    ("53", Unreachable, "{address}: {said}", _UNKNOWN_OUTCOME),
    ("58", Unreachable, "{address}: {said}", _UNKNOWN_OUTCOME),
    ("", Misconfigured, "{address} refused the statement: {said} ({state})", "Correct the statement or its parameters."),
)  # fmt: skip
"""What an SQLSTATE means: the first entry whose beginning it has."""


def _server_error(error: asyncpg.PostgresError, address: str) -> ConnectorError:
    if argument := _ARGUMENT.search(str(error)):
        # Refused by the client library already, in a class that looks like the server's.
        return Misconfigured(
            f"parameter {argument[1]} does not fit the type that the server expects",
            hint="Send the type of the column, or write a cast: ?::integer.",
        )
    state = error.sqlstate or ""
    _, kind, message, hint = next(entry for entry in _STATES if state.startswith(entry[0]))
    return kind(message.format(address=address, said=_said(error, state), state=state), hint=hint)


def _client_error(error: Exception, address: str) -> ConnectorError:
    text = str(error)
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return Unreachable(
            f"none of {address} is a server of the kind that targetServerType asks for",
            hint="Wait until one takes that part, or change the parameter in jdbcUrl.",
        )
    if isinstance(error, asyncpg.InternalClientError) or "closed" in text or "another operation" in text:
        return Unreachable(f"the connection to {address} was lost", hint=_UNKNOWN_OUTCOME)
    return Misconfigured("the client library refused the call", hint="Check the statement and its parameters.")
