"""
How often something may happen: token buckets, and counts of failures. In memory, of this process, of bounded size.

Neither waits nor sleeps: they answer how many seconds to wait, and the caller decides what to do about it. The clock
(seconds, rising) is passed in by tests.
"""

from __future__ import annotations

import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

from mooring.kit.record import record

MAX_KEYS = 20_000
"""So many keys are remembered; then the one that was not heard of for longest is forgotten."""

_RATE = re.compile(r"([1-9]\d{0,6})/([smh])(?: burst ([1-9]\d{0,6}))?", re.ASCII)
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
Clock = Callable[[], float]


@record
class Rate:
    """So many a second in the long run, and so many at once."""

    per_s: float
    burst: int


def parse_rate(text: str) -> Rate | None:
    """The rate that *text* spells: `100/s`, `30/m burst 50`; None where it is empty. Raises `ValueError`."""
    if not text:
        return None
    found = _RATE.fullmatch(text.strip())
    if found is None:
        raise ValueError("must be empty or like 100/s, 30/m or 100/s burst 500")
    count = int(found[1])
    return Rate(count / _SECONDS[found[2]], int(found[3]) if found[3] else count)


class Buckets:
    """A token bucket for each key: `take` empties it by one, time fills it."""

    def __init__(self, rate: Rate, *, clock: Clock = time.monotonic, max_keys: int = MAX_KEYS) -> None:
        self._rate, self._clock, self._max_keys = rate, clock, max_keys
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()

    def take(self, key: Hashable) -> float:
        """0 where it may happen now; otherwise the seconds until it may, and nothing is taken."""
        now = self._clock()
        per_s = self._rate.per_s
        # A bucket is kept as the moment at which it will be full again: one number, and a full one need not be kept.
        full_at = max(self._full_at.get(key, now), now) + 1 / per_s
        late = full_at - now - self._rate.burst / per_s
        if late > 1e-9:
            return late
        self._full_at[key] = full_at
        self._full_at.move_to_end(key)
        if len(self._full_at) > self._max_keys:
            self._full_at.popitem(last=False)
        return 0.0

    def give_back(self, key: Hashable) -> None:
        """What was taken did not happen after all."""
        if key in self._full_at:
            self._full_at[key] -= 1 / self._rate.per_s

    def __len__(self) -> int:
        return len(self._full_at)


class Failures:
    """Counts failures of each key; from the one after *allowed* within a window on, `blocked` says for how long."""

    def __init__(
        self, allowed: int, window_s: float = 60.0, *, clock: Clock = time.monotonic, max_keys: int = MAX_KEYS
    ) -> None:
        self._allowed, self._window_s, self._clock, self._max_keys = allowed, window_s, clock, max_keys
        self._seen: OrderedDict[Hashable, tuple[int, float]] = OrderedDict()

    def add(self, key: Hashable) -> None:
        """One more failure of *key*."""
        now = self._clock()
        count, since = self._seen.get(key, (0, now))
        if now - since >= self._window_s:
            count, since = 0, now
        self._seen[key] = (count + 1, since)
        self._seen.move_to_end(key)
        if len(self._seen) > self._max_keys:
            self._seen.popitem(last=False)

    def count(self, key: Hashable) -> int:
        """Failures of *key* in its window."""
        count, since = self._seen.get(key, (0, 0.0))
        return count if count and self._clock() - since < self._window_s else 0

    def blocked(self, key: Hashable) -> float:
        """The seconds until *key* may fail again; 0 where it may now."""
        count, since = self._seen.get(key, (0, 0.0))
        if count < self._allowed:
            return 0.0
        return max(0.0, since + self._window_s - self._clock())

    def __len__(self) -> int:
        return len(self._seen)


def whole_seconds(seconds: float) -> int:
    """For Retry-After: never too early, never 0."""
    return max(1, math.ceil(seconds))
