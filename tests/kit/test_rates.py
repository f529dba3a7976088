"""Token buckets and counts of failures."""

from __future__ import annotations

import pytest

from mooring.kit.rates import Buckets, Failures, Rate, parse_rate, whole_seconds


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.mark.parametrize(("text", "rate"), [
    ("100/s", Rate(100, 100)), ("30/m", Rate(0.5, 30)), ("3600/h", Rate(1, 3600)), ("1/s burst 500", Rate(1, 500)),
    ("", None),
])  # fmt: skip
def test_a_rate_is_read(text: str, rate: Rate | None) -> None:
    """So many in a second, minute or hour; the burst is as many, where nothing is said."""
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["0/s", "-1/s", "1/d", "s", "1 /s", "1/s burst 0", "1e9/s", "99999999/s", "1/s,5"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    """With a sentence that says how one is written."""
    with pytest.raises(ValueError, match="must be empty or like"):
        parse_rate(text)


def test_a_bucket_gives_its_burst_and_no_more(clock: FakeClock) -> None:
    """The next one has to wait for one to drop in."""
    buckets = Buckets(Rate(2, 5), clock=clock)

    waits = [buckets.take("a") for _ in range(6)]

    assert waits == [0, 0, 0, 0, 0, pytest.approx(0.5)]


def test_a_bucket_fills_with_time(clock: FakeClock) -> None:
    """At its rate, and not beyond its burst."""
    buckets = Buckets(Rate(2, 5), clock=clock)
    for _ in range(5):
        buckets.take("a")

    clock.now += 0.5
    one = [buckets.take("a") == 0 for _ in range(2)]
    clock.now += 3600
    many = [buckets.take("a") == 0 for _ in range(6)]

    assert one == [True, False] and many == [True] * 5 + [False]


def test_who_is_refused_pays_nothing(clock: FakeClock) -> None:
    """Asking again and again does not make the wait longer."""
    buckets = Buckets(Rate(1, 1), clock=clock)
    buckets.take("a")
    for _ in range(100):
        buckets.take("a")

    clock.now += 1

    assert buckets.take("a") == 0


def test_each_key_has_its_own_bucket(clock: FakeClock) -> None:
    """One that is empty does not concern another."""
    buckets = Buckets(Rate(1, 1), clock=clock)
    buckets.take("a")

    assert buckets.take("b") == 0


def test_what_did_not_happen_is_given_back(clock: FakeClock) -> None:
    """And can be taken again."""
    buckets = Buckets(Rate(1, 1), clock=clock)
    buckets.take("a")

    buckets.give_back("a")

    assert buckets.take("a") == 0


def test_buckets_are_bounded(clock: FakeClock) -> None:
    """However many keys come along; the one that was not heard of for longest goes first."""
    buckets = Buckets(Rate(1, 1), clock=clock, max_keys=3)
    for key in "abcd":
        buckets.take(key)

    assert len(buckets) == 3
    assert buckets.take("d") > 0


def test_the_allowed_failures_are_free(clock: FakeClock) -> None:
    """The one after them is blocked until the window ends."""
    failures = Failures(3, 60, clock=clock)
    for _ in range(2):
        failures.add("a")
    free = failures.blocked("a")
    clock.now += 20
    failures.add("a")

    assert free == 0
    assert failures.blocked("a") == pytest.approx(40)


def test_a_window_ends(clock: FakeClock) -> None:
    """And with it what was counted in it."""
    failures = Failures(1, 60, clock=clock)
    failures.add("a")

    clock.now += 60

    assert failures.blocked("a") == 0 and failures.count("a") == 0


def test_failures_are_bounded(clock: FakeClock) -> None:
    """However many keys fail."""
    failures = Failures(1, clock=clock, max_keys=100)
    for number in range(1000):
        failures.add(number)

    assert len(failures) == 100


def test_retry_after_is_never_too_early() -> None:
    """Whole seconds, rounded up, at least one."""
    assert [whole_seconds(seconds) for seconds in (0.01, 1.0, 1.2)] == [1, 1, 2]
