"""Lists: whole and streamed, by page, by cursor; steady while others write."""

import asyncio
import json

import pytest

from tests.api.answers import done, listed, problems, refusal
from tests.support.plane import CONNECTIONS, client_of, connection_path, email, webhook


@pytest.fixture
async def ten(http):
    """Ten connections, c0 to c9; the even ones are email."""
    for number in range(10):
        name = f"c{number}"
        await http.post(connection_path(name), json=webhook(name) if number % 2 else email(name))
    return http


async def _names(http, **params):
    return [item["name"] for item in listed(await http.get(CONNECTIONS, params=params))]


async def _walk(http, limit, between=None):
    """The names on every page behind one another by cursor."""
    found, cursor = [], None
    for _ in range(100):
        params = {"limit": limit, **({"cursor": cursor} if cursor is not None else {})}
        body = (await http.get(CONNECTIONS, params=params)).json()
        found += [item["name"] for item in body["resultList"]]
        cursor = body["nextCursor"]
        if cursor is None:
            return found
        if between is not None:
            await between(len(found))
    raise AssertionError("the cursor does not end")


async def test_pages(ten):
    """Pages count from 1, and the last one has what is left."""
    assert await _names(ten, page=1, size=4) == ["c0", "c1", "c2", "c3"]
    assert await _names(ten, page=3, size=4) == ["c8", "c9"]
    assert await _names(ten, page=4, size=4) == []


async def test_page_alone_has_a_size(ten):
    """A page without a size, and a size without a page, are served."""
    assert len(await _names(ten, page=1)) == 10
    assert await _names(ten, size=2) == ["c0", "c1"]


@pytest.mark.parametrize(("sort", "expected"), [
    ("name", "c0 c1 c2"), ("name,asc", "c0 c1 c2"), ("name,desc", "c9 c8 c7"), ("createdAt", "c0 c1 c2"),
    ("createdAt,desc", "c9 c8 c7"), ("updatedAt,DESC", "c9 c8 c7"), ("type", "c0 c2 c4"), ("type,desc", "c1 c3 c5"),
])  # fmt: skip
async def test_sort(ten, sort, expected):
    """The order is by name, type, createdAt or updatedAt, up or down; equal ones stand by name."""
    found = await _names(ten, sort=sort, size=10)

    if sort.startswith("type"):
        assert found[:5] == [f"c{n}" for n in ((1, 3, 5, 7, 9) if "desc" in sort else (0, 2, 4, 6, 8))]
    else:
        assert " ".join(found[:3]) == expected


async def test_page_of_one_type(ten):
    """Paging and type go together."""
    assert await _names(ten, type="email", page=2, size=2) == ["c4", "c6"]


@pytest.mark.parametrize(("name", "value"), [
    ("page", "0"), ("page", "-1"), ("page", "x"), ("page", "1.0"), ("page", "1000001"), ("page", "9" * 5000), ("page", "\u0661"),
    ("page", "00000000000100000000"), ("size", "0"), ("size", "1001"), ("size", "1e2"), ("limit", "0"), ("limit", "1001"),
    ("limit", "0000000000001" + "9" * 5000), ("sort", "password"), ("sort", "name;drop"), ("sort", "name,up"), ("sort", ",desc"),
])  # fmt: skip
async def test_wrong_parameters(http, name, value):
    """A parameter that is no number of its range, or no order, is 400 and named."""
    assert problems(await http.get(CONNECTIONS, params={name: value})) == [f"/{name}"]


async def test_unknown_parameters_are_ignored(ten):
    """Parameters that nobody knows change nothing."""
    assert len(await _names(ten, nonsense="1")) == 10


@pytest.mark.parametrize("limit", [1, 3, 9, 10, 11])
async def test_cursor_walks_over_everything_once(ten, limit):
    """Page by page every connection comes once, in the order of names, whatever the limit."""
    assert await _walk(ten, limit) == [f"c{n}" for n in range(10)]


async def test_cursor_of_one_type(ten):
    """Cursor and type go together."""
    body = (await ten.get(CONNECTIONS, params={"type": "email", "limit": 3})).json()
    rest = (await ten.get(CONNECTIONS, params={"type": "email", "limit": 3, "cursor": body["nextCursor"]})).json()

    assert [item["name"] for item in body["resultList"] + rest["resultList"]] == ["c0", "c2", "c4", "c6", "c8"]
    assert rest["nextCursor"] is None


async def test_cursor_is_steady_while_others_write(ten):
    """What was there from the first page to the last comes exactly once, whatever comes and goes meanwhile."""

    async def change(seen):
        done(await ten.post(connection_path(f"b{seen}"), json=email(f"b{seen}")))
        done(await ten.post(connection_path(f"d{seen}"), json=email(f"d{seen}")))
        if seen == 4:
            done(await ten.delete(connection_path("c1")))
            done(await ten.delete(connection_path("c3")))

    found = await _walk(ten, 4, change)

    assert [name for name in found if name[0] == "c"] == [f"c{n}" for n in range(10)]
    assert len(found) == len(set(found))


async def test_cursor_at_a_connection_that_is_gone(ten):
    """A cursor goes on where it stood, also when that connection was deleted."""
    body = (await ten.get(CONNECTIONS, params={"limit": 3})).json()
    done(await ten.delete(connection_path("c2")))

    rest = (await ten.get(CONNECTIONS, params={"limit": 100, "cursor": body["nextCursor"]})).json()

    assert [item["name"] for item in rest["resultList"]] == [f"c{n}" for n in range(3, 10)]


@pytest.mark.parametrize("cursor", ["zzz", "\x00", "'; DROP TABLE connections; --", "\U0001f600", "x" * 1000])
async def test_strange_cursors(ten, cursor):
    """A cursor that we did not give is only a place in the order of names."""
    response = await ten.get(CONNECTIONS, params={"cursor": cursor})

    assert response.status_code == 200
    assert len(await _names(ten)) == 10


async def test_cursor_of_names_in_any_script(http):
    """Names in any script are walked over too."""
    for name in ("Ärger", "zebra", "İstanbul", "漢字", "a b", "ﬁre"):
        done(await http.post(connection_path(name), json=email(name)))

    assert sorted(await _walk(http, 1)) == sorted(["Ärger", "zebra", "İstanbul", "漢字", "a b", "ﬁre"])


async def test_whole_list_is_streamed(opened, http):
    """3,000 connections come in one answer, in pieces, each once, with their count at the end."""
    gate = asyncio.Semaphore(64)

    async def create(number):
        name = f"n{number:04}"
        async with gate:
            response = await http.post(
                connection_path(name), params={"waitSeconds": 0}, json=email(name, description="x" * 200)
            )
            assert response.status_code == 200

    await asyncio.gather(*(create(number) for number in range(3000)))
    pieces = []
    async with client_of(opened.plane, opened.token) as client:
        app = client._transport.app

        async def send(message):
            if message["type"] == "http.response.body":
                pieces.append(message["body"])
            else:
                heads.append(message)

        heads = []
        await app(
            {
                "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
                "path": CONNECTIONS, "raw_path": CONNECTIONS.encode(), "query_string": b"", "root_path": "",
                "headers": [(b"authorization", f"Bearer {opened.token}".encode())], "client": None, "server": None,
            },
            _no_more,
            send,
        )  # fmt: skip

    body = json.loads(b"".join(pieces))
    assert heads[0]["status"] == 200
    assert not any(name == b"content-length" for name, _ in heads[0]["headers"])
    assert max(map(len, pieces)) < 200_000
    assert body["resultCount"] == len(body["resultList"]) == 3000
    assert [item["name"] for item in body["resultList"]] == [f"n{number:04}" for number in range(3000)]


async def _no_more():
    await asyncio.Event().wait()


def test_whole_list_while_others_write(dev):
    """A whole list that is read slowly, while connections come and go, is one JSON text whose count is right."""
    names = [f"api-list-{number:03}" for number in range(300)]
    for name in names:
        done(dev.api.post(connection_path(name), params={"waitSeconds": 0}, json=email(name, description="x" * 900)))

    with dev.api.stream("GET", CONNECTIONS) as response:
        pieces = response.iter_raw(4096)
        text = next(pieces)
        for name in names[::2]:
            done(dev.api.delete(connection_path(name), params={"waitSeconds": 0}))
        text += b"".join(pieces)

    body = json.loads(text)
    assert body["resultCount"] == len(body["resultList"])
    found = [item["name"] for item in body["resultList"] if item["name"].startswith("api-list-")]
    assert set(names[1::2]) <= set(found) <= set(names)
    assert len(found) == len(set(found))
    for name in names[1::2]:
        dev.api.delete(connection_path(name), params={"waitSeconds": 0})


async def test_list_needs_the_project_before_its_parameters(http):
    """A missing project comes before a wrong parameter."""
    assert refusal(await http.get("/apiops/projects/Nowhere/connections/", params={"limit": "x"}))[0] == 404
