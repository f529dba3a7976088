"""What the pool and the connector ask of a driver, and what a driver answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from mooring.errors import ConnectorError
from mooring.types.database.values import weight

if TYPE_CHECKING:
    from mooring.plugin.network import Network
    from mooring.types.database.address import JdbcUrl
    from mooring.types.database.pool import Limits
    from mooring.types.database.tls import Tls

Parameters = Sequence[Any] | dict[str, Any]

MOST_BYTES = 16 * 1024 * 1024
"""The most that one answer holds, roughly; what goes beyond is cut off."""

FIRST_CHUNK, CHUNK = 10, 200
"""Rows taken from the server at a time."""


class NothingSent(Exception):
    """The connection was dead before the server saw anything of the statement: it may be tried on another."""


@dataclass(frozen=True)
class Rows:
    """What a statement returned, as values that JSON knows."""

    columns: list[str]
    rows: list[list[Any]]
    truncated: bool


class Collector:
    """Gathers rows until there are enough, by number or by size."""

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        self._rows: list[list[Any]] = []
        self._size = 0

    @property
    def is_full(self) -> bool:
        """Whether more came than the answer takes."""
        return len(self._rows) > self._max_rows or self._size > MOST_BYTES

    def next_chunk(self) -> int:
        """How many rows to ask the server for: few while little is known of their size, and one more than wanted."""
        expected = max(self._size // max(len(self._rows), 1), 1)
        fitting = (MOST_BYTES - self._size) // expected + 1 if self._rows else FIRST_CHUNK
        return max(1, min(CHUNK, fitting, self._max_rows + 1 - len(self._rows)))

    def add(self, row: list[Any]) -> None:
        """Take one more row."""
        if not self.is_full:
            self._rows.append(row)
            self._size += weight(row)

    def result(self, columns: list[str]) -> Rows:
        """What was gathered, without what is too much."""
        rows = self._rows[:-1] if self.is_full and len(self._rows) > 1 else self._rows
        return Rows(columns, rows[: self._max_rows], self.is_full)


@dataclass(frozen=True)
class Done:
    """What a statement did."""

    row_count: int
    last_insert_id: int | None = None


@dataclass(frozen=True)
class Settings:
    """
    What a driver is made from.

    Attributes:
        name: `project/connection`, for the server's list of its clients.
        max_statements: Prepared statements that a session may keep.
        limits: The pool's.
    """

    network: Network
    target: JdbcUrl
    user: str | None
    password: str | None
    tls: Tls
    name: str
    max_statements: int
    limits: Limits

    @property
    def address(self) -> str:
        """Every server as `host:port`, for messages."""
        return ", ".join(f"{host}:{port}" for host, port in self.target.endpoints)

    def seconds(self, *names: str, milli: bool = False) -> float | None:
        """The first of the parameters of these names that is above 0, in seconds."""
        for name in names:
            value = float(self.target.parameters.get(name, "0"))
            if value > 0:
                return value / 1000 if milli else value
        return None

    def is_on(self, name: str, default: bool = False) -> bool:
        """Whether the switch of that name is on."""
        said = self.target.parameters.get(name)
        return default if said is None else said.lower() in ("true", "on", "yes", "1")


Session = TypeVar("Session")


class Driver(Protocol[Session]):
    """
    One database product. A session is one connection of its client library; only the driver looks inside.

    Attributes:
        address: `host:port`, for messages.
    """

    address: str
    settings: Settings

    async def endpoints(self) -> list[tuple[str, int]]:
        """The servers to try, in their order. May ask a name server."""
        return self.settings.target.endpoints

    async def connect(self) -> Session:
        """A new session, logged in. Ends within the driver's own limit."""

    async def close(self, session: Session) -> None:
        """Say goodbye. A statement that still runs is ended on the server as well."""

    def abort(self, session: Session) -> None:
        """Drop the session at once, without a word."""

    def is_alive(self, session: Session) -> bool:
        """False where it is known, without asking, that the session is over."""

    async def ping(self, session: Session) -> None:
        """Ask the server for a sign of life. Raises where there is none."""

    async def ask(self, session: Session) -> None:
        """One question that the server answers, as a use would send it: what a probe ends with."""
        await self.ping(session)

    async def tidy(self, session: Session, *, lent: bool) -> None:
        """Undo what must not reach the next user: an open transaction; after a native loan, all session state."""

    async def fetch(self, session: Session, sql: str, parameters: Parameters, max_rows: int) -> Rows:
        """Run one statement, and take up to *max_rows* of its rows."""

    async def execute(self, session: Session, sql: str, parameters: Parameters) -> Done:
        """Run one statement for its effect."""

    def native(self, session: Session) -> Any:
        """The client library's own connection."""

    async def handshake(self, host: str, port: int) -> str | None:
        """The TLS part of connecting, for a probe; a text where TLS is not used, saying why."""

    def translate(self, error: BaseException) -> ConnectorError | None:
        """The client library's exception as one of ours; None where it is not known."""
