"""The digest of a set: order does not matter, and what was added can be taken out again."""

from __future__ import annotations

import hashlib
import random

from hypothesis import given
from hypothesis import strategies as st

from mooring.domain.digest import EMPTY, add, term
from mooring.domain.records import Actor
from mooring.domain.rights import EVERY_GRANT

TERMS = st.lists(st.builds(term, st.text(max_size=20), st.integers(0, 2**53), st.binary(max_size=32)), max_size=20)


def summed(terms: list[int]) -> bytes:
    digest = EMPTY
    for one in terms:
        digest = add(digest, one)
    return digest


@given(TERMS, st.randoms())
def test_order_does_not_matter(terms: list[int], chance: random.Random) -> None:
    """A set has no order."""
    shuffled = list(terms)
    chance.shuffle(shuffled)

    assert summed(terms) == summed(shuffled)


@given(TERMS)
def test_what_was_added_can_be_taken_out(terms: list[int]) -> None:
    """Until nothing is left."""
    digest = summed(terms)

    for one in terms:
        digest = add(digest, -one)

    assert digest == EMPTY


@given(TERMS, TERMS)
def test_a_change_is_one_addition(before: list[int], after: list[int]) -> None:
    """Taking out and adding in one step is the same as in two."""
    digest = summed(before)

    assert add(digest, sum(after) - sum(before)) == summed(after)


def test_it_is_as_documented() -> None:
    """The sum of SHA-256(id|generation|hash), modulo 2^256: both ends must agree, in every version."""
    content = hashlib.sha256(b"config").digest()

    expected = int.from_bytes(hashlib.sha256(b"con_1|7|" + content).digest())

    assert add(EMPTY, term("con_1", 7, content)) == expected.to_bytes(32)


def test_it_wraps_around() -> None:
    """A sum beyond 2^256 keeps its 32 bytes."""
    assert add(b"\xff" * 32, 1) == EMPTY and add(EMPTY, -1) == b"\xff" * 32


def test_connections_of_the_same_content_do_not_cancel_out() -> None:
    """Two of them are not none."""
    assert summed([term("con_1", 1, b"x"), term("con_2", 1, b"x")]) != EMPTY


def test_an_actor_may_what_it_was_granted() -> None:
    """And nothing else."""
    actor = Actor("ada", None, None, frozenset({"workers:view"}))

    assert [grant for grant in sorted(EVERY_GRANT) if actor.may(grant)] == ["workers:view"]


def test_an_actor_of_a_project_sees_that_one() -> None:
    """One without a project sees all."""
    bound, free = [Actor("ada", None, project, frozenset()) for project in ("prj_1", None)]

    assert [bound.sees("prj_1"), bound.sees("prj_2"), free.sees("prj_2")] == [True, False, True]
