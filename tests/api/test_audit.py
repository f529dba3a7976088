"""The audit: one entry for each change, what it says, who may read it, and copies of it that can be checked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner

from mooring.api.routes import ROUTES
from mooring.cli.main import app
from mooring.control.audit import read_copy
from mooring.control.auditing import entry
from mooring.control.tokens import system_actor
from mooring.errors import BadRequest
from mooring.kit.settings import Settings
from mooring.sdk.client import Client
from mooring.serve import check_audit
from mooring.store.base import Record
from tests.api.answers import done, listed, one, problems, refusal
from tests.support.keystores import authority, keystore, keystores_path
from tests.support.plane import (
    DEV_ENVIRONMENT,
    DEV_PROJECT,
    Dev,
    client_of,
    connection_path,
    email,
    opened_here,
    webhook,
)

AUDIT = "/apiops/audit/"
PASSWORD = "a long enough password"


async def entries(http: httpx2.AsyncClient, **filters: Any) -> list[dict[str, Any]]:
    return listed(await http.get(AUDIT, params=filters))


async def newest(http: httpx2.AsyncClient, **filters: Any) -> dict[str, Any]:
    return (await entries(http, limit=1, **filters))[0]


# one entry for each change


async def _everything(http: httpx2.AsyncClient) -> list[tuple[str, httpx2.Response]]:
    """Every route that changes something, used once with success: the route's path and the answer."""
    made: list[tuple[str, httpx2.Response]] = []
    project = f"/apiops/projects/{DEV_PROJECT}"

    async def ask(route: str, method: str, path: str, **options: Any) -> httpx2.Response:
        response = await http.request(method, path, **options)
        assert response.status_code == 200, (route, response.text)
        made.append((f"{method} {route}", response))
        return response

    def route(path: str) -> str:
        return f"/apiops/projects/{{project}}{path}"

    await ask("/apiops/projects/{project}", "POST", "/apiops/projects/Second", json={})
    await ask("/apiops/projects/{project}", "DELETE", "/apiops/projects/Second")
    environment = "/apiops/environments/{name}"
    await ask(environment, "POST", "/apiops/environments/staging", json={})
    await ask(environment, "PUT", "/apiops/environments/staging", json={"description": "x"})
    await ask(environment, "DELETE", "/apiops/environments/staging")
    connection = route("/connections/{name}")
    await ask(connection, "POST", connection_path("hook"), json=webhook("hook"))
    await ask(connection, "PUT", connection_path("hook"), json={**webhook("hook"), "description": "x"})
    await ask(f"{connection}/test", "POST", connection_path("hook") + "test/")
    await ask(connection, "DELETE", connection_path("hook"))
    pem = authority().certificate_pem
    store = {"environmentName": "development", "type": "PEM", "file": pem}
    keystore = {"name": "trust", "keyStoreEnvironmentList": [store]}
    await ask(route("/keystores"), "POST", f"{project}/keystores/", json=keystore)
    await ask(route("/keystores/{name}"), "PUT", f"{project}/keystores/trust/", json={**keystore, "description": "x"})
    await ask(route("/keystores/{name}"), "DELETE", f"{project}/keystores/trust/")
    form = {"keystoreName": "form", "environmentList": "development", "keyStoreType": "PEM"}
    await ask(
        route("/keystores/import-file"), "POST", f"{project}/keystores/import-file/", data=form,
        files={"keystoreFile": ("trust.pem", pem)},
    )  # fmt: skip
    certificate = {
        "certificateName": "ca", "alias": "ca", "certificateDescription": "x", "environmentList": ["development"],
        "pemEncodedFile": pem,
    }  # fmt: skip
    await ask(route("/certificates"), "POST", f"{project}/certificates/", json=certificate)
    await ask(route("/certificates/{name}"), "PUT", f"{project}/certificates/ca/", json={**certificate, "alias": "b"})
    await ask(route("/certificates/{name}"), "DELETE", f"{project}/certificates/ca/")
    variable = {"name": "HOST", "global": True, "globalValue": "a"}
    variables = f"{project}/environmentVariables/HOST/"
    await ask(route("/environmentVariables/{name}"), "POST", variables, json=variable)
    await ask(route("/environmentVariables/{name}"), "PUT", variables, json={**variable, "globalValue": "b"})
    await ask(route("/environmentVariables/{name}"), "DELETE", variables)
    token = await ask("/apiops/tokens", "POST", "/apiops/tokens/", json={"name": "mine"})
    token_id, text = token.json()["resultList"][0]["id"], token.json()["token"]
    login = {"grant_type": "client_credentials", "client_id": token_id, "client_secret": text}
    await ask("/apiops/auth/token", "POST", "/apiops/auth/token", data=login)
    await ask("/apiops/tokens/{token}", "DELETE", f"/apiops/tokens/{token_id}/")
    await ask(
        "/apiops/workers/enrolments", "POST", "/apiops/workers/enrolments/", json={"environmentName": "development"}
    )
    await ask("/apiops/data-keys/rotate", "POST", "/apiops/data-keys/rotate/")
    user, mail = "/apiops/users/ada/", connection_path("shared")
    await ask("/apiops/users/{user}", "POST", user, json={"password": PASSWORD})
    await ask("/apiops/users/{user}", "PUT", user, json={"description": "x"})
    await http.post(mail, json=email("shared"))
    other = (await http.post("/apiops/tokens/", json={"name": "theirs"})).json()["resultList"][0]["id"]
    for kind, subject in (("user", "ada"), ("token", other)):
        share = route(f"/connections/{{name}}/grants/{kind}s/{{{kind}}}")
        await ask(share, "PUT", f"{mail}grants/{kind}s/{subject}/", json={"grants": ["connections:view"]})
        await ask(share, "DELETE", f"{mail}grants/{kind}s/{subject}/")
    await http.post("/apiops/projects/admin/", json={})
    await ask(route("/connections/{name}/globalize"), "POST", f"{mail}globalize/")
    await ask("/apiops/users/{user}", "DELETE", user)
    return made


ELSEWHERE = {
    "PUT /apiops/account/password": "below: is asked by a user",
    "DELETE /apiops/workers/{worker}": "tests/control: needs a worker",
    "POST /worker/v1/enrol": "tests/e2e: is asked by workers",
}


async def test_each_change_leaves_one_entry(http: httpx2.AsyncClient) -> None:
    """Whatever route it came by: one entry, found by the request's id."""
    made = await _everything(http)

    counts = {route: len(await entries(http, requestId=response.headers["x-request-id"])) for route, response in made}
    assert {route: count for route, count in counts.items() if count != 1} == {}


async def test_no_route_that_changes_something_is_left_out(http: httpx2.AsyncClient) -> None:
    """A new route needs its line in the test above."""
    covered = {route for route, _ in await _everything(http)} | ELSEWHERE.keys()

    changing = {f"{card.method} {card.path}" for card in ROUTES if card.method != "GET"}
    assert changing - covered == set()


async def test_what_changes_nothing_leaves_none(http: httpx2.AsyncClient) -> None:
    """The same PUT again, a repeated request with its Idempotency-Key, and a refused one."""
    body = webhook("hook")
    first = await http.post(connection_path("hook"), json=body, headers={"Idempotency-Key": "k"})
    before = len(await entries(http))

    again = await http.post(connection_path("hook"), json=body, headers={"Idempotency-Key": "k"})
    same = await http.put(connection_path("hook"), json=body)
    refused = await http.post(connection_path("hook"), json=body)

    assert (done(first), done(again), same.status_code, refused.status_code) == (done(first), done(first), 200, 400)
    assert len(await entries(http)) == before


@pytest.mark.reveals
async def test_each_reveal_leaves_one_entry(http: httpx2.AsyncClient, plane: Any, token_with: Any) -> None:
    """Who read which secrets, by their keys."""
    done(await http.post(connection_path("hook"), json=webhook("hook")))
    async with client_of(plane, await token_with("connections:view", "secrets:reveal")) as reader:
        one(await reader.get(connection_path("hook")))

    found = await newest(http, action="reveal")

    assert (found["name"], found["changed"]) == ("hook", ["headerList/authorization"])


# what it says


async def test_an_update_says_what_changed(http: httpx2.AsyncClient) -> None:
    """Public values before and after, entries of a list by their names, and of secrets their fingerprints."""
    headers = [{"name": "Authorization", "value": "Bearer one"}, {"name": "X-Shop", "value": "north"}]
    done(await http.post(connection_path("hook"), json=webhook("hook", headerList=headers)))
    old = one(await http.get(connection_path("hook")))["secretFields"]["headerList/authorization"]["fingerprint"]
    headers = [{"name": "Authorization", "value": "Bearer two"}, {"name": "X-Shop", "value": "south"}]

    done(await http.put(connection_path("hook"), json=webhook("hook", headerList=headers, description="ışık")))

    new = one(await http.get(connection_path("hook")))["secretFields"]["headerList/authorization"]["fingerprint"]
    found = await newest(http, action="update")
    assert old != new
    assert found["changes"] == {
        "description": {"old": None, "new": "ışık"},
        "headerList/X-Shop": {"old": "north", "new": "south"},
        "headerList/authorization": {"old": {"fingerprint": old}, "new": {"fingerprint": new}},
    }
    assert found["changed"] == sorted(found["changes"])


async def test_a_secret_that_was_cleared_has_no_fingerprint_any_more(http: httpx2.AsyncClient) -> None:
    """Its old one stands there, and nothing new."""
    body = email("mail", auth=True, username="u", password="p")
    done(await http.post(connection_path("mail"), json=body))

    done(await http.put(connection_path("mail"), json=email("mail", password="")))

    assert (await newest(http, action="update"))["changes"]["password"]["new"] is None


async def test_long_values_are_cut(http: httpx2.AsyncClient) -> None:
    """An audit is no second copy of everything."""
    done(await http.post(connection_path("hook"), json=webhook("hook")))

    done(await http.put(connection_path("hook"), json=webhook("hook", description="x" * 900)))

    told = (await newest(http, action="update"))["changes"]["description"]["new"]
    assert len(told) < 400
    assert "(902 characters)" in told


async def test_an_environment_says_what_changed(http: httpx2.AsyncClient) -> None:
    """As connections do."""
    done(await http.post("/apiops/environments/staging/", json={"description": "a"}))

    done(await http.put("/apiops/environments/staging/", json={"description": "b"}))

    assert (await newest(http, noun="environment"))["changes"] == {"description": {"old": "a", "new": "b"}}


async def test_a_keystore_says_what_changed(http: httpx2.AsyncClient) -> None:
    """Public values before and after; of its file the fingerprints, by environment; nothing of what stays."""
    done(await http.post(keystores_path(), json=keystore("mine", authority().pem())))

    done(await http.put(keystores_path("mine"), json={**keystore("mine", authority("b").pem()), "description": "new"}))

    changes = (await newest(http, noun="keystore"))["changes"]
    file = changes.pop(f"{DEV_ENVIRONMENT}/file")
    assert changes == {"description": {"old": None, "new": "new"}}
    assert file["old"] != file["new"]
    assert len(file["old"]["fingerprint"]) == len(file["new"]["fingerprint"]) == 4


async def test_a_variable_says_that_its_value_changed(http: httpx2.AsyncClient) -> None:
    """By fingerprints, everywhere; the value stands in no entry."""
    path = f"/apiops/projects/{DEV_PROJECT}/environmentVariables/KEY/"
    body = {"name": "KEY", "global": True, "globalValue": "canary-one", "globalVisible": False}
    (await http.post(path, json=body)).raise_for_status()

    (await http.put(path, json={**body, "globalValue": "canary-two"})).raise_for_status()

    (place, change), *others = (await newest(http, noun="variable"))["changes"].items()
    assert (place, others) == ("everywhere/value", [])
    assert change["old"]["fingerprint"] != change["new"]["fingerprint"]
    assert "canary" not in await exported(http)


async def test_a_user_says_what_changed(http: httpx2.AsyncClient) -> None:
    """Roles by project before and after; of the password only that it did."""
    first, second = ({"projectName": DEV_PROJECT, "roles": [role]} for role in ("ROLE_VIEWER", "ROLE_ADMIN"))
    done(await http.post("/apiops/users/ada/", json={"password": PASSWORD, "memberships": [first]}))

    done(await http.put("/apiops/users/ada/", json={"password": f"{PASSWORD}er", "memberships": [second]}))

    found = await newest(http, noun="user")
    place = f"memberships/{DEV_PROJECT}"
    assert found["changes"] == {place: {"old": ["ROLE_VIEWER"], "new": ["ROLE_ADMIN"]}}
    assert found["changed"] == [place, "password"]


async def test_a_user_s_own_password_leaves_one_entry(http: httpx2.AsyncClient, plane: Any) -> None:
    """It says who, and not what."""
    done(await http.post("/apiops/users/ada/", json={"password": PASSWORD}))
    login = {"grant_type": "client_credentials", "client_id": "ada", "client_secret": PASSWORD}
    token = (await http.post("/apiops/auth/token", data=login)).json()["access_token"]
    before = len(await entries(http, noun="user"))

    async with client_of(plane, token) as ada:
        body = {"currentPassword": PASSWORD, "newPassword": f"{PASSWORD}er"}
        done(await ada.put("/apiops/account/password/", json=body))

    found = await entries(http, noun="user")
    assert (len(found) - before, found[0]["actor"], found[0]["changed"]) == (1, "ada", ["password"])
    assert PASSWORD not in json.dumps(found)


async def test_an_entry_says_who_and_from_where(http: httpx2.AsyncClient, plane: Any) -> None:
    """The actor, the token, the request's id, the address, the project."""
    response = await http.post(connection_path("hook"), json=webhook("hook"))

    found = await newest(http)
    assert found["actor"] == "admin"
    assert found["token"] in {token.id for token in await plane.store.tokens()}
    assert found["requestId"] == response.headers["x-request-id"]
    assert found["address"]
    assert (found["projectName"], found["noun"], found["name"]) == (DEV_PROJECT, "connection", "hook")


# reading


async def test_filters_choose(http: httpx2.AsyncClient) -> None:
    """By action, noun, name, instant; all conditions must hold."""
    for name in ("a", "b"):
        done(await http.post(connection_path(name), json=webhook(name)))
    done(await http.delete(connection_path("a")))
    at = (await newest(http))["at"]

    chosen = {
        "by name": len(await entries(http, noun="connection", name="a")),
        "by action": len(await entries(http, action="delete")),
        "by instant": len(await entries(http, **{"from": at, "noun": "connection", "action": "delete"})),
        "before it": len(await entries(http, to=at, action="delete")),
        "by actor": len(await entries(http, actor="nobody")),
    }
    assert chosen == {"by name": 2, "by action": 1, "by instant": 1, "before it": 0, "by actor": 0}


async def test_pages_follow_one_another(http: httpx2.AsyncClient) -> None:
    """Each page says under which number the next begins; together they are everything, once."""
    for number in range(7):
        done(await http.post(connection_path(f"c{number}"), json=webhook(f"c{number}")))
    everything = [entry["seq"] for entry in await entries(http, limit=1000)]

    found, before = [], 0
    while before is not None:
        page = (await http.get(AUDIT, params={"limit": 3, **({"before": before} if before else {})})).json()
        found += [entry["seq"] for entry in page["resultList"]]
        before = page["nextBefore"]

    assert found == everything == sorted(everything, reverse=True)


@pytest.mark.parametrize(
    ("name", "value"), [("from", "yesterday"), ("to", "2026-13-01"), ("limit", "0"), ("before", "x")]
)
async def test_a_wrong_parameter_is_named(http: httpx2.AsyncClient, name: str, value: str) -> None:
    """It is a 400 that says which."""
    assert problems(await http.get(AUDIT, params={name: value})) == [f"/{name}"]


async def test_who_may_not_see_it_is_told(http: httpx2.AsyncClient, plane: Any, token_with: Any) -> None:
    """Without the grant 403; with it in one project, that project's only."""
    done(await http.post(connection_path("hook"), json=webhook("hook")))
    async with client_of(plane, await token_with("connections:view")) as reader:
        statuses = [refusal(await reader.get(f"{AUDIT}{path}"))[0] for path in ("", "export/", "head/")]
    async with client_of(plane, await token_with("audit:view", project_name=DEV_PROJECT)) as member:
        statuses.append(refusal(await member.get(AUDIT))[0])
        own = await entries(member, projectName=DEV_PROJECT)
        statuses.append(refusal(await member.get(AUDIT, params={"projectName": "Other"}))[0])

    assert statuses == [403, 403, 403, 403, 404]
    assert {entry["projectName"] for entry in own} == {DEV_PROJECT}


# copies, and checks


async def exported(http: httpx2.AsyncClient) -> str:
    response = await http.get(f"{AUDIT}export/")
    assert response.status_code == 200
    return response.text


Bent = Callable[[list[str]], list[str]]


def _renamed(lines: list[str]) -> list[str]:
    number = next(number for number, line in enumerate(lines) if '"name":"ışık"' in line)
    return [*lines[:number], lines[number].replace("ışık", "isik"), *lines[number + 1 :]]


BENT: dict[str, Bent] = {
    "as it was": lambda lines: lines,
    "a line removed": lambda lines: lines[:3] + lines[4:],
    "a value changed": _renamed,
}


@pytest.mark.parametrize("what", BENT)
async def test_a_copy_can_be_checked(http: httpx2.AsyncClient, opened: Any, what: str) -> None:
    """A copy of everything is whole; one that was bent is not."""
    for name in ("a", "ışık", "c"):
        done(await http.post(connection_path(name), json=webhook(name)))
    done(await http.put(connection_path("ışık"), json=webhook("ışık", description='"quoted" \u2028 ğ')))
    copy = opened.data_dir.parent / "copy.ndjson"
    lines = (await exported(http)).splitlines(keepends=True)
    copy.write_text("".join(BENT[what]([line for line in lines if line.strip()])), "utf-8")

    verdict = await check_audit(Settings(data_dir=opened.data_dir), copy, None)

    assert (verdict.wrong is None) is (what == "as it was")


async def test_a_copy_of_a_part_says_that_it_can_not_be_checked(http: httpx2.AsyncClient, opened: Any) -> None:
    """It has no links, which would tell how much others do, and is not called bent."""
    done(await http.post(connection_path("hook"), json=webhook("hook")))
    copy = opened.data_dir.parent / "copy.ndjson"
    copy.write_text((await http.get(f"{AUDIT}export/", params={"projectName": DEV_PROJECT})).text, "utf-8")

    with pytest.raises(BadRequest, match="a part of the audit"):
        await check_audit(Settings(data_dir=opened.data_dir), copy, None)

    assert '"link"' not in copy.read_text("utf-8")


def test_the_client_s_copy_can_be_checked(dev: Dev) -> None:
    """Also where texts hold what some take for the end of a line."""
    done(dev.api.post(connection_path("lines"), json=webhook("lines")))
    done(dev.api.put(connection_path("lines"), json=webhook("lines", description="one \u2028 two \u0085 three")))
    with Client(dev.url, dev.token) as client:
        lines = list(client.export_audit())

    links, records = read_copy(lines)

    assert links[-1].last == records[-1][0] == len(records)


async def test_a_change_that_fits_no_entry_is_named_all_the_same(http: httpx2.AsyncClient, opened: Any) -> None:
    """Its values are left out, and a copy of it is whole."""
    name = "X-" + "n" * 9000
    done(await http.post(connection_path("hook"), json=webhook("hook")))
    await opened.plane.store.commit(
        Record(entry(system_actor(), "update", "connection", "con_1", "x", changes={f"headerList/{name}": (1, 2)}))
    )
    copy = opened.data_dir.parent / "copy.ndjson"
    copy.write_text(await exported(http), "utf-8")

    assert (await newest(http))["changed"] == [f"headerList/{name}"]
    assert (await check_audit(Settings(data_dir=opened.data_dir), copy, None)).wrong is None


async def test_the_same_environment_again_leaves_none(http: httpx2.AsyncClient) -> None:
    """As with connections."""
    done(await http.post("/apiops/environments/staging/", json={"description": "a", "projects": [DEV_PROJECT]}))
    before = await newest(http)

    done(await http.put("/apiops/environments/staging/", json={"description": "a", "projects": [DEV_PROJECT]}))

    assert await newest(http) == before


async def test_the_command_line_checks_while_the_control_plane_runs(http: httpx2.AsyncClient, opened: Any) -> None:
    """`verify` with a kept head: whole; then somebody changes a row, and it names it and ends with 1."""
    done(await http.post(connection_path("hook"), json=webhook("hook")))
    head = opened.data_dir.parent / "head.json"
    head.write_text(json.dumps(one(await http.get(f"{AUDIT}head/"))))
    arguments = ["audit", "verify", "--data-dir", str(opened.data_dir), "--head", str(head)]
    seq = (await newest(http))["seq"]

    whole = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    opened.plane.store._write_db.execute("UPDATE audit SET actor = 'eve' WHERE seq = ?", (seq,))
    bent = await asyncio.to_thread(CliRunner().invoke, app, arguments)

    assert (whole.exit_code, "all of them whole" in whole.output) == (0, True)
    assert (bent.exit_code, f"record {seq} was changed" in bent.output) == (1, True)


async def test_the_chain_survives_a_new_data_key(opened: Any, http: httpx2.AsyncClient) -> None:
    """Rotation leaves it as it is."""
    done(await http.post(connection_path("hook"), json=webhook("hook")))

    await http.post("/apiops/data-keys/rotate/")
    done(await http.delete(connection_path("hook")))

    assert (await check_audit(Settings(data_dir=opened.data_dir), None, None)).wrong is None


async def test_a_later_start_goes_on(tmp_path: Any) -> None:
    """What two processes wrote, one after the other, is one chain."""
    for name in ("a", "b"):
        async with opened_here(tmp_path) as opened, client_of(opened.plane, opened.token) as http:
            done(await http.post(connection_path(name), json=webhook(name)))

    assert (await check_audit(Settings(data_dir=tmp_path), None, None)).wrong is None
