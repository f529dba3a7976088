"""
Group commit: one thread writes; what waits when it turns round goes into one transaction.

A durable commit costs a flush of the disk, whatever is in it; under load many requests share one.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

from mooring.errors import Unavailable

MAX_BATCH = 256
MAX_WAITING = 10_000

Result = Any
Apply = Callable[[Sequence[Any]], list[Result]]


class GroupWriter:
    """
    Hands batches of changes to *apply*, on a thread of its own.

    *apply* answers one result per change, in order; a result that is an exception is raised to its caller.
    Where *apply* itself raises, every caller of the batch gets that.
    """

    def __init__(self, apply: Apply, name: str) -> None:
        self._apply = apply
        self._waiting: queue.SimpleQueue[tuple[Any, asyncio.Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Begin. Callers must be on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """Finish what is waiting."""
        if self._loop is None:
            return
        self._waiting.put(None)
        await asyncio.to_thread(self._thread.join, 30)
        self._loop = None

    def submit(self, change: Any) -> asyncio.Future[Any]:
        """A future for the result of *change*. Raises `Unavailable` when too many are waiting."""
        if self._loop is None:
            raise Unavailable("the store is closed")
        if self._waiting.qsize() >= MAX_WAITING:
            raise Unavailable("too many writes are waiting", hint="Retry in a moment.")
        future = self._loop.create_future()
        self._waiting.put((change, future))
        return future

    def _run(self) -> None:
        while True:
            first = self._waiting.get()
            if first is None:
                return
            batch = [first]
            stopping = False
            while len(batch) < MAX_BATCH:
                try:
                    item = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if item is None:
                    stopping = True
                    break
                batch.append(item)
            try:
                results = self._apply([change for change, _ in batch])
            except Exception as exc:  # the transaction as a whole failed: every caller is told
                results = [exc] * len(batch)
            loop = self._loop
            if loop is not None and not loop.is_closed():
                loop.call_soon_threadsafe(_deliver, [future for _, future in batch], results)
            if stopping:
                return


def _deliver(futures: Sequence[asyncio.Future[Any]], results: Sequence[Any]) -> None:
    for future, result in zip(futures, results, strict=True):
        if future.done():
            continue
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)
