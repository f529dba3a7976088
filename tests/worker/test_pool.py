"""One generation takes the place of another, and no use fails for it."""

from __future__ import annotations

import asyncio

import pytest

from mooring.errors import ConnectionDisabled, ConnectionFailed, ConnectionUnknown, Misconfigured, MooringError
from mooring.plugin.materials import MaterialMissing
from mooring.worker import pool as pool_module
from mooring.worker.handle import connection
from mooring.worker.pool import DISABLE_GRACE_S, DISABLE_STOP_S, Pool
from tests.worker.toy import Say, put, until, world


async def said(pool: Pool, name: str = "toy") -> str:
    """Which generation serves now."""
    answer = await pool.use("P", name, "say", {}, 5)
    return str(answer.generation)


def state(pool: Pool, name: str = "toy") -> tuple[str, str, int, int | None]:
    """State, reason, wanted and serving generation."""
    entry = pool.entry("P", name)
    return entry.state, entry.reason, entry.wanted.generation, entry.serving_generation


def reported(pool: Pool) -> list[tuple[str, str, str]]:
    return [(frame.id, frame.state, frame.reason) for frame in pool.exceptions()]


# holding


async def test_a_connection_serves(pool: Pool) -> None:
    """By project and name, whatever the case; with the secret that travelled sealed."""
    await pool.put(put())

    assert (await pool.use("P", "TOY", "say", {"text": "x", "times": 2}, 5)).text == "xx"
    assert await said(pool) == "secret-of-1"
    assert state(pool) == ("applied", "", 1, 1) and reported(pool) == []


async def test_building_touches_no_network(pool: Pool) -> None:
    """The connector is started by its first use, once."""
    await pool.put(put())
    (made,) = world().made
    before = made.started

    await asyncio.gather(*(said(pool) for _ in range(20)))

    assert (before, made.started) == (0, 1)


async def test_what_is_not_held_is_unknown(pool: Pool) -> None:
    """The error says where to look."""
    await pool.put(put())

    for project, name in (("P", "other"), ("Q", "toy"), ("p", "toy")):
        with pytest.raises(ConnectionUnknown) as raised:
            pool.live(project, name)
        assert raised.value.hint


async def test_a_new_name_takes_the_place_of_the_old(pool: Pool) -> None:
    """After a rename the old name is unknown."""
    await pool.put(put(name="old"))

    await pool.put(put(2, name="new"))

    assert await said(pool, "new") == "secret-of-2"
    with pytest.raises(ConnectionUnknown):
        pool.live("P", "old")


async def test_names_may_be_swapped(pool: Pool) -> None:
    """Two connections that exchange their names are each found by its new one."""
    await pool.put(put(id="one", name="a"))
    await pool.put(put(id="two", name="b", host="b"))

    await pool.put(put(2, id="one", name="b"))
    await pool.put(put(2, id="two", name="a", host="b"))

    assert (pool.entry("P", "b").wanted.id, pool.entry("P", "a").wanted.id) == ("one", "two")


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (put(size=0), "INVALID_CONFIG"),
        (put(unknown=1), "INVALID_CONFIG"),
        (put(type="telepathy"), "UNSUPPORTED_TYPE"),
        (put(type="kept"), "UNSUPPORTED_TYPE"),
        (put(type="driverless"), "DRIVER_MISSING"),
        (put(key=bytes(32)), "SECRET_UNREADABLE"),
        (put(host="${HOST}"), "VARIABLE_MISSING"),
        (put(password="${PASSWORD}"), "VARIABLE_MISSING"),
    ],
)  # fmt: skip
async def test_what_cannot_be_built_has_a_reason(frame: object, reason: str, pool: Pool) -> None:
    """It is reported, and using it says so."""
    await pool.put(frame)  # type: ignore[arg-type]

    assert state(pool)[:2] == ("failed", reason)
    assert reported(pool) == [("con_1", "failed", reason)]
    with pytest.raises(ConnectionFailed) as raised:
        await said(pool)
    assert raised.value.reason == reason and "secret-of" not in raised.value.message


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Misconfigured("no such thing"), "INVALID_CONFIG"),
        (MaterialMissing("no such keystore"), "KEYSTORE_MISSING"),
        (RuntimeError("what is this: secret-of-1"), "INVALID_CONFIG"),
    ],
)
async def test_a_connector_that_does_not_open_has_a_reason(error: Exception, reason: str, pool: Pool) -> None:
    """Its connector is closed, and the message holds no secret."""
    world().open_error = error

    await pool.put(put())

    assert state(pool)[:2] == ("failed", reason) and "secret-of-1" not in pool.entry("P", "toy").message
    await until(lambda: world().made[0].closed)


async def test_opening_is_bounded_and_tried_again(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that is not built in time is failed, and serves when it can be built after all."""
    monkeypatch.setattr("mooring.worker.guard.OPEN_S", 0.02)
    world().opening.clear()
    task = pool.put(put())
    await until(lambda: state(pool)[:2] == ("failed", "BUILD_TIMEOUT"))

    world().opening.set()
    await task

    assert await said(pool) == "secret-of-1"


# make before break


async def test_the_new_one_serves_once_it_works(pool: Pool) -> None:
    """And the old one is closed."""
    await pool.put(put())
    await said(pool)

    await pool.put(put(2))

    assert await said(pool) == "secret-of-2" and state(pool) == ("applied", "", 2, 2)
    old, new = world().made
    await until(lambda: old.closed)
    assert not new.closed


async def test_the_old_one_serves_while_the_new_one_is_built(pool: Pool) -> None:
    """Building may take long."""
    await pool.put(put())
    await said(pool)
    world("b").opening.clear()

    task = pool.put(put(2, host="b"))
    await until(lambda: world("b").made)
    during = await said(pool), state(pool)
    world("b").opening.set()
    await task

    assert during == ("secret-of-1", ("pending", "APPLIED", 2, 1)) and await said(pool) == "secret-of-2"


async def test_the_old_one_serves_while_the_new_one_is_probed(pool: Pool) -> None:
    """So does probing."""
    await pool.put(put())
    await said(pool)
    world("b").probing.clear()

    task = pool.put(put(2, host="b"))
    await until(lambda: world("b").made)
    during = await said(pool)
    world("b").probing.set()
    await task

    assert during == "secret-of-1" and await said(pool) == "secret-of-2"


async def test_one_that_does_not_work_does_not_serve(pool: Pool) -> None:
    """Where the old one works: it is held, with the reason, and the new client is closed."""
    await pool.put(put())
    await said(pool)
    world("b").up = False

    pool.put(put(2, host="b"))
    await until(lambda: state(pool)[0] == "held")

    assert state(pool) == ("held", "PROBE_FAILED", 2, 1)
    assert "connect: the toy said: down" in pool.entry("P", "toy").message
    assert reported(pool) == [("con_1", "held", "PROBE_FAILED")]
    assert await said(pool) == "secret-of-1" and world("b").made[0].closed


async def test_what_is_held_is_tried_until_it_works(pool: Pool) -> None:
    """Without anybody sending it again."""
    await pool.put(put())
    await said(pool)
    world("b").up = False
    task = pool.put(put(2, host="b"))
    await until(lambda: state(pool)[0] == "held")

    world("b").up = True
    await task

    assert await said(pool) == "secret-of-2" and reported(pool) == []


async def test_a_probe_that_does_not_end_is_a_failed_one(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a bound."""
    monkeypatch.setattr(pool_module, "SWAP_PROBE_S", 0.02)
    await pool.put(put())
    await said(pool)
    world("b").probing.clear()

    pool.put(put(2, host="b"))
    await until(lambda: state(pool)[0] == "held")

    assert await said(pool) == "secret-of-1"


async def test_where_neither_works_the_wanted_one_serves(pool: Pool) -> None:
    """Its errors are those of the config that people see."""
    await pool.put(put())
    world("a").up = world("b").up = False

    await pool.put(put(2, host="b"))

    assert state(pool) == ("applied", "", 2, 2)


async def test_one_that_nobody_used_yet_is_asked_too(pool: Pool) -> None:
    """Whether the old one works is found out, where it is not known."""
    await pool.put(put())
    world("b").up = False

    pool.put(put(2, host="b"))
    await until(lambda: state(pool)[0] == "held")

    assert state(pool) == ("held", "PROBE_FAILED", 2, 1)


async def test_one_that_cannot_be_built_does_not_take_the_old_one_along(pool: Pool) -> None:
    """The old one serves on, and the report says both."""
    await pool.put(put())

    await pool.put(put(2, size=0))

    assert state(pool) == ("held", "INVALID_CONFIG", 2, 1) and await said(pool) == "secret-of-1"


async def test_no_use_fails_during_changes(pool: Pool) -> None:
    """Many callers, and a change every few of them: each call is answered by one generation or the other."""
    await pool.put(put())
    answers: list[str] = []
    ended = asyncio.Event()

    async def caller() -> None:
        while not ended.is_set():
            answers.append(await said(pool))
            await asyncio.sleep(0)

    callers = [asyncio.create_task(caller()) for _ in range(20)]
    for generation in range(2, 30):
        seen = len(answers)
        await pool.put(put(generation))
        await until(lambda seen=seen: len(answers) > seen + 20)
    ended.set()
    await asyncio.gather(*callers)

    assert {"secret-of-2", "secret-of-29"} <= set(answers)


async def test_calls_under_way_end_on_the_old_one(pool: Pool) -> None:
    """It is closed after the last of them."""
    await pool.put(put())
    world().operating.clear()
    call = asyncio.create_task(said(pool))
    await until(lambda: world().operating_now)

    await pool.put(put(2, host="b"))
    closed_early = world().made[0].closed
    world().operating.set()

    assert not closed_early and await call == "secret-of-1" and await said(pool) == "secret-of-2"
    await until(lambda: world().made[0].closed)


# faster than it can be built


async def test_only_the_newest_of_several_serves(pool: Pool) -> None:
    """Those that it took the place of are closed, in whatever order they would have been built."""
    world("slow").opening.clear()
    pool.put(put(1, host="slow"))
    pool.put(put(2, host="slow"))
    await until(lambda: world("slow").made)
    task = pool.put(put(3, host="b"))
    await task
    world("slow").opening.set()

    assert await said(pool) == "secret-of-3" and state(pool) == ("applied", "", 3, 3)
    await until(lambda: all(made.closed for made in world("slow").made))
    assert len(world("b").made) == 1


async def test_one_superseded_while_it_is_probed_is_closed(pool: Pool) -> None:
    """It never serves."""
    await pool.put(put())
    await said(pool)
    world("slow").probing.clear()
    pool.put(put(2, host="slow"))
    await until(lambda: world("slow").made)

    await pool.put(put(3, host="b"))

    assert await said(pool) == "secret-of-3"
    await until(lambda: world("slow").made[0].closed)


async def test_one_superseded_while_it_is_held_is_not_tried_again(pool: Pool) -> None:
    """Its successor decides."""
    await pool.put(put())
    await said(pool)
    world("b").up = False
    held = pool.put(put(2, host="b"))
    await until(lambda: state(pool)[0] == "held")

    await pool.put(put(3))
    await asyncio.gather(held, return_exceptions=True)

    assert await said(pool) == "secret-of-3" and len(world("b").made) == 1


@pytest.mark.parametrize("gate", ["opening", "probing"])
async def test_one_removed_while_it_is_built_never_serves(gate: str, pool: Pool) -> None:
    """Neither it nor the one before; both are closed."""
    await pool.put(put())
    await said(pool)
    getattr(world("slow"), gate).clear()
    task = pool.put(put(2, host="slow"))
    await until(lambda: world("slow").made)

    removed = pool.remove("con_1", 3)
    assert removed is not None
    await removed
    await asyncio.gather(task, return_exceptions=True)
    getattr(world("slow"), gate).set()

    with pytest.raises(ConnectionUnknown):
        pool.live("P", "toy")
    await until(lambda: world("slow").made[0].closed and world().made[0].closed)
    assert reported(pool) == [] and pool.pending == 0


async def test_removing_what_is_not_there_is_nothing(pool: Pool) -> None:
    """It may be asked for twice."""
    assert pool.remove("con_none") is None


async def test_removed_and_put_again_serves(pool: Pool) -> None:
    """Also while the removed one still closes, which takes nothing from it."""
    await pool.put(put())
    world().operating.clear()
    call = asyncio.create_task(said(pool))
    await until(lambda: world().operating_now)
    pool.remove("con_1", 2)

    await pool.put(put(3, host="b"))
    during = await said(pool), reported(pool)
    world().operating.set()
    await call

    assert during == ("secret-of-3", [])


async def test_one_that_still_closes_is_reported_as_pending(pool: Pool) -> None:
    """Under the generation that says it should go: nobody is told that it is gone while it still works."""
    await pool.put(put())
    world().operating.clear()
    call = asyncio.create_task(said(pool))
    await until(lambda: world().operating_now)
    news = []
    pool.changed = lambda: news.append(reported(pool))

    removed = pool.remove("con_1", 2)
    assert removed is not None
    during = pool.exceptions()
    world().operating.set()
    await call
    await removed
    await until(lambda: news)

    assert [(frame.id, frame.state, frame.generation) for frame in during] == [("con_1", "pending", 2)]
    assert news[-1] == []


# disabled


def test_disabled_means_closed_within_five_seconds() -> None:
    """The bounds of waiting and closing together stay below."""
    assert DISABLE_GRACE_S + DISABLE_STOP_S < 5


async def test_a_disabled_connection_is_closed(pool: Pool) -> None:
    """And refuses use, saying how to enable it; it is not trouble."""
    await pool.put(put())
    await said(pool)

    await pool.put(put(2, enabled=False))

    assert world().made[0].closed and reported(pool) == [] and state(pool) == ("disabled", "", 2, None)
    with pytest.raises(ConnectionDisabled) as raised:
        await said(pool)
    assert "enabled" in (raised.value.hint or "")


async def test_a_disabled_connection_is_never_opened(pool: Pool) -> None:
    """Not even built."""
    await pool.put(put(enabled=False))

    assert world().made == []


async def test_enabling_serves_again(pool: Pool) -> None:
    """With a new client."""
    await pool.put(put())
    await pool.put(put(2, enabled=False))

    await pool.put(put(3))

    assert await said(pool) == "secret-of-3"


@pytest.mark.parametrize("gate", ["operating", "starting", "stopping"])
async def test_a_hanging_connection_is_closed_all_the_same(
    gate: str, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a call, the start or the stop of its client hangs: disabled is disabled, in bounded time."""
    monkeypatch.setattr(pool_module, "DISABLE_GRACE_S", 0.05)
    monkeypatch.setattr(pool_module, "DISABLE_STOP_S", 0.05)
    await pool.put(put())
    if gate == "stopping":
        await said(pool)
    getattr(world(), gate).clear()
    call = asyncio.create_task(pool.use("P", "toy", "say", {}, 300))
    if gate != "stopping":
        await asyncio.sleep(0.01)

    async with asyncio.timeout(2):
        await pool.put(put(2, enabled=False))

    assert state(pool)[0] == "disabled" and world().made[0].closed
    getattr(world(), gate).set()
    await asyncio.gather(call, return_exceptions=True)


async def test_a_call_whose_client_never_started_is_told_the_truth(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It learns that the connection is disabled, and is not cancelled."""
    monkeypatch.setattr(pool_module, "DISABLE_GRACE_S", 0.02)
    await pool.put(put())
    world().starting.clear()
    call = asyncio.create_task(pool.use("P", "toy", "say", {}, 300))
    await asyncio.sleep(0.01)

    await pool.put(put(2, enabled=False))

    with pytest.raises(ConnectionDisabled):
        await call


# isolation


@pytest.mark.parametrize("gate", ["opening", "probing", "starting", "stopping", "operating"])
async def test_a_slow_connection_holds_up_no_other(gate: str, pool: Pool) -> None:
    """Wherever it is slow."""
    await pool.put(put(id="slow", name="slow", host="slow"))
    await said(pool, "slow")
    getattr(world("slow"), gate).clear()
    task = pool.put(put(2, id="slow", name="slow", host="slow"))
    stuck = asyncio.create_task(pool.use("P", "slow", "say", {}, 300))
    await asyncio.sleep(0.01)

    async with asyncio.timeout(2):
        await pool.put(put(id="quick", name="quick", host="quick"))
        await pool.put(put(2, id="quick", name="quick", host="quick"))
        served = await said(pool, "quick")

    assert served == "secret-of-2"
    getattr(world("slow"), gate).set()
    await asyncio.gather(task, stuck, return_exceptions=True)


async def test_a_crowd_is_counted_while_it_is_applied(pool: Pool) -> None:
    """Pending ones are reported, and none is left when all are done."""
    world().opening.clear()
    tasks = [pool.put(put(id=f"c{n}", name=f"c{n}")) for n in range(100)]
    await asyncio.sleep(0)
    during = pool.pending, len(pool.exceptions())

    world().opening.set()
    await asyncio.gather(*tasks)

    assert during == (100, 100) and (pool.pending, pool.exceptions()) == (0, [])


async def test_an_accident_in_one_is_its_own(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody foresaw while building is a failure of that connection."""
    monkeypatch.setattr(pool_module, "typed_fields", lambda document: {}[document["host"]])

    await pool.put(put())

    assert state(pool)[:2] == ("failed", "INTERNAL")


# resting


async def test_an_idle_connection_rests_and_starts_again(pool: Pool) -> None:
    """It gives back what it holds, and the next use begins anew."""
    pool._idle_s = 0.0
    await pool.put(put())
    await said(pool)
    (made,) = world().made

    await pool.tidy()
    resting = made.running
    again = await said(pool)

    assert not resting and again == "secret-of-1" and (made.started, made.stopped, made.closed) == (2, 1, 0)


async def test_a_connection_in_use_does_not_rest(pool: Pool) -> None:
    """However long ago it began."""
    pool._idle_s = 0.0
    await pool.put(put())
    world().operating.clear()
    call = asyncio.create_task(said(pool))
    await until(lambda: world().operating_now)

    await pool.tidy()
    world().operating.set()

    assert await call == "secret-of-1" and world().made[0].stopped == 0


async def test_one_that_was_used_lately_does_not_rest(pool: Pool) -> None:
    """Within the time that is set."""
    await pool.put(put())
    await said(pool)

    await pool.tidy()

    assert world().made[0].running


async def test_over_the_cap_the_longest_unused_rest(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker holds thousands of connections, and few of them awake."""
    monkeypatch.setattr(pool_module, "MAX_STARTED", 2)
    for n in range(4):
        await pool.put(put(id=f"c{n}", name=f"c{n}", host=f"h{n}"))
        await said(pool, f"c{n}")
        pool.live("P", f"c{n}").last_used = n

    pool._idle_s = float("inf")
    await pool.tidy()

    assert [world(f"h{n}").made[0].running for n in range(4)] == [False, False, True, True]


async def test_a_use_during_rest_waits_and_works(pool: Pool) -> None:
    """It begins anew when the rest is done."""
    pool._idle_s = 0.0
    await pool.put(put())
    await said(pool)
    world().stopping.clear()
    resting = asyncio.create_task(pool.tidy())
    await asyncio.sleep(0.01)
    call = asyncio.create_task(said(pool))
    await asyncio.sleep(0.01)

    early = call.done()
    world().stopping.set()
    await resting

    assert not early and await call == "secret-of-1"


async def test_closing_the_pool_closes_everything(pool: Pool) -> None:
    """Whatever state it is in."""
    await pool.put(put())
    await said(pool)
    await pool.put(put(id="con_2", name="two", host="b"))
    world("c").opening.clear()
    pool.put(put(id="con_3", name="three", host="c"))
    await until(lambda: world("c").made)

    await pool.close()

    assert all(made.closed for host in "abc" for made in world(host).made)
    assert pool.listing() == []


# from Python


async def test_a_handle_calls_operations(pool: Pool) -> None:
    """With arguments by position and by name, whichever client serves."""
    await pool.put(put())
    toy = connection(pool, "P/toy")

    first = await toy.say("a", times=3)
    await pool.put(put(2))

    assert first.text == "aaa" and (await toy.say(text="b")).generation == "secret-of-2"
    assert await toy.native() is world().made[1]


async def test_a_handle_s_mistakes_are_named(pool: Pool) -> None:
    """Too many arguments, unknown ones, wrong ones, no such operation, no such connection."""
    await pool.put(put())
    toy = connection(pool, "P/toy")

    for attempt, said_ in [
        (lambda: toy.say(1, 2, 3), "at most 2"), (lambda: toy.say(tiems=2), "did you mean 'times'"),
        (lambda: toy.say(times="x"), "times"), (toy.shout, "say"),
    ]:  # fmt: skip
        with pytest.raises(MooringError, match=said_):
            await attempt()
    for path in ("P/none", "toy"):
        with pytest.raises(ConnectionUnknown):
            connection(pool, path)


async def test_a_listing_says_how_each_one_is(pool: Pool) -> None:
    """In the order of projects and names; without secrets."""
    await pool.put(put())
    await pool.put(put(id="c2", name="broken", size=0))
    await pool.put(put(id="c3", name="off", enabled=False))
    await said(pool)

    listed = pool.listing()

    assert [(one["name"], one["state"], one["health"]) for one in listed] == [
        ("broken", "failed", "unknown"), ("off", "disabled", "disabled"), ("toy", "applied", "healthy"),
    ]  # fmt: skip
    assert "secret-of" not in str(listed)


def test_a_request_may_be_an_object() -> None:
    """What operations take is a class of its own."""
    assert Say(text="x").times == 1


# where it may connect to


async def test_a_denied_address_fails_the_deployment(pool: Pool) -> None:
    """The reason says whose move it is, the message what to set."""
    await pool.put(put(host="127.0.0.1"))

    assert state(pool)[:2] == ("failed", "EGRESS_DENIED")
    assert "MOORING_EGRESS_LOOPBACK" in pool.entry("P", "toy").message


async def test_a_change_to_a_denied_address_leaves_the_old_client_serving(pool: Pool) -> None:
    """What works goes on working."""
    await pool.put(put())

    await pool.put(put(2, host="169.254.169.254"))

    assert state(pool) == ("held", "EGRESS_DENIED", 2, 1)
    assert await said(pool) == "secret-of-1"
