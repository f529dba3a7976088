"""What stands around every connector: deadlines, translating, scrubbing, counting."""

from __future__ import annotations

import asyncio
import time

import pytest

from mooring.errors import Busy, ConnectorBug, InvalidConfig, Misconfigured, OperationUnknown, Rejected, Unreachable
from mooring.plugin.connector import Context
from mooring.worker.guard import Closing, Guard
from tests.worker.toy import Say, ToyConfig, ToyConnector, ToyError, until, world

PASSWORD = 'p@ss w0rd/with"all'


@pytest.fixture
async def guard() -> Guard:
    """Around a toy with a password, opened."""
    guard = Guard(ToyConnector(ToyConfig.from_wire({"host": "a", "password": PASSWORD}), Context("P/toy")))
    await guard.open()
    return guard


async def test_an_operation_takes_a_mapping_or_its_request(guard: Guard) -> None:
    """By wire names."""
    assert (
        (await guard.use("say", {"text": "x", "times": 2})).text
        == (await guard.use("say", Say(text="x", times=2))).text
        == "xx"
    )


async def test_an_unknown_operation_lists_the_known_ones(guard: Guard) -> None:
    """And nothing is begun."""
    with pytest.raises(OperationUnknown, match="say"):
        await guard.use("shout", {})

    assert not guard.started and guard.counts.operations == 0


async def test_a_wrong_request_names_every_problem(guard: Guard) -> None:
    """And nothing is begun."""
    with pytest.raises(InvalidConfig) as raised:
        await guard.use("say", {"times": "many", "txet": "x"})

    assert {problem.path for problem in raised.value.problems} == {"/times", "/txet"}
    assert not guard.started and "many" not in raised.value.message


async def test_an_operation_ends_by_its_deadline(guard: Guard) -> None:
    """With a word of how long it was waited for; the connection counts as unreachable."""
    world().operating.clear()

    with pytest.raises(Unreachable, match=r"0\.02 s"):
        await guard.use("say", {}, 0.02)

    assert guard.health == "unreachable" and guard.in_flight == 0


async def test_starting_is_within_the_deadline(guard: Guard) -> None:
    """A start that hangs is given up, what it began is given back, and the next use starts anew."""
    world().starting.clear()
    with pytest.raises(Unreachable):
        await guard.use("say", {}, 0.02)
    began = guard.started, world().made[0].stopped
    world().starting.set()

    await guard.use("say", {})

    assert began == (False, 1) and guard.health == "healthy"


async def test_a_driver_s_own_time_limit_is_not_ours(guard: Guard) -> None:
    """Its `TimeoutError` does not claim that our deadline passed."""
    world().operation_error = TimeoutError("after 5 s")

    with pytest.raises(Unreachable) as raised:
        await guard.use("say", {}, 30)

    assert "30 s" not in raised.value.message


async def test_a_start_that_fails_is_translated_and_undone(guard: Guard) -> None:
    """And tried again by the next use."""
    world().start_error = ToyError("not yet")
    with pytest.raises(Unreachable, match="not yet"):
        await guard.use("say", {})
    world().start_error = None

    await guard.use("say", {})

    assert world().made[0].stopped == 1 and world().made[0].started == 1


@pytest.mark.parametrize(
    ("raised", "expected", "health"),
    [
        (ToyError("down"), Unreachable, "unreachable"),
        (PermissionError("no"), Rejected, "auth_failed"),
        (Misconfigured("topic"), Misconfigured, "unknown"),
        (ConnectionRefusedError(), Unreachable, "unreachable"),
        (EOFError(), Unreachable, "unreachable"),
        (ZeroDivisionError("x"), ConnectorBug, "unknown"),
        (Busy("full"), Busy, "unknown"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)  # fmt: skip
async def test_errors_become_ours(raised: Exception, expected: type[Exception], health: str, guard: Guard) -> None:
    """The original stays underneath; health follows where it says something."""
    world().operation_error = raised

    with pytest.raises(expected) as found:
        await guard.use("say", {})

    assert found.value is raised or found.value.__cause__ is raised
    assert guard.health == health and (guard.counts.operations, guard.counts.errors) == (1, 1)


async def test_a_failing_translation_hides_nothing(guard: Guard) -> None:
    """The room's own bug is logged, and the error is still one of ours."""
    world().translate_error = RuntimeError("translate is broken")
    world().operation_error = ToyError("down")

    with pytest.raises(ConnectorBug, match="ToyError"):
        await guard.use("say", {})


async def test_a_failing_translation_of_a_network_error_still_says_so(guard: Guard) -> None:
    """What every room has in common needs no room."""
    world().translate_error = RuntimeError("translate is broken")
    world().operation_error = ConnectionResetError()

    with pytest.raises(Unreachable):
        await guard.use("say", {})


@pytest.mark.parametrize("spelled", [PASSWORD, "p%40ss%20w0rd%2Fwith%22all", 'p@ss w0rd/with\\"all'])
async def test_no_secret_is_in_an_error(spelled: str, guard: Guard) -> None:
    """Neither in the message nor in the hint, also as a URL or JSON spells it."""
    world().operation_error = ToyError(f"refused '{spelled}' for ada")

    with pytest.raises(Unreachable) as raised:
        await guard.use("say", {})

    assert "w0rd" not in f"{raised.value.message} {raised.value.hint}" and "***" in raised.value.message


async def test_no_secret_is_in_a_probe(guard: Guard) -> None:
    """Nor in its steps, whether the room translates them or not."""
    for error in (ToyError(PASSWORD), RuntimeError(PASSWORD)):
        world().up = True

        async def fail(probe: object, error: Exception = error) -> None:
            async with probe.step("login"):  # type: ignore[attr-defined]
                raise error

        guard.connector.probe = fail  # type: ignore[method-assign]
        report = await guard.probe()
        assert not report.ok and "w0rd" not in str([step.wire() for step in report.steps])


async def test_no_secret_is_in_a_log(guard: Guard, capsys: pytest.CaptureFixture[str]) -> None:
    """A driver's message goes no further."""
    world().operation_error = RuntimeError(PASSWORD)

    with pytest.raises(ConnectorBug):
        await guard.use("say", {})

    said = capsys.readouterr()
    assert "RuntimeError" in said.err and "w0rd" not in said.out + said.err


async def test_a_probe_says_where_it_stopped(guard: Guard) -> None:
    """Step by step, with a remedy."""
    world().up = False

    report = await guard.probe()

    assert [(step.name, step.state) for step in report.steps] == [("resolve", "passed"), ("connect", "failed")]
    assert not report.ok and report.failure is not None and report.failure.remedy


async def test_a_probe_ends_by_its_deadline(guard: Guard) -> None:
    """The step that hung is the one that failed."""
    world().probing.clear()

    report = await guard.probe(0.02)

    assert (
        report.failure is not None and report.failure.name == "connect" and "deadline" in (report.failure.message or "")
    )


async def test_a_probe_never_raises(guard: Guard) -> None:
    """Not for what it finds outside a step either."""

    async def fail(probe: object) -> None:
        raise ToyError("before any step")

    guard.connector.probe = fail  # type: ignore[method-assign]

    report = await guard.probe()

    assert not report.ok and report.took_ms >= 0


async def test_a_probe_needs_no_start(guard: Guard) -> None:
    """And starts nothing."""
    assert (await guard.probe()).ok and not guard.started


async def test_a_cancelled_caller_is_cancelled(guard: Guard) -> None:
    """It is not taken for a failure of the connection; others go on."""
    world().operating.clear()
    one, two = [asyncio.create_task(guard.use("say", {})) for _ in range(2)]
    await until(lambda: world().operating_now == 2)

    one.cancel()
    await asyncio.gather(one, return_exceptions=True)
    world().operating.set()

    assert one.cancelled() and (await two).text == "hello" and guard.counts.errors == 0


async def test_a_caller_cancelled_while_it_starts_spoils_nothing(guard: Guard) -> None:
    """The next one starts anew."""
    world().starting.clear()
    first = asyncio.create_task(guard.use("say", {}))
    await asyncio.sleep(0.01)
    second = asyncio.create_task(guard.use("say", {}))
    await asyncio.sleep(0.01)

    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    world().starting.set()

    assert first.cancelled() and (await second).text == "hello"


async def test_closing_waits_for_calls_under_way(guard: Guard) -> None:
    """New ones are refused meanwhile."""
    world().operating.clear()
    call = asyncio.create_task(guard.use("say", {}))
    await until(lambda: world().operating_now)
    closing = asyncio.create_task(guard.close())
    await asyncio.sleep(0.01)

    with pytest.raises(Closing):
        await guard.use("say", {})
    early = world().made[0].closed
    world().operating.set()
    await closing

    assert not early and (await call).text == "hello" and world().made[0].closed == 1


async def test_closing_twice_is_fine(guard: Guard) -> None:
    """And closing what never started."""
    await guard.close(0)
    await guard.close(0)

    assert not guard.started


async def test_closing_is_bounded(guard: Guard) -> None:
    """A connector that does not stop is left behind."""
    await guard.use("say", {})
    world().stopping.clear()

    before = time.monotonic()
    await guard.close(0, 0.02)

    assert time.monotonic() - before < 5


async def test_closing_ends_a_start_that_hangs(guard: Guard) -> None:
    """Whoever waited for it learns that the connection is closing; nobody is cancelled."""
    world().starting.clear()
    call = asyncio.create_task(guard.use("say", {}, 300))
    await asyncio.sleep(0.01)

    async with asyncio.timeout(2):
        await guard.close(0.01, 0.5)

    with pytest.raises(Closing):
        await call
    assert world().made[0].closed == 1


async def test_closing_ends_a_rest_that_hangs(guard: Guard) -> None:
    """A stop that never comes back does not keep the connection open."""
    await guard.use("say", {})
    world().stopping.clear()
    resting = asyncio.create_task(guard.rest())
    await asyncio.sleep(0.01)

    async with asyncio.timeout(2):
        await guard.close(0.01, 0.05)
        await resting

    assert world().made[0].closed == 1


async def test_no_start_after_the_end(guard: Guard) -> None:
    """A call that waited for the lock while the connection closed begins nothing."""
    world().starting.clear()
    calls = [asyncio.create_task(guard.use("say", {}, 300)) for _ in range(5)]
    await asyncio.sleep(0.01)

    closing = asyncio.create_task(guard.close(0.01, 0.5))
    await asyncio.sleep(0.05)
    world().starting.set()
    await closing

    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [Closing] * 5 and world().made[0].started == 0


async def test_the_native_client_is_started(guard: Guard) -> None:
    """And its failure to start is translated."""
    assert await guard.native() is world().made[0] and guard.started
    await guard.rest()
    world().start_error = ToyError("down")

    with pytest.raises(Unreachable):
        await guard.native()


async def test_use_is_counted(guard: Guard) -> None:
    """Operations, errors, time."""
    await guard.use("say", {})
    world().operation_error = ToyError("x")
    with pytest.raises(Unreachable):
        await guard.use("say", {})

    assert (guard.counts.operations, guard.counts.errors) == (2, 1) and guard.counts.total_ms > 0
