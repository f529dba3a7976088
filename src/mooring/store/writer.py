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
Apply = Callable[[Sequence[Any]], tuple[list[Result], Any]]
Told = Callable[[Sequence[Any], Any], None]


class GroupWriter:
    """
    Hands batches of changes to *apply*, on a thread of its own.

    *apply* answers one result per change, in order, and a note on the whole batch; a result that is an exception
    is raised to its caller. Where *apply* itself raises, every caller of the batch gets that. *told* hears of the
    batch and its note on the event loop, before its callers do, and also where they have gone away.
    """

    def __init__(self, apply: Apply, told: Told, name: str) -> None:
        self._apply, self._told = apply, told
        self._waiting: queue.SimpleQueue[tuple[Any, asyncio.Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = False
        self._arrived: list[tuple[Any, asyncio.Future[Any]]] = []

    def start(self) -> None:
        """Begin. Callers must be on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """Finish what is waiting."""
        if self._loop is None:
            return
        self._hand_over()
        self._stopping = True  # whatever came after the end would wait for ever
        self._waiting.put(None)
        await asyncio.to_thread(self._thread.join, 30)
        self._loop = None

    def submit(self, change: Any) -> asyncio.Future[Any]:
        """A future for the result of *change*. Raises `Unavailable` when too many are waiting."""
        if self._loop is None or self._stopping:
            raise Unavailable("the store is closed")
        if self._waiting.qsize() >= MAX_WAITING:
            raise Unavailable("too many writes are waiting", hint="Retry in a moment.")
        future = self._loop.create_future()
        if not self._arrived:
            # What arrives in one turn of the loop goes over together: the threads change places once for all of it.
            self._loop.call_soon(self._hand_over)
        self._arrived.append((change, future))
        return future

    def _hand_over(self) -> None:
        arrived, self._arrived = self._arrived, []
        for item in arrived:
            self._waiting.put(item)

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
            changes, note = [change for change, _ in batch], None
            try:
                results, note = self._apply(changes)
            except Exception as exc:  # the transaction as a whole failed: every caller is told
                results = [exc] * len(batch)
            loop = self._loop
            if loop is not None and not loop.is_closed():
                loop.call_soon_threadsafe(self._deliver, changes, [future for _, future in batch], results, note)
            if stopping:
                return

    def _deliver(
        self, changes: Sequence[Any], futures: Sequence[asyncio.Future[Any]], results: Sequence[Any], note: Any
    ) -> None:
        try:
            self._told(changes, note)
        finally:
            for future, result in zip(futures, results, strict=True):
                if future.done():
                    continue
                if isinstance(result, BaseException):
                    future.set_exception(result)
                else:
                    future.set_result(result)
