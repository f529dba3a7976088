"""What is said of a deployment: the table of the design, row by row."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mooring.control.verdict import MAX_FAILURES, Failure, Tally, overall
from mooring.domain.records import Deployment

STATES = ("SUCCEEDED", "PARTIAL", "FAILED", "PENDING", "NO_WORKERS")
DEPLOYMENT = Deployment("dep_1", "env_1", "con_1", 3, 7, "req_1", 0)


def tally(*, expected: int = 0, applied: int = 0, failed: int = 0, offline: int = 0) -> Tally:
    failures = [Failure(f"w-{n}", "KEYSTORE_UNREADABLE" if n % 2 else "INVALID_CONFIG", "why") for n in range(failed)]
    return Tally(expected + offline, expected, applied, offline, failures)


ROWS = [
    ("all online workers applied", tally(expected=3, applied=3), True, "SUCCEEDED", "3 of 3 workers applied"),
    ("some applied, some failed", tally(expected=3, applied=2, failed=1), False, "PARTIAL", "1 worker failed: INVALID_CONFIG"),
    ("all failed", tally(expected=2, failed=2), False, "FAILED", "2 workers failed: INVALID_CONFIG, KEYSTORE_UNREADABLE"),
    ("one failed, the rest has not answered", tally(expected=2, failed=1), False, "PARTIAL", "1 worker failed: INVALID_CONFIG"),
    ("deadline, none failed", tally(expected=122, applied=61), False, "PENDING", "61 of 122 workers applied"),
    ("nobody answered", tally(expected=2), False, "PENDING", "0 of 2 workers applied"),
    ("registered, all offline", tally(offline=2), False, "PENDING",
     "no worker is online (2 offline); it will be applied when one comes back"),
    ("none ever registered", tally(), True, "NO_WORKERS", "will be deployed when a worker connects"),
    ("some offline, all online applied", tally(expected=2, applied=2, offline=3), True, "SUCCEEDED", "2 of 2 workers applied, 3 offline"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("found", "success", "state", "message"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_a_situation_has_its_verdict(found: Tally, success: bool, state: str, message: str) -> None:
    """Success, state and sentence."""
    assert (found.success, found.state, found.message) == (success, state, message)


@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5), st.integers(0, 5))
def test_success_means_that_everybody_applied_it(applied: int, failed: int, pending: int, offline: int) -> None:
    """Whatever the counts: true only where no online worker failed or is still silent, and somebody is there if anybody ever was."""
    found = tally(expected=applied + failed + pending, applied=applied, failed=failed, offline=offline)

    assert found.success == (failed == 0 and pending == 0 and (applied > 0 or offline == 0))
    assert found.state in STATES and found.message
    assert found.pending == pending


def test_an_entry_counts_workers() -> None:
    """Expected, applied, failed, pending, offline, and the failures by name."""
    assert tally(expected=4, applied=2, failed=1, offline=1).wire("production", 7) == {
        "environmentName": "production", "success": False, "state": "PARTIAL", "revision": 7,
        "message": "1 worker failed: INVALID_CONFIG",
        "workers": {"expected": 4, "applied": 2, "failed": 1, "pending": 1, "offline": 1},
        "failures": [{"worker": "w-0", "reason": "INVALID_CONFIG", "message": "why"}],
    }  # fmt: skip


def test_failures_are_listed_up_to_a_number() -> None:
    """The rest is counted."""
    entry = tally(expected=50, failed=50).wire("production", 7)

    assert (len(entry["failures"]), entry["furtherFailures"]) == (MAX_FAILURES, 50 - MAX_FAILURES)


def test_an_entry_without_failures_has_no_list() -> None:
    """The documented body stays small."""
    assert not {"failures", "furtherFailures"} & tally(expected=1, applied=1).wire("production", 7).keys()


def entries(*states: str) -> list[dict[str, Any]]:
    return [
        {"environmentName": f"e{n}", "success": state in ("SUCCEEDED", "NO_WORKERS"), "state": state, "message": "m"}
        for n, state in enumerate(states)
    ]


@pytest.mark.parametrize(
    ("states", "state"),
    [
        (("SUCCEEDED", "SUCCEEDED"), "SUCCEEDED"), (("SUCCEEDED", "NO_WORKERS"), "SUCCEEDED"), (("NO_WORKERS",), "NO_WORKERS"),
        (("FAILED", "FAILED"), "FAILED"), (("FAILED", "SUCCEEDED"), "PARTIAL"), (("FAILED", "PENDING"), "PARTIAL"),
        (("FAILED", "NO_WORKERS"), "PARTIAL"), (("PARTIAL", "SUCCEEDED"), "PARTIAL"), (("PENDING", "SUCCEEDED"), "PENDING"),
        (("PENDING", "NO_WORKERS"), "PENDING"), ((), "NO_WORKERS"),
    ],
)  # fmt: skip
def test_environments_are_summed_up(states: tuple[str, ...], state: str) -> None:
    """The state of the whole is that of its worst part; some failed is partial."""
    assert overall(entries(*states), [], 1, [])["state"] == state


@given(st.lists(st.sampled_from(STATES), max_size=5))
def test_the_whole_succeeds_where_every_part_does(states: list[str]) -> None:
    """The AND over the environments."""
    parts = entries(*states)

    assert overall(parts, [], 1, [])["success"] == all(part["success"] for part in parts)


def test_the_whole_names_its_deployment() -> None:
    """Id, generation, the one environment's sentence, and warnings where there are some."""
    found = overall(entries("SUCCEEDED"), [DEPLOYMENT], 3, [{"path": "/x"}])

    assert found == {
        "success": True, "state": "SUCCEEDED", "deploymentId": "dep_1", "generation": 3, "message": "e0: m",
        "deploymentResults": entries("SUCCEEDED"), "warnings": [{"path": "/x"}],
    }  # fmt: skip


def test_several_environments_are_counted_in_the_sentence() -> None:
    """How many are done."""
    assert (
        overall(entries("SUCCEEDED", "PENDING", "NO_WORKERS"), [], 1, [])["message"] == "2 of 3 environments are done"
    )


def test_without_environments_that_is_said() -> None:
    """And nothing is listed."""
    found = overall([], [], 1, [])

    assert found["message"] == "no environment holds it" and "deploymentResults" not in found
