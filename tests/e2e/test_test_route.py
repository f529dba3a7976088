"""`POST .../test/`: a worker probes settings, stored or not, and says step by step how that went."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.e2e.support import create, hook_body, hook_server, postgres_body
from tests.support.plane import Dev, connection_path, email
from tests.support.services import Service, black_hole, closed_port


def unique(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def run(dev: Dev, name: str, body: dict[str, Any] | None = None, query: str = "") -> dict[str, Any]:
    """The verdict on a test."""
    response = dev.api.post(f"{connection_path(name)}test/{query}", json=body)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert answer["success"] is True
    result: dict[str, Any] = answer["deploymentResult"]
    return result


def states(result: dict[str, Any]) -> dict[str, str]:
    return {step["step"]: step["state"] for step in result["steps"]}


@pytest.fixture
def stored(dev: Dev, postgres: Service) -> str:
    """A stored connection that works."""
    name = unique("pg")
    create(dev, postgres_body(name, postgres))
    return name


def test_a_stored_connection_is_tested_step_by_step(dev, stored):
    """Every step passed, and it says from where."""
    result = run(dev, stored)

    assert result["success"] is True, result
    assert set(states(result).values()) == {"passed"} and "login" in states(result)
    assert (result["environmentName"], result["workerName"]) == ("development", "dev-worker")


def test_an_unreachable_target_is_200_and_says_where_it_stopped(dev, stored, postgres):
    """The HTTP status speaks about the request; the verdict about the system."""
    body = postgres_body(stored, postgres, jdbcUrl=f"jdbc:postgresql://localhost:{closed_port()}/x?sslmode=disable")

    result = run(dev, stored, body)

    assert result["success"] is False
    assert states(result)["connect"] == "failed"
    assert result["message"].startswith("connect: ")


def test_a_draft_is_tested_before_anything_is_stored(dev, postgres):
    """A name that does not exist yet, and does not afterwards either."""
    name = unique("draft")

    result = run(dev, name, postgres_body(name, postgres))

    assert result["success"] is True, result
    assert dev.api.get(connection_path(name)).status_code == 404


def test_a_draft_keeps_the_stored_secret(dev, stored, postgres):
    """The password that nobody sends again is the stored one."""
    body = {**postgres_body(stored, postgres), "password": None, "description": "changed"}

    assert run(dev, stored, body)["success"] is True


def test_a_draft_may_bring_another_secret(dev, stored, postgres):
    """And then that one is used: a wrong one is turned away at the login."""
    result = run(dev, stored, postgres_body(stored, postgres, password="not-the-password"))

    assert states(result)["login"] == "failed"
    assert "not-the-password" not in str(result)


def test_a_kept_secret_never_follows_a_changed_destination(dev):
    """400, naming what to send again; the new address hears nothing."""
    name = unique("hook")
    with hook_server("right") as hook, hook_server("right") as elsewhere:
        create(dev, hook_body(name, hook, "right"))
        body = hook_body(name, elsewhere, "right")
        body["headerList"][0]["value"] = None

        response = dev.api.post(f"{connection_path(name)}test/", json=body)

        assert response.status_code == 400
        assert response.json()["errors"][0]["code"] == "secret_required"
        assert elsewhere.calls == []


def test_the_live_client_is_not_touched(dev, stored, postgres):
    """A test of something broken leaves the stored connection as it serves."""
    run(dev, stored, postgres_body(stored, postgres, password="not-the-password"))

    assert dev.use("MyProject", stored, "query", {"sql": "select 1"}).status_code == 200


def test_a_disabled_connection_may_be_tested(dev, postgres):
    """Before it is switched on."""
    name = unique("off")
    create(dev, postgres_body(name, postgres, enabled=False))

    assert run(dev, name)["success"] is True


def test_a_target_that_never_answers_ends_after_ten_seconds(dev):
    """With the step that was under way."""
    name = unique("hole")
    with black_hole() as hole:
        result = run(dev, name, email(name, host=hole.host, port=hole.port))

    assert result["success"] is False
    assert "failed" in states(result).values()
    assert 9_000 < result["tookMs"] < 12_000


def test_settings_that_cannot_be_built_say_why(dev):
    """There are no steps then, and a reason."""
    name = unique("variable")

    result = run(dev, name, {"type": "email", "name": name, "host": "${MAIL_HOST}"})

    assert (result["success"], result["reason"], result["steps"]) == (False, "VARIABLE_MISSING", [])


@pytest.mark.parametrize(
    "query", ["?worker=dev-worker", "?environmentName=development", "?environmentName=DEVELOPMENT"]
)
def test_the_place_can_be_chosen(dev, stored, query):
    """By the worker's name, or by the environment's."""
    assert run(dev, stored, query=query)["workerName"] == "dev-worker"


@pytest.mark.parametrize(("query", "status"), [("?worker=nobody", 404), ("?environmentName=nowhere", 400)])
def test_an_unknown_place_is_refused(dev, stored, query, status):
    """Before anything is tested."""
    assert dev.api.post(f"{connection_path(stored)}test/{query}").status_code == status


def test_every_test_is_in_the_audit(dev, stored):
    """Who tested what."""
    run(dev, stored)

    entries = dev.api.get("/apiops/audit", params={"limit": 5}).json()["resultList"]
    assert ("test", stored) in [(entry["action"], entry["name"]) for entry in entries], entries
