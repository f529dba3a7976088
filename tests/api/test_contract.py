"""Every answer that is documented comes out to the letter."""

import base64

import pytest

from mooring.kit.clock import now_ms
from mooring.kit.tokens import make_token
from tests.api.answers import JSON, done, listed, one, refusal
from tests.support.plane import CONNECTIONS, client_of, connection_path, email, opened_here, webhook

INVALID_TOKEN = (401, "unauthorized_client", "Invalid token")
NO_PROJECT = (404, "not_found", "Project 'Nowhere' not found")
FORBIDDEN = (403, "forbidden", "You do not have permission to perform this action")
SEED = {
    "type": "email", "name": "my-email-connection", "description": "Email connection for sending notifications",
    "deployToWorker": True, "enabled": True, "host": "smtp.gmail.com", "port": 587, "enableStartTls": True,
    "auth": True, "username": "user@example.com", "password": "app-password", "defaultEncoding": "UTF-8",
    "addressToTest": "test@example.com", "from": "noreply@example.com", "additionalProperties": [],
}  # fmt: skip


# connections


async def test_create_answers_the_documented_body(http):
    """The seed's body is stored, and its two documented keys come back."""
    response = await http.post(connection_path("my-email-connection"), json=SEED)

    body = done(response)
    assert body.keys() == {"success", "deploymentResult"}
    assert body["deploymentResult"]["success"] is True


async def test_create_without_deployment_says_success_alone(http):
    """With deployToWorker false there is no deploymentResult."""
    response = await http.post(connection_path("a"), json=email("a", deployToWorker=False))

    assert response.text == '{"success":true}'


async def test_create_of_a_taken_name(http):
    """A taken name is 400 with the seed's text."""
    await http.post(connection_path("my-email-connection"), json=SEED)

    response = await http.post(connection_path("my-email-connection"), json=SEED)

    assert response.text == (
        '{"error":"bad_request","error_description":"Connection (name: my-email-connection) already exists!"}'
    )
    assert refusal(response)[0] == 400


async def test_create_of_a_taken_name_in_another_case_and_of_another_type(http):
    """Names are one per project over all types, whatever their case; the text has the spelling that was sent."""
    await http.post(connection_path("orders"), json=email("orders"))

    response = await http.post(connection_path("ORDERS"), json=webhook("ORDERS"))

    assert refusal(response) == (400, "bad_request", "Connection (name: ORDERS) already exists!")


async def test_path_and_body_name_may_differ_in_case(http):
    """The body's spelling is the one that is kept."""
    done(await http.post(connection_path("ORDERS-db"), json=email("Orders-DB")))

    assert one(await http.get(connection_path("orders-db")))["name"] == "Orders-DB"


async def test_other_name_in_the_body(http):
    """A name in the body that is another than that of the path is 400 naming both."""
    response = await http.post(connection_path("a"), json=email("b"))

    assert refusal(response) == (
        400, "bad_request", "Connection name in path (a) does not match name in body (b)!",
    )  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
async def test_missing_project(http, method):
    """A project that does not exist is 404 with the seed's text, for every verb."""
    response = await http.request(
        method, connection_path("a", "Nowhere"), json=email("a") if method[0] == "P" else None
    )

    assert refusal(response) == NO_PROJECT


async def test_missing_project_of_a_list(http):
    """The list of a project that does not exist is the same 404."""
    assert refusal(await http.get("/apiops/projects/Nowhere/connections/")) == NO_PROJECT


async def test_project_names_are_exact(http):
    """Projects in another case are other projects."""
    response = await http.get(connection_path("a", "myproject"))

    assert refusal(response) == (404, "not_found", "Project 'myproject' not found")


@pytest.mark.parametrize(("method", "status", "code"), [("GET", 404, "not_found"), ("PUT", 400, "bad_request"), ("DELETE", 400, "bad_request")])  # fmt: skip
async def test_missing_connection(http, method, status, code):
    """A missing connection is 404 on GET and 400 on PUT and DELETE, with one text."""
    response = await http.request(method, connection_path("ghost"), json=email("ghost") if method == "PUT" else None)

    assert refusal(response) == (status, code, "Connection (name: ghost) was not found!")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
async def test_empty_name(http, method):
    """A name of blanks is empty."""
    response = await http.request(method, f"{CONNECTIONS}%20/", json=email(" ") if method[0] == "P" else None)

    assert refusal(response) == (400, "bad_request", "Connection name can not be empty!")


async def test_get_answers_a_list_of_one(http):
    """A single GET has the list's envelope, every common field, and null where a secret is."""
    await http.post(connection_path("my-email-connection"), json=SEED)

    response = await http.get(connection_path("My-Email-Connection"))

    found = one(response)
    assert response.json().keys() == {"success", "resultList", "resultCount"}
    assert {name: found[name] for name in SEED} == {**SEED, "password": None}
    assert found["projectName"] == "MyProject"


async def test_list_has_every_connection_in_the_order_of_names(http):
    """Connections are listed by name, ignoring case, with null secrets."""
    for name in ("b", "C", "a"):
        await http.post(connection_path(name), json=webhook(name))

    found = listed(await http.get(CONNECTIONS))

    assert [item["name"] for item in found] == ["a", "b", "C"]
    assert {item["headerList"][0]["value"] for item in found} == {None}


async def test_empty_list(http):
    """A project without connections has an empty list."""
    response = await http.get(CONNECTIONS)

    assert response.text == '{"success":true,"resultList":[],"resultCount":0}'


async def test_list_of_one_type(http):
    """`type` picks one type, in any documented spelling."""
    await http.post(connection_path("a"), json=webhook("a"))
    await http.post(connection_path("b"), json=email("b"))

    assert [item["name"] for item in listed(await http.get(CONNECTIONS, params={"type": "EMAIL"}))] == ["b"]


async def test_list_of_an_unknown_type(http):
    """An unknown type in the query is 400 and says which there are."""
    status, code, text = refusal(await http.get(CONNECTIONS, params={"type": "nope"}))

    assert (status, code) == (400, "bad_request")
    assert text.startswith("Connection type (nope) is not valid! Supported types: activeMq, database, ")


async def test_create_of_an_unknown_type(http):
    """An unknown type in the body is the same 400."""
    status, code, text = refusal(await http.post(connection_path("a"), json={"type": "nope", "name": "a"}))

    assert (status, code) == (400, "bad_request")
    assert text.startswith("Connection type (nope) is not valid! Supported types: ")


async def test_missing_required_field(http):
    """A required field that is missing is named."""
    response = await http.post(connection_path("a"), json={"type": "email", "name": "a"})

    assert refusal(response) == (400, "bad_request", "host value can not be empty!")
    assert response.json()["errors"] == [
        {"path": "/host", "code": "required", "message": "host value can not be empty!"}
    ]


async def test_every_problem_at_once(http):
    """A body with several problems names all of them, common and typed ones, and says how many."""
    response = await http.post(
        connection_path("a"),
        json={"type": "email", "name": "a", "enabled": "perhaps", "port": 0, "hots": "x"},
    )

    assert refusal(response)[2].endswith("(and 3 more problems)")
    assert {problem["path"] for problem in response.json()["errors"]} == {"/enabled", "/host", "/port", "/hots"}


async def test_unknown_key_is_asked_about(http):
    """An unknown key is refused with what was probably meant."""
    response = await http.post(connection_path("a"), json=email("a", usernme="x"))

    assert refusal(response)[2] == "usernme is not a known field; did you mean 'username'?"


async def test_update_replaces(http):
    """PUT sets what it says, and what it leaves out goes back to its default."""
    await http.post(connection_path("a"), json=email("a", description="old", port=25))

    done(await http.put(connection_path("a"), json={"type": "email", "host": "other.example.com"}))

    found = one(await http.get(connection_path("a")))
    assert (found["host"], found["port"], found["description"]) == ("other.example.com", 587, None)


async def test_update_renames(http):
    """Another name in the body of PUT renames; the old name is gone."""
    await http.post(connection_path("old"), json=email("old"))

    done(await http.put(connection_path("old"), json=email("new")))

    assert one(await http.get(connection_path("new")))["name"] == "new"
    assert refusal(await http.get(connection_path("old")))[0] == 404


async def test_rename_to_a_taken_name(http):
    """A new name that is taken is the documented 400."""
    await http.post(connection_path("a"), json=email("a"))
    await http.post(connection_path("b"), json=email("b"))

    assert refusal(await http.put(connection_path("a"), json=email("B")))[2] == "Connection (name: B) already exists!"


async def test_rename_to_another_case(http):
    """A change of case alone respells the name."""
    await http.post(connection_path("a"), json=email("a"))

    done(await http.put(connection_path("a"), json=email("A")))

    assert one(await http.get(connection_path("a")))["name"] == "A"


async def test_type_can_not_change(http):
    """PUT with another type is 400 naming both."""
    await http.post(connection_path("a"), json=email("a"))

    assert refusal(await http.put(connection_path("a"), json=webhook("a"))) == (
        400, "bad_request", "Connection type can not be changed! (existing: email, requested: webhook)",
    )  # fmt: skip


async def test_delete(http):
    """DELETE always tells about the deployment, and the connection is gone."""
    await http.post(connection_path("a"), json=email("a", deployToWorker=False))

    body = done(await http.delete(connection_path("A")))

    assert body["deploymentResult"]["success"] is True
    assert refusal(await http.get(connection_path("a")))[0] == 404


async def test_deleted_name_is_free(http):
    """A name may be used again after it was deleted, and starts anew."""
    await http.post(connection_path("a"), json=email("a"))
    await http.delete(connection_path("a"))

    done(await http.post(connection_path("a"), json=email("a")))

    assert one(await http.get(connection_path("a")))["generation"] == 1


async def test_no_workers(http):
    """Where no worker ever registered, the create succeeds and the state tells the truth."""
    result = done(await http.post(connection_path("a"), json=email("a")))["deploymentResult"]

    assert (result["success"], result["state"]) == (True, "NO_WORKERS")
    assert result["deploymentResults"][0]["environmentName"] == "development"


async def test_deployments_are_told_later(http):
    """Every change of a connection stands under deployments/, and each of them by itself."""
    result = done(await http.post(connection_path("a"), json=email("a")))["deploymentResult"]

    history = listed(await http.get(f"{connection_path('a')}deployments/"))
    single = one(await http.get(f"{connection_path('a')}deployments/{result['deploymentId']}/"))

    assert [item["deploymentId"] for item in history] == [result["deploymentId"]]
    assert single == history[0]


async def test_missing_deployment(http):
    """A deployment that does not exist is 404."""
    await http.post(connection_path("a"), json=email("a"))

    assert refusal(await http.get(f"{connection_path('a')}deployments/dep_x/"))[:2] == (404, "not_found")


# paths


@pytest.mark.parametrize("path", [
    "/apiops/projects", "/apiops/environments", "/apiops/projects/MyProject/connections",
    "/apiops/projects/MyProject/environments", "/apiops/environments/MyProject", "/apiops/test/healthcheck",
    "/apiops/test/hello/you", "/apiops/connection-types", "/apiops/connection-types/email", "/apiops/workers",
    "/apiops/tokens", "/healthz", "/readyz", "/openapi.json", "/docs",
])  # fmt: skip
async def test_trailing_slash_makes_no_difference(http, path):
    """Both spellings of a path have the same answer, and neither is a redirect."""
    without, with_slash = await http.get(path), await http.get(path + "/")

    assert without.status_code == with_slash.status_code == 200
    assert without.content == with_slash.content


async def test_writing_without_the_trailing_slash(http):
    """POST, PUT and DELETE are served without the slash too."""
    path = connection_path("a").rstrip("/")

    done(await http.post(path, json=email("a")))
    done(await http.put(path, json=email("a", port=25)))
    done(await http.delete(path))


async def test_unknown_path(http):
    """A path that is no route is 404 and says so."""
    assert refusal(await http.get("/apiops/nothing/here")) == (
        404, "resource_not_found", "GET /apiops/nothing/here not found",
    )  # fmt: skip


@pytest.mark.parametrize(("method", "path", "allowed"), [
    ("PATCH", connection_path("a"), "DELETE, GET, HEAD, POST, PUT"),
    ("OPTIONS", connection_path("a"), "DELETE, GET, HEAD, POST, PUT"),
    ("POST", CONNECTIONS, "GET, HEAD"),
    ("DELETE", CONNECTIONS, "GET, HEAD"),
    ("GET", "/apiops/auth/token", "POST"),
    ("PUT", "/apiops/test/healthcheck", "GET, HEAD"),
    ("POST", "/", "GET, HEAD"),
    ("POST", "/docs", "GET, HEAD"),
    ("DELETE", "/openapi.json", "GET, HEAD"),
])  # fmt: skip
async def test_wrong_method(http, method, path, allowed):
    """A method that the route does not have is 405, with the methods that it has."""
    response = await http.request(method, path)

    assert refusal(response) == (405, "bad_request", f"{method} is not allowed here")
    assert response.headers["allow"] == allowed


async def test_head_is_get_without_a_body(http):
    """HEAD has the status and the ETag of GET."""
    await http.post(connection_path("a"), json=email("a"))

    response = await http.head(connection_path("a"))

    assert (response.status_code, response.headers["etag"]) == (200, '"1"')


# tokens


@pytest.mark.parametrize("authorization", [
    None, "", "Bearer", "Bearer ", "Bearer x", "Basic YTpi", "bearer", "Token {token}", "{token}", "Bearer {token}x",
    "Bearer {token} {token}", "Bearer,{token}", "Bearer\t{token}", "Bearer mrg_pat_", "Bearer \u00e9", "Bearer " + "a" * 10_000,
])  # fmt: skip
async def test_no_valid_token(plane, opened, authorization):
    """A missing, malformed or unknown token has one answer, whatever is wrong with it."""
    headers = (
        {} if authorization is None else {"Authorization": authorization.format(token=opened.token).encode("latin-1")}
    )
    async with client_of(plane, None) as client:
        response = await client.get("/apiops/projects/", headers=headers)

    assert refusal(response) == INVALID_TOKEN
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("kind", ["pat", "wrk", "enr"])
async def test_unknown_token(plane, kind):
    """A well-formed token that nobody gave out, or one of another kind, is the same 401."""
    async with client_of(plane, make_token(kind).text) as client:
        assert refusal(await client.get("/apiops/projects/")) == INVALID_TOKEN


async def test_token_with_another_secret(plane, opened):
    """The public id of a token is not enough."""
    ours, other = opened.token.split("_"), make_token("pat").text.split("_")
    async with client_of(plane, "_".join([*ours[:3], *other[3:]])) as client:
        assert refusal(await client.get("/apiops/projects/")) == INVALID_TOKEN


async def test_revoked_token(plane, http):
    """A revoked token stops working at once, with the same answer."""
    created = done(await http.post("/apiops/tokens/", json={"name": "short"}))
    async with client_of(plane, created["token"]) as client:
        assert (await client.get("/apiops/projects/")).status_code == 200
        done(await http.delete(f"/apiops/tokens/{created['resultList'][0]['id']}/"))

        assert refusal(await client.get("/apiops/projects/")) == INVALID_TOKEN


async def test_expired_token(plane, http, monkeypatch):
    """An expired token has the same answer."""
    created = done(await http.post("/apiops/tokens/", json={"name": "short", "expiresInSeconds": 60}))
    async with client_of(plane, created["token"]) as client:
        assert (await client.get("/apiops/projects/")).status_code == 200
        monkeypatch.setattr("mooring.control.access.now_ms", lambda: now_ms() + 61_000)

        assert refusal(await client.get("/apiops/projects/")) == INVALID_TOKEN


async def test_scheme_ignores_case(plane, opened):
    """The scheme's name may be in any case, with blanks around the token."""
    async with client_of(plane, None) as client:
        response = await client.get("/apiops/projects/", headers={"Authorization": f"bEARER   {opened.token}  "})

    assert response.status_code == 200


@pytest.mark.parametrize(("method", "path"), [
    ("GET", connection_path("a")), ("POST", connection_path("a")), ("PUT", connection_path("a")),
    ("DELETE", connection_path("a")), ("GET", CONNECTIONS), ("GET", "/apiops/environments/"),
    ("GET", "/apiops/environments/MyProject"), ("GET", "/apiops/test/hello/x"), ("GET", "/apiops/tokens/"),
    ("POST", "/apiops/tokens/"), ("DELETE", "/apiops/tokens/x/"), ("GET", "/apiops/workers/"), ("GET", "/apiops/audit/"),
    ("POST", "/apiops/workers/enrolments/"), ("GET", "/apiops/connection-types/"), ("POST", "/apiops/projects/x/"),
])  # fmt: skip
async def test_every_route_wants_a_token(plane, method, path):
    """Without a token every route is 401, whatever else is wrong."""
    async with client_of(plane, None) as client:
        assert refusal(await client.request(method, path)) == INVALID_TOKEN


async def test_token_exchange(http, opened):
    """A token's public id and its text are exchanged for a token that works for an hour."""
    form = {"grant_type": "client_credentials", "client_id": opened.token.split("_")[2], "client_secret": opened.token}

    response = await http.post("/apiops/auth/token", data=form)

    body = response.json()
    assert response.headers["content-type"] == JSON
    assert response.headers["cache-control"] == "no-store"
    assert body.keys() == {"access_token", "token_type", "expires_in"}
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 3600)
    again = await http.get("/apiops/projects/", headers={"Authorization": f"Bearer {body['access_token']}"})
    assert again.status_code == 200


@pytest.mark.parametrize(
    "form", [{}, {"grant_type": "password"}, {"grant_type": ""}, {"client_id": "a", "client_secret": "b"}]
)
async def test_other_grant_types(http, form):
    """Any other grant type is the documented 400, before the credentials are looked at."""
    assert refusal(await http.post("/apiops/auth/token", data={**form, "x": "y"})) == (
        400, "unsupported_grant_type", "GrantType value must be client_credentials!",
    )  # fmt: skip


@pytest.mark.parametrize("which", ["nothing", "secret", "id", "other id", "rubbish"])
async def test_bad_credentials(http, opened, which):
    """Wrong credentials are the documented 401."""
    public = opened.token.split("_")[2]
    form = {
        "nothing": {}, "secret": {"client_id": public, "client_secret": make_token("pat").text},
        "id": {"client_id": public}, "other id": {"client_id": "other", "client_secret": opened.token},
        "rubbish": {"client_id": "\x00", "client_secret": "é" * 5000},
    }[which]  # fmt: skip

    response = await http.post("/apiops/auth/token", data={"grant_type": "client_credentials", **form})

    assert refusal(response) == (401, "unauthorized_client", "Bad credentials")


async def test_exchange_takes_a_form_only(http):
    """The exchange does not take JSON."""
    response = await http.post("/apiops/auth/token", json={"grant_type": "client_credentials"})

    assert refusal(response)[:2] == (400, "bad_request")


async def test_tokens_never_show_their_text(http):
    """A token's text is in the answer that made it, and nowhere else."""
    created = done(await http.post("/apiops/tokens/", json={"name": "one"}))

    response = await http.get("/apiops/tokens/")

    assert created["resultList"][0]["id"] in response.text
    assert created["token"] not in response.text
    assert created["token"].split("_")[3] not in response.text


async def test_nobody_grants_what_they_lack(plane, token_with):
    """A token cannot make a token with more grants than its own."""
    async with client_of(plane, await token_with("tokens:manage")) as client:
        response = await client.post("/apiops/tokens/", json={"name": "more", "grants": ["connections:manage"]})

    assert _without_hint(response) == FORBIDDEN


# projects and environments


async def test_projects_list_says_status(http):
    """The list of projects alone says status, and its items have the two documented keys."""
    response = await http.get("/apiops/projects/")

    assert response.headers["content-type"] == JSON
    assert response.json() == {
        "status": "SUCCESS",
        "resultList": [{"name": "MyProject", "description": "The first project"}],
        "resultCount": 1,
    }


async def test_project_of_its_own(http):
    """A project is made, read and deleted."""
    done(await http.post("/apiops/projects/Shop/", json={"description": "The shop"}))
    assert one(await http.get("/apiops/projects/Shop/"))["description"] == "The shop"

    done(await http.delete("/apiops/projects/Shop/"))

    assert refusal(await http.get("/apiops/projects/Shop/")) == (404, "not_found", "Project 'Shop' not found")


async def test_taken_project(http):
    """A project's name is taken once."""
    response = await http.post("/apiops/projects/MyProject/", json={})

    assert refusal(response) == (400, "bad_request", "Project (name: MyProject) already exists!")


async def test_project_in_use(http):
    """A project with connections is not deleted: 409."""
    await http.post(connection_path("a"), json=email("a"))

    assert refusal(await http.delete("/apiops/projects/MyProject/"))[:2] == (409, "conflict")


@pytest.mark.parametrize("path", ["/apiops/environments/MyProject", "/apiops/projects/MyProject/environments/"])
async def test_environments_of_a_project(http, path):
    """Both documented paths list the environments of a project, with the five documented keys."""
    assert listed(await http.get(path)) == [
        {"name": "development", "description": "This machine", "type": "TEST", "status": "PUBLISHED", "accessUrl": None}
    ]


@pytest.mark.parametrize("path", ["/apiops/environments/Nowhere", "/apiops/projects/Nowhere/environments/"])
async def test_environments_of_a_missing_project(http, path):
    """A missing project is 400 here, with the documented text."""
    assert refusal(await http.get(path)) == (
        400, "bad_request", "Project not found for name: (Nowhere) or user has not privilege to access it!",
    )  # fmt: skip


async def test_environments_bound_to_other_projects_are_not_listed(http):
    """An environment that is bound to projects is listed for those only."""
    await http.post("/apiops/projects/Shop/", json={})
    done(await http.post("/apiops/environments/shop-only/", json={"projects": ["Shop"]}))

    ours = listed(await http.get("/apiops/environments/MyProject"))
    theirs = listed(await http.get("/apiops/environments/Shop"))

    assert [item["name"] for item in ours] == ["development"]
    assert {item["name"] for item in theirs} == {"development", "shop-only"}


async def test_all_environments(http):
    """An administrator lists all environments."""
    assert [item["name"] for item in listed(await http.get("/apiops/environments/"))] == ["development"]


async def test_all_environments_are_for_administrators(plane, token_with):
    """Others get the documented 401 there."""
    async with client_of(plane, await token_with("connections:view")) as client:
        assert refusal(await client.get("/apiops/environments/")) == (
            401, "unauthorized_client", "Invalid token or insufficient permissions",
        )  # fmt: skip


async def test_environment_of_its_own(http):
    """An environment is made, renamed and deleted."""
    done(await http.post("/apiops/environments/test/", json={"type": "TEST"}))
    done(await http.put("/apiops/environments/test/", json={"name": "staging"}))
    assert one(await http.get("/apiops/environments/staging/status/"))["type"] == "TEST"

    done(await http.delete("/apiops/environments/staging/"))

    assert refusal(await http.delete("/apiops/environments/staging/"))[:2] == (404, "not_found")


# permissions


@pytest.mark.parametrize(("method", "path"), [
    ("GET", connection_path("a")), ("POST", connection_path("a")), ("PUT", connection_path("a")),
    ("DELETE", connection_path("a")), ("GET", CONNECTIONS), ("POST", "/apiops/tokens/"), ("POST", "/apiops/projects/x/"),
    ("DELETE", "/apiops/projects/MyProject/"), ("POST", "/apiops/environments/x/"), ("PUT", "/apiops/environments/x/"),
    ("DELETE", "/apiops/environments/development/"), ("GET", "/apiops/environments/development/status/"),
    ("GET", "/apiops/workers/"), ("POST", "/apiops/workers/enrolments/"), ("DELETE", "/apiops/workers/x/"),
    ("GET", f"{connection_path('a')}deployments/"), ("GET", "/apiops/audit/"),
])  # fmt: skip
async def test_lack_of_a_grant(plane, token_with, method, path):
    """A token without the grant is 403, before its body is looked at."""
    async with client_of(plane, await token_with()) as client:
        response = await client.request(method, path, content="not JSON" if method[0] == "P" else None)

    assert _without_hint(response) == FORBIDDEN


@pytest.mark.parametrize(("method", "path"), [
    ("GET", connection_path("a")), ("POST", connection_path("a")), ("PUT", connection_path("a")),
    ("DELETE", connection_path("a")), ("GET", CONNECTIONS), ("GET", "/apiops/projects/MyProject/"),
    ("DELETE", "/apiops/projects/MyProject/"),
])  # fmt: skip
async def test_invisible_project_is_a_missing_one(http, plane, token_with, method, path):
    """A token of another project gets the 404 of a project that does not exist."""
    await http.post("/apiops/projects/Shop/", json={})
    text = await token_with("connections:view", "connections:manage", "projects:manage", project_name="Shop")
    async with client_of(plane, text) as client:
        response = await client.request(method, path, json=email("a") if method[0] == "P" else None)

    assert refusal(response) == (404, "not_found", "Project 'MyProject' not found")


async def test_projects_list_shows_visible_ones(http, plane, token_with):
    """A token of one project lists that one."""
    await http.post("/apiops/projects/Shop/", json={})
    async with client_of(plane, await token_with(project_name="Shop")) as client:
        body = (await client.get("/apiops/projects/")).json()

    assert [item["name"] for item in body["resultList"]] == ["Shop"]


# types


async def test_connection_types(http):
    """All fifteen types are listed, with what is secret and what is destination."""
    found = {item["name"]: item for item in listed(await http.get("/apiops/connection-types/"))}

    assert set(found) == {
        "email", "kafka", "elasticsearch", "database", "ldap", "ftp", "rabbitMq", "activeMq", "snmp", "linux-script",
        "ops-genie", "graylog", "syslog", "webhook", "logback",
    }  # fmt: skip
    assert "password" in found["email"]["secretFields"]
    assert "host" in found["email"]["destinationFields"]


async def test_one_connection_type(http):
    """A type has a JSON Schema with titles, descriptions and groups, and an example that POST accepts."""
    found = one(await http.get("/apiops/connection-types/EMAIL/"))

    host = found["schema"]["properties"]["host"]
    assert {"title", "description", "examples", "x-group"} <= host.keys()
    done(await http.post(connection_path(found["example"]["name"]), json=found["example"]))


async def test_unknown_connection_type(http):
    """A type that does not exist is 400 and says which there are."""
    assert refusal(await http.get("/apiops/connection-types/nope/"))[:2] == (400, "bad_request")


# health


async def test_healthcheck(plane):
    """The health check needs no token and says OK, as plain text."""
    async with client_of(plane, None) as client:
        response = await client.get("/apiops/test/healthcheck")

    assert (response.status_code, response.text) == (200, "OK")
    assert response.headers["content-type"].startswith("text/plain")


async def test_hello(http):
    """Hello greets by name, as plain text."""
    response = await http.get("/apiops/test/hello/W%C3%B6rld")

    assert (response.status_code, response.text) == (200, "Hello Wörld")
    assert response.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_probes(plane, path):
    """The probes need no token."""
    async with client_of(plane, None) as client:
        assert (await client.get(path)).json() == {"status": "ok"}


# headers


async def test_every_answer_has_an_id(http):
    """Every answer has an X-Request-Id of its own, also a refusal."""
    responses = [await http.get(path) for path in ("/healthz", "/healthz", "/nothing", "/a//b", CONNECTIONS)]

    ids = [response.headers["x-request-id"] for response in responses]
    assert len(set(ids)) == len(ids)
    assert all(value.startswith("req_") for value in ids)


async def test_request_id_stands_in_the_audit(http):
    """The id of a change is the one in its audit entry."""
    response = await http.post(connection_path("a"), json=email("a"))

    newest = listed(await http.get("/apiops/audit/"))[0]
    assert newest["requestId"] == response.headers["x-request-id"]
    assert (newest["action"], newest["noun"], newest["name"]) == ("create", "connection", "a")


async def test_sealed_plane_says_so(tmp_path):
    """With another master key, reading goes on; a change is 503 with Retry-After, and nothing is written."""
    async with opened_here(tmp_path / "data") as first, client_of(first.plane, first.token) as client:
        done(await client.post(connection_path("a"), json=email("a")))
    async with opened_here(tmp_path / "data", master_key=base64.b64encode(bytes(32)).decode()) as sealed:
        async with client_of(sealed.plane, sealed.token) as client:
            responses = [
                await client.post(connection_path("b"), json=email("b")),
                await client.put(connection_path("a"), json=email("a", port=25)),
                await client.delete(connection_path("a")),
            ]
            readable = [item["port"] for item in listed(await client.get(CONNECTIONS))]
            ready = await client.get("/readyz")

    assert [refusal(response)[:2] for response in responses] == [(503, "server_error")] * 3
    assert {response.headers["retry-after"] for response in responses} == {"5"}
    assert (readable, ready.status_code) == ([587], 503)


def _without_hint(response):
    status, error, text = refusal(response)
    said, _, hint = text.partition(". ")
    assert hint.endswith(".")
    return status, error, said
