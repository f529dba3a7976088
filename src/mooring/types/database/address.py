"""An address of a database in parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

DEFAULT_PORTS: Final[Mapping[str, int]] = {
    "ORACLE": 1521,
    "MYSQL": 3306,
    "POSTGRES": 5432,
    "SQL_SERVER": 1433,
    "SYBASE": 5000,
    "DB2": 50000,
    "APACHE_HIVE": 10000,
    "APACHE_IMPALA": 21050,
    "MONGODB": 27017,
    "TRINO": 8080,
}


class UrlRefused(ValueError):
    """An address that is not accepted. `problems` are pairs of a code and a reason ("it ..."), without values."""

    def __init__(self, *problems: tuple[str, str]) -> None:
        super().__init__("; ".join(reason for _, reason in problems))
        self.problems = problems


class Endpoint(NamedTuple):
    """A server of an address. Without a port, the product's own holds."""

    host: str
    port: int | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"


@dataclass(frozen=True)
class JdbcUrl:
    """
    An address in parts.

    Attributes:
        dialect: The product: a value of `dbType`.
        hosts: The servers, in the order they are tried.
        database: Database, schema, service or SID; `catalog/schema` for Trino.
        parameters: What else the address says, under the names of the product's list.
        form: Which of several spellings: "sid" (Oracle), "srv" (MongoDB), "jtds" (Sybase); else empty.
        user: The login name that stands in the address.
        password: The password that stands in the address.
    """

    dialect: str
    hosts: tuple[Endpoint, ...]
    database: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    form: str = ""
    user: str | None = None
    password: str | None = None

    @property
    def host(self) -> str:
        """The first server's name."""
        return self.hosts[0].host

    @property
    def port(self) -> int:
        """The first server's port."""
        return self.hosts[0].port or DEFAULT_PORTS[self.dialect]

    @property
    def endpoints(self) -> list[tuple[str, int]]:
        """Every server with its port."""
        return [(host, port or DEFAULT_PORTS[self.dialect]) for host, port in self.hosts]

    def __repr__(self) -> str:
        # A parameter may be a credential, and so may be what stands before a password.
        return f"<JdbcUrl {self.dialect} {','.join(map(str, self.hosts))}>"
