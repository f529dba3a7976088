"""Messages on their way over one stream."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from mooring.errors import Busy, ConnectorError
from mooring.plugin.oneway.faults import Interrupted, Talks
from mooring.plugin.oneway.line import Line
from mooring.plugin.oneway.stream import Stream

FLUSH_S = 5.0
WRITE_S = 5.0
MAX_QUEUED_BYTES = 64 * 1024 * 1024
BATCH_BYTES = 1024 * 1024


class Outbox:
    """
    Messages on their way over one connection, in order: a bounded queue, and one writer that sends what waits together.

    The connection is made when a message needs it, and again after it was lost: a message that was not written yet
    goes on the next one; a message that was written and not acknowledged is never sent twice.
    """

    def __init__(
        self,
        line: Line,
        explain: Callable[[BaseException], ConnectorError],
        *,
        capacity: int = 10_000,
        batch: int = 512,
        pause_s: float = 0.0,
    ) -> None:
        self._line, self._explain = line, explain
        self._capacity, self._batch, self._pause_s = capacity, batch, pause_s
        self._waiting: dict[asyncio.Future[bool], bytes] = {}
        self._written: deque[tuple[int, list[asyncio.Future[bool]]]] = deque()
        self._in_flight = 0
        self._landed = asyncio.Event()
        self._bytes = 0
        self._writer: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._stream: Stream | None = None
        self._not_before = 0.0

    @property
    def stream(self) -> Stream | None:
        """The connection, if there is one."""
        return self._stream

    async def put(self, frame: bytes) -> bool:
        """
        Send *frame*; True when the other machine acknowledged it, False where this system cannot tell.

        Raises:
            Busy: too much is waiting already.
            ConnectorError: it was not sent, or nobody knows.
        """
        if len(self._waiting) >= self._capacity or self._bytes + len(frame) > MAX_QUEUED_BYTES:
            raise Busy(
                f"{len(self._waiting)} messages wait to be sent already",
                hint="Send more slowly, or find out why the server takes them slowly.",
            )
        sent: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[sent] = frame
        self._bytes += len(frame)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        try:
            return await sent
        finally:
            self._drop(sent)

    async def close(self) -> None:
        """Send what waits, for some seconds at most; then end the connection in order. Safe twice; `put` begins anew."""
        try:
            # What nobody waits for any more is not worth waiting for.
            owed = [sent for sent in (*self._waiting, *self._all_written()) if not sent.done()]
            if owed:
                await asyncio.wait(owed, timeout=FLUSH_S)
            tasks = self._stop_working()
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._stream is not None:
                await self._stream.close()
        finally:
            self._stop_working()
            self._writer = self._watcher = None
            self._forget_stream()
            self._fail(list(self._waiting), ConnectionAbortedError())

    async def _write(self) -> None:
        """Write what waits, as long as something does; several writes may be on their way at once."""
        while self._waiting:
            try:
                stream = await self._connected()
            except Exception as exc:
                self._not_before = time.monotonic() + self._pause_s
                self._fail(list(self._waiting), exc)
                continue
            if self._in_flight >= self._batch:
                self._landed.clear()
                await self._landed.wait()
                continue
            taken = self._take()
            if not taken:
                continue
            them = list(taken)
            # Noted before it is written: from then on nobody knows whether it arrives.
            self._written.append((0, them))
            self._in_flight += len(them)
            try:
                async with asyncio.timeout(WRITE_S):
                    mark = await stream.write(b"".join(taken.values()))
            except Exception as exc:
                # A stall is as open-ended as a loss: some of it may have arrived.
                self._forget_stream(Interrupted() if isinstance(exc, TimeoutError) else exc)
            else:
                if self._written and self._written[-1][1] is them:
                    self._written[-1] = (mark, them)
                    if self._watcher is None or self._watcher.done():
                        self._watcher = asyncio.create_task(self._watch(stream))

    async def _watch(self, stream: Stream) -> None:
        """Tell each sender when its message was acknowledged, as long as somebody waits for that."""
        try:
            while self._written and self._written[0][0]:
                mark, them = self._written[0]
                async with asyncio.timeout(WRITE_S):
                    acknowledged = await stream.acknowledged(mark)
                self._written.popleft()
                self._in_flight -= len(them)
                self._landed.set()
                for sent in them:
                    if not sent.done():
                        sent.set_result(acknowledged)
        except (Interrupted, TimeoutError):
            if self._stream is stream:
                self._forget_stream()

    async def _connected(self) -> Stream:
        if self._stream is not None:
            try:
                self._stream.check()
                return self._stream
            except (OSError, Talks):
                self._forget_stream()
        await asyncio.sleep(max(0.0, self._not_before - time.monotonic()))
        self._stream = await self._line.open()
        return self._stream

    def _take(self) -> dict[asyncio.Future[bool], bytes]:
        taken: dict[asyncio.Future[bool], bytes] = {}
        size = 0
        for sent, frame in self._waiting.items():
            if taken and (len(taken) >= self._batch - self._in_flight or size + len(frame) > BATCH_BYTES):
                break
            taken[sent] = frame
            size += len(frame)
        for sent in taken:
            self._drop(sent)
        return taken

    def _drop(self, sent: asyncio.Future[bool]) -> None:
        frame = self._waiting.pop(sent, None)
        if frame is not None:
            self._bytes -= len(frame)

    def _fail(self, them: list[asyncio.Future[bool]], why: BaseException) -> None:
        for sent in them:
            self._drop(sent)
            if not sent.done():
                sent.set_exception(self._explain(why))

    def _stop_working(self) -> list[asyncio.Task[None]]:
        tasks = [task for task in (self._writer, self._watcher) if task is not None]
        for task in tasks:
            task.cancel()
        return tasks

    def _all_written(self) -> list[asyncio.Future[bool]]:
        return [sent for _, them in self._written for sent in them]

    def _forget_stream(self, why: BaseException | None = None) -> None:
        """Let the connection go; what was written on it and not acknowledged fails, of *why* the newest part."""
        stream, self._stream = self._stream, None
        if stream is None:
            return
        watcher, self._watcher = self._watcher, None
        if watcher is not None and watcher is not asyncio.current_task():
            watcher.cancel()
        self._not_before = time.monotonic() + self._pause_s
        stream.abort()
        newest = self._written[-1][1] if self._written and why is not None else []
        self._fail(newest, why or Interrupted())
        self._fail(self._all_written(), Interrupted())
        self._written.clear()
        self._in_flight = 0
        self._landed.set()
