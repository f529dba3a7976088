"""What a database connection is made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Final, Literal

from annotated_types import Ge, Le
from pydantic import StringConstraints, model_validator

from mooring.errors import Problem
from mooring.plugin.config import ConnectionConfig
from mooring.plugin.fields import (
    Count,
    Flag,
    Milliseconds,
    NonEmpty,
    OrReference,
    Port,
    Positive,
    Secret,
    Text,
    field,
    has_reference,
)
from mooring.plugin.problems import explain_pattern, invalid, required
from mooring.plugin.secrets import SecretSite, TextParts
from mooring.types.database.address import DEFAULT_PORTS, Endpoint, JdbcUrl, UrlRefused
from mooring.types.database.jdbc import credential_spans, dialect_of, parse, problems_of_url
from mooring.types.database.modes import UNCHECKED, said_mode, usual_mode

HOST = explain_pattern(
    r"^(?:[A-Za-z0-9_][A-Za-z0-9_.\-]*|\[?[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\]?)$",
    "must be a host name or address, without scheme, port or path",
)
IDENTIFIER = explain_pattern(
    "^(?:[^\\s'\"`\\[\\];,()\\x00-\\x1f\\x7f]+|\"[^'\"\\x00-\\x1f\\x7f]+\"|`[^'`\\x00-\\x1f\\x7f]+`|\\[[^'\\[\\]\\x00-\\x1f\\x7f]+\\])"
    "(?:\\.(?:\"[^'\"\\x00-\\x1f\\x7f]+\"|`[^'`\\x00-\\x1f\\x7f]+`|\\[[^'\\[\\]\\x00-\\x1f\\x7f]+\\]))*$",
    'must be a name of the database: plain, or in "double quotes", `backticks` or [brackets]',
)

DbType = Annotated[
    Literal[
        "ORACLE", "MYSQL", "POSTGRES", "SQL_SERVER", "SYBASE", "DB2", "APACHE_HIVE", "APACHE_IMPALA", "MONGODB", "TRINO"
    ],
    OrReference,
]  # fmt: skip
Host = Annotated[str, StringConstraints(pattern=HOST, min_length=1, max_length=255), OrReference]
Identifier = Annotated[str, StringConstraints(pattern=IDENTIFIER, min_length=1, max_length=255), OrReference]
LogTable = Literal["ApiProxyTraffic", "PolicyCapture", "AuditEvent", "Application", "UnsentMessage", "TokenTraffic"]
Threshold = Annotated[int, Ge(1), Le(10000), OrReference]
Window = Annotated[int, Ge(1), Le(3600), OrReference]

DRIVER_TYPES: Final[dict[str, str]] = {
    "oracle.jdbc.OracleDriver": "ORACLE",
    "oracle.jdbc.driver.OracleDriver": "ORACLE",
    "com.mysql.cj.jdbc.Driver": "MYSQL",
    "com.mysql.jdbc.Driver": "MYSQL",
    "org.mariadb.jdbc.Driver": "MYSQL",
    "org.postgresql.Driver": "POSTGRES",
    "com.microsoft.sqlserver.jdbc.SQLServerDriver": "SQL_SERVER",
    "com.sybase.jdbc4.jdbc.SybDriver": "SYBASE",
    "net.sourceforge.jtds.jdbc.Driver": "SYBASE",
    "com.ibm.db2.jcc.DB2Driver": "DB2",
    "org.apache.hive.jdbc.HiveDriver": "APACHE_HIVE",
    "com.cloudera.impala.jdbc.Driver": "APACHE_IMPALA",
    "com.cloudera.impala.jdbc41.Driver": "APACHE_IMPALA",
    "com.mongodb.jdbc.MongoDriver": "MONGODB",
    "com.dbschema.MongoJdbcDriver": "MONGODB",
    "io.trino.jdbc.TrinoDriver": "TRINO",
}
"""Names of Java drivers, which are labels here: they tell the product, and nothing is ever loaded by them."""

PORT_TYPES: Final[dict[int, str]] = {port: name for name, port in DEFAULT_PORTS.items() if name != "TRINO"}

_LOG_TARGET = "it matters for targets of log tables, which this version does not write."
_LOOPBACK = ("localhost", "::1", "127.")
_FULL: Final = {
    "POSTGRES": "the mode verify-full",
    "MYSQL": "the mode VERIFY_IDENTITY",
    "SQL_SERVER": "encrypt=true and trustServerCertificate=false",
    "ORACLE": "the protocol tcps",
    "TRINO": "SSL=true",
    "MONGODB": "tls=true",
    "APACHE_HIVE": "ssl=true",
    "APACHE_IMPALA": "SSL=1",
    "DB2": "sslConnection=true",
    "SYBASE": "another way",
}
"""How an address asks for a checked server."""


class DatabaseConfig(ConnectionConfig):
    """A pool of connections to one database."""

    SECRET_SITES: ClassVar[tuple[SecretSite, ...]] = (TextParts("jdbcUrl", credential_spans),)

    db_type: DbType | None = field(
        None,
        description="The database product; found from jdbcUrl, driverClassName or port (in that order) when left out.",
        example="POSTGRES",
        group="Server",
        destination=True,
    )
    jdbc_url: NonEmpty | None = field(
        None,
        description="The database's address as a JDBC URL, or a Mongo URI; it wins over host, port and databaseName.",
        example="jdbc:postgresql://db.example.com:5432/orders",
        group="Server",
        destination=True,
    )
    use_credentials: Flag = field(
        True,
        description="Log in with username and password; when off, with what jdbcUrl says.",
        group="Login",
        destination=True,
    )
    username: Text | None = field(None, description="Login name.", example="orders", group="Login", destination=True)
    database_name: Text | None = field(
        None, description="Database, schema or SID, where jdbcUrl does not name it.", example="orders", group="Server"
    )
    password: Secret | None = field(None, description="Login password.", group="Login")
    initial_pool_size: Positive = field(1, description="Connections opened at the start.", group="Pool")
    min_pool_size: Positive = field(1, description="Connections that are kept, however idle.", group="Pool")
    max_pool_size: Positive = field(5, description="The most connections at one time.", group="Pool")
    increment_count: Positive = field(1, description="Connections opened at once when all are in use.", group="Pool")
    max_statements: Count = field(
        100, description="Prepared statements kept per connection; 0 keeps none.", group="Pool"
    )
    idle_connection_test_period: Milliseconds = field(
        30000, description="How often an idle connection is tested; 0 is never.", unit="ms", group="Pool"
    )
    connection_timeout: Milliseconds = field(
        30000,
        description="The longest wait for a connection; 0 waits as long as the caller does.",
        unit="ms",
        group="Pool",
    )
    test_connection_on_checkout: Flag = field(True, description="Test a connection before it is lent.", group="Pool")
    test_connection_on_checkin: Flag = field(
        False, description="Test a connection when it is given back.", group="Pool"
    )
    max_connection_age: Milliseconds = field(
        180000, description="A connection older than this is replaced; 0 is never.", unit="ms", group="Pool"
    )
    max_idle_time: Milliseconds = field(
        120000,
        description="A connection idle for longer is closed, down to minPoolSize; 0 is never.",
        unit="ms",
        group="Pool",
    )
    selected_environment_id: Text | None = field(
        None,
        description="Environment picked for tests.",
        group="Advanced",
        no_effect="a test names its environment itself.",
    )
    host: Host | None = field(
        None,
        description="Server name, where there is no jdbcUrl.",
        example="db.example.com",
        group="Server",
        destination=True,
    )
    port: Port | None = field(
        None,
        description="Server port, where there is no jdbcUrl; the product's usual one when left out.",
        example=5432,
        group="Server",
        destination=True,
    )
    driver_class_name: Text | None = field(
        None,
        description="Name of a Java driver: a label that tells the product, and is never loaded.",
        example="org.postgresql.Driver",
        group="Server",
    )
    default_log_schema: Identifier | None = field(
        None, description="Schema of log tables.", example="logs", group="Log tables", no_effect=_LOG_TARGET
    )
    log_table_schema_overrides: dict[LogTable, Identifier] | None = field(
        None,
        description="Schema per log table.",
        example={"AuditEvent": "audit"},
        group="Log tables",
        no_effect=_LOG_TARGET,
    )
    log_table_name_overrides: dict[LogTable, Identifier] | None = field(
        None,
        description="Name per log table.",
        example={"AuditEvent": "audit_event"},
        group="Log tables",
        no_effect=_LOG_TARGET,
    )
    circuit_breaker_enabled: Flag | None = field(
        None,
        description="Stop trying for a while after repeated failures; null takes the platform's setting.",
        group="Breaker",
    )
    error_threshold_value: Threshold | None = field(
        None,
        description="Failures within the window that open the breaker; null takes the platform's setting.",
        group="Breaker",
    )
    sleep_window: Window | None = field(
        None,
        description="How long the breaker stays open before one attempt; null takes the platform's setting.",
        unit="s",
        group="Breaker",
    )
    trust_store_name: Text | None = field(
        None,
        description="Truststore for the server's certificate, by name.",
        group="Security",
        destination=True,
        reference="truststore",
    )
    key_store_name: Text | None = field(
        None,
        description="Keystore with a client certificate, by name.",
        group="Security",
        destination=True,
        reference="keystore",
    )
    verify_hostname: Flag = field(
        True,
        description="Compare the server's certificate with its host name, where jdbcUrl does not say otherwise.",
        group="Security",
        destination=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, value: Any) -> Any:
        """A product that was left out is found from what was not."""
        if type(value) is dict and value.get("dbType") is None:
            found = derived_type(value.get("driverClassName"), value.get("jdbcUrl"), value.get("port"))
            if found is not None:
                return {**value, "dbType": found}
        return value

    def rules(self) -> Iterator[Problem]:
        unknown = (self.jdbc_url, self.driver_class_name, self.port)
        if not self.db_type and not any(map(has_reference, unknown)):
            yield required("dbType", "jdbcUrl, driverClassName and port do not tell it")
        if not self.jdbc_url and not self.host:
            yield required("jdbcUrl", "there is no host either")
        if self.jdbc_url:
            for code, reason in problems_of_url(self.jdbc_url):
                yield invalid("jdbcUrl", reason, code)
        if self.use_credentials is True:
            if not self.username:
                yield required("username", "useCredentials is true")
            if self.password is None or not self.password.get_secret_value():
                yield required("password", "useCredentials is true")
        for name, size in (("minPoolSize", self.min_pool_size), ("initialPoolSize", self.initial_pool_size)):
            if isinstance(size, int) and isinstance(self.max_pool_size, int) and size > self.max_pool_size:
                yield invalid(name, "must not be greater than maxPoolSize", "pool_order")

    def warnings(self) -> Iterator[Problem]:
        said = dialect_of(self.jdbc_url) if self.jdbc_url else None
        if said and self.db_type and said != self.db_type and not has_reference(self.db_type):
            yield invalid("dbType", f"jdbcUrl is an address of {said}; such a connection cannot be used", "type_vs_url")
        try:
            target = self.target()
        except UrlRefused:
            return
        if self.jdbc_url and ((self.host and self.host != target.host) or (self.port and self.port != target.port)):
            yield invalid("host", "jdbcUrl names another server than host and port, and wins", "url_wins")
        if self.use_credentials is False and self.password is not None and self.password.get_secret_value():
            yield invalid("password", "useCredentials is false; the password is kept and not used", "unused_password")
        mode = self.tls_mode(target)
        if mode in UNCHECKED and (self.trust_store_name or self.key_store_name):
            yield invalid(
                "trustStoreName" if self.trust_store_name else "keyStoreName",
                f"jdbcUrl sets the TLS mode {mode}, which uses no stores",
                "unused_store",
            )
        if not mode.startswith("verify") and not target.host.startswith(_LOOPBACK):
            yield invalid(
                "jdbcUrl",
                f"the TLS mode is {mode}: the server is not checked, and a stranger on the way could read what is sent;"
                f" set trustStoreName, or {_FULL[target.dialect]} in jdbcUrl",
                "tls_unverified",
            )

    def references(self) -> dict[str, str]:
        try:
            target = self.target()
        except UrlRefused:
            return super().references()
        return {} if self.tls_mode(target) in UNCHECKED else super().references()

    def target(self) -> JdbcUrl:
        """
        Where the database is, in parts: what jdbcUrl says, or else host, port and databaseName.

        Raises:
            UrlRefused: jdbcUrl is not accepted, or a field holds a variable reference that is not resolved.
        """
        if self.jdbc_url:
            url = parse(self.jdbc_url)
            if url.database is None and self.database_name and not has_reference(self.database_name):
                return JdbcUrl(
                    url.dialect, url.hosts, self.database_name, url.parameters, url.form, url.user, url.password
                )
            return url
        if (
            self.host is None
            or self.db_type is None
            or any(map(has_reference, (self.host, self.port, self.db_type, self.database_name)))
        ):
            raise UrlRefused(("unresolved", "it holds a variable reference that is not resolved"))
        form = "sid" if self.db_type == "ORACLE" else ""
        return JdbcUrl(
            self.db_type, (Endpoint(self.host.strip("[]"), self.port),), self.database_name or None, {}, form
        )

    def tls_mode(self, target: JdbcUrl) -> str:
        """How far TLS goes: one of `modes.TLS_MODES`."""
        mode = said_mode(target)
        if mode is None:
            mode = "verify-full" if self.trust_store_name or self.key_store_name else usual_mode(target)
        if mode == "require" and self.trust_store_name:
            mode = "verify-ca"
        return "verify-ca" if mode == "verify-full" and self.verify_hostname is False else mode


def derived_type(driver: Any, url: Any, port: Any) -> str | None:
    """The product that an address, a driver's name or a well-known port tells; None where none does."""
    if isinstance(url, str) and url:
        found = dialect_of(url)
        if found is not None or has_reference(url):
            return found
    if isinstance(driver, str) and driver in DRIVER_TYPES:
        return DRIVER_TYPES[driver]
    if isinstance(port, str) and port.isascii() and port.isdigit() and len(port) <= len("65535"):
        port = int(port)
    return PORT_TYPES.get(port) if type(port) is int else None
