"""Using a database: statements through a pool. The client library of a product is imported when it is opened."""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from pydantic import Field

from mooring.errors import ConnectorError, DriverMissing, Misconfigured
from mooring.plugin.connector import Answer, Connector, Request, operation
from mooring.plugin.network import dial, resolve
from mooring.plugin.probe import Probe
from mooring.types.database.jdbc import JdbcUrl, UrlRefused
from mooring.types.database.model import LIVE_TYPES, DatabaseConfig
from mooring.types.database.pool import Limits, Pool
from mooring.types.database.port import Driver, NothingSent
from mooring.types.database.tls import tls_of

T = TypeVar("T")
MOST_ROWS = 10_000
MOST_SQL = 1_000_000


class QueryRequest(Request):
    """One statement that returns rows."""

    sql: str = Field(
        min_length=1,
        max_length=MOST_SQL,
        description="The statement, with ? for each value of a list or :name for each of a map; $1 (PostgreSQL) and %s (MySQL) work too.",
        examples=["select id, total from orders where customer = ?"],
    )
    parameters: list[Any] | dict[str, Any] = Field(
        default_factory=list, description="The values: a list, or a map by name.", examples=[["c-17"]]
    )
    max_rows: int = Field(1000, ge=1, le=MOST_ROWS, description="The most rows to answer.")


class QueryAnswer(Answer):
    """What the statement returned."""

    columns: list[str] = Field(description="The names of the columns.")
    rows: list[list[Any]] = Field(
        description="The rows, values in the order of the columns: bytes as base64, dates as ISO 8601 text, decimals as text."
    )
    row_count: int = Field(description="How many rows there are in this answer.")
    truncated: bool = Field(description="Whether there was more than fits.")

    def records(self) -> list[dict[str, Any]]:
        """The rows as dictionaries by column."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


class ExecuteRequest(Request):
    """One statement that changes something."""

    sql: str = Field(
        min_length=1,
        max_length=MOST_SQL,
        description="The statement, with placeholders as for query.",
        examples=["update orders set paid = true where id = ?"],
    )
    parameters: list[Any] | dict[str, Any] = Field(
        default_factory=list, description="The values: a list, or a map by name.", examples=[[17]]
    )


class ExecuteAnswer(Answer):
    """What the statement did."""

    row_count: int = Field(description="How many rows it touched.")
    last_insert_id: int | None = Field(
        None, description="The number that the server gave to a new row (MySQL); PostgreSQL has `returning` for that."
    )


class DatabaseConnector(Connector[DatabaseConfig]):
    """Statements on one database, each on its own and committed at once."""

    _pool: Pool[Any] | None = None
    _target: JdbcUrl
    _driver: Driver[Any]

    async def open(self) -> None:
        try:
            self._target = self.config.target()
        except UrlRefused as exc:
            raise Misconfigured(f"jdbcUrl is not accepted: {exc}", hint="Correct jdbcUrl.") from None
        self._driver = self._build()
        self._pool = Pool(self._driver, _limits(self.config))

    async def start(self) -> None:
        self._live().start()

    async def stop(self) -> None:
        if self._pool is not None:
            await self._pool.stop()

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.end()

    def native(self) -> Pool[Any]:
        return self._live()

    @operation
    async def query(self, request: QueryRequest) -> QueryAnswer:
        """Run one statement and answer its rows."""
        found = await self._use(
            lambda session: self._driver.fetch(session, request.sql, request.parameters, request.max_rows)
        )
        return QueryAnswer(columns=found.columns, rows=found.rows, row_count=len(found.rows), truncated=found.truncated)

    @operation
    async def execute(self, request: ExecuteRequest) -> ExecuteAnswer:
        """Run one statement for its effect."""
        done = await self._use(lambda session: self._driver.execute(session, request.sql, request.parameters))
        return ExecuteAnswer(row_count=done.row_count, last_insert_id=done.last_insert_id)

    async def probe(self, probe: Probe) -> None:
        driver, endpoints = self._driver, self._target.endpoints
        host, port = endpoints[0]
        async with probe.step("resolve"):
            host, port = await _first(endpoints, resolve)
        async with probe.step("connect"):
            host, port = await _first(endpoints[endpoints.index((host, port)) :], dial)
        skipped = None
        async with probe.step("tls"):
            skipped = await driver.handshake(host, port)
        if skipped is not None:
            probe.steps.pop()
            probe.skip("tls", skipped)
        session = None
        try:
            async with probe.step("login"):
                session = await driver.connect()
            async with probe.step("round trip"):
                await driver.fetch(session, "select 1", [], 1)
                await driver.close(session)
        finally:
            if session is not None:
                driver.abort(session)

    def translate(self, error: BaseException) -> ConnectorError | None:
        return self._driver.translate(error)

    def secret_values(self) -> set[str]:
        # A password in jdbcUrl is known to the guard as it is written there, which may be percent-encoded.
        target = getattr(self, "_target", None)
        return {target.password} if target is not None and target.password else set()

    def _live(self) -> Pool[Any]:
        if self._pool is None:
            raise Misconfigured("the connection is not open")
        return self._pool

    async def _use(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """Do *work* on a session; on a second one where the first was dead before the server saw anything."""
        pool = self._live()
        try:
            async with pool.lend() as session:
                return await work(session)
        except NothingSent:
            async with pool.lend() as session:
                return await work(session)

    def _build(self) -> Driver[Any]:
        target, config = self._target, self.config
        if config.db_type != target.dialect:
            raise Misconfigured(
                f"jdbcUrl is an address of {target.dialect}, and dbType says otherwise", hint="Correct one of them."
            )
        if target.dialect not in LIVE_TYPES:
            raise DriverMissing(
                f"connections to {target.dialect} can be kept and delivered, and not used yet, by this version",
                hint=f"This version uses {' and '.join(LIVE_TYPES)}.",
            )
        user, password = target.user, target.password
        if config.use_credentials:
            user, password = config.username, config.password.get_secret_value() if config.password else None
        tls = tls_of(config, target, self.context)
        name = self.context.name
        driver: Driver[Any]
        if target.dialect == "MYSQL":
            driver = _driver("mysql", "MySqlDriver")(target, user, password, tls, name=name)
        elif user:
            most = config.max_statements
            driver = _driver("postgres", "PostgresDriver")(target, user, password, tls, name=name, max_statements=most)
        else:
            raise Misconfigured(
                "there is no user name to connect with", hint="Switch useCredentials on, or put user=... into jdbcUrl."
            )
        return driver


def _driver(module: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(f"mooring.types.database.{module}"), name)
    except ModuleNotFoundError as exc:
        if exc.name and exc.name.startswith("mooring"):
            raise
        raise DriverMissing(
            f"the driver for {module} is not installed ({exc.name})", hint=f'pip install "mooring[{module}]"'
        ) from exc


def _limits(config: DatabaseConfig) -> Limits:
    return Limits(
        initial=config.initial_pool_size,
        minimum=config.min_pool_size,
        maximum=config.max_pool_size,
        increment=config.increment_count,
        wait_s=config.connection_timeout / 1000,
        test_every_s=config.idle_connection_test_period / 1000,
        max_age_s=config.max_connection_age / 1000,
        max_idle_s=config.max_idle_time / 1000,
        test_on_checkout=config.test_connection_on_checkout,
        test_on_checkin=config.test_connection_on_checkin,
    )


async def _first(endpoints: list[tuple[str, int]], attempt: Callable[[str, int], Awaitable[Any]]) -> tuple[str, int]:
    """The first endpoint that *attempt* succeeds for; what the last one raised where none does."""
    for host, port in endpoints[:-1]:
        try:
            await attempt(host, port)
        except ConnectorError:
            continue
        return host, port
    await attempt(*endpoints[-1])
    return endpoints[-1]
