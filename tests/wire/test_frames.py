"""Frames between control plane and worker: what is taken, what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring.errors import InvalidConfig, NotFound, Problem
from mooring.wire.envelope import dumps, error_body, listed
from mooring.wire.frames import (
    MAX_EXCEPTIONS,
    MAX_FRAME,
    Bye,
    Commit,
    Delete,
    Enrolment,
    ExceptionFrame,
    Hello,
    NotAFrame,
    Ping,
    Pong,
    Put,
    Report,
    Reset,
    Welcome,
    from_control,
    from_worker,
)

EXCEPTION = ExceptionFrame(
    id="con_1", generation=2, serving_generation=1, state="held", reason="PROBE_FAILED", message="why", since=5
)
REPORT = Report(session="s", epoch="e", nonce=1, observed_revision=3, exceptions=[EXCEPTION])
FROM_WORKER = [
    Hello(incarnation="i"),
    Hello(incarnation="i", epoch="e", revision=7, attach=True),
    REPORT,
    Ping(),
    Pong(),
]
FROM_CONTROL = [
    Welcome(session="s", epoch="e", head=3, mode="delta", environment="test", environment_key_id="k", environment_key="AA=="),
    Put(revision=1, id="c", project="p", name="n", type="email", generation=1, enabled=True, hash="00", config={"a": [None, "ü"]}),
    Delete(revision=2, id="c", generation=2), Commit(nonce=1, revision=2, complete=True, receipt="r"), Ping(), Pong(), Reset(why="w"),
    Bye(retry_after_ms=5),
]  # fmt: skip


@pytest.mark.parametrize("frame", FROM_WORKER, ids=lambda frame: frame.t)
def test_a_worker_s_frame_is_read_as_it_was_written(frame: Any) -> None:
    """Whichever it is."""
    assert from_worker(frame.text()) == frame


@pytest.mark.parametrize("frame", FROM_CONTROL, ids=lambda frame: frame.t)
def test_a_control_plane_s_frame_is_read_as_it_was_written(frame: Any) -> None:
    """Whichever it is."""
    assert from_control(frame.text()) == frame


@pytest.mark.parametrize("frame", FROM_CONTROL + FROM_WORKER, ids=lambda frame: frame.t)
def test_a_frame_is_one_line(frame: Any) -> None:
    """So that several can travel together."""
    assert "\n" not in frame.text()


def test_keys_are_camel_case() -> None:
    """As everywhere on the wire."""
    assert {"observedRevision", "notListed"} <= json.loads(REPORT.text()).keys()


def test_unknown_keys_are_passed_over() -> None:
    """A newer peer may say more."""
    text = json.dumps({**json.loads(REPORT.text()), "usage": [1], "news": {"a": 1}})

    assert from_worker(text) == REPORT


def test_each_side_takes_only_the_other_s_frames() -> None:
    """A worker cannot give orders."""
    for frame in FROM_CONTROL[:4]:
        with pytest.raises(NotAFrame):
            from_worker(frame.text())
    with pytest.raises(NotAFrame):
        from_control(REPORT.text())


@given(
    st.text()
    | st.recursive(st.none() | st.integers() | st.text(), lambda i: st.lists(i) | st.dictionaries(st.text(), i)).map(
        json.dumps
    )
)
def test_other_texts_are_no_frames(text: str) -> None:
    """Whatever comes, the answer is `NotAFrame`."""
    for reader in (from_worker, from_control):
        with pytest.raises(NotAFrame):
            reader(text)


def test_a_frame_is_at_most_a_mebibyte() -> None:
    """A larger one is not even looked at."""
    with pytest.raises(NotAFrame, match="1 MiB"):
        from_worker(" " * MAX_FRAME + Ping().text())


def test_a_refusal_quotes_nothing() -> None:
    """Frames carry configs."""
    with pytest.raises(NotAFrame) as raised:
        from_control('{"t":"put","revision":"hunter2"}')

    assert "hunter2" not in str(raised.value)


HUGE = [2**53 + 1, 2**63, 2**64, 10**300, -1]


@pytest.mark.parametrize("number", HUGE)
@pytest.mark.parametrize("key", ["observedRevision", "nonce"])
def test_a_report_s_numbers_can_be_stored(key: str, number: int) -> None:
    """A worker that says more than a database takes says nothing."""
    with pytest.raises(NotAFrame):
        from_worker(json.dumps({**json.loads(REPORT.text()), key: number}))


@pytest.mark.parametrize("number", HUGE)
@pytest.mark.parametrize("key", ["generation", "servingGeneration", "since"])
def test_an_exception_s_numbers_can_be_shown(key: str, number: int) -> None:
    """Instants as dates, generations as numbers."""
    exception = {**json.loads(EXCEPTION.model_dump_json(by_alias=True)), key: number}

    with pytest.raises(NotAFrame):
        from_worker(json.dumps({**json.loads(REPORT.text()), "exceptions": [exception]}))


@pytest.mark.parametrize("number", HUGE)
def test_a_hello_s_revision_can_be_compared(number: int) -> None:
    """Like those of reports."""
    with pytest.raises(NotAFrame):
        from_worker(json.dumps({"t": "hello", "incarnation": "i", "revision": number}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("session", "s" * 65),
        ("epoch", "e" * 65),
        ("digest", "d" * 65),
        ("receipt", "r" * 65),
        ("exceptions", [1]),
        ("exceptions", "all"),
    ],
)
def test_a_report_s_texts_are_short(key: str, value: Any) -> None:
    """What is kept of a worker has a bound."""
    with pytest.raises(NotAFrame):
        from_worker(json.dumps({**json.loads(REPORT.text()), key: value}))


def test_a_report_lists_at_most_so_many_exceptions() -> None:
    """A worker leaves the rest out and says how many."""
    one = json.loads(EXCEPTION.model_dump_json(by_alias=True))

    with pytest.raises(NotAFrame):
        from_worker(json.dumps({**json.loads(REPORT.text()), "exceptions": [one] * (MAX_EXCEPTIONS + 1)}))


@pytest.mark.parametrize("state", ["applied", "", "FAILED", "unknown"])
def test_an_exception_has_one_of_three_states(state: str) -> None:
    """What is well is not listed."""
    exception = {**json.loads(EXCEPTION.model_dump_json(by_alias=True)), "state": state}

    with pytest.raises(NotAFrame):
        from_worker(json.dumps({**json.loads(REPORT.text()), "exceptions": [exception]}))


def test_an_enrolment_knows_its_keys() -> None:
    """Here an unknown key is refused: nothing newer has been agreed on yet."""
    with pytest.raises(ValueError, match="extra"):
        Enrolment.model_validate({"token": "t", "environment": "e", "name": "n", "publicKey": "k", "more": 1})


# envelopes


def test_a_list_is_made_of_documents_that_are_json_already() -> None:
    """They are not read again."""
    assert json.loads(listed(['{"a":1}', '{"b":2}'])) == {
        "success": True,
        "resultList": [{"a": 1}, {"b": 2}],
        "resultCount": 2,
    }
    assert json.loads(listed([])) == {"success": True, "resultList": [], "resultCount": 0}


def test_an_error_has_two_keys() -> None:
    """The documented ones."""
    assert error_body(NotFound("it is not there", hint="look elsewhere")) == {
        "error": "not_found",
        "error_description": "it is not there",
    }


def test_a_validation_error_lists_every_problem() -> None:
    """Beside the two keys; the description names the first and counts the rest."""
    body = error_body(InvalidConfig([Problem("/a", "required", "a is missing"), Problem("/b", "invalid", "b is odd")]))

    assert body == {
        "error": "bad_request",
        "error_description": "a is missing (and 1 more problem)",
        "errors": [
            {"path": "/a", "code": "required", "message": "a is missing"},
            {"path": "/b", "code": "invalid", "message": "b is odd"},
        ],
    }


def test_json_stays_readable() -> None:
    """Letters beyond ASCII are written as they are, and nothing is put between."""
    assert dumps({"name": "Straße", "n": [1, None, True]}) == '{"name":"Straße","n":[1,null,true]}'
