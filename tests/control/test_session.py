"""The two state machines of the stream, in the situations that once went wrong."""

from __future__ import annotations

import pytest

from mooring.control.session import ControlSession, Plan, reach, removal
from mooring.domain.digest import EMPTY
from mooring.domain.records import DesiredRow, Environment
from mooring.wire.frames import Commit, Hello, Put, Report, Welcome
from mooring.worker.state import WorkerState

DIGEST = "aa"


def environment(*, head: int = 10, compacted: int = 0, epoch: str = "epo") -> Environment:
    return Environment("env", "test", None, "TEST", "PUBLISHED", None, epoch, head, compacted, EMPTY, 0)


def row(connection: str, revision: int, *, present: bool = True, generation: int = 1) -> DesiredRow:
    return DesiredRow(connection, revision, generation, present, b"\x01" if present else b"")


def put(connection: str, generation: int = 1, content: str = "01") -> Put:
    return Put(
        revision=1, id=connection, project="p", name=connection, type="email", generation=generation, enabled=True, hash=content, config={}
    )  # fmt: skip


def welcome(mode: str = "delta", epoch: str = "epo") -> Welcome:
    return Welcome(
        session="s", epoch=epoch, head=9, mode=mode, environment="t", environment_key_id="k", environment_key=""
    )  # type: ignore[arg-type]


def commit(revision: int = 9, *, complete: bool = True, nonce: int = 1) -> Commit:
    return Commit(nonce=nonce, revision=revision, complete=complete, receipt="r")


def worker_with(*connections: str) -> WorkerState:
    """A worker that holds *connections* at their first generation, up to revision 9."""
    state = WorkerState()
    state.welcome(welcome("snapshot"))
    for connection in connections:
        state.stage(put(connection))
    state.commit(commit())
    return state


def greeted(hello: Hello, found: Environment, digest_matches: bool = True) -> tuple[ControlSession, Plan]:
    session = ControlSession("ses")
    return session, session.greet(hello, found, digest_matches)


NEW = Hello(incarnation="i")


# hello


@pytest.mark.parametrize(
    ("hello", "found", "matches", "plan"),
    [
        (Hello(incarnation="i", epoch="epo", revision=7), environment(), False, Plan("delta", 7)),
        (Hello(incarnation="i", epoch="epo", revision=10), environment(), True, Plan("delta", 10)),
        (Hello(incarnation="i", epoch="epo", revision=10), environment(), False, Plan("snapshot", 0)),
        (Hello(incarnation="i", epoch="epo", revision=11), environment(), True, Plan("snapshot", 0)),
        (Hello(incarnation="i", epoch="epo", revision=4), environment(compacted=5), True, Plan("snapshot", 0)),
        (Hello(incarnation="i", epoch="epo", revision=5), environment(compacted=5), True, Plan("delta", 5)),
        (Hello(incarnation="i", epoch="other", revision=7), environment(), True, Plan("snapshot", 0)),
        (NEW, environment(), True, Plan("snapshot", 0)),
    ],
    ids=[
        "behind",
        "there",
        "there, but another set",
        "ahead",
        "too far behind",
        "just far enough",
        "another epoch",
        "new",
    ],
)
def test_hello_leads_to_a_plan(hello: Hello, found: Environment, matches: bool, plan: Plan) -> None:
    """A delta where the worker has a prefix of what there is; else a snapshot."""
    assert greeted(hello, found, matches)[1] == plan


# the control plane's side


def test_one_commit_is_under_way_at_a_time() -> None:
    """The next batch waits for the report of the one before."""
    session, _ = greeted(NEW, environment())
    session.commit(environment(), 5, "r")

    busy = session.is_behind(10)
    session.hear(Report(session="ses", epoch="epo", nonce=1, observed_revision=5))

    assert not busy and session.is_behind(10) and not session.is_behind(5)


def test_a_repeated_report_acknowledges_nothing_twice() -> None:
    """A report of an older nonce does not let the next batch go."""
    session, _ = greeted(NEW, environment())
    report = Report(session="ses", epoch="epo", nonce=1, observed_revision=5)
    session.commit(environment(), 5, "r")
    session.hear(report)
    session.commit(environment(), 8, "r")

    session.hear(report)

    assert not session.is_behind(10)


def test_a_snapshot_need_not_name_what_was_gone_before() -> None:
    """What it does not name is let go of anyway."""
    session, _ = greeted(NEW, environment())

    assert not session.tells(row("a", 3, present=False)) and session.tells(row("a", 3))


def test_a_snapshot_names_what_goes_while_it_is_under_way() -> None:
    """An earlier batch may have said that it is there."""
    session, _ = greeted(NEW, environment(head=10))

    assert session.tells(row("a", 11, present=False))


def test_after_a_snapshot_everything_is_named() -> None:
    """From its complete commit on."""
    session, _ = greeted(NEW, environment())
    session.commit(environment(), 10, "r")

    assert session.tells(row("a", 3, present=False))


def test_a_row_that_moved_on_leaves_a_snapshot_incomplete() -> None:
    """The worker must not let go of a connection because no frame could be made of its older row."""
    session, _ = greeted(NEW, environment())

    first = session.commit(environment(), 10, "r", left_out=True)
    session.hear(Report(session="ses", epoch="epo", nonce=1, observed_revision=10))
    second = session.commit(environment(head=11), 11, "r")

    assert not first.complete and first.digest is None
    assert second.complete and second.digest is not None


@pytest.mark.parametrize(
    ("rows", "upto"), [([], 10), ([row("a", 3)], 10), ([row("a", 3), row("b", 4)], 4)], ids=["nothing", "a few", "full"]
)
def test_a_batch_reaches_as_far_as_it_tells(rows: list[DesiredRow], upto: int) -> None:
    """To the head where it is not full: gaps that compaction left are not waited for."""
    assert reach(environment(head=10), rows, 2) == upto


@pytest.mark.parametrize(("compacted", "lost"), [(7, False), (8, True)])
def test_a_stream_behind_the_compaction_is_lost(compacted: int, lost: bool) -> None:
    """What it has not been sent is not there any more."""
    session, _ = greeted(Hello(incarnation="i", epoch="epo", revision=7), environment())

    assert session.lost(environment(compacted=compacted)) is lost


def test_a_snapshot_outlives_a_compaction_of_what_it_does_not_need() -> None:
    """Up to the head that it began at nothing that is gone need be told."""
    session, _ = greeted(NEW, environment(head=10))

    assert not session.lost(environment(head=12, compacted=10)) and session.lost(environment(head=12, compacted=11))


def test_another_set_at_the_head_needs_a_reset() -> None:
    """And only there: on the way sets differ."""
    session, _ = greeted(NEW, environment())
    session.commit(environment(), 10, "r")
    at_head = Report(session="ses", epoch="epo", nonce=1, observed_revision=10, digest=DIGEST)

    assert session.needs_reset(at_head, environment())
    assert not session.needs_reset(at_head, environment(head=11))
    assert not session.needs_reset(at_head.model_copy(update={"digest": EMPTY.hex()}), environment())
    assert not session.needs_reset(at_head.model_copy(update={"digest": None}), environment())


def test_a_removal_says_which_generation() -> None:
    """That of the row."""
    assert removal(row("a", 3, present=False, generation=7)).generation == 7


# the worker's side


def test_nothing_happens_before_the_commit() -> None:
    """Frames are staged."""
    state = WorkerState()
    state.welcome(welcome("snapshot"))
    state.stage(put("a"))

    before = dict(state.holdings)
    changes = state.commit(commit())

    assert before == {} and [one.id for one in changes.puts] == ["a"]


def test_a_broken_stream_s_frames_are_forgotten() -> None:
    """They come again on the next one."""
    state = worker_with("a")
    state.stage(put("b"))

    state.welcome(welcome())
    changes = state.commit(commit())

    assert changes.puts == [] and set(state.holdings) == {"a"}


def test_an_older_generation_is_ignored() -> None:
    """It never goes back."""
    state = worker_with()
    state.stage(put("a", 5))
    state.commit(commit())
    state.stage(put("a", 4))

    assert state.commit(commit()).puts == [] and state.holdings["a"].generation == 5


def test_the_same_generation_is_free() -> None:
    """A client is not built twice for one config."""
    state = worker_with("a")
    state.stage(put("a"))

    assert state.commit(commit()).puts == []


def test_a_snapshot_lets_go_of_what_it_does_not_name() -> None:
    """With its complete commit, and not before."""
    state = worker_with("a", "b")
    state.welcome(welcome("snapshot"))
    state.stage(put("a"))

    first = state.commit(commit(5, complete=False))
    second = state.commit(commit(9, nonce=2))

    assert (first.gone, second.gone) == ({}, {"b": 1}) and set(state.holdings) == {"a"}


def test_what_a_later_batch_names_is_held_on() -> None:
    """Nothing is let go of between two batches."""
    state = worker_with("a", "b")
    state.welcome(welcome("snapshot"))
    state.stage(put("a"))
    state.commit(commit(5, complete=False))
    state.stage(put("b", 2))

    changes = state.commit(commit(9, nonce=2))

    assert changes.gone == {} and [one.id for one in changes.puts] == ["b"]


def test_an_unfinished_snapshot_proves_nothing() -> None:
    """A worker whose stream broke in the middle asks for all of it again: what should be gone is still held."""
    state = worker_with("a", "gone")
    state.welcome(welcome("snapshot"))
    state.stage(put("a"))
    state.commit(commit(5, complete=False))
    hello = Hello(incarnation="i", epoch=state.proven_epoch, revision=state.revision, digest=state.digest.hex())

    _, plan = greeted(hello, environment(head=9))
    state.welcome(welcome(plan.mode))
    state.stage(put("a"))
    state.commit(commit())

    assert plan == Plan("snapshot", 0) and set(state.holdings) == {"a"}
    assert state.proven_epoch == "epo"


def test_an_unfinished_snapshot_begun_again_rebuilds_nothing() -> None:
    """In the same epoch, what is held already is free."""
    state = worker_with("a", "b")
    state.welcome(welcome("snapshot"))
    state.commit(commit(5, complete=False))
    state.welcome(welcome("snapshot"))
    state.stage(put("a"))
    state.stage(put("b"))

    assert state.commit(commit()).puts == []


def test_another_epoch_takes_everything_anew() -> None:
    """Its generations say nothing about those that are held; and nothing is let go of meanwhile."""
    state = worker_with()
    state.stage(put("a", 9))
    state.commit(commit())

    state.welcome(welcome("snapshot", "other"))
    held = set(state.holdings)
    state.stage(put("a", 2))
    changes = state.commit(commit())

    assert held == {"a"} and [one.generation for one in changes.puts] == [2] and changes.gone == {}


def test_a_removal_tells_the_generation_that_says_so() -> None:
    """So that its end can be reported for that deployment."""
    state = worker_with("a")
    state.stage(removal(row("a", 10, present=False, generation=2)))

    assert state.commit(commit()).gone == {"a": 2}


def test_a_removal_of_what_is_not_held_is_free() -> None:
    """It may come twice."""
    state = worker_with("a")
    state.stage(removal(row("b", 10, present=False)))

    assert state.commit(commit()).gone == {} and set(state.holdings) == {"a"}
