"""Ten things that go wrong, over every variant of every type: the right error, the right step, in time, memory flat."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator
from functools import cache

import pytest

from tests.support.targets import WEATHER, Ends, Variant, variants
from tests.weather.storm import DEADLINE_S, MARGIN_S, Outcome, Storm, storm

ENCRYPTED = re.compile(r"TLS|SSL|FTPS|SMTPS|https|LDAPS|stores")


def chosen() -> Iterator[Variant]:
    """Of each type, one in the clear and one that is encrypted; all of them where MOORING_ALL_WEATHER is set."""
    taken = set()
    for variant in variants():
        sort = (variant.type, bool(ENCRYPTED.search(variant.name)))
        if variant.has_weather and (sort not in taken or "MOORING_ALL_WEATHER" in os.environ):
            taken.add(sort)
            yield variant


ALL = [
    # One storm for a variant is enough for all that is asked about it, so these stay in one process.
    pytest.param(variant, id=variant.id, marks=pytest.mark.xdist_group(variant.id))
    for variant in chosen()
]
FLAT_MB = 48


@cache
def weathered(variant: Variant) -> Storm:
    try:
        return asyncio.run(storm(variant))
    except BaseException as exc:
        # A server that is not there is looked for once, not for every fact.
        return Storm(failure=exc)


def storm_of(variant: Variant) -> Storm:
    found = weathered(variant)
    if found.failure is not None:
        raise found.failure
    return found


def outcome_of(variant: Variant, weather: str) -> tuple[Ends, Outcome]:
    found = storm_of(variant)
    ending = found.endings[weather]
    if isinstance(ending, str):
        pytest.skip(f"{variant.id}: {ending}")
    return ending, found.outcomes[weather]


@pytest.mark.parametrize("weather", WEATHER)
@pytest.mark.parametrize("variant", ALL)
def test_it_ends_as_it_should(variant, weather):
    """The error says whose move it is, the probe stops at the step that failed, and both say what to do next."""
    expected, outcome = outcome_of(variant, weather)

    said = f"{outcome.error!r} / {outcome.stopped_at}"
    assert outcome.ends == (expected.error.__name__, expected.step), said
    assert outcome.error.hint and outcome.stopped_at.remedy, said


@pytest.mark.parametrize("weather", WEATHER)
@pytest.mark.parametrize("variant", ALL)
def test_it_ends_in_time(variant, weather):
    """Neither a use nor a probe outlives its deadline."""
    _, outcome = outcome_of(variant, weather)

    assert max(outcome.used_s, outcome.probed_s) < DEADLINE_S + MARGIN_S


@pytest.mark.parametrize("variant", ALL)
def test_other_connections_are_not_affected(variant):
    """The real system is used beside all that, and every use works."""
    assert set(storm_of(variant).healthy) == {"ok"}


@pytest.mark.parametrize("variant", ALL)
def test_memory_stays_flat(variant):
    """All of it together costs little memory, endless data included."""
    assert storm_of(variant).grown_mb < FLAT_MB
