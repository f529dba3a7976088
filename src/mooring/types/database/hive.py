"""Hive and Impala, through impyla: HiveServer2's protocol over Thrift, in threads."""

from __future__ import annotations

import base64
import http.client
import logging
import re
import ssl
from io import BytesIO
from typing import Any, Final

from impala import error as hs2
from impala._thrift_api import ThriftClient
from impala.hiveserver2 import HiveServer2Connection, HS2Service
from impala.sasl_compat import PureSASLClient
from thrift.protocol.TBinaryProtocol import TBinaryProtocolAccelerated
from thrift.Thrift import TException
from thrift.transport.TSocket import TSocket
from thrift.transport.TTransport import TBufferedTransport, TTransportBase, TTransportException
from thrift_sasl import TSaslClientTransport

from mooring.errors import ConnectorError, Misconfigured, Rejected, Unreachable
from mooring.plugin.network import network_error
from mooring.types.database.blocking import UNKNOWN_OUTCOME, BlockingDriver, Session, secured
from mooring.types.database.literals import for_hive
from mooring.types.database.port import CHUNK, MOST_BYTES, Collector, Done, NothingSent, Parameters, Rows, Settings
from mooring.types.database.statement import HIVE, bound
from mooring.types.database.values import plain

MOST_MESSAGE: Final = 4 * MOST_BYTES
MOST_GREETING: Final = 64 * 1024
NO_PASSWORD: Final = "anonymous"
"""What a server without passwords is told, which wants to hear something."""

# It logs every failure with its stack, and every request at its beginning.
logging.getLogger("impala").setLevel(logging.CRITICAL)
logging.getLogger("thrift").setLevel(logging.CRITICAL)


class HiveDriver(BlockingDriver[Any]):
    """
    Sessions of HiveServer2. What is lent is a cursor of impyla: it is what has a session at the server.

    Statements have no parameters in this protocol: values become literals, see `literals`.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        target, parameters = settings.target, settings.target.parameters
        impala = target.dialect == "APACHE_IMPALA"
        self._tls = settings.tls.context
        self.connect_s = settings.seconds("LoginTimeout") or self.connect_s
        self.statement_s = settings.seconds("SocketTimeout", "socketTimeout")
        self._path = parameters.get("httpPath", "cliservice")
        transport = parameters.get("transportMode", "binary")
        self._over_http = transport == "http"
        if self._path and not re.fullmatch(r"[A-Za-z0-9_.~/\-]+", self._path):
            raise Misconfigured("httpPath in jdbcUrl is no path", hint="Correct httpPath.")
        how = parameters.get("AuthMech", "3" if settings.password else "2" if settings.user else "0")
        self._sasl = parameters.get("auth", "plain").lower() != "nosasl" if not impala else how in ("2", "3")
        if impala and transport == "sasl":
            self._sasl = True
        self._user = settings.user or NO_PASSWORD
        self._password = settings.password or NO_PASSWORD
        self._database = target.database
        if self._database and not re.fullmatch(r"[A-Za-z0-9_]+", self._database):
            raise Misconfigured(
                "the name of the database is none that Hive knows", hint="Correct it: letters, digits, _."
            )

    # --- in the thread -------------------------------------------------------------------------------------------

    def on_login(self, session: Session[Any]) -> Any:
        if self._tls is not None:
            secured(session, self._tls)
        transport = self._transport(session)
        transport.open()
        if isinstance(transport, TSaslClientTransport):
            transport._trans.most = MOST_MESSAGE
        protocol = TBinaryProtocolAccelerated(
            transport, string_length_limit=MOST_MESSAGE, container_length_limit=1_000_000
        )
        # One attempt: it would reconnect by itself, and to somebody else.
        connection = HiveServer2Connection(HS2Service(ThriftClient(protocol), retries=1))
        cursor = connection.cursor(user=self._user, close_finished_queries=False)
        session.kept["connection"] = connection
        if self._database:
            cursor.execute(f"USE `{self._database}`")
        return cursor

    def _transport(self, session: Session[Any]) -> TTransportBase:
        assert session.socket is not None
        if self._over_http:
            return HttpTransport(session, self._path, self._user if self._sasl else None, self._password)
        plain_socket = TSocket(session.host, 0)
        plain_socket.setHandle(session.socket)
        if not self._sasl:
            return _Opened(plain_socket)
        return TSaslClientTransport(
            lambda: PureSASLClient(session.host, username=self._user, password=self._password, service="hive"),
            "PLAIN",
            _Bounded(plain_socket),
        )

    def on_fetch(self, session: Session[Any], sql: str, parameters: Parameters, max_rows: int) -> Rows:
        cursor = self._run(session, sql, parameters)
        found = Collector(max_rows)
        # Hive names a column `table.column` where it stands for itself.
        columns = [re.sub(r"^\w+\.(?=\w+$)", "", column[0]) for column in cursor.description or ()]
        binary = [column[1] == "BINARY" for column in cursor.description or ()]
        while columns and not found.is_full:
            chunk = _more(cursor, found.next_chunk())
            if not chunk:
                break
            for row in chunk:
                found.add([_value(value, is_binary) for value, is_binary in zip(row, binary, strict=True)])
        cursor.close_operation()
        return found.result(columns)

    def on_execute(self, session: Session[Any], sql: str, parameters: Parameters) -> Done:
        cursor = self._run(session, sql, parameters)
        count = 0
        if cursor.has_result_set and cursor.description:
            while chunk := _more(cursor, CHUNK):
                count += len(chunk)
        cursor.close_operation()
        return Done(count)

    def _run(self, session: Session[Any], sql: str, parameters: Parameters) -> Any:
        marked, _ = bound(sql, parameters, HIVE, for_hive)
        cursor = session.opened()
        cursor.set_arraysize(CHUNK)
        cursor.execute(marked.rstrip().removesuffix(";"))
        return cursor

    def on_ping(self, session: Session[Any]) -> None:
        if not session.opened().session.ping():
            raise ConnectionResetError

    def on_leave(self, session: Session[Any]) -> None:
        cursor = session.opened()
        try:
            cursor.close()
        finally:
            session.kept["connection"].close()

    # --- outside -------------------------------------------------------------------------------------------------

    async def handshake(self, host: str, port: int) -> str | None:
        if self._tls is None:
            return "TLS is off in jdbcUrl"
        await self.settings.network.handshake(host, port, self._tls)
        return None

    def translate(self, error: BaseException) -> ConnectorError | None:
        return translated(error, self.address)


def _more(cursor: Any, count: int) -> Any:
    try:
        return cursor.fetchmany(count)
    except IndexError:
        # Spark announces a result for statements that have none, and sends no column of it.
        return []


def _value(value: Any, is_binary: bool) -> Any:
    # Arrays, maps and structs come as bytes that hold JSON.
    return plain(value.decode("utf-8", "replace") if isinstance(value, bytes) and not is_binary else value)


class _Opened(TBufferedTransport):  # type: ignore[misc]  # the library has no types
    """Over a socket that is connected already."""

    def open(self) -> None:
        pass


class _Bounded(TTransportBase):  # type: ignore[misc]  # the library has no types
    """The socket below SASL: a length that no server would send ends it, before memory is asked for."""

    def __init__(self, below: TSocket) -> None:
        self._below = below
        self.most = MOST_GREETING

    def isOpen(self) -> bool:  # noqa: N802 - Thrift's name
        return True

    def open(self) -> None:
        pass

    def close(self) -> None:
        self._below.close()

    def read(self, size: int) -> bytes:
        read: bytes = self._below.read(size)
        return read

    def readAll(self, size: int) -> bytes:  # noqa: N802 - Thrift's name
        if size > self.most:
            raise TTransportException(TTransportException.UNKNOWN, "too large")
        read = bytearray()
        while len(read) < size:
            read += self._below.read(min(size - len(read), 1 << 20))
        return bytes(read)

    def write(self, data: bytes) -> None:
        self._below.write(data)

    def flush(self) -> None:
        self._below.flush()


class HttpTransport(TTransportBase):  # type: ignore[misc]  # the library has no types
    """
    Thrift in HTTP requests, one after the other on the connection that was made.

    The client library's own dials for each request, takes proxies from the environment, and waits without end.
    """

    def __init__(self, session: Session[Any], path: str, user: str | None, password: str) -> None:
        assert session.socket is not None
        self._http = http.client.HTTPConnection(session.host)
        self._http.auto_open = 0
        self._http.sock = session.socket
        self._path = "/" + path.lstrip("/")
        self._headers = {"Content-Type": "application/x-thrift", "Accept-Encoding": "identity", "User-Agent": "mooring"}
        if user is not None:
            login = base64.b64encode(f"{user}:{password}".encode()).decode()
            self._headers["Authorization"] = f"Basic {login}"
        self._question, self._answer = BytesIO(), BytesIO()

    def isOpen(self) -> bool:  # noqa: N802 - Thrift's name
        return self._http.sock is not None

    def open(self) -> None:
        pass

    def close(self) -> None:
        self._http.close()

    def write(self, data: bytes) -> None:
        self._question.write(data)

    def flush(self) -> None:
        content, self._question = self._question.getvalue(), BytesIO()
        self._http.request("POST", self._path, content, self._headers)
        response = self._http.getresponse()
        answer = response.read(MOST_MESSAGE + 1)
        if response.status != 200 or len(answer) > MOST_MESSAGE:
            raise hs2.HttpError(response.status, response.reason, b"", response.headers)
        self._answer = BytesIO(answer)

    def read(self, size: int) -> bytes:
        return self._answer.read(size)


# --- errors ----------------------------------------------------------------------------------------------------

_NAMES_ONLY: Final = re.compile(
    r"(Table or view not found: [\w.`]+|\[?TABLE_OR_VIEW_NOT_FOUND\]?|Table not found '[\w.]+'|Could not resolve table"
    r" reference: '[\w.]+'|Database .{0,4}[\w.`]+.{0,4} (?:does not exist|not found)|Invalid column reference '[\w.]+'"
    r"|UNRESOLVED_COLUMN|SCHEMA_NOT_FOUND|TABLE_OR_VIEW_ALREADY_EXISTS|PARSE_SYNTAX_ERROR|ParseException"
    r"|AnalysisException|AuthorizationException|SemanticException \[Error \d+\])"
)
_PLACE: Final = re.compile(r"\bline (\d+)")


def translated(error: BaseException, address: str) -> ConnectorError | None:
    """The client library's exception as one of ours."""
    if isinstance(error, NothingSent) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, ssl.SSLError):
        return network_error(error, address)
    if isinstance(error, hs2.HttpError):
        return _http(error.code, address)
    if isinstance(error, hs2.Error):
        return _said(str(error), address)
    if isinstance(error, TTransportException):
        return _transport(error, address)
    if isinstance(error, http.client.HTTPException):
        return _foreign(address)
    if isinstance(
        error, TException | ValueError | IndexError | KeyError | AttributeError | AssertionError | MemoryError
    ):
        return _foreign(address)
    if isinstance(error, UnicodeError):
        return Misconfigured("a text holds characters that cannot be encoded", hint="Remove lone surrogates.")
    return network_error(error, address) if isinstance(error, OSError | EOFError) else None


def _foreign(address: str) -> Unreachable:
    return Unreachable(
        f"{address} does not speak HiveServer2's protocol",
        hint="Check host and port, and auth, transportMode and ssl in jdbcUrl: both ends must agree about them.",
    )


def _http(status: int, address: str) -> ConnectorError:
    if status in (401, 403):
        return Rejected(f"{address} refused the login (HTTP {status})", hint="Correct username and password.")
    return Misconfigured(
        f"{address} answered with HTTP {status}",
        hint="Check httpPath in jdbcUrl, and that the server listens for HTTP.",
    )


def _transport(error: TTransportException, address: str) -> ConnectorError:
    text = str(error)
    if "Bad status" in text or "Bad SASL" in text:
        if re.search(r"[Aa]uthenticat|validating the login|[Ll]ogin|credential|PLAIN", text):
            return Rejected(f"{address} refused the login", hint="Correct username and password.")
        return _foreign(address)
    if isinstance(getattr(error, "inner", None), OSError):
        return network_error(error.inner, address)
    if error.type == TTransportException.TIMED_OUT:
        return network_error(TimeoutError(), address)
    if error.type == TTransportException.UNKNOWN or "SASL" in text:
        return _foreign(address)
    return Unreachable(f"the connection to {address} was lost", hint=UNKNOWN_OUTCOME)


def _said(text: str, address: str) -> ConnectorError:
    """What the server said of a statement, without data: it repeats the statement, and adds its stack."""
    found = _NAMES_ONLY.search(text)
    place = _PLACE.search(text)
    what = (found[0].strip("[]") if found else "an error in the statement") + (f" in line {place[1]}" if place else "")
    if re.search(r"AuthorizationException|Permission denied|HiveAccessControlException|privilege", text):
        return Misconfigured(f"{address} does not let the login do that", hint="Grant the right, or use another login.")
    if re.search(r"SCHEMA_NOT_FOUND|[Dd]atabase .* (?:not found|does not exist)|Database does not exist", text):
        return Misconfigured(
            f"{address} has no database of that name", hint="Correct the database in jdbcUrl or databaseName."
        )
    if re.search(r"Invalid SessionHandle|Invalid OperationHandle|Invalid session|Session .*expired", text):
        return Unreachable(f"{address} ended the session", hint=UNKNOWN_OUTCOME)
    if re.search(r"[Cc]ancel|timed out|[Mm]emory limit|OutOfMemory", text):
        return Unreachable(f"{address} stopped the statement", hint="Make it lighter, or allow more time.")
    if re.search(r"LOCK|acquire locks|[Dd]eadlock", text):
        return Unreachable(f"{address}: others hold what the statement needs", hint="Repeat the statement.")
    return Misconfigured(f"{address} refused the statement: {what}", hint="Correct the statement or its parameters.")
