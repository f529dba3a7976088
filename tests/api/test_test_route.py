"""What the test route refuses, and what it says where no worker is connected."""

from __future__ import annotations

import pytest

from tests.support.plane import CONNECTIONS, webhook


async def test_a_missing_connection_is_404(http):
    """Without a body there is nothing to test then."""
    response = await http.post(f"{CONNECTIONS}nothing/test/")

    assert (response.status_code, response.json()["error"]) == (404, "not_found")


async def test_without_a_worker_nothing_is_tested_and_that_is_said(http):
    """It is no error of the request."""
    await http.post(f"{CONNECTIONS}hook/", json=webhook("hook"))

    result = (await http.post(f"{CONNECTIONS}hook/test/")).json()["deploymentResult"]

    assert (result["success"], result["steps"]) == (False, [])
    assert "No worker" in result["message"] and "development" in result["message"]


@pytest.mark.parametrize("path", ["hook/test", "hook/test/", "HOOK/test/"])
async def test_the_path_is_served_in_every_spelling(http, path):
    """With and without the slash, and whatever the case of the name."""
    await http.post(f"{CONNECTIONS}hook/", json=webhook("hook"))

    assert (await http.post(f"{CONNECTIONS}{path}")).status_code == 200


async def test_a_draft_that_is_not_valid_lists_every_problem(http):
    """As a create would."""
    response = await http.post(f"{CONNECTIONS}x/test/", json={"type": "webhook", "name": "x", "fullUrl": 7, "port": 1})

    assert response.status_code == 400
    assert {problem["path"] for problem in response.json()["errors"]} >= {"/fullUrl", "/port"}


async def test_a_draft_cannot_change_the_type(http):
    """As an update cannot."""
    await http.post(f"{CONNECTIONS}hook/", json=webhook("hook"))

    response = await http.post(f"{CONNECTIONS}hook/test/", json={"type": "email", "name": "hook", "host": "a"})

    assert response.status_code == 400
    assert "type can not be changed" in response.json()["error_description"]


async def test_a_draft_is_for_the_connection_of_the_path(http):
    """Another name in the body is a mistake."""
    response = await http.post(f"{CONNECTIONS}a/test/", json=webhook("b"))

    assert response.status_code == 400
    assert "does not match" in response.json()["error_description"]


async def test_a_body_must_say_that_it_is_json(http):
    """Where there is one."""
    response = await http.post(f"{CONNECTIONS}x/test/", content=b"{}", headers={"Content-Type": "text/plain"})

    assert response.status_code == 400


@pytest.mark.parametrize(
    ("grants", "body", "status"),
    [
        (("connections:test",), None, 200),
        (("connections:view",), None, 403),
        (("connections:test",), webhook("hook"), 403),
        (("connections:test", "connections:manage"), webhook("hook"), 200),
    ],
)
async def test_testing_needs_its_grant_and_a_draft_the_one_to_change(http, token_with, grants, body, status):
    """A draft sends a worker wherever it says, so it is more than looking."""
    await http.post(f"{CONNECTIONS}hook/", json=webhook("hook"))
    token = await token_with(*grants)

    response = await http.post(f"{CONNECTIONS}hook/test/", json=body, headers={"Authorization": f"Bearer {token}"})

    assert response.status_code == status
