"""Variables from the API to a server: resolved on the worker, changed while in use."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.e2e.support import PROJECT, create, hook_body, hook_server, loop_of_uses
from tests.e2e.test_programs import mooring
from tests.support.plane import Dev, connection_path


def named(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex[:8]}"


def keep(dev: Dev, name: str, value: str, send: Callable[..., Any] | None = None, **more: Any) -> dict[str, Any]:
    """POST (or as *send* does) a variable with that value everywhere; the `deploymentResult`."""
    body = {"name": name, "global": True, "globalValue": value, "globalVisible": False, **more}
    response = (send or dev.api.post)(f"/apiops/projects/{PROJECT}/environmentVariables/{name}/", json=body)
    assert response.status_code == 200, response.text
    result: dict[str, Any] = response.json()["deploymentResult"]
    return result


def test_a_changed_variable_reaches_a_connection_under_use(dev: Dev) -> None:
    """Its users are deployed anew, make before break: no use fails, and the server sees the new value."""
    with hook_server("first", "second") as hook:
        key, name = named("KEY"), named("hook")
        keep(dev, key, "first")
        create(dev, hook_body(name, hook, f"${{{key}}}"))
        before = dev.api.get(connection_path(name)).json()["resultList"][0]["generation"]

        with loop_of_uses(lambda: dev.use(PROJECT, name, "send", {"body": "hello"})) as uses:
            changed = keep(dev, key, "second", dev.api.put)
            uses.wait_for(10)

        assert changed["success"] and "1 connection uses it" in changed["environmentResults"][0]["message"], changed
        assert uses.failed == []
        assert {key for key, _ in hook.calls} == {"first", "second"} and hook.calls[-1][0] == "second"
        assert dev.api.get(connection_path(name)).json()["resultList"][0]["generation"] == before


def test_a_variable_that_is_made_later_heals_its_users(dev: Dev) -> None:
    """Until then the deployment fails, names field and variable, and is the only one that does."""
    with hook_server("right") as hook:
        key, name = named("KEY"), named("hook")
        body = hook_body(name, hook, f"${{{key}}}")
        failed = dev.api.post(connection_path(name), json=body).json()["deploymentResult"]

        healed = keep(dev, key, "right")

        failure = failed["deploymentResults"][0]["failures"][0]
        assert failure["reason"] == "VARIABLE_MISSING"
        assert "headerList[0].value" in failure["message"] and key in failure["message"]
        assert healed["success"], healed
        assert dev.use(PROJECT, name, "send", {"body": "hello"}).json()["status"] == 200


def test_a_test_resolves_too(dev: Dev) -> None:
    """Of what is stored and of a draft; a hidden value is in no answer."""
    with hook_server("right") as hook:
        port, name = named("PORT"), named("hook")
        keep(dev, port, str(hook.port))
        body = {**hook_body(name, hook, "right"), "fullUrl": f"http://127.0.0.1:${{{port}}}/in"}
        create(dev, body)

        stored = dev.api.post(f"{connection_path(name)}test/").json()["deploymentResult"]
        draft = dev.api.post(f"{connection_path(named('draft'))}test/", json={**body, "name": None})

        assert stored["success"], stored
        assert draft.status_code == 200 and draft.json()["deploymentResult"]["success"], draft.text

    closed = dev.api.post(f"{connection_path(name)}test/").text
    assert f":{hook.port}" not in closed and "***" in closed


def command(dev: Dev, *arguments: str) -> str:
    done = mooring("variable", *arguments, MOORING_URL=dev.url, MOORING_TOKEN=dev.token)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_line_sets_variables(dev: Dev, tmp_path: Path) -> None:
    """One value after the other: the rest stays, and a hidden one is never shown."""
    name = named("PW")
    path = f"{PROJECT}/{name}"
    (tmp_path / "value").write_text("hush-4711\n")

    command(dev, "set", path, "--value-file", str(tmp_path / "value"))
    command(dev, "set", path, "--environment", "development", "--value", "open", "--visible")
    shown = command(dev, "list", PROJECT)
    got = json.loads(command(dev, "get", path))
    gone = command(dev, "delete", path)

    assert "hush-4711" not in shown and "(hidden)" in shown
    assert (got["global"], got["globalValue"], got["globalVisible"]) == (True, None, False)
    assert [(each["environmentName"], each["value"]) for each in got["environmentValueList"]] == [
        ("development", "open")
    ]
    assert "Undeployment completed" in gone
