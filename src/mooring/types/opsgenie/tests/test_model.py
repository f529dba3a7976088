"""What an Opsgenie config accepts, refuses, warns of, and keeps secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mooring.errors import InvalidConfig
from mooring.plugin.config import join, read_config, split
from mooring.types.opsgenie import TYPE
from mooring.types.opsgenie.model import OpsGenieConfig

ROOM = Path(__file__).parents[1]
COMMON = ("type", "name", "description", "deployToWorker", "enabled")
BODIES = json.loads((Path(__file__).parent / "bodies.json").read_text(encoding="utf-8"))
MINIMAL: dict[str, Any] = {"apiKey": "fake-key"}


def typed(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key not in COMMON}


def config(**changes: Any) -> OpsGenieConfig:
    return read_config(OpsGenieConfig, {**MINIMAL, **changes})


def refused(**changes: Any) -> dict[str, str]:
    with pytest.raises(InvalidConfig) as caught:
        config(**changes)
    return {problem.path: problem.message for problem in caught.value.problems}


def warned(**changes: Any) -> set[str]:
    return {problem.code for problem in config(**changes).warnings()}


@pytest.mark.parametrize("body", BODIES["accepted"], ids=lambda body: body["name"])
def test_documented_bodies_are_accepted(body: dict[str, Any]) -> None:
    """Every documented shape of a body is accepted, and its wire form is accepted again."""
    found = read_config(OpsGenieConfig, typed(body))

    assert TYPE.name == body["type"]
    assert OpsGenieConfig.from_wire(found.wire()).wire() == found.wire()


@pytest.mark.parametrize("case", BODIES["refused"], ids=lambda case: case["path"])
def test_broken_bodies_are_refused_at_their_field(case: dict[str, Any]) -> None:
    """A broken body is refused, the problem points at the field, and nothing that was sent is repeated."""
    with pytest.raises(InvalidConfig) as caught:
        read_config(OpsGenieConfig, typed(case["body"]))

    assert case["path"] in [problem.path for problem in caught.value.problems]
    assert not any("fake" in problem.message for problem in caught.value.problems)


def test_the_example_is_accepted() -> None:
    """The example that documents the room is a body of this type, without warnings."""
    body = json.loads((ROOM / "example.json").read_text(encoding="utf-8"))

    assert TYPE.name == body["type"]
    assert not list(read_config(OpsGenieConfig, typed(body)).warnings())


def test_defaults() -> None:
    """What is left out has its default."""
    wire = config().wire()

    assert {key: value for key, value in wire.items() if key not in MINIMAL and value is not None} == {
        "apiUrl": "https://api.opsgenie.com/v2/alerts",
        "responders": [],
        "visibleTo": [],
        "tags": [],
        "priority": "P3",
        "source": "Apinizer",
        "actions": [],
        "details": {},
        "timeout": 5000,
        "verifyHostname": True,
    }


def test_the_type_has_other_spellings() -> None:
    """Requests may write the type as opsgenie or opsGenie."""
    assert TYPE.aliases == ("opsgenie", "opsGenie")


def test_the_end_of_the_service_is_said() -> None:
    """Whoever chooses the type is told that the vendor ends the service."""
    assert TYPE.note is not None
    assert "2027" in TYPE.note


def test_url_is_taken_for_the_address() -> None:
    """`url` is another key for apiUrl, which wins where both are given."""
    assert config(url="https://a.example.com/").wire()["apiUrl"] == "https://a.example.com/"
    assert config(url="https://a.example.com/", apiUrl="https://b.example.com/").api_url == "https://b.example.com/"
    assert "url" not in config(url="https://a.example.com/").wire()


@pytest.mark.parametrize("kind", ["responders", "visibleTo"])
def test_a_recipient_is_told_by_id_or_by_its_name(kind: str) -> None:
    """Without an id, a user needs a username and a team a name."""
    assert list(refused(**{kind: [{"type": "user", "name": "Ada"}]})) == [f"/{kind}/0/username"]
    assert list(refused(**{kind: [{"type": "team", "username": "ada@example.com"}]})) == [f"/{kind}/0/name"]
    assert not list(config(**{kind: [{"type": "user", "id": "u-1"}]}).rules())


def test_only_teams_and_users_see_alerts() -> None:
    """An escalation or schedule can be told of an alert, and not be shown one."""
    assert "/visibleTo/1/type" in refused(
        visibleTo=[{"type": "team", "name": "a"}, {"type": "schedule", "name": "nights"}]
    )
    assert not list(config(visibleTo=[{"type": "${KIND}", "name": "a"}]).rules())


def test_details_are_measured_together() -> None:
    """Names and values of details together have at most 8000 characters, unless a variable is among them."""
    assert "/details" in refused(details={"a" * 4000: "b" * 4001})
    assert config(details={"a": "${X}" + "b" * 8000}).details


def test_an_uncompared_name_warns() -> None:
    """TLS without a check of the host name is accepted with a warning."""
    assert warned(verifyHostname=False) == {"hostname_not_verified"}
    assert not warned(verifyHostname=False, apiUrl="http://opsgenie.internal.example.com/")


def test_secrets_are_lifted_and_come_back() -> None:
    """The key leaves the public half, and returns to its place."""
    whole = config().wire()

    public, secrets = split(OpsGenieConfig, whole)

    assert secrets == {"apiKey": "fake-key"}
    assert "fake-" not in json.dumps(public)
    assert join(OpsGenieConfig, public, secrets) == (whole, {"apiKey"})


def test_the_address_and_its_checks_are_the_destination() -> None:
    """Another address or a weaker check is another destination; another priority is not."""
    before = config().destination()

    assert before == config(priority="P1").destination()
    assert before != config(apiUrl="https://elsewhere.example.com/").destination()
    assert before != config(verifyHostname=False).destination()
    assert before != config(trustStoreName="other").destination()


def test_stores_are_referred_to_only_with_tls() -> None:
    """A store that plain HTTP never opens is no reference."""
    stores = {"trustStoreName": "t", "keyStoreName": "k"}

    assert config(**stores).references() == stores
    assert config(**stores, apiUrl="${URL}").references() == stores
    assert config(**stores, apiUrl="http://a.example.com/").references() == {}


def test_variables_stand_anywhere() -> None:
    """A variable stands in for any text, number or choice, and is not measured."""
    long = "${X}" + "x" * 600
    found = config(apiUrl="${X}", apiKey="${X}", priority="${X}", timeout="${X}", alias=long, source=long, tags=[long])

    assert found.wire()["timeout"] == "${X}"
