"""Keystores by the API: the documented shapes and words, and nothing private anywhere."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from mooring.control.tokens import system_actor
from tests.api.answers import done, listed, one, problems, refusal
from tests.support.keystores import PASSWORD, Tools, authority, b64, issued, keystore, keystores_path
from tests.support.plane import DEV_PROJECT, Opened, client_of, connection_path, webhook

ROOT = authority("Root")
ME = issued(ROOT, "me.example.com")
PATH = keystores_path()


async def made(http: httpx2.AsyncClient, name: str = "Mine", **more: Any) -> dict[str, Any]:
    return done(await http.post(PATH, json=keystore(name, ME.pem(), **more)))


def entry(body: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = body["keyStoreEnvironmentList"][0]
    return found


# create and read


async def test_create_answers_in_the_documented_shape(http: httpx2.AsyncClient) -> None:
    """success, and a deploymentResult with success, message and environmentResults."""
    result = (await made(http))["deploymentResult"]

    assert (result["success"], result["message"]) == (True, "Deployment completed successfully")
    (environment,) = result["environmentResults"]
    assert (environment["environmentName"], environment["success"]) == ("development", True)
    assert environment["message"].startswith("Deployed successfully")


async def test_get_shows_the_documented_keys(http: httpx2.AsyncClient) -> None:
    """And beside them what people look for in a certificate."""
    await made(http, alias="me")

    found = one(await http.get(keystores_path("mine")))

    assert (found["name"], found["description"]) == ("Mine", None) and found["projectId"].startswith("prj_")
    shown = entry(found)
    assert {key: shown[key] for key in ("environmentName", "type", "keyStoreType", "alias", "file", "password")} == {
        "environmentName": "development", "type": "PEM", "keyStoreType": "PEM", "alias": "me", "file": None, "password": None,
    }  # fmt: skip
    (about,) = shown["entries"]
    assert about["subjectDn"] == "CN=me.example.com"
    assert shown["expiresAt"] == min(about["notAfter"], *(each["notAfter"] for each in about["chain"]))


async def test_the_list_is_by_name_and_counts(http: httpx2.AsyncClient) -> None:
    """Without the entries, which a truststore may have hundreds of."""
    for name in ("b", "A", "c"):
        await made(http, name)

    found = listed(await http.get(PATH))

    assert [each["name"] for each in found] == ["A", "b", "c"]
    assert entry(found[0])["entryCount"] == 1 and "entries" not in entry(found[0])


async def test_the_list_has_pages_and_cursors(http: httpx2.AsyncClient) -> None:
    """As the list of connections has."""
    for name in ("a", "b", "c"):
        await made(http, name)

    page = listed(await http.get(PATH, params={"page": 2, "size": 1, "sort": "name,desc"}))
    first = (await http.get(PATH, params={"limit": 2})).json()
    rest = (await http.get(PATH, params={"limit": 2, "cursor": first["nextCursor"]})).json()

    assert [each["name"] for each in page] == ["b"]
    assert [each["name"] for each in first["resultList"]] == ["a", "b"]
    assert ([each["name"] for each in rest["resultList"]], rest["nextCursor"]) == (["c"], None)


@pytest.mark.parametrize("kind", ["JKS", "PKCS12"])
async def test_java_s_files_are_taken(http: httpx2.AsyncClient, tools: Tools, kind: str) -> None:
    """By the older key of the type and by the newer one."""
    file = b64(tools.converted(ME, kind))
    for number, key in enumerate(("type", "keyStoreType")):
        body = {
            "name": f"{kind}{number}",
            "keyStoreEnvironmentList": [
                {"environmentName": "development", key: kind, "file": file, "password": PASSWORD}
            ],
        }
        done(await http.post(PATH, json=body))

        assert entry(one(await http.get(keystores_path(f"{kind}{number}"))))["type"] == kind


async def test_the_older_and_the_newer_type_must_agree(http: httpx2.AsyncClient) -> None:
    """Two that differ are refused."""
    body = keystore("x", ME.pem(), type="JKS")

    assert problems(await http.post(PATH, json=body)) == ["/keyStoreEnvironmentList/0/keyStoreType"]


async def test_a_form_makes_a_keystore_too(http: httpx2.AsyncClient, tools: Tools) -> None:
    """With the documented fields, for every environment it names; `override` replaces one that is there."""
    form = {
        "keystoreName": "mine", "password": PASSWORD, "environmentList": "development", "keyStoreType": "JKS",
        "keystoreDescription": "ours", "alias": "me",
    }  # fmt: skip
    files = {"keystoreFile": ("mine.jks", tools.converted(ME, "JKS"))}

    done(await http.post(f"{PATH}import-file/", data=form, files=files))
    again = await http.post(f"{PATH}import-file/", data=form, files=files)
    done(
        await http.post(
            f"{PATH}import-file/", data={**form, "override": "true", "keystoreDescription": "new"}, files=files
        )
    )

    assert refusal(again)[2].startswith("Keystore (name: mine) is already exist!")
    found = one(await http.get(keystores_path("mine")))
    assert (found["description"], entry(found)["alias"]) == ("new", "me")


# refusals


async def test_a_taken_name_is_said_in_the_documented_words(http: httpx2.AsyncClient) -> None:
    """Ignoring case, and before anything else that is wrong."""
    await made(http)

    response = await http.post(PATH, json={"name": "mINE", "keyStoreEnvironmentList": "nonsense"})

    assert refusal(response) == (
        400, "bad_request", "Keystore (name: mINE) is already exist! Try update operation if want to change its value.",
    )  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_a_missing_keystore_is_400(http: httpx2.AsyncClient, method: str) -> None:
    """As documented, also for GET."""
    response = await http.request(method, keystores_path("nobody"), json={} if method == "PUT" else None)

    assert refusal(response) == (400, "bad_request", "Keystore (name: nobody) is not found!")


async def test_a_missing_project_has_the_words_of_these_pages(http: httpx2.AsyncClient) -> None:
    """Which differ from those of connections."""
    response = await http.get(keystores_path(project="Nowhere"))

    assert refusal(response) == (
        404, "not_found", "Project(Nowhere) was not found or user does not have privilege to access it!",
    )  # fmt: skip


async def test_another_project_s_token_sees_nothing(opened: Opened, token_with: Callable[..., Any]) -> None:
    """The same answer as for a project that does not exist."""
    await opened.plane.projects.create(system_actor(), "Other", None)
    token = await token_with("connections:view", "connections:manage", project_name="Other")
    async with client_of(opened.plane, token) as http:
        answers = [await http.get(PATH), await http.post(PATH, json=keystore("x", ME.pem()))]

    assert [refusal(each)[0] for each in answers] == [404, 404]


async def test_looking_and_changing_need_their_grants(opened: Opened, token_with: Callable[..., Any]) -> None:
    """Those of connections."""
    async with client_of(opened.plane, await token_with("connections:view")) as http:
        refused = [
            await http.post(PATH, content=b"{", headers={"Content-Type": "application/json"}),
            await http.put(keystores_path("x"), json={}), await http.delete(keystores_path("x")),
        ]  # fmt: skip
        assert (await http.get(PATH)).status_code == 200
    async with client_of(opened.plane, await token_with("connections:attach")) as http:
        refused.append(await http.get(PATH))

    assert [refusal(each)[:2] for each in refused] == [(403, "forbidden")] * 4


@pytest.mark.parametrize(
    ("change", "path", "text"),
    [
        ({"password": "wrong"}, "password", "it is wrong, or the file was changed after it was made"),
        ({"password": None}, "password", "the file holds a private key, and no password was sent"),
        ({"file": b64(b"hello")}, "file", None),
        ({"file": "no base64!"}, "file", "it must be base64"),
        ({"alias": "nobody"}, "alias", "the file holds no entry of that name"),
        ({"keyStoreType": "PEM"}, "file", "it is not a PEM file; say JKS or PKCS12"),
        ({"keyStoreType": "BKS"}, "keyStoreType", "must be one of JKS, PKCS12, PEM"),
    ],
)
async def test_the_field_to_correct_is_named(
    http: httpx2.AsyncClient, tools: Tools, change: dict[str, Any], path: str, text: str | None
) -> None:
    """With its place in the list, and the reason; never what was sent."""
    good = {
        "environmentName": "development", "keyStoreType": "JKS", "file": b64(tools.converted(ME, "JKS")),
        "password": PASSWORD,
    }  # fmt: skip
    body = {"name": "x", "keyStoreEnvironmentList": [{**good, **change}]}

    response = await http.post(PATH, json=body)

    assert problems(response) == [f"/keyStoreEnvironmentList/0/{path}"]
    field = f"keyStoreEnvironmentList[0].{path}"
    assert response.json()["error_description"].startswith(f"{field} is not valid: ")
    if text is not None:
        assert response.json()["error_description"] == f"{field} is not valid: {text}"
    assert "wrong" not in response.text.replace("it is wrong", "") and "nobody" not in response.text


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "name value can not be empty!"),
        ({"name": "x"}, "keyStoreEnvironmentList value can not be empty!"),
        ({"name": "x", "keyStoreEnvironmentList": []}, "keyStoreEnvironmentList value can not be empty!"),
        ({"name": "x", "keyStoreEnvironmentList": [{}]}, "environmentName value can not be empty!"),
        (
            {"name": "x", "keyStoreEnvironmentList": [{"environmentName": "moon", "type": "PEM", "file": "AA=="}]},
            "Environment (moon) is not found or user does not have privilege to access it!",
        ),
        (
            {"name": "x", "keyStoreEnvironmentList": [{"environmentName": "development", "type": "PEM"}]},
            "keyStoreEnvironmentList[0].file value can not be empty!",
        ),
        (
            {"name": "x", "keyStoreEnvironmentList": [{"environmentName": "development", "file": b64(b"x")}]},
            "keyStoreEnvironmentList[0].type value can not be empty!",
        ),
        ({"name": "a/b", "keyStoreEnvironmentList": [{"environmentName": "development"}]}, "name is not valid: it contains '/'"),
        ({"nmae": "x"}, "nmae is not a known field; did you mean 'name'?"),
    ],
)  # fmt: skip
async def test_what_is_missing_is_said(http: httpx2.AsyncClient, body: dict[str, Any], text: str) -> None:
    """In the documented words."""
    assert refusal(await http.post(PATH, json=body)) == (400, "bad_request", text)


async def test_an_environment_of_other_projects_is_not_found(opened: Opened, http: httpx2.AsyncClient) -> None:
    """Bound to another project, it does not exist here."""
    await opened.plane.projects.create(system_actor(), "Other", None)
    await opened.plane.environments.create(system_actor(), "theirs", projects=["Other"])

    response = await http.post(PATH, json=keystore("x", ME.pem(), environment="theirs"))

    assert refusal(response)[2] == "Environment (theirs) is not found or user does not have privilege to access it!"


async def test_bodies_may_be_larger_than_elsewhere_and_are_bounded(http: httpx2.AsyncClient) -> None:
    """A file of 512 KiB fits; 4 MiB is the end."""
    big = keystore("x", bytes(512 * 1024))
    huge = {"name": "x" * (5 * 1024 * 1024)}

    assert problems(await http.post(PATH, json=big)) == ["/keyStoreEnvironmentList/0/file"]
    assert (await http.post(PATH, json=huge)).status_code == 413
    assert (
        await http.post(connection_path("c"), json={**webhook("c"), "description": "x" * 300_000})
    ).status_code == 413


# update


async def test_what_a_put_leaves_out_stays(http: httpx2.AsyncClient, tools: Tools) -> None:
    """File, password and environments; what was read can be put back."""
    file = tools.converted(ME, "JKS")
    done(await http.post(PATH, json=keystore("mine", file, "JKS", password=PASSWORD)))
    read = one(await http.get(keystores_path("mine")))

    done(await http.put(keystores_path("mine"), json=read))
    done(await http.put(keystores_path("mine"), json={"description": "ours"}))
    changed = one(await http.get(keystores_path("mine")))

    assert changed["description"] == "ours" and changed["generation"] == 2
    assert entry(changed)["entries"] == entry(read)["entries"]


async def test_a_put_of_the_same_is_no_change(http: httpx2.AsyncClient) -> None:
    """No new generation, no audit entry."""
    body = keystore("mine", ME.pem())
    await http.post(PATH, json=body)
    before = (await http.get("/apiops/audit/")).json()["resultCount"]

    done(await http.put(keystores_path("mine"), json=body))

    assert one(await http.get(keystores_path("mine")))["generation"] == 1
    assert (await http.get("/apiops/audit/")).json()["resultCount"] == before


async def test_a_kept_password_must_fit_a_new_file(http: httpx2.AsyncClient, tools: Tools) -> None:
    """Where it does not, the password is what to send."""
    done(await http.post(PATH, json=keystore("mine", tools.converted(ME, "JKS"), "JKS", password=PASSWORD)))
    other = {"environmentName": "development", "file": b64(tools.converted(ME, "JKS", password="another"))}

    response = await http.put(keystores_path("mine"), json={"keyStoreEnvironmentList": [other]})

    assert problems(response) == ["/keyStoreEnvironmentList/0/password"]


async def test_an_environment_that_a_put_does_not_name_is_removed(opened: Opened, http: httpx2.AsyncClient) -> None:
    """The list is the whole list; what is named and left empty stays as it was."""
    await opened.plane.environments.create(system_actor(), "second")
    body = keystore("mine", ME.pem())
    body["keyStoreEnvironmentList"] += [{**entry(body), "environmentName": "second"}]
    await http.post(PATH, json=body)

    done(await http.put(keystores_path("mine"), json={"keyStoreEnvironmentList": [{"environmentName": "SECOND"}]}))

    found = one(await http.get(keystores_path("mine")))
    assert [each["environmentName"] for each in found["keyStoreEnvironmentList"]] == ["second"]


async def test_a_keystore_can_be_renamed(http: httpx2.AsyncClient) -> None:
    """And is found under its new name only."""
    await made(http)

    done(await http.put(keystores_path("mine"), json={"name": "Yours"}))

    assert one(await http.get(keystores_path("yours")))["name"] == "Yours"
    assert (await http.get(keystores_path("mine"))).status_code == 400


async def test_a_keystore_in_use_is_not_renamed(http: httpx2.AsyncClient) -> None:
    """409 names who uses it; another spelling of the same name is no rename."""
    await made(http)
    await http.post(connection_path("hook"), json=webhook("hook", keyStoreName="mine"))

    refused = await http.put(keystores_path("mine"), json={"name": "yours"})
    done(await http.put(keystores_path("mine"), json={"name": "MINE"}))

    assert refusal(refused)[:2] == (409, "conflict")
    assert refusal(refused)[2].startswith("Keystore (name: Mine) is in use by: hook")


async def test_if_match_guards_a_change(http: httpx2.AsyncClient) -> None:
    """With the ETag of a GET."""
    await made(http)
    etag = (await http.get(keystores_path("mine"))).headers["etag"]
    done(await http.put(keystores_path("mine"), json={"description": "a"}, headers={"If-Match": etag}))

    late = await http.put(keystores_path("mine"), json={"description": "b"}, headers={"If-Match": etag})

    assert refusal(late)[:2] == (412, "conflict")


async def test_an_idempotency_key_makes_one_effect(http: httpx2.AsyncClient) -> None:
    """The same answer again; with another body, 409."""
    headers = {"Idempotency-Key": "once"}
    first = await http.post(PATH, json=keystore("a", ROOT.pem()), headers=headers)

    again = await http.post(PATH, json=keystore("a", ROOT.pem()), headers=headers)
    other = await http.post(PATH, json=keystore("b", ROOT.pem()), headers=headers)

    assert again.json() == first.json()
    assert refusal(other)[:2] == (409, "conflict")


async def test_a_key_of_a_request_that_changed_nothing_is_used_up_too(http: httpx2.AsyncClient) -> None:
    """Another request with it is refused."""
    await made(http)
    headers = {"Idempotency-Key": "once"}
    done(await http.put(keystores_path("mine"), json={}, headers=headers))

    other = await http.put(keystores_path("mine"), json={"description": "d"}, headers=headers)

    assert refusal(other)[:2] == (409, "conflict")


# delete


async def test_one_in_use_is_not_deleted(http: httpx2.AsyncClient) -> None:
    """409 names its users; it stays. Without them it goes."""
    await made(http)
    await http.post(connection_path("hook"), json=webhook("hook", keyStoreName="mine"))

    refused = await http.delete(keystores_path("mine"))

    assert refusal(refused)[:2] == (409, "conflict")
    assert refusal(refused)[2].startswith("Keystore (name: Mine) is in use by: hook. ")
    assert one(await http.get(connection_path("hook")))["warnings"] == []
    done(await http.delete(connection_path("hook")))
    done(await http.delete(keystores_path("mine")))


async def test_the_name_is_free_afterwards(http: httpx2.AsyncClient) -> None:
    """A deleted keystore leaves nothing behind."""
    await made(http)
    done(await http.delete(keystores_path("mine")))

    await made(http)

    assert len(listed(await http.get(PATH))) == 1


# what connections say


async def test_a_connection_is_warned_only_of_what_is_missing(http: httpx2.AsyncClient) -> None:
    """By create, get and list, as it is at that moment."""
    await made(http)
    body = webhook("hook", keyStoreName="MINE", trustStoreName="nowhere", verifyHostname=True)

    created = done(await http.post(connection_path("hook"), json=body))["deploymentResult"]["warnings"]
    await http.post(PATH, json=keystore("nowhere", ROOT.certificate_pem.encode()))

    assert [(each["path"], each["code"]) for each in created] == [("/trustStoreName", "reference_missing")]
    assert one(await http.get(connection_path("hook")))["warnings"] == []
    assert one(await http.get(connection_path("").removesuffix("/")))["warnings"] == []


async def test_an_environment_without_content_is_named(opened: Opened, http: httpx2.AsyncClient) -> None:
    """The keystore exists, and has nothing there."""
    await opened.plane.environments.create(system_actor(), "second")
    await made(http)

    result = done(await http.post(connection_path("hook"), json=webhook("hook", keyStoreName="mine")))[
        "deploymentResult"
    ]

    assert [each["message"] for each in result["warnings"]] == ["keyStoreName: the keystore has nothing for second"]


@pytest.mark.parametrize(("days", "code"), [(-1, "material_expired"), (10, "material_expires"), (100, None)])
async def test_expiry_is_a_warning(http: httpx2.AsyncClient, days: int, code: str | None) -> None:
    """Of what has expired, and of what does within 30 days."""
    await http.post(PATH, json=keystore("mine", issued(ROOT, days=days).pem()))
    await http.post(connection_path("hook"), json=webhook("hook", keyStoreName="mine"))

    warnings = one(await http.get(connection_path("hook")))["warnings"]

    assert [each["code"] for each in warnings] == ([code] if code else [])


async def test_old_roots_in_a_bundle_are_no_warning(http: httpx2.AsyncClient) -> None:
    """As long as others in it are valid."""
    bundle = (authority("Old", days=-100).certificate_pem + ROOT.certificate_pem).encode()
    await http.post(PATH, json=keystore("trust", bundle))
    await http.post(connection_path("hook"), json=webhook("hook", trustStoreName="trust", verifyHostname=True))

    assert one(await http.get(connection_path("hook")))["warnings"] == []


async def test_what_a_get_says_of_uses_can_be_put_back(http: httpx2.AsyncClient) -> None:
    """`uses` is an answer's key: accepted and ignored."""
    await http.post(connection_path("hook"), json=webhook("hook", keyStoreName="mine"))
    read = one(await http.get(connection_path("hook")))

    done(await http.put(connection_path("hook"), json=read))

    assert read["uses"] == [{"field": "keyStoreName", "kind": "keystore", "name": "mine"}]


async def test_a_text_that_looks_like_uses_is_a_text(http: httpx2.AsyncClient) -> None:
    """Whatever stands in a description, a connection that uses nothing is left as it is."""
    body = webhook("hook", description='","uses":[{"field":"x"}],"')
    await http.post(connection_path("hook"), json=body)

    found = one(await http.get(connection_path("hook")))

    assert found["description"] == body["description"] and found["warnings"] == [] and "uses" not in found


async def test_a_keystore_of_the_admin_project_serves_every_project(opened: Opened, http: httpx2.AsyncClient) -> None:
    """And only of that one."""
    for name in ("admin", "Other"):
        await opened.plane.projects.create(system_actor(), name, None)
    await http.post(keystores_path(project="admin"), json=keystore("shared", ME.pem()))
    await http.post(keystores_path(project="Other"), json=keystore("private", ME.pem()))
    body = webhook("hook", keyStoreName="shared", trustStoreName="private", verifyHostname=True)

    result = done(await http.post(connection_path("hook"), json=body))["deploymentResult"]

    assert [each["path"] for each in result["warnings"]] == ["/trustStoreName"]


async def test_users_in_projects_that_one_may_not_see_are_counted(
    opened: Opened, http: httpx2.AsyncClient, token_with: Callable[..., Any]
) -> None:
    """Who keeps the keystores of `admin` need not know what others call their connections."""
    await opened.plane.projects.create(system_actor(), "admin", None)
    await http.post(keystores_path(project="admin"), json=keystore("shared", ME.pem()))
    await http.post(connection_path("hook"), json=webhook("hook", keyStoreName="shared"))
    token = await token_with("connections:manage", project_name="admin")
    async with client_of(opened.plane, token) as keeper:
        refused = await keeper.put(keystores_path("shared", "admin"), json={"name": "other"})
    seen = await http.put(keystores_path("shared", "admin"), json={"name": "other"})

    assert "is in use by: 1 more" in refusal(refused)[2] and "hook" not in refused.text
    assert "is in use by: MyProject/hook" in refusal(seen)[2]


# secrecy


async def test_nothing_private_is_ever_answered_logged_or_stored_in_the_clear(
    opened: Opened, http: httpx2.AsyncClient, tools: Tools, capfd: pytest.CaptureFixture[str]
) -> None:
    """Password, file and key: not in any answer, not in the log, the audit or the database files."""
    password, key = "canary-" + "Kx7", ME.key_pem().splitlines()[1]
    file = tools.converted(ME, "JKS", password=password)
    body = keystore("mine", file, "JKS", password=password)
    wrong = keystore("other", file, "JKS", password=password + "x")
    answers = [
        await http.post(PATH, json=body), await http.post(PATH, json=wrong), await http.get(keystores_path("mine")),
        await http.get(PATH), await http.put(keystores_path("mine"), json={**body, "description": "d"}),
        await http.get("/apiops/audit/"), await http.delete(keystores_path("mine")),
    ]  # fmt: skip

    said = "".join(answer.text for answer in answers) + "".join(capfd.readouterr())
    stored = b"".join(each.read_bytes() for each in Path(opened.data_dir).glob("mooring.db*"))

    for secret in (password, b64(password), b64(file)[:200], key):
        assert secret not in said
        assert secret.encode() not in stored
    assert file[:200] not in stored
    assert base64.b64decode(key) not in stored


async def test_the_audit_names_what_changed(http: httpx2.AsyncClient) -> None:
    """The fields, never the values; one entry for each change."""
    await made(http)
    await http.put(keystores_path("mine"), json=keystore("mine", ROOT.pem(), alias="me"))
    await http.delete(keystores_path("mine"))

    found = [each for each in (await http.get("/apiops/audit/")).json()["resultList"] if each["noun"] == "keystore"]

    assert [(each["action"], each["name"], each["changed"]) for each in reversed(found)] == [
        ("create", "Mine", []), ("update", "mine", ["alias", "file", "name"]), ("delete", "mine", []),
    ]  # fmt: skip


async def test_reveal_shows_no_keystore(
    opened: Opened, token_with: Callable[..., Any], http: httpx2.AsyncClient
) -> None:
    """A token that may see secrets of connections sees none here."""
    await made(http)
    token = await token_with("connections:view", "secrets:reveal")
    async with client_of(opened.plane, token) as revealing:
        shown = entry(one(await revealing.get(keystores_path("mine"))))

    assert (shown["file"], shown["password"]) == (None, None)
    assert "PRIVATE" not in json.dumps(shown)


def test_the_project_is_the_usual_one() -> None:
    """What the paths of these tests say."""
    assert DEV_PROJECT in PATH
