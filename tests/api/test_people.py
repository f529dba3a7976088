"""Users, roles, personal tokens and grants on connections, as the API shows them."""

from __future__ import annotations

import pytest

from mooring.plugin.registry import Registry
from tests.support.plane import CONNECTIONS, DEV_PROJECT, client_of, connection_path, email, webhook

PASSWORD = "a long enough password"
SCRIPT = {**Registry().get("linux-script").example, "name": "s"}


async def made_user(http, name="ada", **memberships):
    body = {"password": PASSWORD, "memberships": [{"projectName": p, "roles": r} for p, r in memberships.items()]}
    answer = await http.post(f"/apiops/users/{name}/", json=body)
    assert answer.status_code == 200, answer.text


async def login(http, name="ada", password=PASSWORD):
    form = {"grant_type": "client_credentials", "client_id": name, "client_secret": password}
    return await http.post("/apiops/auth/token", data=form)


async def text_of(http, name="ada"):
    return (await login(http, name)).json()["access_token"]


async def test_a_user_logs_in_and_may_what_the_roles_say(opened, http):
    """In the project of the role, and nothing in others."""
    await http.post("/apiops/projects/Other/", json={})
    await made_user(http, **{DEV_PROJECT: ["ROLE_VIEWER"]})

    async with client_of(opened.plane, await text_of(http)) as ada:
        statuses = [
            (await ada.get(CONNECTIONS)).status_code,
            (await ada.post(connection_path("a"), json=email("a"))).status_code,
            (await ada.get("/apiops/projects/Other/connections/")).status_code,
        ]
        seen = [each["name"] for each in (await ada.get("/apiops/projects/")).json()["resultList"]]

    assert (statuses, seen) == ([200, 403, 404], [DEV_PROJECT])


@pytest.mark.parametrize("wrong", ["password", "name", "disabled"])
async def test_whatever_is_wrong_with_a_login_has_one_answer(http, wrong):
    """Nobody learns who has an account."""
    await made_user(http)
    if wrong == "disabled":
        await http.put("/apiops/users/ada/", json={"disabled": True})

    answer = await login(
        http, "eve" if wrong == "name" else "ada", "another password" if wrong == "password" else PASSWORD
    )

    assert (answer.status_code, answer.json()["error_description"]) == (401, "Bad credentials")


async def test_a_token_may_no_more_than_its_owner_may_now(opened, http):
    """What is taken from the user is taken from their tokens, at once; disabling ends them."""
    await made_user(http, **{DEV_PROJECT: ["ROLE_API_SECURITY"]})
    async with client_of(opened.plane, await text_of(http)) as ada:
        text = (await ada.post("/apiops/tokens/", json={"name": "t", "grants": ["connections:view"]})).json()["token"]
    statuses = []

    async with client_of(opened.plane, text) as ada:
        statuses.append((await ada.get(CONNECTIONS)).status_code)
        await http.put("/apiops/users/ada/", json={"memberships": []})
        statuses.append((await ada.get(CONNECTIONS)).status_code)
        await http.put("/apiops/users/ada/", json={"disabled": True})
        statuses.append((await ada.get(CONNECTIONS)).status_code)

    assert statuses == [200, 404, 401]


async def test_nobody_grants_a_token_what_they_lack(opened, http):
    """A viewer makes no token that changes anything."""
    await made_user(http, **{DEV_PROJECT: ["ROLE_VIEWER"]})

    async with client_of(opened.plane, await text_of(http)) as ada:
        answer = await ada.post("/apiops/tokens/", json={"name": "t", "grants": ["connections:manage"]})

    assert answer.status_code == 403


async def test_nobody_hands_out_roles_beyond_their_own(opened, http, token_with):
    """Nor takes over a user who may more: whoever sets a password can be that user."""
    await made_user(http, "root", **{DEV_PROJECT: ["ROLE_ADMIN"]})
    async with client_of(opened.plane, await token_with("users:manage")) as clerk:
        body = {"password": PASSWORD, "memberships": [{"roles": ["ROLE_ADMIN"]}]}
        statuses = [
            (await clerk.post("/apiops/users/eve/", json=body)).status_code,
            (await clerk.put("/apiops/users/root/", json={"password": PASSWORD})).status_code,
            (await clerk.delete("/apiops/users/root/")).status_code,
        ]

    assert statuses == [403, 403, 403]


async def test_a_new_password_ends_sessions(opened, http):
    """One's own needs the old one."""
    await made_user(http)
    async with client_of(opened.plane, await text_of(http)) as ada:
        wrong = await ada.put(
            "/apiops/account/password/", json={"currentPassword": "not that one", "newPassword": PASSWORD + "!"}
        )
        right = await ada.put(
            "/apiops/account/password/", json={"currentPassword": PASSWORD, "newPassword": PASSWORD + "!"}
        )
        after = await ada.get("/apiops/account/")

    assert (wrong.status_code, right.status_code, after.status_code) == (400, 200, 401)
    assert (await login(http, "ada", PASSWORD + "!")).status_code == 200


async def test_deleting_a_user_revokes_their_tokens(opened, http):
    """Also where somebody of the same name comes later."""
    await made_user(http, **{DEV_PROJECT: ["ROLE_VIEWER"]})
    text = await text_of(http)

    await http.delete("/apiops/users/ada/")
    await made_user(http, **{DEV_PROJECT: ["ROLE_ADMIN"]})

    async with client_of(opened.plane, text) as ada:
        assert (await ada.get(CONNECTIONS)).status_code == 401


@pytest.mark.parametrize("kind", ["users", "tokens"])
async def test_one_connection_can_be_granted(opened, http, token_with, kind):
    """It can be seen and tested, and its neighbours cannot."""
    for name in ("a", "b"):
        await http.post(connection_path(name), json=webhook(name))
    if kind == "users":
        await made_user(http)
        text = await text_of(http)
        subject = "ada"
    else:
        text = await token_with(project_name=DEV_PROJECT)
        subject = text.split("_")[2]

    await http.put(f"{connection_path('a')}grants/{kind}/{subject}/", json={"grants": ["connections:view"]})

    async with client_of(opened.plane, text) as ada:
        statuses = [
            (await ada.get(connection_path("a"))).status_code,
            (await ada.get(connection_path("b"))).status_code,
            (await ada.delete(connection_path("a"))).status_code,
        ]
        listed = [each["name"] for each in (await ada.get(CONNECTIONS)).json()["resultList"]]
        await http.delete(f"{connection_path('a')}grants/{kind}/{subject}/")
        statuses.append((await ada.get(connection_path("a"))).status_code)
    assert statuses[:3] == [200, 403, 403] and listed == ["a"]
    assert statuses[3] == (404 if kind == "users" else 403)


async def test_scripts_need_a_grant_of_their_own(opened, http, token_with):
    """To create one, to change one, to test one."""
    text = await token_with("connections:view", "connections:manage", "connections:test")
    async with client_of(opened.plane, text) as editor:
        refused = await editor.post(connection_path("s"), json=SCRIPT)
        made = await http.post(connection_path("s"), json=SCRIPT)
        changed = await editor.put(connection_path("s"), json=SCRIPT)
        tested = await editor.post(f"{connection_path('s')}test/")

    assert made.status_code == 200, made.text
    assert [answer.status_code for answer in (refused, changed, tested)] == [403, 403, 403]


async def test_a_global_connection_is_every_project_s(opened, http, token_with):
    """It left its project, keeps its secrets, and only administrators change it."""
    await http.post(connection_path("shared"), json=webhook("shared"))
    before = (await http.get(connection_path("shared"))).json()["resultList"][0]

    moved = await http.post(f"{connection_path('shared')}globalize/")

    after = (await http.get(connection_path("shared", "admin"))).json()["resultList"][0]
    text = await token_with("connections:view", "connections:manage", project_name=DEV_PROJECT)
    async with client_of(opened.plane, text) as editor:
        statuses = [
            (await editor.get(connection_path("shared", "admin"))).status_code,
            (await editor.delete(connection_path("shared", "admin"))).status_code,
            (await editor.get(connection_path("shared"))).status_code,
        ]
    assert moved.status_code == 200, moved.text
    assert (after["projectName"], after["generation"]) == ("admin", before["generation"] + 1)
    assert after["secretFields"] == before["secretFields"] and after["id"] == before["id"]
    assert statuses == [200, 403, 404]


async def test_becoming_global_is_carried_out_once_per_key(http):
    """The same Idempotency-Key has the same answer, although the connection left its project."""
    await http.post(connection_path("shared"), json=webhook("shared"))

    answers = [
        await http.post(f"{connection_path('shared')}globalize/?waitSeconds=0", headers={"Idempotency-Key": "once"})
        for _ in range(2)
    ]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].text == answers[1].text


@pytest.mark.parametrize(("query", "headers", "status"), [
    ("?waitSeconds=soon", {}, 400), ("", {"Idempotency-Key": " "}, 400), ("", {"If-Match": '"9"'}, 412),
])  # fmt: skip
async def test_becoming_global_heeds_what_every_change_heeds(http, query, headers, status):
    """The waiting time, the key and the generation are read; a wrong one moves nothing."""
    await http.post(connection_path("shared"), json=webhook("shared"))

    answer = await http.post(f"{connection_path('shared')}globalize/{query}", headers=headers)

    assert answer.status_code == status
    assert (await http.get(connection_path("shared"))).status_code == 200


@pytest.mark.parametrize("where", ["grants/tokens/", "globalize/"])
async def test_scripts_are_handed_out_by_whoever_may_use_them(opened, http, token_with, where):
    """Granting on one, and making it global, ask for the grant of its type; the answer names it."""
    await http.post(connection_path("s"), json=SCRIPT)
    text = await token_with("connections:view", "connections:manage", "connections:globalize")
    async with client_of(opened.plane, text) as editor:
        path = f"{connection_path('s')}{where}"
        if where == "globalize/":
            answer = await editor.post(path)
        else:
            answer = await editor.put(f"{path}{text.split('_')[2]}/", json={"grants": ["connections:view"]})

    assert (answer.status_code, answer.json()) == (403, {
        "error": "forbidden",
        "error_description": "You do not have permission to perform this action."
        " It needs the grant linux-script:use in this project.",
    })  # fmt: skip


async def test_a_taken_global_name_is_refused(http):
    """As any taken name is."""
    for _ in range(2):
        await http.post(connection_path("shared"), json=webhook("shared"))
        answer = await http.post(f"{connection_path('shared')}globalize/")

    assert (answer.status_code, answer.json()["error_description"]) == (
        400, "Connection (name: shared) already exists!",
    )  # fmt: skip
