"""Every variant of every type, pointed at an address that its worker may not connect to."""

from __future__ import annotations

import asyncio
from functools import cache

import pytest

from mooring.errors import EgressDenied
from tests.egress.denied import DEADLINE_S, Outcome, tried
from tests.support.targets import Variant, variants

ALL = [
    pytest.param(variant, id=variant.id, marks=pytest.mark.xdist_group(variant.id))
    for variant in variants()
    if variant.type != "logback"
]


@cache
def _tried(variant: Variant) -> Outcome | BaseException | None:
    try:
        return asyncio.run(tried(variant))
    except BaseException as exc:
        # A server that is not there is looked for once, not for every fact.
        return exc


def outcome_of(variant: Variant) -> Outcome:
    found = _tried(variant)
    if isinstance(found, BaseException):
        raise found
    assert found is not None, "it cannot be aimed elsewhere"
    return found


@pytest.mark.parametrize("variant", ALL)
def test_nothing_arrives_there(variant):
    """No connection is opened and no datagram sent, whether it is built, used or probed."""
    assert outcome_of(variant).touched == 0


@pytest.mark.parametrize("variant", ALL)
def test_an_address_in_the_config_is_refused_when_it_is_built(variant):
    """A denied address needs no look-up: the client is not built, and the deployment says why."""
    assert isinstance(outcome_of(variant).built, EgressDenied)


@pytest.mark.parametrize("variant", ALL)
def test_a_name_that_leads_there_is_refused_when_it_is_used(variant):
    """The use ends with the policy's own error, which says what to do, and long before its deadline."""
    found = outcome_of(variant)

    assert isinstance(found.used, EgressDenied), repr(found.used)
    assert "MOORING_EGRESS_DENY" in str(found.used.hint)
    assert found.used_s < DEADLINE_S


@pytest.mark.parametrize("variant", ALL)
def test_a_probe_says_so(variant):
    """The probe stops where the name was looked up, with the code of the policy."""
    step = outcome_of(variant).stopped_at

    assert step is not None
    assert (step.name, step.code) == ("resolve", "egress_denied")
    assert step.remedy


@pytest.mark.parametrize("variant", ALL)
def test_what_is_allowed_works_beside_it(variant):
    """The real system, on the same machine and under the same policy, is used all the while."""
    assert outcome_of(variant).beside == "ok"
