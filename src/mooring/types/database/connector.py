"""Using a database: statements through a pool. The client library of a product is imported when it is opened."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from pydantic import Field

from mooring.errors import ConnectorError, Misconfigured
from mooring.plugin.connector import Answer, Connector, Request, operation
from mooring.plugin.probe import Probe
from mooring.types.database.address import JdbcUrl, UrlRefused
from mooring.types.database.kinds import driver_of
from mooring.types.database.model import DatabaseConfig
from mooring.types.database.pool import Limits, Pool
from mooring.types.database.port import Driver, NothingSent, Settings
from mooring.types.database.tls import tls_of

T = TypeVar("T")
MOST_ROWS = 10_000
MOST_SQL = 1_000_000


class QueryRequest(Request):
    """One statement that returns rows, or one command of MongoDB that returns documents."""

    sql: str | None = Field(
        None,
        min_length=1,
        max_length=MOST_SQL,
        description="The statement, with ? for each value of a list or :name for each of a map; $1 (PostgreSQL) and %s (MySQL) work too.",
        examples=["select id, total from orders where customer = ?"],
    )
    parameters: list[Any] | dict[str, Any] = Field(
        default_factory=list, description="The values: a list, or a map by name.", examples=[["c-17"]]
    )
    max_rows: int = Field(1000, ge=1, le=MOST_ROWS, description="The most rows to answer.")
    command: dict[str, Any] | None = Field(
        None,
        description="MongoDB, in place of sql: a command of the database, in extended JSON; its name comes first.",
        examples=[{"find": "orders", "filter": {"customer": "c-17"}}],
    )


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

    def documents(self) -> list[Any]:
        """The first value of every row: what MongoDB answers is one document for each."""
        return [row[0] for row in self.rows]


class ExecuteRequest(Request):
    """One statement, or one command of MongoDB, that changes something."""

    sql: str | None = Field(
        None,
        min_length=1,
        max_length=MOST_SQL,
        description="The statement, with placeholders as for query.",
        examples=["update orders set paid = true where id = ?"],
    )
    parameters: list[Any] | dict[str, Any] = Field(
        default_factory=list, description="The values: a list, or a map by name.", examples=[[17]]
    )
    command: dict[str, Any] | None = Field(
        None,
        description="MongoDB, in place of sql: a command of the database, in extended JSON; its name comes first.",
        examples=[{"update": "orders", "updates": [{"q": {"id": 17}, "u": {"$set": {"paid": True}}}]}],
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

    def hosts(self) -> Iterable[str]:
        return [host for host, _ in self._target.hosts]

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
        text = self._text(request)
        found = await self._use(lambda session: self._driver.fetch(session, text, request.parameters, request.max_rows))
        return QueryAnswer(columns=found.columns, rows=found.rows, row_count=len(found.rows), truncated=found.truncated)

    @operation
    async def execute(self, request: ExecuteRequest) -> ExecuteAnswer:
        """Run one statement for its effect."""
        text = self._text(request)
        done = await self._use(lambda session: self._driver.execute(session, text, request.parameters))
        return ExecuteAnswer(row_count=done.row_count, last_insert_id=done.last_insert_id)

    async def probe(self, probe: Probe) -> None:
        driver, endpoints = self._driver, self._target.endpoints
        host, port = endpoints[0]
        async with probe.step("resolve"):
            endpoints = await driver.endpoints()
            host, port = await _first(endpoints, self.context.network.resolve)
        async with probe.step("connect"):
            host, port = await _first(endpoints[endpoints.index((host, port)) :], self.context.network.dial)
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
                await driver.ask(session)
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

    def _text(self, request: QueryRequest | ExecuteRequest) -> str:
        """The statement, or the command as text."""
        if self._target.dialect != "MONGODB":
            if request.sql is None or request.command is not None:
                raise Misconfigured("this database takes sql, and no command", hint="Send the statement as sql.")
            return request.sql
        if request.command is None or request.sql is not None or request.parameters:
            raise Misconfigured(
                "MongoDB takes a command, and neither sql nor parameters",
                hint='Send the command, for example {"find": "orders", "filter": {"customer": "c-17"}}.',
            )
        text = json.dumps(request.command)
        if len(text) > MOST_SQL:
            raise Misconfigured(f"the command is longer than {MOST_SQL} characters", hint="Send it in several.")
        return text

    def _build(self) -> Driver[Any]:
        target, config = self._target, self.config
        if config.db_type != target.dialect:
            raise Misconfigured(
                f"jdbcUrl is an address of {target.dialect}, and dbType says otherwise", hint="Correct one of them."
            )
        user, password = target.user, target.password
        if config.use_credentials:
            user, password = config.username, config.password.get_secret_value() if config.password else None
        return driver_of(
            Settings(
                network=self.context.network,
                target=target,
                user=user,
                password=password,
                tls=tls_of(config, target, self.context),
                name=self.context.name,
                max_statements=config.max_statements,
                limits=_limits(config),
            )
        )


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
