"""Limits: who fails too often, asks too much, or has too much tested, is told when to come back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from mooring.api.app import control_app
from mooring.api.limits import Limits
from mooring.control.flood import Flood
from mooring.kit.addresses import parse_networks
from mooring.kit.rates import Rate
from mooring.kit.tokens import make_token
from tests.api.answers import listed, refusal
from tests.support.plane import Opened, connection_path, email

LIST = "/apiops/projects/MyProject/connections/"
LIMITED = (429, "rate_limit_exceeded", "Rate limit exceeded. Please try again later.")
FORM = "application/x-www-form-urlencoded"


@contextlib.asynccontextmanager
async def caller(
    app: Any, token: str | None, address: str = "192.0.2.1", **headers: str
) -> AsyncIterator[httpx2.AsyncClient]:
    """A client with an address."""
    transport = httpx2.ASGITransport(app=app, client=(address, 4711))
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    async with httpx2.AsyncClient(transport=transport, base_url="http://mooring.test", headers=headers) as client:
        yield client


def limited(response: httpx2.Response) -> bool:
    """Whether it is the documented 429, in every part."""
    if response.status_code != 429:
        return False
    assert refusal(response) == LIMITED
    assert response.json()["retry_after"] == int(response.headers["retry-after"]) >= 1
    return True


async def fail(app: Any, times: int, address: str = "192.0.2.1", token: str = "garbage") -> list[int]:
    async with caller(app, token, address) as client:
        return [(await client.get(LIST)).status_code for _ in range(times)]


async def test_thirty_failures_are_free(opened: Opened) -> None:
    """The one after them is 429 and says when to come back."""
    app = control_app(opened.plane, limits=Limits(failures=30))

    statuses = await fail(app, 30)

    assert statuses == [401] * 30
    async with caller(app, "garbage") as client:
        response = await client.get(LIST)
    assert limited(response) and int(response.headers["retry-after"]) <= 60


async def test_a_right_token_from_a_noisy_address_works(opened: Opened) -> None:
    """Behind one address there may be many."""
    app = control_app(opened.plane, limits=Limits(failures=3))
    await fail(app, 5)

    async with caller(app, opened.token) as client:
        assert (await client.get(LIST)).status_code == 200


async def test_another_address_is_not_concerned(opened: Opened) -> None:
    """It has failures of its own."""
    app = control_app(opened.plane, limits=Limits(failures=3))
    await fail(app, 5)

    assert await fail(app, 1, "192.0.2.2") == [401]


async def test_a_token_id_is_counted_from_everywhere(opened: Opened) -> None:
    """Whoever guesses at one token from many addresses is slowed down too; its holder is not."""
    app = control_app(opened.plane, limits=Limits(failures=3))
    right = opened.token.split("_")
    guess = "_".join([*right[:3], make_token("pat").text.split("_")[3], right[4]])

    statuses = [(await fail(app, 1, f"192.0.2.{last}", guess))[0] for last in range(1, 6)]

    assert statuses == [401] * 3 + [429] * 2
    async with caller(app, opened.token) as client:
        assert (await client.get(LIST)).status_code == 200


@pytest.mark.parametrize(("path", "content_type"), [
    ("/apiops/auth/token", FORM), ("/worker/v1/enrol", "application/json"),
])  # fmt: skip
async def test_a_blocked_address_is_refused_before_its_body_is_read(
    opened: Opened, path: str, content_type: str
) -> None:
    """On the routes whose credential is in the body."""
    app = control_app(opened.plane, limits=Limits(failures=3))
    await fail(app, 3)
    read = False

    sent: list[Any] = []

    async def receive() -> Any:
        nonlocal read
        read = True
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(
        {"type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"",
         "headers": [(b"content-type", content_type.encode())], "client": ("192.0.2.1", 1)},
        receive, send,
    )  # fmt: skip

    assert sent[0]["status"] == 429 and not read


async def test_failed_exchanges_count(opened: Opened) -> None:
    """For their address and for the name that was tried."""
    app = control_app(opened.plane, limits=Limits(failures=3))
    form = {"grant_type": "client_credentials", "client_id": "ada", "client_secret": "x"}

    async with caller(app, None) as client:
        statuses = [(await client.post("/apiops/auth/token", data=form)).status_code for _ in range(4)]

    assert statuses == [401] * 3 + [429]


async def test_nobody_is_locked_out_by_failures_of_others(opened: Opened) -> None:
    """While a name is under attack, an address without failures of its own has one try; a second one is 429."""
    app = control_app(opened.plane, limits=Limits(failures=3))
    form = {"grant_type": "client_credentials", "client_id": opened.token.split("_")[2], "client_secret": "x"}
    for last in range(1, 5):
        async with caller(app, None, f"198.51.100.{last}") as attacker:
            await attacker.post("/apiops/auth/token", data=form)

    async with caller(app, None, "198.51.100.1") as attacker:
        again = await attacker.post("/apiops/auth/token", data={**form, "client_secret": opened.token})
    async with caller(app, None) as holder:
        right = await holder.post("/apiops/auth/token", data={**form, "client_secret": opened.token})

    assert limited(again) and right.status_code == 200


async def test_an_address_is_that_behind_a_trusted_proxy(opened: Opened) -> None:
    """What the proxy appended counts; what the client wrote in front of it does not."""
    app = control_app(opened.plane, limits=Limits(failures=3), proxies=parse_networks("10.0.0.0/8"))
    for number in range(3):
        async with caller(app, "x", "10.0.0.1", **{"X-Forwarded-For": f"6.6.6.{number}, 198.51.100.9"}) as client:
            await client.get(LIST)

    async with caller(app, "x", "10.0.0.1", **{"X-Forwarded-For": "198.51.100.9"}) as same:
        assert limited(await same.get(LIST))
    async with caller(app, "x", "10.0.0.1", **{"X-Forwarded-For": "198.51.100.10"}) as other:
        assert (await other.get(LIST)).status_code == 401


async def test_the_address_goes_to_the_audit(opened: Opened) -> None:
    """The client's, not the proxy's."""
    app = control_app(opened.plane, proxies=parse_networks("10.0.0.1"))

    async with caller(app, opened.token, "10.0.0.1", **{"X-Forwarded-For": "198.51.100.9"}) as client:
        await client.post(connection_path("a"), json=email("a"), params={"waitSeconds": 0})

        newest = listed(await client.get("/apiops/audit", params={"limit": 1}))[0]

    assert newest["action"] == "create" and newest["address"] == "198.51.100.9"


async def test_a_token_has_its_rate(opened: Opened, token_with: Any) -> None:
    """Over it is 429; another token goes on."""
    app = control_app(opened.plane, limits=Limits(per_token=Rate(0.001, 3)))

    async with caller(app, opened.token) as client:
        answers = [await client.get(LIST) for _ in range(4)]
    async with caller(app, await token_with("connections:view")) as client:
        other = await client.get(LIST)

    assert [answer.status_code for answer in answers[:3]] == [200] * 3 and limited(answers[3])
    assert other.status_code == 200


@pytest.mark.parametrize("path", [LIST, "/healthz", "/", "/apiops/openapi.json", "/nowhere"])
async def test_an_address_has_its_rate_everywhere(opened: Opened, path: str) -> None:
    """On every route, whether it needs a token or not."""
    app = control_app(opened.plane, limits=Limits(per_address=Rate(0.001, 1)))

    async with caller(app, opened.token) as client:
        await client.get("/healthz")
        response = await client.get(path)

    assert limited(response)


async def test_limits_are_off_unless_given(opened: Opened) -> None:
    """Nothing is counted."""
    assert await fail(control_app(opened.plane), 100) == [401] * 100


async def test_tests_are_limited(opened: Opened, http: httpx2.AsyncClient) -> None:
    """Each makes a worker dial somewhere; over the limit nothing is dialled, and nothing is in the audit."""
    await http.post(connection_path("a"), json=email("a"))
    opened.plane.probes._flood = Flood(Rate(0.001, 2))

    answers = [await http.post(connection_path("a") + "test/") for _ in range(3)]

    assert [answer.status_code for answer in answers[:2]] == [200, 200] and limited(answers[2])
    tested = [row for row in listed(await http.get("/apiops/audit")) if row["action"] == "test"]
    assert len(tested) == 2


async def test_who_may_not_test_uses_up_nothing(opened: Opened, http: httpx2.AsyncClient, token_with: Any) -> None:
    """The limit of a project is not to be emptied from outside of it."""
    await http.post(connection_path("a"), json=email("a"))
    opened.plane.probes._flood = Flood(Rate(0.001, 1))
    async with caller(control_app(opened.plane), await token_with("connections:view")) as stranger:
        statuses = [(await stranger.post(connection_path("a") + "test/")).status_code for _ in range(3)]

    assert statuses == [403] * 3
    assert (await http.post(connection_path("a") + "test/")).status_code == 200


# the order: size, rate, authentication, structure, parse

LARGE = {"Content-Length": str(10**9), "Content-Type": "application/json"}


async def test_size_comes_before_rate(opened: Opened) -> None:
    """A body that says it is too large is 413, whoever sends it however often."""
    app = control_app(opened.plane, limits=Limits(failures=1, per_address=Rate(0.001, 1)))
    await fail(app, 3)

    async with caller(app, "garbage") as client:
        response = await client.post(connection_path("a"), headers={**LARGE, "Expect": "100-continue"})

    assert response.status_code == 413


async def test_rate_comes_before_authentication(opened: Opened) -> None:
    """Over the rate of an address, no token is looked at."""
    app = control_app(opened.plane, limits=Limits(per_address=Rate(0.001, 1)))
    await fail(app, 1)

    assert await fail(app, 1) == [429]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "GET"])
async def test_authentication_comes_before_the_body(opened: Opened, method: str) -> None:
    """Nothing of a stranger's body is asked for."""
    app, sent = control_app(opened.plane), []

    async def receive() -> Any:
        raise AssertionError("the body was asked for")

    async def send(message: Any) -> None:
        sent.append(message)

    path = connection_path("a")
    await app(
        {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
         "headers": [(b"content-type", b"application/json"), (b"content-length", b"9")], "client": ("192.0.2.1", 1)},
        receive, send,
    )  # fmt: skip

    assert sent[0]["status"] == 401


@pytest.mark.parametrize(("raw", "why"), [
    (b"[" * 33 + b"]" * 33, "deeper than 32"),
    (b'{"a":[' + b",".join([b'"x"'] * 1000) + b"]}", "more than 1000 strings"),
    (b'{"a":9007199254740993}', "beyond 2^53"), (b'{"a":1,"a":2}', "more than once"), (b'{"a":NaN}', "not a JSON number"),
    (b'{"a":"\\ud800"}', "surrogate"), (b'{"a":"\\u0000"}', "NUL"), (b'{"a":"\xff"}', "UTF-8"),
])  # fmt: skip
@pytest.mark.parametrize("path", [connection_path("a"), "/apiops/projects/Other/", "/apiops/tokens/"])
async def test_structure_comes_before_meaning(http: httpx2.AsyncClient, path: str, raw: bytes, why: str) -> None:
    """On every route that takes JSON, whatever else is wrong with it."""
    response = await http.post(path, content=raw, headers={"Content-Type": "application/json"})

    assert refusal(response)[0] == 400 and why in refusal(response)[2]


async def test_a_stranger_cannot_send_for_ever(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request without a token that does not arrive is ended by a deadline."""
    monkeypatch.setattr("mooring.api.app.PUBLIC_S", 0.05)
    app, sent = control_app(opened.plane), []

    async def receive() -> Any:
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b"", "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(
        {"type": "http", "method": "POST", "path": "/apiops/auth/token", "raw_path": b"/apiops/auth/token",
         "query_string": b"", "headers": [(b"content-type", FORM.encode())], "client": ("192.0.2.1", 1)},
        receive, send,
    )  # fmt: skip

    assert sent[0]["status"] == 400 and (b"connection", b"close") in sent[0]["headers"]
