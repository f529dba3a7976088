"""Sybase ASE, through pyodbc and the system's FreeTDS in threads."""

from __future__ import annotations

from typing import Any, Final

import pyodbc

from mooring.errors import ConnectorError, DriverMissing, Misconfigured
from mooring.types.database.blocking import Session
from mooring.types.database.odbc import OdbcDriver, pairs, translated
from mooring.types.database.port import Settings

DRIVER: Final = "FreeTDS"

pyodbc.pooling = False  # ours is the pool


class SybaseDriver(OdbcDriver):
    """Sessions of pyodbc."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        if settings.tls.context is not None:
            raise Misconfigured(
                "FreeTDS speaks no TLS to Sybase", hint="Leave ENABLE_SSL out, and protect the way by other means."
            )
        if DRIVER not in pyodbc.drivers():
            raise DriverMissing(
                "FreeTDS, the ODBC driver for Sybase, is not installed in the system",
                hint="Install it: apt install tdsodbc (Debian), or FreeTDS from elsewhere, listed in odbcinst.ini.",
            )
        self.connect_s = settings.seconds("LOGINTIMEOUT") or self.connect_s
        self.statement_s = settings.seconds("socketTimeout", milli=True)

    def on_login(self, session: Session[Any]) -> Any:
        settings = self.settings
        parameters = settings.target.parameters
        text = pairs({
            "Driver": DRIVER,
            "Server": self.place,
            "Port": settings.target.port,
            "TDS_Version": parameters.get("TDS", "5.0"),
            "UID": settings.user,
            "PWD": settings.password,
            "Database": settings.target.database,
            "APP": parameters.get("APPLICATIONNAME") or parameters.get("appName") or f"mooring:{settings.name}"[:30],
            "ClientCharset": "UTF-8",
        })  # fmt: skip
        return pyodbc.connect(text, autocommit=True, timeout=max(1, int(self.connect_s)))

    def on_tidy(self, session: Session[Any], lent: bool) -> None:
        cursor = session.opened().cursor()
        try:
            cursor.execute("if @@trancount > 0 rollback transaction")
        finally:
            cursor.close()

    async def handshake(self, host: str, port: int) -> str | None:
        return "FreeTDS speaks no TLS to Sybase"

    def translate(self, error: BaseException) -> ConnectorError | None:
        return translated(error, self.address, pyodbc.Error)
