"""Questions to one worker, and its answers: they travel on the worker's stream, beside what it shall hold."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence

from mooring.errors import Busy, Unavailable
from mooring.wire.frames import ProbeResult

AT_ONCE = 16
"""Questions to one worker that may be under way; more are refused, not queued."""


class Outbox:
    """What waits to be sent to one worker."""

    def __init__(self, waker: asyncio.Event) -> None:
        self._frames: list[str] = []
        self._waker = waker
        self.asked: dict[str, asyncio.Future[ProbeResult]] = {}

    def put(self, frame: str) -> None:
        self._frames.append(frame)
        self._waker.set()

    def take(self) -> list[str]:
        """All that waits; it is the caller's now."""
        frames, self._frames = self._frames, []
        return frames


class Jobs:
    """The workers that can be asked, because their streams are open here."""

    def __init__(self) -> None:
        self._outboxes: dict[str, Outbox] = {}

    @contextlib.contextmanager
    def open(self, worker_id: str, waker: asyncio.Event) -> Iterator[Outbox]:
        """For as long as the stream of *worker_id* lasts; *waker* wakes its sender."""
        outbox = self._outboxes[worker_id] = Outbox(waker)
        try:
            yield outbox
        finally:
            if self._outboxes.get(worker_id) is outbox:
                del self._outboxes[worker_id]
            for answer in outbox.asked.values():
                if not answer.done():
                    answer.set_exception(Unavailable("the worker's stream ended before it answered", hint="Try again."))

    def can_be_asked(self, worker_id: str) -> bool:
        """Whether the worker's stream is open here."""
        return worker_id in self._outboxes

    async def ask(self, worker_id: str, job: str, frames: Sequence[str], timeout_s: float) -> ProbeResult:
        """
        The worker's answer to *frames*, the last of which carries *job*.

        Raises:
            Unavailable: it is not connected here, went away, or did not answer within *timeout_s*.
            Busy: it is asked too much already.
        """
        outbox = self._outboxes.get(worker_id)
        if outbox is None:
            raise Unavailable("the worker is not connected to this node", hint="Try again, or name another worker.")
        if len(outbox.asked) >= AT_ONCE:
            raise Busy("that worker is asked too much at once", hint="Try again in a moment.")
        answer: asyncio.Future[ProbeResult] = asyncio.get_running_loop().create_future()
        outbox.asked[job] = answer
        for frame in frames:
            outbox.put(frame)
        try:
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError:
            raise Unavailable(f"the worker did not answer within {timeout_s:g} s", hint="Try again.") from None
        finally:
            outbox.asked.pop(job, None)

    def hear(self, worker_id: str, result: ProbeResult) -> None:
        """An answer; one that nobody waits for any more is dropped."""
        outbox = self._outboxes.get(worker_id)
        answer = outbox.asked.get(result.job) if outbox else None
        if answer is not None and not answer.done():
            answer.set_result(result)
