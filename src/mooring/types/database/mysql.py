"""MySQL and MariaDB, through aiomysql."""

from __future__ import annotations

import asyncio
import json
import re
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final, TypeVar

import aiomysql
from pymysql.constants import CLIENT, FIELD_TYPE
from pymysql.converters import decoders
from pymysql.err import InterfaceError, MySQLError, OperationalError

from mooring.errors import ConnectorError, Misconfigured, Rejected, Unreachable
from mooring.plugin.network import network_error
from mooring.types.database.port import CHUNK, Collector, Done, Driver, NothingSent, Parameters, Rows, Settings
from mooring.types.database.statement import for_mysql
from mooring.types.database.tls import Tls
from mooring.types.database.values import plain, weight

T = TypeVar("T")
CONNECT_S: Final = 10.0
DRAIN_ROWS: Final = 2000
"""Rows beyond the wanted ones that are read and dropped, before dropping the connection is cheaper."""

DRAIN_BYTES: Final = 2000
"""The largest of those rows."""

_NO_TLS, _GONE, _SYNTAX = 2026, 2006, 1064
_WEAK_LOGIN: Final = 2061
_PLUGINS: Final = ("", "mysql_native_password", "caching_sha2_password", "sha256_password")
_DECODERS: Final = {key: value for key, value in decoders.items() if key != FIELD_TYPE.TIME}
"""Times of day stay the text that the server sends, `10:30:00`."""


class Session(aiomysql.Connection):  # type: ignore[misc]  # the library has no types
    """
    A connection that is stricter than the client library's own.

    One statement at a time; no login in the clear or by the old hash; TLS where it is asked for, or no word.
    """

    _server_auth_plugin: str

    def __init__(self, *, tls: Tls, name: str, found_rows: bool, **arguments: Any) -> None:
        super().__init__(ssl=tls.context, autocommit=True, conv=_DECODERS, charset="utf8mb4", **arguments)
        self.client_flag &= ~CLIENT.MULTI_STATEMENTS
        if found_rows:
            self.client_flag |= CLIENT.FOUND_ROWS
        self._tls, self.name = tls, name
        self.is_busy = False

    def is_alive(self) -> bool:
        """False where the other end is known to have hung up."""
        return self._reader is not None and not self._reader.eof_received and self._reader.exception() is None

    def drop(self) -> None:
        """Close the socket at once."""
        if self._writer is not None:
            self._writer.transport.abort()
        self.close()

    async def leave(self) -> None:
        """Say goodbye, and wait until the socket is closed."""
        writer = self._writer
        with suppress(MySQLError, OSError):
            await self.ensure_closed()
            if writer is not None:
                await writer.wait_closed()
        self.close()

    async def _request_authentication(self) -> None:
        # The library dialled an address that was judged; from here on, for TLS, it is the name that counts.
        self._host = self.name
        # The library goes on in the clear where the server, or somebody on the way, offers no TLS.
        if self._tls.is_required and not self.server_capabilities & CLIENT.SSL:
            raise OperationalError(_NO_TLS, "no TLS")
        if not self.server_capabilities & CLIENT.PLUGIN_AUTH:
            raise OperationalError(_WEAK_LOGIN, "old protocol")
        if self._server_auth_plugin not in _PLUGINS:
            # The server proposes something else; begin with the usual one, it will ask to switch.
            self._server_auth_plugin = "mysql_native_password"
        if self._server_auth_plugin == "sha256_password" and not self.server_capabilities & CLIENT.SSL:
            self._server_auth_plugin = "mysql_native_password"
        await super()._request_authentication()

    async def _process_auth(self, plugin_name: bytes, auth_packet: Any) -> Any:
        if plugin_name.decode("ascii", "replace") not in _PLUGINS and not (
            plugin_name == b"mysql_clear_password" and self._is_verified
        ):
            raise OperationalError(_WEAK_LOGIN, "weak login")
        return await super()._process_auth(plugin_name, auth_packet)

    @property
    def _is_verified(self) -> bool:
        return bool(self._secure) and self._tls.mode.startswith("verify")


class MySqlDriver(Driver[Session]):
    """Sessions of aiomysql."""

    def __init__(self, settings: Settings) -> None:
        target, user, password = settings.target, settings.user, settings.password
        parameters = target.parameters
        self.settings = settings
        self.address = settings.address
        self._endpoints = target.endpoints
        self._tls = settings.tls
        self._connect_s = settings.seconds("connectTimeout", milli=True) or CONNECT_S
        self._statement_s = settings.seconds("socketTimeout", milli=True)
        self._arguments: dict[str, Any] = {
            "user": user or "",
            # The library encodes passwords as Latin-1, servers compare UTF-8.
            "password": (password or "").encode().decode("latin-1"),
            "db": target.database,
            "program_name": f"mooring:{settings.name}"[:63],
            "found_rows": parameters.get("useAffectedRows", "false").lower() != "true",
        }

    async def connect(self) -> Session:
        failure: Exception | None = None
        for host, port in self._endpoints:
            try:
                return await self._connected(host, port)
            except Unreachable as exc:
                failure = exc
            except (OSError, OperationalError) as exc:
                if isinstance(exc, OperationalError) and not isinstance(exc.__cause__, OSError):
                    raise
                cause = exc.__cause__ if isinstance(exc, OperationalError) else None
                failure = network_error(cause or exc, f"{host}:{port}")
                failure.__cause__ = exc
        assert failure is not None  # there is at least one endpoint
        raise failure

    async def _connected(self, host: str, port: int) -> Session:
        addresses = await self.settings.network.resolve(host, port)
        for address in addresses[:-1]:
            with suppress(OperationalError):
                return await self._opened(host, port, str(address[0]))
        return await self._opened(host, port, str(addresses[-1][0]))

    async def _opened(self, host: str, port: int, address: str) -> Session:
        session = Session(tls=self._tls, name=host, host=address, port=port, **self._arguments)
        try:
            async with asyncio.timeout(self._connect_s):
                await session._connect()  # what the library's own connect() does, for our class
        except BaseException:
            session.drop()
            raise
        return session

    async def close(self, session: Session) -> None:
        if session.is_busy:
            await self._kill(session)
        session.is_busy = False
        await session.leave()

    async def _kill(self, session: Session) -> None:
        """End a statement that goes on at the server after its user left."""
        helper = await self._connected(session.name, session.port)
        try:
            await helper.query(f"KILL {int(session.thread_id())}")
            await helper.leave()
        finally:
            helper.drop()

    def abort(self, session: Session) -> None:
        session.drop()

    def is_alive(self, session: Session) -> bool:
        return session.is_alive()

    async def ping(self, session: Session) -> None:
        await session.ping(reconnect=False)

    async def tidy(self, session: Session, *, lent: bool) -> None:
        if session.get_transaction_status():
            await session.rollback()
        if lent and not session.get_autocommit():
            await session.autocommit(True)

    def native(self, session: Session) -> Session:
        return session

    async def fetch(self, session: Session, sql: str, parameters: Parameters, max_rows: int) -> Rows:
        return await self._run(session, sql, parameters, lambda cursor: self._fetch(session, cursor, max_rows))

    async def execute(self, session: Session, sql: str, parameters: Parameters) -> Done:
        return await self._run(session, sql, parameters, self._done)

    async def _run(
        self, session: Session, sql: str, parameters: Parameters, finish: Callable[[Any], Awaitable[T]]
    ) -> T:
        sql, values = for_mysql(sql, parameters)
        arguments = None if values is None else [_argument(index, value) for index, value in enumerate(values, 1)]
        if not session.is_alive():
            raise NothingSent from OperationalError(_GONE, "gone")
        session.is_busy = True
        try:
            async with asyncio.timeout(self._statement_s):
                cursor = await session.cursor(aiomysql.SSCursor)
                await cursor.execute(sql, arguments)
                result = await finish(cursor)
        except TimeoutError as exc:
            session.drop()
            raise Unreachable(
                f"{self.address} did not answer within the socketTimeout of jdbcUrl",
                hint="Whether the statement took effect is not known. Make it lighter, or allow more time.",
            ) from exc
        except Exception:
            session.is_busy = False
            raise
        session.is_busy = False
        return result

    async def _fetch(self, session: Session, cursor: Any, max_rows: int) -> Rows:
        columns = [column[0] for column in cursor.description or ()]
        kinds = [column[1] == FIELD_TYPE.JSON for column in cursor.description or ()]
        found = Collector(max_rows)
        while columns and not found.is_full and (record := await cursor.fetchone()) is not None:
            found.add([_value(value, is_json) for value, is_json in zip(record, kinds, strict=True)])
        if found.is_full and not await _drained(cursor):
            session.drop()
        else:
            await cursor.close()
        return found.result(columns)

    async def _done(self, cursor: Any) -> Done:
        if cursor.description is None:
            done = Done(max(cursor.rowcount, 0), cursor.lastrowid or None)
        else:
            count = 0
            while chunk := await cursor.fetchmany(CHUNK):
                count += len(chunk)
            done = Done(count)
        await cursor.close()
        return done

    async def handshake(self, host: str, port: int) -> str | None:
        if self._tls.context is None:
            return "the TLS mode is disable"
        reader, writer = await self.settings.network.open_connection(host, port)
        try:
            length = int.from_bytes((await reader.readexactly(4))[:3], "little")
            greeting = await reader.readexactly(length)
            if greeting[:1] == b"\xff":
                return None  # it refuses us already; the login says why
            after_version = greeting.index(b"\0", 1) + 1
            low = struct.unpack_from("<H", greeting, after_version + 13)[0]
            if not low & CLIENT.SSL:
                if self._tls.is_required:
                    raise _no_tls(f"{host}:{port}", self._tls.mode)
                return "the server speaks no TLS, and the TLS mode does not ask for it"
            flags = CLIENT.CAPABILITIES | CLIENT.SSL
            writer.write(b"\x20\0\0\x01" + struct.pack("<IIB23x", flags, 2**24 - 1, 45))
            await writer.start_tls(self._tls.context, server_hostname=host)
        finally:
            writer.close()
        return None

    def translate(self, error: BaseException) -> ConnectorError | None:
        if isinstance(error, NothingSent) and error.__cause__ is not None:
            error = error.__cause__
        if isinstance(error, MySQLError):
            return _server_error(error, self.address, self._tls.mode)
        if isinstance(error, RuntimeError) and "LOAD_LOCAL" in str(error):
            return Misconfigured(
                f"{self.address} asked for a file of this machine, which is refused",
                hint="Do not use LOAD DATA LOCAL here.",
            )
        if isinstance(error, UnicodeError):
            return Misconfigured("a text holds characters that cannot be encoded", hint="Remove lone surrogates.")
        return network_error(error, self.address) if isinstance(error, OSError | EOFError) else None


async def _drained(cursor: Any) -> bool:
    """Read the rest of a result where it is short. The protocol knows no other way to be rid of it."""
    for _ in range(DRAIN_ROWS):
        record = await cursor.fetchone()
        if record is None:
            return True
        if weight(plain(record)) > DRAIN_BYTES:
            return False
    return False


def _value(value: Any, is_json: bool) -> Any:
    if is_json and isinstance(value, str):
        return json.loads(value)
    return plain(value)


_BINDABLE = (bool, int, float, str, bytes, Decimal, date, time, datetime, timedelta)


def _argument(index: int, value: Any) -> Any:
    if isinstance(value, str):
        value.encode()  # a lone surrogate has no place in a statement
    if value is not None and not isinstance(value, _BINDABLE):
        raise Misconfigured(
            f"parameter {index} is a list or an object, which the server has no type for",
            hint="Send it as JSON text, or one parameter for each value.",
        )
    return value


# --- errors ----------------------------------------------------------------------------------------------------

_UNKNOWN_OUTCOME: Final = "Whether the statement took effect is not known; look before repeating it."
_CODES: Final[tuple[tuple[set[int], type[ConnectorError], str, str], ...]] = (
    ({1044, 1045, 1130, 1251, 1698, 1820, 1862, 3118, 3955, 4151}, Rejected, "{address} refused the login ({code})",
     "Correct username and password; check that the account may come from this host and use this database."),
    ({1049}, Misconfigured, "{address} has no database of that name ({code})",
     "Correct the database in jdbcUrl or databaseName, or create it."),
    ({1142, 1143, 1227, 1370}, Misconfigured, "{address}: {said} ({code})",
     "Grant the right to the login, or use another login."),
    ({1040, 1203, 1226}, Unreachable, "{address} has no connection left ({code})",
     "Lower maxPoolSize here or elsewhere, or raise max_connections at the server."),
    ({1053, 1927, 2002, 2003, 2006, 2013, 2014, 2055}, Unreachable, "the connection to {address} was lost", _UNKNOWN_OUTCOME),
    ({1205, 1213}, Unreachable, "{address}: {said} ({code})",
     "Somebody else held the same rows; nothing was changed. Repeat the statement."),
    ({1028, 1317, 1969, 3024}, Unreachable, "{address} stopped the statement ({code})", "Make it lighter, or allow more time."),
    ({_WEAK_LOGIN}, Misconfigured, "{address} asks for a login that would give the password away",
     "Give the account another authentication plugin, or use TLS with the mode VERIFY_CA or VERIFY_IDENTITY."),
)  # fmt: skip
_REFUSED: Final = (
    Misconfigured, "{address} refused the statement: {said} ({code})", "Correct the statement or its parameters.",
)  # fmt: skip
_NAMES_ONLY: Final = {
    1046, 1048, 1050, 1051, 1052, 1054, 1060, 1061, 1091, 1142, 1143, 1146, 1227, 1305, 1364, 1370, 1406, 1451, 1452,
}  # fmt: skip
"""Errors whose messages quote names of tables and columns, and no data."""


def _no_tls(address: str, mode: str) -> Misconfigured:
    return Misconfigured(
        f"{address} speaks no TLS, and the TLS mode {mode} asks for it",
        hint="Switch TLS on at the server, or choose another sslMode in jdbcUrl.",
    )


def _said(code: int, text: str) -> str:
    """The server's message, without data."""
    if code == _SYNTAX:
        line = re.search(r"at line (\d+)", text)
        return f"syntax error in line {line[1]}" if line else "syntax error"
    first = text.splitlines()[0] if text else ""
    if code in _NAMES_ONLY:
        return first[:300]
    # Up to the first quote: what is quoted is data, or the rest of the statement.
    return first.split("'", maxsplit=1)[0].rstrip(" ,;:(")[:300]


def _server_error(error: MySQLError, address: str, mode: str) -> ConnectorError:
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    if code == _NO_TLS:
        return _no_tls(address, mode)
    if isinstance(error, InterfaceError):
        code = _GONE
    if code == 0:
        # The client library's own: packets out of order, or none that it knows.
        return Unreachable(
            f"{address} does not speak MySQL's protocol",
            hint="Check that the address is that of a MySQL or MariaDB server.",
        )
    said = _said(code, str(error.args[1]) if len(error.args) > 1 else "")
    known = next((entry[1:] for entry in _CODES if code in entry[0]), _REFUSED)
    kind, message, hint = known
    return kind(message.format(address=address, said=said, code=code), hint=hint)
