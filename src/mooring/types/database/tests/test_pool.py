"""The pool keeps the documented limits, against a driver that can be told to misbehave."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from mooring.errors import Busy, Unreachable
from mooring.types.database import pool as pool_module
from mooring.types.database.pool import Limits, Pool


@dataclass(eq=False)
class FakeSession:
    number: int
    dead: bool = False
    pings: int = 0


@dataclass
class FakeDriver:
    address: str = "db:1"
    opened: list = field(default_factory=list)
    live: int = 0
    most: int = 0
    attempts: int = 0
    connect_s: float = 0.0
    failure: Exception | None = None

    async def connect(self):
        self.attempts += 1
        self.live += 1
        self.most = max(self.most, self.live)
        try:
            await asyncio.sleep(self.connect_s)
            if self.failure:
                raise self.failure
        except BaseException:
            self.live -= 1
            raise
        session = FakeSession(len(self.opened))
        self.opened.append(session)
        return session

    async def close(self, session):
        await asyncio.sleep(0)
        self.live -= 1
        session.dead = True

    def abort(self, session):
        session.dead = True

    def is_alive(self, session):
        return not session.dead

    async def ping(self, session):
        session.pings += 1
        if session.dead:
            raise ConnectionError

    async def tidy(self, session, *, lent):
        pass

    def native(self, session):
        return session


@pytest.fixture
def driver():
    return FakeDriver()


@pytest.fixture
async def make(driver):
    pools = []

    def made(**limits):
        pools.append(Pool(driver, Limits(**{"test_every_s": 0, **limits})))
        return pools[-1]

    yield made
    for pool in pools:
        await pool.end()


async def use(pool, for_s=0.0):
    async with pool.lend() as session:
        await asyncio.sleep(for_s)
        return session


async def until(condition, for_s=2.0):
    async with asyncio.timeout(for_s):
        while not condition():
            await asyncio.sleep(0.01)


async def test_sessions_are_used_again(make, driver):
    """One user after another gets the same session."""
    pool = make()

    for _ in range(20):
        await use(pool)

    assert len(driver.opened) == 1


async def test_initial_sessions_are_opened_in_the_background(make, driver):
    """`start` opens nothing; once the first user has a session, the other initial ones come by themselves."""
    pool = make(initial=3)

    pool.start()
    assert driver.opened == []
    await use(pool)

    await until(lambda: pool.idle == 3)


@pytest.mark.parametrize("increment", [1, 3, 50])
async def test_never_more_than_the_maximum(make, driver, increment):
    """However many users come at once, no more sessions exist than maxPoolSize."""
    driver.connect_s = 0.002
    pool = make(maximum=4, minimum=2, initial=4, increment=increment, max_age_s=0.05)

    await asyncio.gather(*(use(pool, 0.003) for _ in range(200)))

    assert driver.most <= 4
    assert pool.size <= 4


async def test_increment_opens_several(make, driver):
    """A pool that has to grow opens incrementCount sessions."""
    pool = make(increment=3)

    await use(pool)

    await until(lambda: pool.idle == 3)


async def test_waiting_ends_with_the_longest_wait(make):
    """Who finds every session lent is told so after connectionTimeout, and by which field to change that."""
    pool = make(maximum=1, wait_s=0.05)
    async with pool.lend():
        with pytest.raises(Busy, match="all 1 connections") as caught:
            await use(pool)

    assert "maxPoolSize" in caught.value.hint
    await use(pool)


async def test_slow_opening_ends_with_the_longest_wait(make, driver):
    """A server that gives no session within connectionTimeout is unreachable."""
    driver.connect_s = 5
    with pytest.raises(Unreachable, match="gave no connection"):
        await use(make(wait_s=0.05))


async def test_waiters_are_served_in_turn(make):
    """Who waits longest is served first."""
    pool, order = make(maximum=1), []

    async def one(number):
        async with pool.lend():
            order.append(number)
            await asyncio.sleep(0.001)

    await asyncio.gather(*(one(number) for number in range(10)))

    assert order == list(range(10))


async def test_dead_session_is_replaced_at_checkout(make, driver):
    """A session that died while idle is never lent."""
    pool = make()
    first = await use(pool)
    first.dead = True

    assert await use(pool) is not first
    assert driver.live == 1


@pytest.mark.parametrize(
    ("fields", "pings"), [({}, 1), ({"test_on_checkout": False}, 0), ({"test_on_checkin": True}, 3)]
)
async def test_tests_at_checkout_and_checkin(monkeypatch, make, driver, fields, pings):
    """A session is tested when it is lent or given back, as the fields say."""
    monkeypatch.setattr(pool_module, "FRESH_S", -1.0)
    pool = make(**fields)

    await use(pool)
    await use(pool)

    assert driver.opened[0].pings == pings


async def test_old_session_is_replaced(make, driver):
    """A session older than maxConnectionAge is not lent again."""
    pool = make(max_age_s=0.05)
    first = await use(pool)
    await asyncio.sleep(0.08)

    assert await use(pool) is not first


async def test_idle_sessions_are_closed_down_to_the_minimum(make, driver):
    """Sessions idle for longer than maxIdleTime are closed, and minPoolSize of them stay."""
    pool = make(maximum=5, minimum=2, max_idle_s=0.1)
    await asyncio.gather(*(use(pool, 0.02) for _ in range(5)))
    assert pool.idle == 5

    await until(lambda: pool.size == 2)
    await asyncio.sleep(0.2)
    assert pool.size == 2


async def test_idle_sessions_are_tested(make, driver):
    """Idle sessions are tested every idleConnectionTestPeriod, and a dead one is replaced."""
    pool = make(test_every_s=0.1)
    first = await use(pool)
    await until(lambda: first.pings > 0)
    first.dead = True

    await until(lambda: len(driver.opened) == 2)
    assert pool.size == 1


async def test_a_refused_login_is_not_repeated_in_the_background(make, driver):
    """Failed logins lock accounts: after one, only a user of the pool tries again."""
    driver.failure = ConnectionError()
    pool = make(initial=3, minimum=3, max_idle_s=0.1)
    with pytest.raises(ConnectionError):
        await use(pool)
    await asyncio.sleep(0.5)
    assert driver.attempts == 1

    driver.failure = None
    await use(pool)
    await until(lambda: pool.idle == 3)


async def test_failure_to_open_reaches_the_user(make, driver):
    """Who needs a new session is told why there is none, and the place is free again."""
    driver.failure = ConnectionError("no")
    pool = make(maximum=1)
    for _ in range(3):
        with pytest.raises(ConnectionError):
            await use(pool)

    assert pool.size == 0


async def test_cancelled_user_leaves_no_session_behind(make, driver):
    """A session whose user was cancelled in the middle is closed, and its place is free again."""
    pool = make(maximum=1)
    task = asyncio.create_task(use(pool, 10))
    await until(lambda: driver.opened)
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    await use(pool)

    assert driver.opened[0].dead
    assert driver.live == 1


async def test_cancelled_waiter_takes_nobodys_turn(make):
    """Waiters that give up do not lose sessions."""
    pool = make(maximum=2)
    tasks = [asyncio.create_task(use(pool, 0.01)) for _ in range(50)]
    await asyncio.sleep(0.005)
    for task in tasks[1::2]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await until(lambda: pool.size == pool.idle)

    await asyncio.gather(*(use(pool) for _ in range(10)))
    assert pool.size <= 2


async def test_error_of_the_user_keeps_a_living_session(make, driver):
    """A statement that was refused does not cost the session."""
    pool = make()
    for _ in range(3):
        with pytest.raises(ValueError):
            async with pool.lend():
                raise ValueError

    assert len(driver.opened) == 1


async def test_stop_gives_everything_back_and_a_later_use_begins_anew(make, driver):
    """After `stop` no session and no task is left; the pool can be used again."""
    before = len(asyncio.all_tasks())
    pool = make(initial=3, increment=2)
    await use(pool)
    await pool.stop()
    await pool.stop()
    assert (driver.live, pool.size, len(asyncio.all_tasks())) == (0, 0, before)

    await use(pool)
    assert driver.live >= 1


async def test_session_lent_across_stop_is_closed_when_it_comes_back(make, driver):
    """A native session that is in use while the pool is stopped stays with its user, and is closed afterwards."""
    pool = make()
    async with pool.acquire() as session:
        await pool.stop()
        assert not session.dead
    await until(lambda: session.dead)


async def test_end_is_final(make, driver, monkeypatch):
    """After `end` what was lent is dropped, and nobody gets a session."""
    monkeypatch.setattr("mooring.types.database.pool.GRACE_S", 0.1)
    pool = make()
    task = asyncio.create_task(use(pool, 30))
    await until(lambda: driver.opened)
    await pool.end()
    await pool.end()
    assert driver.opened[0].dead
    with pytest.raises(Unreachable):
        await use(pool)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_session_that_just_served_is_not_tested_again(make, driver):
    """Real use is the better test; it costs no round trip."""
    pool = make()

    for _ in range(5):
        await use(pool)

    assert driver.opened[0].pings == 0
