"""Documents on their way: those that come while a request is under way go together with the next one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from mooring.errors import Busy, ConnectorError, Unreachable

MAX_WAITING_BYTES = 64 * 1024 * 1024
WRITE_S = 30.0


@dataclass(eq=False)
class _Waiting:
    lines: bytes
    done: asyncio.Future[Any]


class Batches:
    """
    Gathers documents and writes them with *write*, which answers for each of them.

    What comes first is written at once. What comes while that is under way waits for its end, for a full batch, or
    for *interval_s*, whichever is first: few documents lose no time, and many make full requests.
    """

    def __init__(
        self,
        write: Callable[[list[bytes]], Awaitable[list[Any]]],
        *,
        capacity: int,
        interval_s: float,
        batch: int,
        batch_bytes: int,
    ) -> None:
        self._write, self._capacity, self._interval_s = write, capacity, interval_s
        self._batch, self._batch_bytes = batch, batch_bytes
        self._queue: deque[_Waiting] = deque()
        self._held = self._held_bytes = 0
        self._writing: set[asyncio.Task[None]] = set()
        self._timer: asyncio.Handle | None = None

    async def put(self, lines: bytes) -> Any:
        """What became of this document. Raises `Busy` where too many wait, and what *write* raises."""
        if self._held >= self._capacity or self._held_bytes + len(lines) > MAX_WAITING_BYTES:
            raise Busy(
                f"{self._held} documents wait to be written",
                hint="Retry in a moment, or let more wait (bulkBufferCapacity).",
            )
        loop = asyncio.get_running_loop()
        waiting = _Waiting(lines, loop.create_future())
        self._queue.append(waiting)
        self._held += 1
        self._held_bytes += len(lines)
        if len(self._queue) >= self._batch:
            self._send()
        elif self._timer is None:
            # Idle: a moment, for those that come in the same one.
            self._timer = loop.call_later(self._interval_s, self._send) if self._writing else loop.call_soon(self._send)
        try:
            return await waiting.done
        finally:
            self._held -= 1
            self._held_bytes -= len(lines)

    async def drain(self) -> None:
        """Until nothing waits and nothing is under way."""
        try:
            while self._queue or self._writing:
                self._send()
                if self._writing:
                    await asyncio.wait(self._writing)
        finally:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            for task in self._writing:
                task.cancel()

    def _send(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while batch := self._next_batch():
            task = asyncio.get_running_loop().create_task(self._write_all(batch))
            self._writing.add(task)
            task.add_done_callback(self._ended)

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size = 0
        while self._queue and len(batch) < self._batch and (not batch or size < self._batch_bytes):
            waiting = self._queue.popleft()
            if not waiting.done.done():  # nobody waits for it any more: it is not written
                batch.append(waiting)
                size += len(waiting.lines)
        return batch

    async def _write_all(self, batch: list[_Waiting]) -> None:
        try:
            async with asyncio.timeout(WRITE_S):
                results: list[Any] = await self._write([waiting.lines for waiting in batch])
        except TimeoutError:
            results = [_slow() for _ in batch]
        except ConnectorError as exc:
            # Each waiter raises its own: an exception remembers who raised it.
            results = [type(exc)(exc.message, hint=exc.hint) for _ in batch]
        except Exception as exc:
            results = [exc for _ in batch]
        except asyncio.CancelledError:
            for waiting in batch:
                waiting.done.cancel()
            raise
        for waiting, result in zip(batch, results, strict=True):
            if not waiting.done.done():
                if isinstance(result, Exception):
                    waiting.done.set_exception(result)
                else:
                    waiting.done.set_result(result)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._writing.discard(task)
        if self._queue and not self._writing:
            self._send()


def _slow() -> Unreachable:
    return Unreachable(
        f"the documents were not written within {WRITE_S:g} s; they may or may not be",
        hint="Check that the cluster is up and not overloaded.",
    )
