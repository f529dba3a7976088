"""Environment variables by the API: the documented shapes and words, and what can never be read."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from mooring.control.tokens import system_actor
from tests.api.answers import done, listed, one, problems, refusal
from tests.support.keystores import authority, keystore, keystores_path
from tests.support.plane import Opened, connection_path, webhook

PATH = "/apiops/projects/MyProject/environmentVariables/"
HERE = "development"


def path(name: str, project: str = "MyProject") -> str:
    return f"/apiops/projects/{project}/environmentVariables/{quote(name, safe='')}/"


def glob(name: str, value: str | None = "one", **more: Any) -> dict[str, Any]:
    return {"name": name, "global": True, "globalValue": value, **more}


def local(name: str, value: str | None = "one", **more: Any) -> dict[str, Any]:
    return {"name": name, "environmentValueList": [{"environmentName": HERE, "value": value, **more}]}


async def made(http: httpx2.AsyncClient, body: dict[str, Any]) -> dict[str, Any]:
    return done(await http.post(path(body["name"]), json=body))


async def test_a_variable_is_made(http: httpx2.AsyncClient) -> None:
    """And the answer has the documented second shape."""
    result = (await made(http, local("API_KEY")))["deploymentResult"]

    assert (result["success"], result["message"]) == (True, "Deployment completed successfully")
    (entry,) = result["environmentResults"]
    assert (entry["environmentName"], entry["success"]) == (HERE, True)
    assert entry["message"].startswith("Deployed successfully")


async def test_get_has_the_documented_keys(http: httpx2.AsyncClient) -> None:
    """With an environment's value null, because they are hidden unless said otherwise."""
    await made(http, {**local("API_KEY"), "description": "for the API"})

    found = one(await http.get(path("api_key")))

    assert found["name"] == "API_KEY" and found["description"] == "for the API" and found["projectName"] == "MyProject"
    assert (found["global"], found["globalValue"], found["globalVisible"]) == (False, None, True)
    assert found["environmentValueList"] == [{"environmentName": HERE, "value": None, "visible": False, "set": True}]


async def test_a_global_value_is_shown_unless_hidden(http: httpx2.AsyncClient) -> None:
    """globalVisible is true by default; where it is false the value is null, on get and on list."""
    await made(http, glob("SHOWN", "open"))
    await made(http, glob("HIDDEN", "closed", globalVisible=False))

    found = {each["name"]: each["globalValue"] for each in listed(await http.get(PATH))}

    assert found == {"SHOWN": "open", "HIDDEN": None}
    assert one(await http.get(path("HIDDEN")))["globalValue"] is None


async def test_what_was_read_can_be_put_back(http: httpx2.AsyncClient) -> None:
    """Null keeps: nothing changes, and the generation stays."""
    await made(http, {**local("A"), "global": True, "globalValue": "g", "globalVisible": False})
    before = one(await http.get(path("A")))

    done(await http.put(path("A"), json=before))

    assert one(await http.get(path("A"))) == before


async def test_empty_clears(http: httpx2.AsyncClient) -> None:
    """The entry stays, without a value."""
    await made(http, local("A", visible=True))

    done(await http.put(path("A"), json=local("A", "", visible=True)))

    (entry,) = one(await http.get(path("A")))["environmentValueList"]
    assert entry == {"environmentName": HERE, "value": None, "visible": True, "set": False}


async def test_a_hidden_value_cannot_be_made_visible(http: httpx2.AsyncClient) -> None:
    """Unless it is sent again: otherwise whoever may change it could read it."""
    await made(http, local("A", "closed"))
    await made(http, glob("B", "closed", globalVisible=False))

    first = await http.put(path("A"), json=local("A", None, visible=True))
    second = await http.put(path("B"), json={"globalVisible": True})
    done(await http.put(path("B"), json={"globalVisible": True, "globalValue": "closed"}))

    assert problems(first) == ["/environmentValueList/0/value"]
    assert problems(second) == ["/globalValue"]
    assert one(await http.get(path("B")))["globalValue"] == "closed"


async def test_a_rename(http: httpx2.AsyncClient) -> None:
    """Another name in the body is a new name; a taken one is refused."""
    await made(http, glob("A"))
    await made(http, glob("B"))

    taken = await http.put(path("A"), json=glob("b"))
    done(await http.put(path("A"), json=glob("C")))

    assert refusal(taken) == (400, "bad_request", "Environment variable (name: b) already exists!")
    assert [each["name"] for each in listed(await http.get(PATH))] == ["B", "C"]


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("%20", glob("A"), "Environment variable name can not be empty!"),
        ("A", glob("B"), "Environment variable name in path (A) does not match name in body (B)!"),
        ("A", {"global": True, "globalValue": "x"}, "name value can not be empty!"),
        ("A", {"name": "A"}, "environmentValueList value can not be empty! (global is false)"),
        ("A", {"name": "A", "global": True}, "globalValue value can not be empty!"),
        ("A", {"name": "A", "globalValue": "x", **local("A")}, "globalValue is not valid: it needs global to be true"),
        ("A", local("A", ""), "environmentValueList[0].value value can not be empty!"),
        ("A", {"name": "A", "environmentValueList": [{"environmentName": "nowhere", "value": "x"}]},
         "Environment (nowhere) is not found or user does not have privilege to access it!"),
        ("a%20b", glob("a b"), "name is not valid: it must begin with a letter or _, and go on with letters, digits, '_', '.' and '-'"),
        ("A", {**glob("A"), "globalvalue": "x"}, "globalvalue is not a known field; did you mean 'globalValue'?"),
    ],
)  # fmt: skip
async def test_what_is_refused(http: httpx2.AsyncClient, name: str, body: dict[str, Any], said: str) -> None:
    """In the documented words, naming the field."""
    response = await http.post(f"{PATH}{name}/", json=body)

    assert refusal(response) == (400, "bad_request", said)


async def test_a_taken_name_is_refused(http: httpx2.AsyncClient) -> None:
    """Ignoring case."""
    await made(http, glob("A"))

    response = await http.post(path("a"), json=glob("a"))

    assert refusal(response) == (400, "bad_request", "Environment variable (name: a) already exists!")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_one_that_is_missing(http: httpx2.AsyncClient, method: str) -> None:
    """Is 400, in the documented words."""
    response = await http.request(method, path("A"), json=glob("A") if method == "PUT" else None)

    assert refusal(response) == (400, "bad_request", "Environment variable (name: A) was not found!")


async def test_a_project_that_is_missing(http: httpx2.AsyncClient) -> None:
    """Is 404 in the words of these pages, before the body is looked at."""
    response = await http.post(path("A", "Nowhere"), content=b"{")

    text = "Project(Nowhere) was not found or user does not have privilege to access it!"
    assert refusal(response) == (404, "not_found", text)


async def test_a_used_variable_stays(http: httpx2.AsyncClient) -> None:
    """Deleting or renaming one is 409 with the connections that use it; afterwards it goes."""
    await made(http, glob("HOST", "hooks.example.com"))
    done(await http.post(connection_path("hook"), json=webhook("hook", fullUrl="https://${HOST}/in")))

    gone = await http.delete(path("HOST"))
    renamed = await http.put(path("HOST"), json=glob("OTHER", "hooks.example.com"))
    done(await http.delete(connection_path("hook")))
    result = done(await http.delete(path("HOST")))["deploymentResult"]

    status, _, said = refusal(gone)
    assert status == 409 and said.startswith("Environment variable (name: HOST) is in use by: hook.")
    assert refusal(renamed)[0] == 409
    assert result["message"] == "Undeployment completed successfully"


async def test_a_connection_says_which_variables_it_uses(http: httpx2.AsyncClient) -> None:
    """And warns of those that have no value."""
    done(await http.post(connection_path("hook"), json=webhook("hook", fullUrl="https://${HOST}/in")))

    found = one(await http.get(connection_path("hook")))

    assert found["uses"] == [{"field": "fullUrl", "kind": "variable", "name": "HOST"}]
    assert [each["code"] for each in found["warnings"]] == ["variable_missing"]
    assert found["fullUrl"] == "https://${HOST}/in"


async def test_if_match_and_idempotency(http: httpx2.AsyncClient) -> None:
    """As for every other noun."""
    await made(http, glob("A"))
    tag = (await http.get(path("A"))).headers["etag"]

    done(await http.put(path("A"), json=glob("A", "two"), headers={"If-Match": tag, "Idempotency-Key": "k"}))
    again = done(await http.put(path("A"), json=glob("A", "two"), headers={"If-Match": tag, "Idempotency-Key": "k"}))
    stale = await http.put(path("A"), json=glob("A", "three"), headers={"If-Match": tag})

    assert again["deploymentResult"]["environmentResults"]
    assert refusal(stale)[0] == 412


async def test_admin_lists_those_of_every_project(http: httpx2.AsyncClient, opened: Opened) -> None:
    """With the project of each."""
    await opened.plane.projects.create(system_actor(), "admin", None)
    done(await http.post(path("B", "admin"), json=glob("B")))
    await made(http, glob("A"))

    found = {(each["projectName"], each["name"]) for each in listed(await http.get(path("", "admin")[:-1]))}

    assert found == {("admin", "B"), ("MyProject", "A")}


async def test_a_page_of_admin_s_list_leaves_none_out(http: httpx2.AsyncClient, opened: Opened) -> None:
    """Also where the same name stands in several projects."""
    await opened.plane.projects.create(system_actor(), "admin", None)
    done(await http.post(path("A", "admin"), json=glob("A")))
    await made(http, glob("A"))

    first = (await http.get(path("", "admin")[:-1], params={"limit": 1})).json()
    second = (await http.get(path("", "admin")[:-1], params={"limit": 1, "cursor": first["nextCursor"]})).json()

    found = {each["resultList"][0]["projectName"] for each in (first, second)}
    assert found == {"admin", "MyProject"} and second["nextCursor"] is None


async def test_values_are_sealed_at_rest(http: httpx2.AsyncClient, opened: Opened) -> None:
    """A hidden value stands in no file of the control plane."""
    await made(http, local("A", "canary-4711-hidden"))

    found = b"".join(each.read_bytes() for each in opened.data_dir.rglob("*") if each.is_file())

    assert b"canary-4711-hidden" not in found


# references to secrets


@pytest.mark.parametrize("place", ["${env:X}", "${file:a/b}", "${vault:a#b}", "x${env:X}y"])
async def test_a_reference_to_a_secret_stands_in_secrets_only(http: httpx2.AsyncClient, place: str) -> None:
    """Anywhere else everybody could read what it leads to."""
    good = webhook("good", headerList=[{"name": "Authorization", "value": f"Bearer {place}"}])
    bad = webhook("bad", headerList=[{"name": "X-Note", "value": place}])

    done(await http.post(connection_path("good"), json=good))
    refused = await http.post(connection_path("bad"), json=bad)

    assert problems(refused) == ["/headerList/0/value"]
    assert refusal(refused)[2].endswith("a reference to a secret may stand in fields that are secrets only")


async def test_a_reference_without_an_end_is_refused(http: httpx2.AsyncClient) -> None:
    """It would be taken for a literal."""
    body = webhook("bad", headerList=[{"name": "Authorization", "value": "${vault:a#b"}])

    assert problems(await http.post(connection_path("bad"), json=body)) == ["/headerList/authorization"]


async def test_a_keystore_may_be_named_by_a_variable(http: httpx2.AsyncClient) -> None:
    """It is found by the value that may be shown, counts as used, and its replacement reaches the connection."""
    done(await http.post(keystores_path(), json=keystore("mine", authority().pem())))
    await made(http, local("KS", "mine", visible=True))
    done(await http.post(connection_path("hook"), json=webhook("hook", keyStoreName="${KS}")))

    warnings = one(await http.get(connection_path("hook")))["warnings"]
    replaced = done(await http.put(keystores_path("mine"), json=keystore("mine", authority("Other").pem())))
    renamed = await http.put(keystores_path("mine"), json=keystore("yours", authority().pem()))

    assert warnings == []
    assert "1 connection" in replaced["deploymentResult"]["environmentResults"][0]["message"]
    assert refusal(renamed)[0] == 409


async def test_a_hidden_value_names_no_keystore(http: httpx2.AsyncClient) -> None:
    """Which keystore a connection uses is shown."""
    await made(http, local("KS", "mine"))
    done(await http.post(connection_path("hook"), json=webhook("hook", keyStoreName="${KS}")))

    (warning,) = one(await http.get(connection_path("hook")))["warnings"]

    assert warning["code"] == "reference_missing"
