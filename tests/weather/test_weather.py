"""Ten things that go wrong, over every variant of every type: the right error, the right step, in time, memory flat."""

from __future__ import annotations

import asyncio
from functools import cache

import pytest

from tests.support.targets import WEATHER, Variant, variants
from tests.weather.storm import DEADLINE_S, MARGIN_S, Outcome, Storm, storm

ALL = [
    # One storm for a variant is enough for all that is asked about it, so these stay in one process.
    pytest.param(variant, id=variant.id, marks=pytest.mark.xdist_group(variant.id))
    for variant in variants()
    if variant.has_weather
]
FLAT_MB = 48


@cache
def weathered(variant: Variant) -> Storm:
    return asyncio.run(storm(variant))


def outcome_of(variant: Variant, weather: str) -> Outcome:
    found = weathered(variant).outcomes.get(weather)
    if found is None:
        with variant.opening() as target:
            pytest.skip(f"{variant.id}: {target.ending(weather)}")
    return found


@pytest.mark.parametrize("weather", WEATHER)
@pytest.mark.parametrize("variant", ALL)
def test_it_ends_as_it_should(variant, weather):
    """The error says whose move it is, the probe stops at the step that failed, and both say what to do next."""
    outcome = outcome_of(variant, weather)

    with variant.opening() as target:
        expected = target.ending(weather)
    said = f"{outcome.error!r} / {outcome.stopped_at}"
    assert outcome.ends == (expected.error.__name__, expected.step), said
    assert outcome.error.hint and outcome.stopped_at.remedy, said


@pytest.mark.parametrize("weather", WEATHER)
@pytest.mark.parametrize("variant", ALL)
def test_it_ends_in_time(variant, weather):
    """Neither a use nor a probe outlives its deadline."""
    outcome = outcome_of(variant, weather)

    assert max(outcome.used_s, outcome.probed_s) < DEADLINE_S + MARGIN_S


@pytest.mark.parametrize("variant", ALL)
def test_other_connections_are_not_affected(variant):
    """The real system is used beside all that, and every use works."""
    assert set(weathered(variant).healthy) == {"ok"}


@pytest.mark.parametrize("variant", ALL)
def test_memory_stays_flat(variant):
    """All of it together costs little memory, endless data included."""
    assert weathered(variant).grown_mb < FLAT_MB
