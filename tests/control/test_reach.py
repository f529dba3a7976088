"""The destination rule over variables: no change of one takes a stored secret elsewhere."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from mooring.control.tokens import system_actor
from tests.api.answers import done, problems, refusal
from tests.support.plane import Opened, client_of, connection_path, email, webhook


def path(name: str, project: str = "MyProject") -> str:
    return f"/apiops/projects/{project}/environmentVariables/{name}/"


def glob(name: str, value: str | None) -> dict[str, Any]:
    return {"name": name, "global": True, "globalValue": value}


async def given(http: httpx2.AsyncClient, project: str = "MyProject", **variables: str) -> None:
    for name, value in variables.items():
        done(await http.post(path(name, project), json=glob(name, value)))


async def connect(http: httpx2.AsyncClient, **more: Any) -> None:
    done(await http.post(connection_path("hook"), json=webhook("hook", **more)))


async def test_another_value_is_refused(http: httpx2.AsyncClient) -> None:
    """The answer names the connection, the field that moves and the secret, and repeats no value."""
    await given(http, HOST="hooks.example.com")
    await connect(http, fullUrl="https://${HOST}/in")

    response = await http.put(path("HOST"), json=glob("HOST", "evil.example.com"))

    assert problems(response) == ["/globalValue"]
    text = refusal(response)[2]
    assert "hook " in text and "fullUrl" in text and "headerList/authorization" in text
    assert "evil" not in text and "hooks.example.com" not in text


async def test_who_may_reveal_may(http: httpx2.AsyncClient, opened: Opened, token_with: Any) -> None:
    """They could read the secret anyway; in the project of the connection."""
    await given(http, HOST="hooks.example.com")
    await connect(http, fullUrl="https://${HOST}/in")

    async with client_of(opened.plane, await token_with("connections:manage", "secrets:reveal")) as other:
        done(await other.put(path("HOST"), json=glob("HOST", "new.example.com")))


async def test_what_leaves_the_destination_alone_is_taken(http: httpx2.AsyncClient) -> None:
    """A new key goes to the same host; so does a connection without secrets to another."""
    await given(http, KEY="one", PLAIN="mx.example.com", HOST="hooks.example.com")
    await connect(http, headerList=[{"name": "Authorization", "value": "${KEY}"}])
    done(await http.post(connection_path("mail"), json=email("mail", host="${PLAIN}")))

    done(await http.put(path("KEY"), json=glob("KEY", "two")))
    done(await http.put(path("PLAIN"), json=glob("PLAIN", "other.example.com")))


async def test_a_secret_that_changes_with_it_is_not_kept(http: httpx2.AsyncClient) -> None:
    """One variable holds the whole address, credentials and all."""
    await given(http, URL="https://ada:old@hooks.example.com/")
    done(await http.post(connection_path("hook"), json=webhook("hook", fullUrl="${URL}", headerList=[])))

    done(await http.put(path("URL"), json=glob("URL", "https://ada:new@other.example.com/")))


async def test_a_value_that_comes_first_must_not_take_secrets_along(http: httpx2.AsyncClient) -> None:
    """A connection that waits for its variable holds a secret that nobody sent there."""
    await connect(http, fullUrl="https://${HOST}/in")

    response = await http.post(path("HOST"), json=glob("HOST", "evil.example.com"))

    assert problems(response) == ["/environmentValueList"]


async def test_in_steps_it_is_refused_too(http: httpx2.AsyncClient) -> None:
    """Clearing the value first does not help."""
    await given(http, HOST="hooks.example.com")
    await connect(http, fullUrl="https://${HOST}/in")
    done(await http.put(path("HOST"), json=glob("HOST", "")))

    response = await http.put(path("HOST"), json=glob("HOST", "evil.example.com"))

    assert problems(response) == ["/globalValue"]


async def test_a_value_of_an_environment_that_shadows_is_refused(http: httpx2.AsyncClient) -> None:
    """It is what is found there, in place of the global one."""
    await given(http, HOST="hooks.example.com")
    await connect(http, fullUrl="https://${HOST}/in")
    local = [{"environmentName": "development", "value": "evil.example.com"}]

    response = await http.put(path("HOST"), json={"environmentValueList": local})

    assert problems(response) == ["/environmentValueList"]


async def test_a_name_that_shadows_is_refused(http: httpx2.AsyncClient, opened: Opened) -> None:
    """By making one beside that of the project admin, or by renaming one to it."""
    await opened.plane.projects.create(system_actor(), "admin", None)
    await given(http, "admin", HOST="hooks.example.com")
    await given(http, OTHER="evil.example.com", SAME="hooks.example.com")
    await connect(http, fullUrl="https://${HOST}/in")

    made = await http.post(path("HOST"), json=glob("HOST", "evil.example.com"))
    renamed = await http.put(path("OTHER"), json={"name": "HOST"})
    done(await http.put(path("SAME"), json={"name": "HOST"}))

    assert problems(made) == ["/environmentValueList"]
    assert problems(renamed) == ["/name"]


async def test_those_of_other_projects_are_looked_at_too(http: httpx2.AsyncClient, opened: Opened) -> None:
    """A variable of the project admin reaches every project that has none of that name."""
    await opened.plane.projects.create(system_actor(), "admin", None)
    await given(http, "admin", HOST="hooks.example.com")
    await connect(http, fullUrl="https://${HOST}/in")

    response = await http.put(path("HOST", "admin"), json=glob("HOST", "evil.example.com"))

    assert "MyProject/hook" in refusal(response)[2]


async def test_a_global_connection_is_looked_at_where_only_others_are_bound(
    http: httpx2.AsyncClient, opened: Opened
) -> None:
    """A connection of the project admin goes to every environment, so a value for any of them counts."""
    plane, actor = opened.plane, system_actor()
    await plane.projects.create(actor, "admin", None)
    await plane.environments.update(
        actor, "development", name=None, description=None, type_name=None, status=None, access_url=None,
        projects=["MyProject"],
    )  # fmt: skip
    await given(http, "admin", HOST="hooks.example.com")
    done(await http.post(connection_path("hook", "admin"), json=webhook("hook", fullUrl="https://${HOST}/in")))

    response = await http.put(path("HOST", "admin"), json=glob("HOST", "evil.example.com"))

    assert refusal(response)[0] == 400
    assert "hook" in refusal(response)[2]


@pytest.mark.parametrize("field", ["host", "port", "username"])
async def test_every_field_that_says_where_counts(http: httpx2.AsyncClient, field: str) -> None:
    """Of e-mail: the host, the port, and who logs in."""
    first, second = ("25", "2525") if field == "port" else ("one", "two")
    await given(http, X=first)
    body = email("mail", auth=True, **{"username": "ada", "password": "hush", field: "${X}"})
    done(await http.post(connection_path("mail"), json=body))

    response = await http.put(path("X"), json=glob("X", second))

    assert refusal(response)[0] == 400 and field in refusal(response)[2]
