"""Which module speaks to which product, and what has to be installed for it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from mooring.errors import DriverMissing
from mooring.types.database.port import Driver, Settings


class Kind(NamedTuple):
    """One product: its module here, the driver in it, and the extra that brings the client library."""

    module: str
    driver: str
    extra: str
    beside: str = ""
    """What the system has to bring as well."""


KINDS: Final[Mapping[str, Kind]] = {
    "POSTGRES": Kind("postgres", "PostgresDriver", "postgres"),
    "MYSQL": Kind("mysql", "MySqlDriver", "mysql"),
    "ORACLE": Kind("oracle", "OracleDriver", "oracle"),
    "SQL_SERVER": Kind("sqlserver", "SqlServerDriver", "mssql"),
    "TRINO": Kind("trino", "TrinoDriver", "trino"),
    "MONGODB": Kind("mongodb", "MongoDriver", "mongodb"),
    "APACHE_HIVE": Kind("hive", "HiveDriver", "hive"),
    "APACHE_IMPALA": Kind("hive", "HiveDriver", "hive"),
    "DB2": Kind("db2", "Db2Driver", "db2"),
    "SYBASE": Kind("sybase", "SybaseDriver", "sybase", " and, from the system, unixODBC and FreeTDS (Debian: tdsodbc)"),
}


def driver_of(settings: Settings) -> Driver[Any]:
    """The driver for an address. Raises `DriverMissing` or `Misconfigured`."""
    kind = KINDS[settings.target.dialect]
    try:
        module = importlib.import_module(f"mooring.types.database.{kind.module}")
    except ImportError as exc:
        if exc.name and exc.name.startswith("mooring"):
            raise
        raise DriverMissing(
            f"the driver for {settings.target.dialect} is not installed ({exc.name or 'a library of the system is missing'})",
            hint=f'pip install "mooring[{kind.extra}]"{kind.beside}',
        ) from exc
    driver: Driver[Any] = getattr(module, kind.driver)(settings)
    return driver
