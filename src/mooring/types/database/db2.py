"""DB2, through IBM's own client in threads."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from typing import Any

import ibm_db_dbi

from mooring.errors import ConnectorError, Misconfigured
from mooring.types.database.blocking import Session
from mooring.types.database.odbc import OdbcDriver, pairs, translated
from mooring.types.database.port import Settings


class Db2Driver(OdbcDriver):
    """Sessions of ibm_db."""

    test = "values 1"

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        if not settings.target.database:
            raise Misconfigured("there is no database to connect to", hint="Put it into jdbcUrl or databaseName.")
        self.connect_s = settings.seconds("loginTimeout") or self.connect_s
        self.statement_s = settings.seconds("blockingReadConnectionTimeout")

    def on_login(self, session: Session[Any]) -> Any:
        settings, tls = self.settings, self.settings.tls
        parameters = settings.target.parameters
        values: dict[str, object | None] = {
            "DATABASE": settings.target.database,
            # Only where the certificate's name is compared does the client library look the name up itself.
            "HOSTNAME": settings.target.host if tls.mode == "verify-full" else self.place,
            "PORT": settings.target.port,
            "PROTOCOL": "TCPIP",
            "UID": settings.user,
            "PWD": settings.password,
            "CurrentSchema": parameters.get("currentSchema"),
            "ProgramName": parameters.get("clientProgramName") or f"mooring:{settings.name}"[:20],
            "ConnectTimeout": max(1, int(self.connect_s)),
        }
        with ExitStack() as stack:
            if tls.context is not None:
                values["Security"] = "SSL"
                values["SSLClientHostnameValidation"] = "Basic" if tls.mode == "verify-full" else "Off"
                authorities = tls.trusted
                if authorities is None and tls.ca_file is not None:
                    with open(tls.ca_file, encoding="ascii", errors="ignore") as file:
                        authorities = file.read()
                if authorities is not None:
                    # It reads a file, once, while it connects.
                    shown = stack.enter_context(tempfile.NamedTemporaryFile("w", suffix=".pem"))
                    shown.write(authorities)
                    shown.flush()
                    values["SSLServerCertificate"] = shown.name
            connection = ibm_db_dbi.connect(pairs(values), "", "")
        connection.set_autocommit(True)
        return connection

    def on_tidy(self, session: Session[Any], lent: bool) -> None:
        if lent:
            session.opened().rollback()
            session.opened().set_autocommit(True)

    async def handshake(self, host: str, port: int) -> str | None:
        if self.settings.tls.context is None:
            return "sslConnection is off in jdbcUrl"
        await self.settings.network.handshake(host, port, self.settings.tls.context)
        return None

    def translate(self, error: BaseException) -> ConnectorError | None:
        return translated(error, self.address, ibm_db_dbi.Error)
