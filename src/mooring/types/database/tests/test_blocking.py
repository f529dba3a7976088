"""Threads for drivers that block: bounded, replaced, given back."""

from __future__ import annotations

import asyncio
import threading

import pytest

from mooring.errors import Unreachable
from mooring.kit.egress import ANYWHERE_HERE
from mooring.plugin.network import Network
from mooring.types.database.blocking import BlockingDriver, Line
from mooring.types.database.jdbc import parse
from mooring.types.database.pool import Limits, Pool
from mooring.types.database.port import Done, Rows, Settings
from mooring.types.database.tests.support import settled
from mooring.types.database.tls import Tls


class FakeDeafLibrary(BlockingDriver):
    """A client library without sockets of ours, in which calls hang until they are let go."""

    def __init__(self, maximum):
        limits = Limits(maximum=maximum, test_every_s=0)
        super().__init__(
            Settings(Network(ANYWHERE_HERE), parse("jdbc:db2://h:1/d"), "u", "p", Tls("disable", None), "n", 0, limits)
        )
        self.release = threading.Event()
        self.open = 0

    async def dial(self):
        return None

    def on_login(self, session):
        self.open += 1
        return object()

    def on_fetch(self, session, sql, parameters, max_rows):
        if sql == "hang":
            self.release.wait(20)
        return Rows([], [], False)

    def on_execute(self, session, sql, parameters):
        raise ValueError(sql)

    def on_ping(self, session):
        pass

    def on_leave(self, session):
        self.open -= 1


@pytest.fixture
def driver():
    made = FakeDeafLibrary(2)
    yield made
    made.release.set()


def lines():
    return sum(thread.name == "mooring-database" for thread in threading.enumerate())


async def hang(pool, driver):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1), pool.lend() as session:
            await driver.fetch(session, "hang", [], 1)


async def test_hung_call_frees_its_place_at_once(driver):
    """After a call that hangs, the pool has all its places again; the library's thread is left to itself."""
    pool = Pool(driver, driver.settings.limits)
    await hang(pool, driver)
    await hang(pool, driver)

    async with asyncio.timeout(2), pool.lend() as one, pool.lend() as two:
        await driver.fetch(one, "x", [], 1)
        await driver.fetch(two, "x", [], 1)

    driver.release.set()
    await pool.end()
    await settled(lambda: lines() == 0)
    assert driver.open == 0


async def test_hanging_threads_are_bounded(driver):
    """Beyond twice the pool no further thread is begun, and the caller is told."""
    pool = Pool(driver, driver.settings.limits)
    for _ in range(4):
        await hang(pool, driver)

    with pytest.raises(Unreachable, match="4 calls .* hang"):
        async with pool.lend():
            pass

    driver.release.set()
    await settled(lambda: lines() == 0)
    async with pool.lend() as session:
        await driver.fetch(session, "x", [], 1)
    await pool.end()


async def test_what_a_job_raises_reaches_the_caller(driver):
    """An exception of the library is the caller's, and the session goes on."""
    pool = Pool(driver, driver.settings.limits)
    async with pool.lend() as session:
        with pytest.raises(ValueError, match="bad"):
            await driver.execute(session, "bad", [])
        assert (await driver.fetch(session, "x", [], 1)).rows == []
    await pool.end()


async def test_line_has_no_thread_until_it_is_used():
    """A line costs a thread only from its first job to its end."""
    before = threading.active_count()
    line = Line("mooring-test")
    assert threading.active_count() == before

    assert await line.run(lambda: threading.current_thread().name) == "mooring-test"
    line.end(lambda: None)

    await settled(lambda: not line.is_alive)


def test_done_is_what_execute_answers():
    """The answer of a statement without rows has no number of a new row."""
    assert Done(3).last_insert_id is None
