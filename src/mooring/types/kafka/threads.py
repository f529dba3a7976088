"""
The threads of a connector, between which the driver's blocking calls and asyncio meet.

`Pump` serves one long-lived client; `Visits` are short. Both hand results over with `call_soon_threadsafe`,
end when they are told to, and leave nothing behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from mooring.errors import Busy, UseError

T = TypeVar("T")
POLL_S = 0.1
IDLE_S = 0.5
FLUSH_S = 5.0
PURGE_S = 1.0


class Polled(Protocol):
    """A client that needs somebody to call `poll`; its length is the number of records still on their way."""

    def poll(self, timeout: float) -> int: ...
    def flush(self, timeout: float) -> int: ...
    def purge(self) -> None: ...
    def __len__(self) -> int: ...


P = TypeVar("P", bound=Polled)


class Pump(Generic[P]):
    """
    A client, made and served by a thread of its own.

    While records are on their way the thread serves their reports; otherwise it sleeps, and costs next to nothing.
    """

    def __init__(self, name: str, make: Callable[[], P]) -> None:
        self.client: P | None = None
        self._make = make
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._outcomes: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._waking = False
        self._quiet = True
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    async def start(self) -> None:
        """Begin; raises what making the client raised."""
        self._thread.start()
        await asyncio.shield(self._ready)

    async def run(self, job: Callable[[P], T]) -> T:
        """The result of *job*, which may block and runs in the thread."""
        if self._stopping.is_set():
            raise _closing()
        future: asyncio.Future[T] = self._loop.create_future()

        def work() -> None:
            client = self.client
            if client is None:
                post(self._loop, future, error=_closing())
                return
            try:
                result = job(client)
            except Exception as exc:
                post(self._loop, future, error=without_frames(exc))
            else:
                post(self._loop, future, result)

        self._jobs.put(work)
        return await future

    def wake(self) -> None:
        """There is something to serve."""
        if self._quiet:
            self._jobs.put(None)

    def report(self, future: asyncio.Future[T], result: Any = None, error: BaseException | None = None) -> None:
        """
        Give *future* its outcome; callable in the thread.

        Waking the loop costs more than all the rest: outcomes that come together wake it once.
        """
        self._outcomes.append((future, result, error))
        if not self._waking:
            self._waking = True
            with contextlib.suppress(RuntimeError):  # the loop is gone, and with it everybody who waited
                self._loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        # Before looking, not after: what is appended from now on is either seen here or wakes the loop again.
        self._waking = False
        outcomes = self._outcomes
        while outcomes:
            settle(*outcomes.popleft())

    async def stop(self) -> None:
        """Let records on their way arrive, for a while; then end. Reports of the rest say that they were given up."""
        self._stopping.set()
        self._jobs.put(None)
        if self._thread.ident is not None:
            await asyncio.shield(self._ended)

    def _run(self) -> None:
        try:
            self.client = self._make()
        except BaseException as exc:  # it belongs to whoever waits in `start`
            post(self._loop, self._ready, error=without_frames(exc))
            post(self._loop, self._ended)
            return
        post(self._loop, self._ready)
        while not self._stopping.is_set():
            self._serve(self.client)
        self._finish(self.client)
        # The last reference goes here: destroying the client waits for the driver's threads.
        self.client = None
        while not self._jobs.empty():
            job = self._jobs.get_nowait()
            if job is not None:
                job()
        post(self._loop, self._ended)

    def _serve(self, client: P) -> None:
        # Between two bursts it waits inside the driver, where a report is served at once; only after some quiet does
        # it sleep outside, where it costs nothing and must be woken.
        try:
            job = self._jobs.get(block=self._quiet, timeout=IDLE_S)
        except queue.Empty:
            job = None
        if job is not None:
            job()
        busy = len(client) > 0
        served = client.poll(0 if self._quiet and not busy else POLL_S)
        self._quiet = not busy and not served

    def _finish(self, client: P) -> None:
        if client.flush(FLUSH_S):
            client.purge()
            client.flush(PURGE_S)


class Visits:
    """Short stays of blocking work, each in a thread of its own, at most *limit* at a time."""

    def __init__(self, name: str, limit: int) -> None:
        self._name, self._limit = name, limit
        self._running: dict[asyncio.Future[Any], threading.Event] = {}

    async def run(self, work: Callable[[threading.Event], T]) -> T:
        """
        The result of *work*, which looks at its event now and then and leaves when it is set.

        Raises `Busy` where every place is taken. A cancelled caller sets the event and does not wait.
        """
        if len(self._running) >= self._limit:
            raise Busy(
                f"{self._limit} such operations are running already", hint="Wait for one of them to end, then retry."
            )
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        ended: asyncio.Future[None] = loop.create_future()
        halt = threading.Event()

        def visit() -> None:
            try:
                result = work(halt)
            except BaseException as exc:  # it belongs to the caller
                post(loop, future, error=without_frames(exc))
            else:
                post(loop, future, result)
            post(loop, ended)

        self._running[ended] = halt
        ended.add_done_callback(lambda done: self._running.pop(done, None))
        threading.Thread(target=visit, name=self._name, daemon=True).start()
        try:
            return await future
        finally:
            halt.set()

    async def stop(self) -> None:
        """Send everybody home, and wait until they are gone."""
        waiting = list(self._running)
        for halt in self._running.values():
            halt.set()
        if waiting:
            await asyncio.wait(waiting)


def without_frames(error: BaseException) -> BaseException:
    """
    *error*, which holds on to nothing that its thread knew.

    A client lives, with all its threads and sockets, as long as something refers to it; an error that somebody
    keeps must not.
    """
    seen: BaseException | None = error
    while seen is not None:
        seen.__traceback__ = None
        seen = seen.__cause__ or seen.__context__
    return error


def _closing() -> UseError:
    return UseError("the connection is being closed", hint="Retry.")


def post(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], result: Any = None, error: BaseException | None = None
) -> None:
    """Give *future* its outcome from another thread, unless it has one or its loop is gone."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(settle, future, result, error)


def settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    """Give *future* its outcome, unless it has one."""
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
