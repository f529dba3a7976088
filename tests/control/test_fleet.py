"""Waiting for workers: who is waited for, what counts as an answer, and whose reports count."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from mooring.control.fleet import GONE_MS, Fleet
from mooring.control.verdict import Failure, Tally
from mooring.domain.records import Deployment, Environment, Worker, WorkerException
from mooring.errors import NotFound
from mooring.kit.clock import now_ms
from mooring.store.base import Store
from mooring.store.sqlite import SqliteStore
from mooring.wire.frames import LEASE_S
from tests.store import makers as m

LONG_S = 30.0


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = SqliteStore(tmp_path)
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def production(store: Store) -> Environment:
    return await m.with_environment(store)


@pytest.fixture
def fleet(store: Store) -> Fleet:
    return Fleet(store)


def deployment(of: Environment, *, revision: int = 5, generation: int = 2, connection: str = "con_1") -> Deployment:
    return Deployment("dep_1", of.id, connection, generation, revision, "req_1", now_ms())


def registered(fleet: Fleet, of: Environment, name: str, *, ago_ms: int = 1000) -> Worker:
    """A worker that enrolled and went away so long ago."""
    then = now_ms() - ago_ms
    return fleet.add(replace(m.worker(of, name), lease_until=then, created_at=then)).worker


def online(fleet: Fleet, of: Environment, name: str) -> Worker:
    """A worker with an open stream, whose session is called like it."""
    worker = registered(fleet, of, name)
    fleet.arrive(worker.id, name, "i", "1")
    return worker


def trouble(
    state: str, *, generation: int = 2, connection: str = "con_1", reason: str = "INVALID_CONFIG"
) -> WorkerException:
    return WorkerException(connection, generation, 1, state, reason, "why", 0)


def hear(fleet: Fleet, worker: Worker, revision: int, *exceptions: WorkerException, session: str | None = None) -> None:
    fleet.hear(worker.id, session or worker.name, "epo", revision, exceptions)


async def tally(fleet: Fleet, of: Deployment, seconds: float = 0) -> Tally:
    (found,) = await fleet.wait([of], seconds)
    return found


async def waiting(fleet: Fleet, *of: Deployment, seconds: float = LONG_S) -> asyncio.Task[list[Tally]]:
    """Somebody who waits already."""
    task = asyncio.create_task(fleet.wait(of, seconds))
    await asyncio.sleep(0)
    return task


def counts(found: Tally) -> tuple[int, int, int, int, int, int]:
    return (found.registered, found.expected, found.applied, len(found.failures), found.pending, found.offline)


async def test_without_workers_nobody_is_waited_for(fleet: Fleet, production: Environment) -> None:
    """The answer comes at once."""
    found = await tally(fleet, deployment(production), LONG_S)

    assert (found.state, counts(found)) == ("NO_WORKERS", (0, 0, 0, 0, 0, 0))


async def test_offline_workers_are_not_waited_for(fleet: Fleet, production: Environment) -> None:
    """They are counted, and the answer comes at once."""
    registered(fleet, production, "a")
    registered(fleet, production, "b")

    found = await tally(fleet, deployment(production), LONG_S)

    assert (found.state, counts(found)) == ("PENDING", (2, 0, 0, 0, 0, 2))


async def test_workers_gone_for_a_week_are_not_counted(fleet: Fleet, production: Environment) -> None:
    """As if they had never been."""
    registered(fleet, production, "a", ago_ms=GONE_MS + 60_000)

    assert (await tally(fleet, deployment(production))).state == "NO_WORKERS"


async def test_an_online_worker_is_waited_for(fleet: Fleet, production: Environment) -> None:
    """Until it says that it is there."""
    worker = online(fleet, production, "a")
    task = await waiting(fleet, deployment(production))

    hear(fleet, worker, 4)
    await asyncio.sleep(0)
    still = task.done()
    hear(fleet, worker, 5)
    (found,) = await task

    assert not still and (found.state, counts(found)) == ("SUCCEEDED", (1, 1, 1, 0, 0, 0))


async def test_a_worker_that_is_there_already_is_not_waited_for(fleet: Fleet, production: Environment) -> None:
    """Its report came before the question."""
    hear(fleet, online(fleet, production, "a"), 9)

    assert (await tally(fleet, deployment(production), LONG_S)).state == "SUCCEEDED"


async def test_the_slowest_worker_decides(fleet: Fleet, production: Environment) -> None:
    """All online ones are waited for; offline ones are counted."""
    one, two = online(fleet, production, "a"), online(fleet, production, "b")
    registered(fleet, production, "c")
    task = await waiting(fleet, deployment(production))

    hear(fleet, one, 5)
    await asyncio.sleep(0)
    still = task.done()
    hear(fleet, two, 5)
    (found,) = await task

    assert not still and (found.state, counts(found)) == ("SUCCEEDED", (3, 2, 2, 0, 0, 1))


async def test_a_deadline_ends_the_wait(fleet: Fleet, production: Environment) -> None:
    """With what is known by then."""
    hear(fleet, online(fleet, production, "a"), 5)
    online(fleet, production, "b")

    found = await tally(fleet, deployment(production), 0.01)

    assert (found.state, counts(found)) == ("PENDING", (2, 2, 1, 0, 1, 0))


@pytest.mark.parametrize("state", ["failed", "held"])
async def test_a_failure_is_an_answer(state: str, fleet: Fleet, production: Environment) -> None:
    """With its worker, reason and message."""
    worker = online(fleet, production, "a")
    task = await waiting(fleet, deployment(production))

    hear(fleet, worker, 5, trouble(state))
    (found,) = await task

    assert (found.state, found.failures) == ("FAILED", [Failure("a", "INVALID_CONFIG", "why")])


async def test_pending_is_no_answer(fleet: Fleet, production: Environment) -> None:
    """A worker that is still building is waited for."""
    worker = online(fleet, production, "a")
    task = await waiting(fleet, deployment(production))

    hear(fleet, worker, 5, trouble("pending"))
    await asyncio.sleep(0)
    still = task.done()
    hear(fleet, worker, 5)

    assert not still and (await task)[0].state == "SUCCEEDED"


async def test_trouble_of_an_older_generation_is_no_answer_to_a_newer_one(
    fleet: Fleet, production: Environment
) -> None:
    """At the revision and without trouble of that generation: applied."""
    hear(fleet, online(fleet, production, "a"), 5, trouble("failed", generation=1))

    assert (await tally(fleet, deployment(production))).state == "SUCCEEDED"


async def test_trouble_of_a_newer_generation_counts(fleet: Fleet, production: Environment) -> None:
    """What was asked for does not serve either."""
    hear(fleet, online(fleet, production, "a"), 9, trouble("failed", generation=3))

    assert (await tally(fleet, deployment(production))).state == "FAILED"


async def test_trouble_of_another_connection_does_not_count(fleet: Fleet, production: Environment) -> None:
    """Each deployment is judged by its own connection."""
    hear(fleet, online(fleet, production, "a"), 5, trouble("failed", connection="con_2"))

    assert (await tally(fleet, deployment(production))).state == "SUCCEEDED"


async def test_reports_of_other_environments_do_not_count(store: Store, fleet: Fleet, production: Environment) -> None:
    """Revisions are counted per environment."""
    other = await m.with_environment(store, "test")
    online(fleet, production, "a")
    hear(fleet, online(fleet, other, "b"), 99)

    assert counts(await tally(fleet, deployment(production)))[1:3] == (1, 0)


async def test_several_deployments_are_waited_for_together(store: Store, fleet: Fleet, production: Environment) -> None:
    """One tally for each, in their order."""
    other = await m.with_environment(store, "test")
    one, two = online(fleet, production, "a"), online(fleet, other, "b")
    task = await waiting(fleet, deployment(production), deployment(other, revision=8))

    hear(fleet, two, 8)
    hear(fleet, one, 5, trouble("failed"))

    assert [found.state for found in await task] == ["FAILED", "SUCCEEDED"]


async def test_a_worker_forgotten_meanwhile_is_not_waited_for(fleet: Fleet, production: Environment) -> None:
    """The rest decides."""
    one, two = online(fleet, production, "a"), online(fleet, production, "b")
    task = await waiting(fleet, deployment(production))

    hear(fleet, one, 5)
    fleet.remove(two.id)
    (found,) = await task

    assert (found.state, counts(found)) == ("SUCCEEDED", (1, 1, 1, 0, 0, 0))


async def test_the_last_worker_forgotten_meanwhile_leaves_none(fleet: Fleet, production: Environment) -> None:
    """As if there had never been one."""
    worker = online(fleet, production, "a")
    task = await waiting(fleet, deployment(production))

    fleet.remove(worker.id)

    assert (await task)[0].state == "NO_WORKERS"


async def test_an_environment_deleted_meanwhile_ends_the_wait(fleet: Fleet, production: Environment) -> None:
    """All its workers are gone with it."""
    online(fleet, production, "a")
    online(fleet, production, "b")
    task = await waiting(fleet, deployment(production))

    fleet.remove_environment(production.id)

    assert (await task)[0].state == "NO_WORKERS" and fleet.members(production.id) == []


async def test_a_worker_that_comes_meanwhile_is_not_waited_for(fleet: Fleet, production: Environment) -> None:
    """The set is that of the commit."""
    worker = online(fleet, production, "a")
    task = await waiting(fleet, deployment(production))

    online(fleet, production, "b")
    hear(fleet, worker, 5)

    assert counts((await task)[0])[1:3] == (1, 1)


async def test_a_worker_that_goes_meanwhile_leaves_it_pending(fleet: Fleet, production: Environment) -> None:
    """It was asked for, and has not answered."""
    worker = online(fleet, production, "a")
    task = await waiting(fleet, deployment(production), seconds=0.05)

    fleet.leave(worker.id, "a")

    assert (await task)[0].state == "PENDING"


async def test_a_worker_that_comes_back_may_still_answer(fleet: Fleet, production: Environment) -> None:
    """In its new session."""
    worker = online(fleet, production, "a")
    task = await waiting(fleet, deployment(production))

    fleet.leave(worker.id, "a")
    fleet.arrive(worker.id, "again", "i", "1")
    hear(fleet, worker, 5, session="again")

    assert (await task)[0].state == "SUCCEEDED"


async def test_a_fenced_session_is_not_heard(fleet: Fleet, production: Environment) -> None:
    """A newer stream of the same worker took its place."""
    worker = online(fleet, production, "a")
    older = fleet.arrive(worker.id, "newer", "i2", "1")
    task = await waiting(fleet, deployment(production), seconds=0.05)

    hear(fleet, worker, 5, session="a")

    assert older == "a" and (await task)[0].state == "PENDING"


async def test_the_end_of_a_fenced_session_changes_nothing(fleet: Fleet, production: Environment) -> None:
    """The worker stays online in its newer one."""
    worker = online(fleet, production, "a")
    fleet.arrive(worker.id, "newer", "i2", "1")

    fleet.leave(worker.id, "a")

    assert fleet.member(worker.id).session == "newer"


async def test_a_worker_s_report_says_nothing_of_another(fleet: Fleet, production: Environment) -> None:
    """A session speaks for its own worker alone."""
    one, two = online(fleet, production, "a"), online(fleet, production, "b")

    fleet.hear(two.id, "a", "epo", 99, [])

    assert fleet.member(two.id).revision == fleet.member(one.id).revision == 0


async def test_what_a_worker_held_before_does_not_speak_for_it_now(fleet: Fleet, production: Environment) -> None:
    """After a new stream began, a deployment counts as applied only when the worker says so again."""
    worker = online(fleet, production, "a")
    hear(fleet, worker, 9)
    fleet.leave(worker.id, "a")

    fleet.arrive(worker.id, "again", "i2", "1")

    assert (await tally(fleet, deployment(production))).state == "PENDING"


async def test_a_report_of_an_unknown_worker_is_ignored(fleet: Fleet) -> None:
    """As is its leaving and its lease."""
    fleet.hear("wrk_none", "a", "epo", 5, [])
    fleet.leave("wrk_none", "a")
    fleet.renew("wrk_none")

    with pytest.raises(NotFound):
        fleet.member("wrk_none")


async def test_a_lease_keeps_a_worker_online_elsewhere(fleet: Fleet, production: Environment) -> None:
    """One whose stream another node has is waited for as long as its lease runs."""
    fleet.add(replace(m.worker(production), lease_until=now_ms() + 5000))

    assert counts(await tally(fleet, deployment(production), 0.01))[1] == 1


async def test_a_worker_s_policy_is_shown_as_it_was_said_last(fleet: Fleet, production: Environment) -> None:
    """In words; and none before it was connected."""
    worker = registered(fleet, production, "w")
    before = fleet.member(worker.id).egress

    fleet.arrive(worker.id, "s", "i", "1", "allow all; deny nothing; loopback no")

    assert (before, fleet.member(worker.id).egress) == (None, "allow all; deny nothing; loopback no")


async def test_what_was_heard_is_written_down(store: Store, fleet: Fleet, production: Environment) -> None:
    """Once; the next fleet begins with it."""
    worker = m.worker(production)
    await store.commit(m.enrol(await m.with_enrolment(store, production), worker))
    await fleet.load()
    fleet.arrive(worker.id, "s", "i", "1.0")
    fleet.hear(worker.id, "s", "epo", 7, [])

    await fleet.write_down()
    before = len(await m.audit(store))
    await fleet.write_down()

    found = await store.worker(worker.id)
    assert found is not None
    assert (found.incarnation, found.version, found.observed_epoch, found.observed_revision) == ("i", "1.0", "epo", 7)
    assert now_ms() < found.lease_until <= now_ms() + LEASE_S * 1000
    assert len(await m.audit(store)) == before


async def test_a_caller_that_goes_away_leaves_no_wait_behind(fleet: Fleet, production: Environment) -> None:
    """Reports after it find nobody."""
    worker = online(fleet, production, "a")
    task = await waiting(fleet, deployment(production))

    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    hear(fleet, worker, 5)

    assert not any(fleet._waits.values())
