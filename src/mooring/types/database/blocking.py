"""
Drivers that block: a thread for each session, and none for a session that is not there.

The pool bounds sessions, and so threads. A call that hangs holds its own thread only: whoever waited for it leaves
at the deadline, the session is dropped, its socket is shut so that the thread wakes, and the next session gets a new
one. Where a client library cannot be woken, its threads are counted, and beyond twice the pool no more are begun.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import socket
import ssl
import threading
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from mooring.errors import ConnectorError, Unreachable
from mooring.plugin.network import Network, network_error
from mooring.types.database.port import Done, Driver, NothingSent, Parameters, Rows, Settings

T = TypeVar("T")
Connection = TypeVar("Connection")
CONNECT_S: Final = 10.0
UNKNOWN_OUTCOME: Final = "Whether the statement took effect is not known; look before repeating it."

_Job = tuple[Callable[[], Any], asyncio.AbstractEventLoop, "asyncio.Future[Any]"]


class Line:
    """A thread that does one thing after the other. It begins with the first, and ends when told or with the process."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[_Job | Callable[[], None]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    @property
    def is_alive(self) -> bool:
        """Whether there is a thread."""
        return self._thread is not None and self._thread.is_alive()

    async def run(self, job: Callable[[], T]) -> T:
        """What *job* returns or raises. Who stops waiting does not stop the job."""
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[T] = loop.create_future()
        self._jobs.put((job, loop, outcome))
        if self._thread is None:
            # A daemon: a driver that hangs must not keep the process from its end.
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        return await outcome

    def end(self, last: Callable[[], None]) -> None:
        """Do *last* after what was asked before, whatever comes of it, and end."""
        self._jobs.put(last)

    def _work(self) -> None:
        while True:
            item = self._jobs.get()
            if not isinstance(item, tuple):
                with contextlib.suppress(Exception):  # the end of a session that nobody looks at any more
                    item()
                return
            job, loop, outcome = item
            result, error = None, None
            try:
                result = job()
            except Exception as exc:
                error = exc
            with contextlib.suppress(RuntimeError):  # the loop may be closed by now
                loop.call_soon_threadsafe(_settle, outcome, result, error)
            del item, job, loop, outcome, result, error


def _settle(outcome: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if outcome.done():
        return
    if error is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(result)


@dataclass(eq=False)
class Session(Generic[Connection]):
    """A connection of a client library, its thread, and its socket where we opened it."""

    line: Line
    socket: socket.socket | None = None
    host: str = ""
    connection: Connection | None = None
    is_busy: bool = False
    is_over: bool = False
    kept: dict[str, Any] = field(default_factory=dict)

    def opened(self) -> Connection:
        """The connection. Only for sessions that `connect` returned."""
        assert self.connection is not None
        return self.connection

    def shut(self) -> None:
        """Wake whoever waits for the socket. It is closed by its own thread."""
        if self.socket is not None:
            with contextlib.suppress(OSError):
                # Not the override of a TLS socket, which changes what the thread is using.
                socket.socket.shutdown(self.socket, socket.SHUT_RDWR)


class BlockingDriver(Driver[Session[Connection]]):
    """What all of them share. Methods that begin with `on_` run in the session's thread."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.address = settings.address
        self.connect_s: float = CONNECT_S
        self.statement_s: float | None = None
        self._lines: set[Line] = set()

    # --- what a product fills in -------------------------------------------------------------------------------

    @abstractmethod
    def on_login(self, session: Session[Connection]) -> Connection:
        """Log in, over `session.socket` where there is one."""

    @abstractmethod
    def on_fetch(self, session: Session[Connection], sql: str, parameters: Parameters, max_rows: int) -> Rows:
        """Run one statement, and take up to *max_rows* of its rows."""

    @abstractmethod
    def on_execute(self, session: Session[Connection], sql: str, parameters: Parameters) -> Done:
        """Run one statement for its effect."""

    @abstractmethod
    def on_ping(self, session: Session[Connection]) -> None:
        """Ask the server for a sign of life."""

    @abstractmethod
    def on_leave(self, session: Session[Connection]) -> None:
        """Say goodbye and close the connection."""

    def on_tidy(self, session: Session[Connection], lent: bool) -> None:
        """Undo what must not reach the next user."""

    async def dial(self) -> tuple[socket.socket, str] | None:
        """A connected socket and the host at its other end; None where the client library opens its own."""
        return await dialled(self.settings.network, await self.endpoints())

    # --- the rest ------------------------------------------------------------------------------------------------

    async def connect(self) -> Session[Connection]:
        self._lines = {line for line in self._lines if line.is_alive}
        most = 2 * self.settings.limits.maximum
        if len(self._lines) >= most:
            raise Unreachable(
                f"{most} calls to {self.address} hang in the client library",
                hint="The server, or the way to it, swallows what is sent; look there. Closing the connection here drops them.",
            )
        session: Session[Connection] = Session(Line("mooring-database"))
        self._lines.add(session.line)
        try:
            async with asyncio.timeout(self.connect_s):
                dialled = await self.dial()
                if dialled is not None:
                    session.socket, session.host = dialled
                session.connection = await self._do(session, lambda: self.on_login(session))
        except TimeoutError as exc:
            self.abort(session)
            raise network_error(exc, self.address) from exc
        except BaseException:
            self.abort(session)
            raise
        return session

    async def _do(self, session: Session[Connection], job: Callable[[], T]) -> T:
        session.is_busy = True
        try:
            result = await session.line.run(job)
        except Exception:
            session.is_busy = False
            raise
        session.is_busy = False
        return result

    async def close(self, session: Session[Connection]) -> None:
        if not session.is_busy and not session.is_over and session.connection is not None:
            await self._do(session, lambda: self.on_leave(session))
            session.connection = None
        self.abort(session)

    def abort(self, session: Session[Connection]) -> None:
        if session.is_over:
            return
        session.is_over = True
        session.shut()

        def last() -> None:
            try:
                if session.connection is not None:
                    self.on_leave(session)
            finally:
                if session.socket is not None:
                    session.socket.close()

        if session.line.is_alive:
            session.line.end(last)
        elif session.socket is not None:
            session.socket.close()

    def is_alive(self, session: Session[Connection]) -> bool:
        if session.is_over or session.is_busy:
            return False
        return session.socket is None or not _hung_up(session.socket)

    async def ping(self, session: Session[Connection]) -> None:
        await self._do(session, lambda: self.on_ping(session))

    async def tidy(self, session: Session[Connection], *, lent: bool) -> None:
        await self._do(session, lambda: self.on_tidy(session, lent))

    async def fetch(self, session: Session[Connection], sql: str, parameters: Parameters, max_rows: int) -> Rows:
        return await self._timed(session, lambda: self.on_fetch(session, sql, parameters, max_rows))

    async def execute(self, session: Session[Connection], sql: str, parameters: Parameters) -> Done:
        return await self._timed(session, lambda: self.on_execute(session, sql, parameters))

    async def _timed(self, session: Session[Connection], job: Callable[[], T]) -> T:
        if not self.is_alive(session):
            raise NothingSent from ConnectionResetError()
        try:
            async with asyncio.timeout(self.statement_s):
                return await self._do(session, job)
        except TimeoutError as exc:
            if not session.is_busy:
                raise  # the client library's own
            self.abort(session)
            raise Unreachable(
                f"{self.address} did not answer within the time that jdbcUrl allows",
                hint="Whether the statement took effect is not known. Make it lighter, or allow more time.",
            ) from exc

    def native(self, session: Session[Connection]) -> Connection:
        return session.opened()


async def dialled(network: Network, endpoints: list[tuple[str, int]]) -> tuple[socket.socket, str]:
    """A connected socket to the first endpoint that takes one, and its host. Raises what the last one came to."""
    failure: ConnectorError | None = None
    for host, port in endpoints:
        try:
            connection = await network.connect(host, port)
        except ConnectorError as exc:
            failure = exc
        except OSError as exc:
            failure = network_error(exc, f"{host}:{port}")
            failure.__cause__ = exc
        else:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connection.setblocking(True)
            return connection, host
    assert failure is not None  # there is at least one endpoint
    raise failure


def secured(session: Session[Any], context: ssl.SSLContext) -> None:
    """In the session's thread: TLS over its socket, which is another object afterwards."""
    assert session.socket is not None
    wrapped = context.wrap_socket(session.socket, server_hostname=session.host, do_handshake_on_connect=False)
    session.socket = wrapped
    wrapped.do_handshake()


def _hung_up(connection: socket.socket) -> bool:
    """Whether the other end is known to have closed. Between statements nothing else is to be read."""
    try:
        # MSG_PEEK is refused by TLS sockets, so the plain one's is called.
        return not socket.socket.recv(connection, 1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except (BlockingIOError, InterruptedError):
        return False
    except (OSError, ValueError):
        return True
