"""
A circuit breaker: after some failures in a short time nothing is tried for a while, then one attempt decides.

So a system that is down is not hammered, and callers learn at once instead of each waiting for its own deadline.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from mooring.errors import CircuitOpen, ConnectorError, EgressDenied, Rejected, Unreachable

Circuit = Literal["closed", "open", "half_open"]


@dataclass(frozen=True)
class BreakerSettings:
    """What holds where a connection says nothing itself: `errors` within `window_s` open it for `sleep_s`."""

    enabled: bool = False
    window_s: float = 10.0
    errors: int = 5
    sleep_s: float = 30.0

    def of(self, config: Any) -> Breaker | None:
        """The breaker that *config* asks for, by the fields that some types have; None where it has none or wants none."""
        if not hasattr(config, "circuit_breaker_enabled"):
            return None
        wished = config.circuit_breaker_enabled
        if not (self.enabled if wished is None else wished):
            return None
        return Breaker(
            errors=config.error_threshold_value or self.errors,
            window_s=self.window_s,
            sleep_s=config.sleep_window or self.sleep_s,
        )


class Breaker:
    """
    Counts the failures of one connection.

    Only what says that the system is away or turns us away counts: a wrong statement is no reason to stop.
    """

    def __init__(
        self, *, errors: int, window_s: float, sleep_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._errors, self._window_s, self._sleep_s, self._clock = errors, window_s, sleep_s, clock
        self._failures: deque[float] = deque(maxlen=errors)
        self._open_until: float | None = None
        self._trying = False

    @property
    def circuit(self) -> Circuit:
        """`closed`: all is tried; `open`: nothing is; `half_open`: the next attempt decides."""
        if self._open_until is None:
            return "closed"
        return "open" if self._clock() < self._open_until else "half_open"

    def admit(self) -> bool:
        """Let an attempt through; True where it is the one that decides. Raises `CircuitOpen`."""
        if self._open_until is None:
            return False
        left = self._open_until - self._clock()
        if left > 0 or self._trying:
            seconds = max(1, math.ceil(left))
            raise CircuitOpen(
                f"not tried: the last {self._errors} failures opened the circuit breaker",
                hint=f"Test the connection to see what is wrong; the next attempt is let through in {seconds} s.",
            )
        self._trying = True
        return True

    def succeeded(self, deciding: bool) -> None:
        """An attempt worked."""
        if deciding:
            self._trying, self._open_until = False, None
            self._failures.clear()

    def failed(self, deciding: bool, error: ConnectorError | None) -> None:
        """An attempt did not work; *error* says why, None that the system itself answered with a failure."""
        if isinstance(error, EgressDenied):
            # Nobody was asked: it says nothing about the system.
            self.abandoned(deciding)
            return
        if error is not None and not isinstance(error, Unreachable | Rejected):
            # It was there and answered: whatever was wrong with the request, the way is free.
            self.succeeded(deciding)
            return
        now = self._clock()
        if deciding:
            self._trying, self._open_until = False, now + self._sleep_s
            return
        self._failures.append(now)
        full = len(self._failures) == self._errors
        if full and now - self._failures[0] <= self._window_s and self._open_until is None:
            self._open_until = now + self._sleep_s

    def abandoned(self, deciding: bool) -> None:
        """An attempt was given up by its caller: it says nothing, and the next one decides."""
        if deciding:
            self._trying = False
