"""A circuit breaker: some failures open it, a pause, and one attempt decides."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from mooring.errors import CircuitOpen, EgressDenied, Misconfigured, Rejected, Unreachable
from mooring.testing.live import connected
from mooring.worker.breaker import Breaker, BreakerSettings
from mooring.worker.guard import Guard
from tests.support.services import closed_port
from tests.weather.peers import serving

AWAY = Unreachable("away")


class Clock:
    """Stands still until told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    """Three failures within 10 s open it for 30 s."""
    return Breaker(errors=3, window_s=10, sleep_s=30, clock=clock)


def fail(breaker: Breaker, times: int = 1, error: Exception | None = AWAY) -> None:
    for _ in range(times):
        breaker.failed(breaker.admit(), error)  # type: ignore[arg-type]


def test_it_lets_all_through_while_little_fails(breaker: Breaker) -> None:
    """One failure below the threshold changes nothing."""
    fail(breaker, 2)

    breaker.admit()

    assert breaker.circuit == "closed"


def test_it_opens_at_the_threshold(breaker: Breaker) -> None:
    """And says how long it will stay so."""
    fail(breaker, 3)

    with pytest.raises(CircuitOpen) as raised:
        breaker.admit()

    assert breaker.circuit == "open" and "30 s" in str(raised.value.hint)


def test_old_failures_do_not_count(breaker: Breaker, clock: Clock) -> None:
    """Only those within the window do."""
    fail(breaker, 2)
    clock.now = 11.0
    fail(breaker, 2)

    assert breaker.circuit == "closed"


@pytest.mark.parametrize("error", [Unreachable("x"), Rejected("x"), None], ids=["unreachable", "rejected", "answer"])
def test_what_the_system_did_counts(breaker: Breaker, error: Exception | None) -> None:
    """No answer, a refused login, and an answer that says that the system failed."""
    fail(breaker, 3, error)

    assert breaker.circuit == "open"


def test_a_wrong_request_does_not_count(breaker: Breaker) -> None:
    """The system was there and answered."""
    fail(breaker, 10, Misconfigured("no such table"))

    assert breaker.circuit == "closed"


def test_a_denied_address_says_nothing_about_the_system(breaker: Breaker, clock: Clock) -> None:
    """It opens no circuit, and closes none."""
    fail(breaker, 20, EgressDenied("denied"))
    before = breaker.circuit
    fail(breaker, 3)
    clock.now += 30

    breaker.failed(breaker.admit(), EgressDenied("denied"))

    assert (before, breaker.circuit) == ("closed", "half_open")


def test_after_the_pause_one_attempt_is_let_through(breaker: Breaker, clock: Clock) -> None:
    """And nothing else until it has ended."""
    fail(breaker, 3)
    clock.now = 30.0

    assert breaker.circuit == "half_open"
    assert breaker.admit() is True
    with pytest.raises(CircuitOpen):
        breaker.admit()


def test_the_attempt_that_works_closes_it(breaker: Breaker, clock: Clock) -> None:
    """And what failed before is forgotten."""
    fail(breaker, 3)
    clock.now = 30.0
    breaker.succeeded(breaker.admit())

    fail(breaker, 2)

    assert breaker.circuit == "closed"


def test_the_attempt_that_fails_opens_it_again(breaker: Breaker, clock: Clock) -> None:
    """For another pause."""
    fail(breaker, 3)
    clock.now = 30.0
    fail(breaker)
    clock.now = 59.0

    assert breaker.circuit == "open"


def test_an_attempt_that_was_given_up_leaves_the_decision_to_the_next(breaker: Breaker, clock: Clock) -> None:
    """A caller that went away says nothing about the system."""
    fail(breaker, 3)
    clock.now = 30.0
    breaker.abandoned(breaker.admit())

    assert breaker.admit() is True


def test_failures_that_end_late_do_not_prolong_the_pause(breaker: Breaker, clock: Clock) -> None:
    """Those that were under way when it opened change nothing."""
    under_way = [breaker.admit() for _ in range(6)]
    for deciding in under_way[:3]:
        breaker.failed(deciding, AWAY)
    clock.now = 20.0
    for deciding in under_way[3:]:
        breaker.failed(deciding, AWAY)
    clock.now = 30.0

    assert breaker.circuit == "half_open"


@dataclass
class Wishes:
    """The three fields that some types have."""

    circuit_breaker_enabled: bool | None = None
    error_threshold_value: int | None = None
    sleep_window: int | None = None


@pytest.mark.parametrize(
    ("worker", "connection", "has_one"), [(False, None, False), (True, None, True), (True, False, False), (False, True, True)]
)  # fmt: skip
def test_the_connection_decides_and_else_the_worker(worker: bool, connection: bool | None, has_one: bool) -> None:
    """Left out means: as the worker's setting says."""
    breaker = BreakerSettings(enabled=worker).of(Wishes(circuit_breaker_enabled=connection))

    assert (breaker is not None) is has_one


def test_a_type_without_the_fields_has_none() -> None:
    """Also where the worker's setting is on."""
    assert BreakerSettings(enabled=True).of(object()) is None


async def test_a_dead_system_is_not_tried_again_and_again() -> None:
    """After the threshold a use ends at once, as `circuit_open`, and is not counted as an operation."""
    body = {"type": "webhook", "httpMethod": "GET", "fullUrl": f"http://127.0.0.1:{closed_port()}/"}
    async with connected(body) as guard:
        guard.breaker = Breaker(errors=2, window_s=10, sleep_s=30)
        for _ in range(2):
            await expect(guard, Unreachable)

        await expect(guard, CircuitOpen)

        assert guard.counts.operations == 2


async def test_a_failing_answer_counts_and_is_still_given() -> None:
    """A 503 is an answer for the caller and a failure for the breaker."""

    def unavailable(client) -> None:  # type: ignore[no-untyped-def]
        while client.recv(65536):
            client.sendall(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")

    with serving(unavailable) as port:
        async with connected({"type": "webhook", "httpMethod": "GET", "fullUrl": f"http://127.0.0.1:{port}/"}) as guard:
            guard.breaker = Breaker(errors=2, window_s=10, sleep_s=30)
            statuses = [(await guard.use("send", {})).model_dump()["status"] for _ in range(2)]

            await expect(guard, CircuitOpen)

    assert statuses == [503, 503]


async def expect(guard: Guard, error: type[Exception]) -> None:
    with pytest.raises(error):
        await guard.use("send", {})
