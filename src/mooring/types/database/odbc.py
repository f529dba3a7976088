"""What DB2 and Sybase share: drivers that are handed one text of NAME=value pairs, and block in threads."""

from __future__ import annotations

import re
from typing import Any, Final

from mooring.errors import ConnectorError, Misconfigured, Rejected, Unreachable
from mooring.plugin.network import network_error
from mooring.types.database.blocking import UNKNOWN_OUTCOME, BlockingDriver, Session, dialled
from mooring.types.database.port import CHUNK, Collector, Done, NothingSent, Parameters, Rows
from mooring.types.database.statement import STANDARD, bound
from mooring.types.database.values import plain


def pairs(values: dict[str, object | None]) -> str:
    """`NAME=value;...`, where no value can begin another pair. Raises `Misconfigured`."""
    parts = []
    for name, value in values.items():
        if value is None or value == "":
            continue
        text = str(value)
        if re.search(r"[\x00-\x1f\x7f]", text):
            raise Misconfigured("a login or an address holds a control character", hint="Remove it.")
        if re.search(r"[;{}\[\](),?*=!@'\"\\]|^\s|\s$", text):
            text = "{" + text.replace("}", "}}") + "}"
        parts.append(f"{name}={text}")
    return ";".join(parts) + ";"


class OdbcDriver(BlockingDriver[Any]):
    """Sessions of a DB-API 2 library with `?` for values."""

    test: str = "select 1"
    place: str = ""

    async def dial(self) -> None:
        """
        The client library opens its own socket; whether one can be opened is seen by ours at first.

        It is given the address that was judged and reached, and looks nothing up.
        """
        host, port = (await self.endpoints())[0]
        addresses = [str(entry[0]) for entry in await self.settings.network.resolve(host, port)]
        if self.place not in addresses:
            tried, _ = await dialled(self.settings.network, [(host, port)])
            self.place = str(tried.getpeername()[0])
            tried.close()

    def on_fetch(self, session: Session[Any], sql: str, parameters: Parameters, max_rows: int) -> Rows:
        found = Collector(max_rows)
        cursor = self._run(session, sql, parameters)
        try:
            columns = [column[0] for column in cursor.description or ()]
            while columns and not found.is_full:
                chunk = cursor.fetchmany(found.next_chunk())
                if not chunk:
                    break
                for row in chunk:
                    found.add([plain(value) for value in row])
        finally:
            cursor.close()
        return found.result(columns)

    def on_execute(self, session: Session[Any], sql: str, parameters: Parameters) -> Done:
        cursor = self._run(session, sql, parameters)
        try:
            if not cursor.description:
                return Done(max(cursor.rowcount, 0))
            count = 0
            while chunk := cursor.fetchmany(CHUNK):
                count += len(chunk)
            return Done(count)
        finally:
            cursor.close()

    def _run(self, session: Session[Any], sql: str, parameters: Parameters) -> Any:
        marked, values = bound(sql, parameters, STANDARD)
        cursor = session.opened().cursor()
        if values:
            cursor.execute(marked, tuple(_argument(number, value) for number, value in enumerate(values, 1)))
        else:
            cursor.execute(marked)
        return cursor

    def on_ping(self, session: Session[Any]) -> None:
        cursor = session.opened().cursor()
        try:
            cursor.execute(self.test)
            cursor.fetchall()
        finally:
            cursor.close()

    def on_leave(self, session: Session[Any]) -> None:
        session.opened().close()


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

_STATE: Final = re.compile(r"SQLSTATE[=:]?\s*([0-9A-Z]{5})|\[([0-9A-Z]{5})\]")
_CODES: Final[tuple[tuple[str, type[ConnectorError], str, str], ...]] = (
    ("SQL30081N SQL1336N SQL30020N", Unreachable, "{address} could not be reached ({code})",
     "Check host and port, that the server is running, and sslConnection in jdbcUrl."),
    ("SQL30082N SQL1403N SQL1060N", Rejected, "{address} refused the login ({code})", "Correct username and password."),
    ("SQL1013N SQL30061N SQL1035N", Misconfigured, "{address} has no database of that name ({code})",
     "Correct the database in jdbcUrl or databaseName."),
    ("SQL0551N SQL0552N", Misconfigured, "{address} does not let the login do that ({code})", "Grant the right, or use another login."),
    ("SQL0911N SQL0913N", Unreachable, "{address}: others held the same rows ({code})", "The statement was undone; repeat it."),
    ("SQL0803N", Misconfigured, "{address} refused the statement: duplicate key ({code})", "Such a row is there already."),
    ("SQL1040N SQL1226N", Unreachable, "{address} has no connection left ({code})", "Lower maxPoolSize here or elsewhere."),
    ("SQL1224N SQL30108N SQL1229N", Unreachable, "the connection to {address} was lost ({code})", UNKNOWN_OUTCOME),
)  # fmt: skip
_STATES: Final[tuple[tuple[str, type[ConnectorError], str, str], ...]] = (
    ("28", Rejected, "{address} refused the login ({code})", "Correct username and password."),
    ("08001", Unreachable, "{address} could not be reached ({code})", "Check host and port, and that the server is running."),
    ("08S01", Unreachable, "the connection to {address} was lost ({code})", UNKNOWN_OUTCOME),
    ("08", Unreachable, "the connection to {address} was lost ({code})", UNKNOWN_OUTCOME),
    ("HYT", Unreachable, "{address} did not answer in time ({code})", UNKNOWN_OUTCOME),
    ("40", Unreachable, "{address}: others held the same rows ({code})", "The statement was undone; repeat it."),
    ("42501", Misconfigured, "{address} does not let the login do that ({code})", "Grant the right, or use another login."),
    ("23", Misconfigured, "{address} refused the statement: a constraint of the table ({code})", "Correct the values."),
    ("22", Misconfigured, "{address} refused the statement: a value does not fit ({code})", "Correct the values."),
    ("", Misconfigured, "{address} refused the statement ({code})", "Correct the statement or its parameters."),
)  # fmt: skip
_VENDOR: Final = re.compile(r"\b(SQL\d{4,5}N)\b|\((\d{3,5})\)")
_SYBASE: Final[tuple[tuple[str, type[ConnectorError], str, str], ...]] = (
    ("4002 1608", Rejected, "{address} refused the login ({code})", "Correct username and password."),
    ("911 4001", Misconfigured, "{address} has no database of that name ({code})", "Correct the database in jdbcUrl or databaseName."),
    ("1205", Unreachable, "{address}: others held the same rows ({code})", "The statement was undone; repeat it."),
    ("20002 20009 20003 20004 20006", Unreachable, "{address} could not be reached, or does not speak TDS ({code})",
     "Check host and port, and that the server is running."),
    ("10330 229 230", Misconfigured, "{address} does not let the login do that ({code})", "Grant the right, or use another login."),
    ("2601 2615", Misconfigured, "{address} refused the statement: duplicate key ({code})", "Such a row is there already."),
    ("1601 1622", Unreachable, "{address} has no connection left ({code})", "Lower maxPoolSize here or elsewhere."),
)  # fmt: skip


def translated(error: BaseException, address: str, known: type[Exception]) -> ConnectorError | None:
    """An exception of a library whose base class is *known* as one of ours; its text may hold data and is not shown."""
    if isinstance(error, NothingSent) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, known):
        return said(str(error), address)
    if isinstance(error, UnicodeError | OverflowError):
        return Misconfigured("a parameter holds a value that cannot be sent", hint="Correct the value.")
    return network_error(error, address) if isinstance(error, OSError | EOFError) else None


def said(text: str, address: str) -> ConnectorError:
    """What a message's codes mean: the vendor's own first, then SQLSTATE."""
    for match in _VENDOR.finditer(text):
        code = match[1] or match[2]
        for codes, kind, message, hint in (*_CODES, *_SYBASE):
            if code in codes.split():
                return kind(message.format(address=address, code=code), hint=hint)
    state = _STATE.search(text)
    code = (state[1] or state[2]) if state else ""
    _, kind, message, hint = next(entry for entry in _STATES if code.startswith(entry[0]))
    return kind(message.format(address=address, code=code or "no code"), hint=hint)
