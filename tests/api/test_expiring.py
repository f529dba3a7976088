"""What runs out soon: certificate, connections, environment, workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from mooring.control.tokens import system_actor
from tests.api.answers import listed, refusal
from tests.support.keystores import authority, issued, keystore, keystores_path
from tests.support.plane import Opened, client_of, connection_path, webhook

ROOT = authority("Root")
PATH = "/apiops/projects/MyProject/certificates/expiring/"


async def test_it_joins_certificate_connection_environment_and_worker(http: httpx2.AsyncClient) -> None:
    """Soonest first; what lasts longer is left out."""
    for name, days in (("later", 20.0), ("soon", 3.0), ("fine", 300.0)):
        await http.post(keystores_path(), json=keystore(name, issued(ROOT, name, days=days).pem()))
    await http.post(connection_path("hook"), json=webhook("hook", keyStoreName="soon"))

    found = listed(await http.get(PATH, params={"within": "30d"}))

    assert [(each["name"], each["kind"], each["daysLeft"], each["expired"]) for each in found] == [
        ("soon", "keystore", 2, False), ("later", "keystore", 19, False),
    ]  # fmt: skip
    assert found[0]["environmentName"] == "development"
    assert found[0]["certificates"][0]["subjectDn"] == "CN=soon"
    (user,) = found[0]["connections"]
    assert (user["name"], user["projectName"], user["type"], user["workers"]) == ("hook", "MyProject", "webhook", [])
    assert found[1]["connections"] == []
    assert [each["name"] for each in listed(await http.get(PATH, params={"within": "1w"}))] == ["soon"]


async def test_across_projects_for_who_sees_them_all(
    opened: Opened, http: httpx2.AsyncClient, token_with: Callable[..., Any]
) -> None:
    """Another project's token is told of its own, and of what `admin` lends it, how many others use it."""
    await opened.plane.projects.create(system_actor(), "admin", None)
    await http.post(keystores_path(project="admin"), json=keystore("shared", issued(ROOT, days=3).pem()))
    await http.post(connection_path("hook"), json=webhook("hook", keyStoreName="shared"))
    token = await token_with("certificates:view", project_name="admin")

    async with client_of(opened.plane, token) as keeper:
        refused = await keeper.get("/apiops/certificates/expiring/")
        own = listed(await keeper.get("/apiops/projects/admin/certificates/expiring/"))
    (everywhere,) = listed(await http.get("/apiops/certificates/expiring/"))

    assert refusal(refused)[0] == 403
    assert (own[0]["connections"], own[0]["furtherConnections"]) == ([], 1)
    assert [each["name"] for each in everywhere["connections"]] == ["hook"]


@pytest.mark.parametrize("within", ["", "soon", "30", "-1d", "99999w"])
async def test_a_time_that_is_none_is_refused(http: httpx2.AsyncClient, within: str) -> None:
    """The answer says how one looks."""
    status, code, text = refusal(await http.get(PATH, params={"within": within}))

    assert (status, code) == (400, "bad_request") and "30d" in text


async def test_its_name_is_no_certificate_s(http: httpx2.AsyncClient) -> None:
    """One of that name could not be read."""
    body = {
        "certificateName": "Expiring",
        "alias": "a",
        "environmentList": "development",
        "pemEncodedFile": ROOT.certificate_pem,
    }

    assert refusal(await http.post("/apiops/projects/MyProject/certificates/", json=body))[0] == 400
