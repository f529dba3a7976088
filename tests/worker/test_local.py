"""The worker's own API: every answer, every refusal."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from mooring import errors
from mooring.kit.settings import Settings
from mooring.serve import WorkerOptions
from mooring.serve.workers import local_listener
from mooring.worker import local
from mooring.worker.local import MAX_BODY, local_app
from mooring.worker.pool import Pool
from tests.worker.toy import ToyError, put, world

TOKEN = "a-local-token"


def client_of(
    pool: Pool, token: str | None = None, headers: dict[str, str] | None = None, base: str = "http://localhost"
) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=local_app(pool, token=token), raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url=base, headers=headers)


@pytest.fixture
async def http(pool: Pool) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the API on a socket, with one connection held."""
    await pool.put(put())
    async with client_of(pool) as client:
        yield client


async def test_an_operation_answers_json(http: httpx2.AsyncClient) -> None:
    """Bytes as base64, keys in camelCase."""
    answer = await http.post("/v1/P/toy/say", json={"text": "x", "times": 2})

    assert answer.status_code == 200 and answer.headers["content-type"] == "application/json"
    assert answer.json() == {"text": "xx", "generation": "secret-of-1", "raw": "/w=="}


async def test_an_operation_may_have_no_body(http: httpx2.AsyncClient) -> None:
    """Where its request needs nothing."""
    assert (await http.post("/v1/P/toy/say")).json()["text"] == "hello"


async def test_names_are_decoded(pool: Pool, http: httpx2.AsyncClient) -> None:
    """In any script, ignoring case."""
    await pool.put(put(id="c2", name="Straße İı", project="Mein Projekt"))

    assert (await http.post("/v1/Mein%20Projekt/STRASSE%20%C4%B0%C4%B1/say")).status_code == 200


async def test_it_lists_what_is_held(http: httpx2.AsyncClient) -> None:
    """With and without the slash; whether the control plane is there."""
    for path in ("/v1/", "/v1"):
        answer = (await http.get(path)).json()
        assert answer["connected"] is False and [one["name"] for one in answer["connections"]] == ["toy"]
        assert "secret-of" not in str(answer)


async def test_one_connection_shows_its_operations(http: httpx2.AsyncClient) -> None:
    """With the shapes of request and answer."""
    for path in ("/v1/P/toy/", "/v1/P/toy"):
        found = (await http.get(path)).json()["operations"]["say"]
        assert found["summary"] == "Says it again." and set(found["request"]["properties"]) == {"text", "times"}


async def test_a_probe_is_told_step_by_step(http: httpx2.AsyncClient) -> None:
    """Also where it fails."""
    good = (await http.post("/v1/P/toy/probe")).json()
    world().up = False
    bad = (await http.post("/v1/P/toy/probe")).json()

    assert good["success"] is True and bad["success"] is False
    assert [step["state"] for step in bad["steps"]] == ["passed", "failed"]


FAILURES: list[tuple[str, Any, int, str]] = [
    ("unreachable", ToyError("down"), 504, "unreachable"),
    ("rejected", PermissionError(), 502, "rejected"),
    ("misconfigured", errors.Misconfigured("no topic", hint="make it"), 502, "misconfigured"),
    ("a bug", ZeroDivisionError(), 500, "connector_bug"),
    ("busy", errors.Busy("full", hint="wait"), 503, "busy"),
    ("driver missing", errors.DriverMissing("no driver", hint="pip"), 501, "driver_missing"),
]


@pytest.mark.parametrize(
    ("raised", "status", "code"), [case[1:] for case in FAILURES], ids=[case[0] for case in FAILURES]
)
async def test_a_failed_operation_has_a_status_and_a_hint(
    raised: Exception, status: int, code: str, http: httpx2.AsyncClient
) -> None:
    """By whose move it is."""
    world().operation_error = raised

    answer = await http.post("/v1/P/toy/say")

    assert (answer.status_code, answer.json()["error"]) == (status, code)
    assert answer.json()["hint"] and answer.json()["error_description"]


async def test_unknown_connections_and_operations_are_404(http: httpx2.AsyncClient) -> None:
    """With where to look, or what there is."""
    none = await http.post("/v1/P/none/say")
    shout = await http.post("/v1/P/toy/shout")

    assert (none.status_code, none.json()["error"]) == (404, "connection_unknown") and none.json()["hint"]
    assert (shout.status_code, shout.json()["error"]) == (404, "operation_unknown") and "say" in shout.json()[
        "error_description"
    ]


async def test_a_disabled_connection_is_409(pool: Pool, http: httpx2.AsyncClient) -> None:
    """With how to enable it."""
    await pool.put(put(2, enabled=False))

    answer = await http.post("/v1/P/toy/say")

    assert (answer.status_code, answer.json()["error"]) == (409, "connection_disabled") and "enabled" in answer.json()[
        "hint"
    ]


async def test_a_failed_connection_is_503_with_its_reason(pool: Pool, http: httpx2.AsyncClient) -> None:
    """The same code that the control plane shows."""
    await pool.put(put(id="c2", name="broken", size=0))

    answer = await http.post("/v1/P/broken/say")

    assert (answer.status_code, answer.json()["error"], answer.json()["reason"]) == (
        503,
        "connection_failed",
        "INVALID_CONFIG",
    )
    assert answer.json()["hint"]


async def test_a_wrong_request_lists_every_problem(http: httpx2.AsyncClient) -> None:
    """By path."""
    answer = await http.post("/v1/P/toy/say", json={"times": "x", "txet": 1})

    assert answer.status_code == 400 and {problem["path"] for problem in answer.json()["errors"]} == {"/times", "/txet"}


async def test_a_deadline_can_be_chosen(http: httpx2.AsyncClient) -> None:
    """And is 504 when it passes."""
    world().operating.clear()

    answer = await http.post("/v1/P/toy/say?timeoutSeconds=0.02")

    assert answer.status_code == 504


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "301", "soon", "", "1e9"])
async def test_a_deadline_is_a_sensible_number(text: str, http: httpx2.AsyncClient) -> None:
    """Everything else is refused."""
    assert (await http.post(f"/v1/P/toy/say?timeoutSeconds={text}")).status_code == 400


@pytest.mark.parametrize(
    "body",
    [b"nonsense", b"[]", b'"x"', b"null", b"1", b'{"text":1,"text":2}', b'{"times":NaN}', b"[" * 100_000, b'{"text":"\\ud800"}', b"\xff",
     b'{"text":"\\u0000"}', b'{"times":1e999}', b'{"times":' + b"9" * 5000 + b"}"],
    ids=lambda body: repr(body[:20]),
)  # fmt: skip
async def test_a_body_is_a_json_object(body: bytes, http: httpx2.AsyncClient) -> None:
    """Everything else is 400."""
    answer = await http.post("/v1/P/toy/say", content=body)

    assert (answer.status_code, answer.json()["error"]) == (400, "bad_request")


async def test_a_body_has_a_limit(http: httpx2.AsyncClient) -> None:
    """Beyond it 413, and not everything is read."""
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while read < 4 * MAX_BODY:
            read += 1 << 20
            yield b" " * (1 << 20)

    answer = await http.post("/v1/P/toy/say", content=endless())

    assert answer.status_code == 413


async def test_a_body_within_the_limit_is_taken(http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit itself is fine."""
    body = b'{"text":"%s"}' % (b"x" * 1000)
    monkeypatch.setattr(local, "MAX_BODY", len(body))

    assert (await http.post("/v1/P/toy/say", content=body)).status_code == 200
    assert (await http.post("/v1/P/toy/say", content=body + b" ")).status_code == 413


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/v2/"), ("POST", "/v1/P"), ("GET", "/v1/P/toy/say"), ("DELETE", "/v1/P/toy"), ("POST", "/v1/"),
     ("POST", "/v1/P/toy/say/more"), ("PUT", "/v1/P/toy/say"), ("OPTIONS", "/v1/P/toy/say"), ("GET", "/v1//toy")],
)  # fmt: skip
async def test_other_routes_are_refused_in_the_same_shape(method: str, path: str, http: httpx2.AsyncClient) -> None:
    """404 or 405, with what there is."""
    answer = await http.request(method, path)

    assert answer.status_code in (404, 405)
    assert answer.json()["error"] == "resource_not_found" and "POST /v1/" in answer.json()["hint"]


async def test_an_accident_says_nothing_of_itself(
    http: httpx2.AsyncClient, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """500, in the same shape."""

    async def broken(*_: object) -> None:
        raise RuntimeError("secret-of-1")

    monkeypatch.setattr(pool, "use", broken)

    answer = await http.post("/v1/P/toy/say")

    assert answer.status_code == 500 and answer.json()["error"] == "internal_error" and "secret" not in answer.text


# on TCP


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        f"Basic {TOKEN}",
        TOKEN,
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        "Bearer \xfc",
    ],
)
@pytest.mark.parametrize("path", ["/v1/", "/v1/P/toy/", "/v1/P/none/"])
async def test_tcp_needs_the_token(authorization: str | None, path: str, pool: Pool) -> None:
    """For every route, and what is held is not told apart from what is not."""
    await pool.put(put())
    headers = {} if authorization is None else {"Authorization": authorization.encode("latin-1")}

    async with client_of(pool, TOKEN) as client:
        answer = await client.get(path, headers=headers)  # type: ignore[arg-type]

    assert (answer.status_code, answer.json()["error"]) == (401, "unauthorized_client")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8080", "localhost", "localhost:1", "[::1]", "[::1]:8080"])
async def test_tcp_takes_loopback_names(host: str, pool: Pool) -> None:
    """With and without a port; the scheme's name in any case."""
    async with client_of(pool, TOKEN, {"Authorization": f"bearer {TOKEN}", "Host": host}) as client:
        assert (await client.get("/v1/")).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example.com", "evil.example.com:8080", "127.0.0.1.example.com", "localhost.example.com", "", ":8080", "localhost:1:2",
     "[::1].example.com", "127.0.0.1@evil.example.com", "0.0.0.0", "[::]", "10.0.0.1:8080"],
)  # fmt: skip
async def test_tcp_takes_no_other_name(host: str, pool: Pool) -> None:
    """A browser that was led here by a name of somebody else's is refused, even with the token."""
    async with client_of(pool, TOKEN, {"Authorization": f"Bearer {TOKEN}", "Host": host}) as client:
        assert (await client.get("/v1/")).status_code == 403


@pytest.mark.parametrize("origin", ["null", "https://evil.example.com", "http://127.0.0.1:8080", ""])
async def test_tcp_refuses_browsers(origin: str, pool: Pool) -> None:
    """Whatever page they say they show; no header lets them in later."""
    async with client_of(pool, TOKEN, {"Authorization": f"Bearer {TOKEN}", "Origin": origin}) as client:
        answer = await client.get("/v1/")

    assert answer.status_code == 403 and not [name for name in answer.headers if name.startswith("access-control")]


async def test_a_socket_needs_no_token(pool: Pool) -> None:
    """Its file's mode lets its owner in alone."""
    async with client_of(pool, None, {"Host": "anything", "Origin": "null"}) as client:
        assert (await client.get("/v1/")).status_code == 200


def _options(**more: Any) -> WorkerOptions:
    return WorkerOptions(
        **{"name": None, "socket": None, "listen": None, "local_token_file": None, "with_parent": False, **more}
    )


def test_the_socket_is_its_owner_s_alone(tmp_path: Path) -> None:
    """From its first moment on, whatever the umask; one left behind is replaced."""
    path = tmp_path / "worker.sock"
    for _ in range(2):
        listener, token, _ = local_listener(Settings(data_dir=tmp_path), _options(socket=path))
        mode = stat.S_IMODE(path.stat().st_mode)
        listener.close()

        assert mode == 0o600 and token is None


def test_tcp_makes_a_token_file(tmp_path: Path) -> None:
    """Of mode 0600, and reads the one that is there."""
    file = tmp_path / "token"
    options = _options(listen=("127.0.0.1", 0), local_token_file=file)

    tokens = []
    for _ in range(2):
        listener, token, _ = local_listener(Settings(data_dir=tmp_path), options)
        listener.close()
        tokens.append(token)

    assert tokens[0] and tokens[0] == tokens[1] == file.read_text().strip()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and len(tokens[0]) >= 32


@pytest.mark.parametrize("content", ["", "\n", "short"])
def test_an_empty_token_file_opens_no_door(content: str, tmp_path: Path) -> None:
    """What is in it must be a token: an empty one would let everybody in."""
    (tmp_path / "token").write_text(content)

    with pytest.raises(errors.Unavailable):
        local_listener(
            Settings(data_dir=tmp_path), _options(listen=("127.0.0.1", 0), local_token_file=tmp_path / "token")
        )


def test_a_file_in_the_place_of_the_socket_stays(tmp_path: Path) -> None:
    """A path that was meant otherwise costs nobody a file."""
    path = tmp_path / "precious"
    path.write_text("mine")

    with pytest.raises(errors.Unavailable):
        local_listener(Settings(data_dir=tmp_path), _options(socket=path))

    assert path.read_text() == "mine"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_tcp_is_loopback_only(host: str, tmp_path: Path) -> None:
    """The API uses secrets on behalf of whoever reaches it."""
    options = _options(listen=(host, 0), local_token_file=tmp_path / "token")

    with pytest.raises(errors.MooringError):
        local_listener(Settings(data_dir=tmp_path), options)


async def test_a_client_that_goes_away_stops_its_operation(pool: Pool) -> None:
    """Or at least leaves nothing waiting for ever."""
    await pool.put(put())
    world().operating.clear()
    async with client_of(pool) as client:
        call = asyncio.create_task(client.post("/v1/P/toy/say?timeoutSeconds=0.05"))
        await asyncio.gather(call)

    assert pool.live("P", "toy").in_flight == 0


# many at once


async def test_a_batch_answers_each_at_its_place(http: httpx2.AsyncClient) -> None:
    """Those that worked with their answer, those that did not with what went wrong."""
    requests = [{"text": "a"}, {"times": "many"}, {"text": "b"}]

    answer = (await http.post("/v1/P/toy/say/batch", json={"requests": requests})).json()

    assert answer["failed"] == 1
    assert [result["status"] for result in answer["results"]] == [200, 400, 200]
    assert [result["answer"]["text"] for result in answer["results"][::2]] == ["a", "b"]
    assert answer["results"][1]["errors"][0]["path"] == "/times"


async def test_a_batch_is_begun_in_its_order(http: httpx2.AsyncClient) -> None:
    """A hundred texts come back as they were sent."""
    requests = [{"text": str(number)} for number in range(100)]

    answer = (await http.post("/v1/P/toy/say/batch", json={"requests": requests})).json()

    assert [result["answer"]["text"] for result in answer["results"]] == [str(number) for number in range(100)]


async def test_what_a_batch_could_not_begin_in_time_says_so(http: httpx2.AsyncClient) -> None:
    """Each is told apart, and the whole ends by its deadline."""
    world().operating.clear()

    answer = (await http.post("/v1/P/toy/say/batch?timeoutSeconds=0.05", json={"requests": [{}] * 70})).json()

    assert answer["failed"] == 70
    assert {result["error"] for result in answer["results"]} == {"unreachable"}


@pytest.mark.parametrize("body", [{}, {"requests": {}}, {"requests": [1]}, {"requests": [], "more": 1}])
async def test_a_batch_of_another_shape_is_refused(http: httpx2.AsyncClient, body: Any) -> None:
    """With the shape it should have."""
    answer = await http.post("/v1/P/toy/say/batch", json=body)

    assert answer.status_code == 400 and "requests" in answer.json()["error_description"]


async def test_a_batch_has_a_bound(http: httpx2.AsyncClient) -> None:
    """More than a thousand are refused before anything is begun."""
    answer = await http.post("/v1/P/toy/say/batch", json={"requests": [{}] * 1001})

    assert answer.status_code == 413 and "1000" in answer.json()["error_description"]


async def test_a_batch_for_nothing_is_refused_as_a_whole(http: httpx2.AsyncClient) -> None:
    """No connection, no results."""
    assert (await http.post("/v1/P/nothing/say/batch", json={"requests": [{}]})).status_code == 404
    assert (await http.post("/v1/P/toy/shout/batch", json={"requests": [{}]})).status_code == 404
