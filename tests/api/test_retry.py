"""Repeating and racing: Idempotency-Key, If-Match, and how long a change waits."""

import asyncio

import pytest

from tests.api.answers import done, listed, one, refusal
from tests.support.plane import CONNECTIONS, client_of, connection_path, email, webhook

KEY = {"Idempotency-Key": "k-1"}


async def test_repeated_create_has_one_effect_and_the_same_answer(http):
    """A create that is repeated under its key answers as the first time."""
    first = await http.post(connection_path("a"), json=email("a"), headers=KEY)

    again = await http.post(connection_path("a"), json=email("a"), headers=KEY)

    assert (again.status_code, again.content) == (200, first.content)
    assert [item["generation"] for item in listed(await http.get(CONNECTIONS))] == [1]


async def test_concurrent_creates_under_one_key(http):
    """Ten at once under one key are one create, and all are told the same."""
    body = email("a", trustStoreName="nowhere", enableStartTls=True)

    responses = await asyncio.gather(*(http.post(connection_path("a"), json=body, headers=KEY) for _ in range(10)))

    assert {response.status_code for response in responses} == {200}
    assert len({response.content for response in responses}) == 1
    audited = [entry for entry in listed(await http.get("/apiops/audit/")) if entry["noun"] == "connection"]
    assert len(audited) == 1


async def test_concurrent_creates_without_a_key(http):
    """Ten at once without a key are one create and nine refusals."""
    responses = await asyncio.gather(*(http.post(connection_path("a"), json=email("a")) for _ in range(10)))

    assert sorted(response.status_code for response in responses) == [200] + [400] * 9


async def test_same_key_with_another_body(http):
    """A key that was used for something else is 409."""
    await http.post(connection_path("a"), json=email("a"), headers=KEY)

    response = await http.post(connection_path("a"), json=email("a", port=25), headers=KEY)

    assert refusal(response)[:2] == (409, "conflict")


@pytest.mark.parametrize(("method", "name"), [("DELETE", "a"), ("PUT", "a"), ("POST", "b")])
async def test_same_key_for_another_request(http, method, name):
    """A key belongs to one method and one path too."""
    await http.post(connection_path("a"), json=email("a"), headers=KEY)

    response = await http.request(
        method, connection_path(name), json=email(name) if method[0] == "P" else None, headers=KEY
    )

    assert refusal(response)[:2] == (409, "conflict")


async def test_trailing_slash_is_the_same_request(http):
    """The key of a request holds for both spellings of its path."""
    first = await http.post(connection_path("a"), json=email("a"), headers=KEY)

    again = await http.post(connection_path("a").rstrip("/"), json=email("a"), headers=KEY)

    assert again.content == first.content


async def test_keys_of_two_tokens_are_two_keys(http, plane, token_with):
    """Keys are counted per token: another caller's key says nothing about ours."""
    await http.post(connection_path("a"), json=email("a"), headers=KEY)
    async with client_of(plane, await token_with("connections:manage")) as other:
        done(await other.post(connection_path("b"), json=email("b"), headers=KEY))


async def test_refused_create_does_not_use_up_its_key(http):
    """A create that was refused may be repeated under its key with a body that is right."""
    assert refusal(await http.post(connection_path("a"), json=email("a", port=0), headers=KEY))[0] == 400

    done(await http.post(connection_path("a"), json=email("a"), headers=KEY))


async def test_repeated_update(http):
    """An update that is repeated under its key is carried out once, also when somebody changed it between."""
    await http.post(connection_path("a"), json=email("a"))
    first = await http.put(connection_path("a"), json=email("a", port=25), headers=KEY)
    await http.put(connection_path("a"), json=email("a", port=26))

    again = await http.put(connection_path("a"), json=email("a", port=25), headers=KEY)

    assert again.content == first.content
    assert one(await http.get(connection_path("a")))["port"] == 26


async def test_repeated_update_that_changed_nothing(http):
    """An update without effect is remembered too: repeated, it does not undo what came between."""
    await http.post(connection_path("a"), json=email("a"))
    first = await http.put(connection_path("a"), json=email("a"), headers=KEY)
    await http.put(connection_path("a"), json=email("a", port=26))

    again = await http.put(connection_path("a"), json=email("a"), headers=KEY)

    assert again.content == first.content
    assert one(await http.get(connection_path("a")))["port"] == 26


async def test_repeated_rename(http):
    """A rename that is repeated under its key finds its answer although the old name is gone."""
    await http.post(connection_path("a"), json=email("a"))
    first = await http.put(connection_path("a"), json=email("b"), headers=KEY)

    again = await http.put(connection_path("a"), json=email("b"), headers=KEY)

    assert (again.status_code, again.content) == (200, first.content)


async def test_repeated_delete(http):
    """A delete that is repeated under its key answers as the first time, and spares a namesake made since."""
    await http.post(connection_path("a"), json=email("a"))
    first = await http.delete(connection_path("a"), headers=KEY)
    await http.post(connection_path("a"), json=email("a"))

    again = await http.delete(connection_path("a"), headers=KEY)

    assert (again.status_code, again.content) == (200, first.content)
    one(await http.get(connection_path("a")))


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "\u00e9"])
async def test_malformed_key(http, key):
    """A key is 1 to 255 printable ASCII characters."""
    response = await http.post(
        connection_path("a"), json=email("a"), headers={"Idempotency-Key": key.encode("latin-1")}
    )

    assert refusal(response)[2].startswith("Idempotency-Key must be ")


# If-Match


async def test_etag_is_the_generation(http):
    """The ETag of a GET is the generation, and a change moves it."""
    await http.post(connection_path("a"), json=email("a"))
    before = (await http.get(connection_path("a"))).headers["etag"]

    await http.put(connection_path("a"), json=email("a", port=25))

    assert (before, (await http.get(connection_path("a"))).headers["etag"]) == ('"1"', '"2"')


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize("etag", ['"1"', 'W/"1"', "*"])
async def test_matching_etag(http, method, etag):
    """A change that names the present generation is carried out."""
    await http.post(connection_path("a"), json=email("a"))

    body = email("a", port=25) if method == "PUT" else None
    done(await http.request(method, connection_path("a"), json=body, headers={"If-Match": etag}))


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_other_etag(http, method):
    """A change that names another generation is 412 and has no effect."""
    await http.post(connection_path("a"), json=email("a"))
    await http.put(connection_path("a"), json=email("a", port=25))

    body = email("a", port=26) if method == "PUT" else None
    response = await http.request(method, connection_path("a"), json=body, headers={"If-Match": '"1"'})

    assert refusal(response) == (412, "conflict", "Connection (name: a) has changed since")
    assert one(await http.get(connection_path("a")))["port"] == 25


@pytest.mark.parametrize("etag", ["", "1", '"x"', '""', '"1', '"-1"', '"' + "9" * 30 + '"', '"\u00b2"'])
async def test_malformed_etag(http, etag):
    """What is no ETag of ours is 400."""
    await http.post(connection_path("a"), json=email("a"))

    response = await http.put(connection_path("a"), json=email("a"), headers={"If-Match": etag.encode("latin-1")})

    assert refusal(response)[2].startswith("If-Match must be ")


async def test_one_of_many_racing_updates_wins(http):
    """Of ten updates that name one generation, one is carried out and nine are 412."""
    await http.post(connection_path("a"), json=email("a"))

    responses = await asyncio.gather(
        *(http.put(connection_path("a"), json=email("a", port=100 + n), headers={"If-Match": '"1"'}) for n in range(10))
    )

    assert sorted(response.status_code for response in responses) == [200] + [412] * 9


async def test_racing_updates_without_a_precondition(http):
    """Updates that race without If-Match are all carried out or told to try again; each accepted one is a generation."""
    await http.post(connection_path("a"), json=email("a"))

    responses = await asyncio.gather(
        *(http.put(connection_path("a"), json=email("a", port=100 + n)) for n in range(10))
    )

    accepted = sum(response.status_code == 200 for response in responses)
    assert {response.status_code for response in responses} <= {200, 409}
    assert one(await http.get(connection_path("a")))["generation"] == 1 + accepted


async def test_no_change_is_no_generation(http):
    """A PUT of what is stored already leaves the generation and the time of the last change alone."""
    await http.post(connection_path("a"), json=email("a"))
    before = one(await http.get(connection_path("a")))

    done(await http.put(connection_path("a"), json=email("a")))

    assert one(await http.get(connection_path("a"))) == before


# waiting


@pytest.mark.parametrize("value", ["0", "0.5", "30", "00", "1e1"])
async def test_wait_seconds(http, value):
    """waitSeconds takes any number from 0 to 30."""
    done(await http.post(connection_path("a"), params={"waitSeconds": value}, json=email("a")))


@pytest.mark.parametrize("value", ["", "-1", "31", "nan", "inf", "x", "1,5", "0x1", "9" * 5000, "1 "])
async def test_wrong_wait_seconds(http, value):
    """Anything else is 400 naming the parameter."""
    response = await http.post(connection_path("a"), params={"waitSeconds": value}, json=email("a"))

    assert refusal(response)[2] == "waitSeconds is not valid: must be a number from 0 to 30"


@pytest.mark.parametrize(
    "value", ["wait=0", "respond-async, wait=5", "wait=999999", "wait=x", "nonsense", "wait=" + "9" * 5000]
)
async def test_prefer(http, value):
    """Prefer is a wish: what cannot be read is ignored."""
    done(await http.post(connection_path("a"), json=email("a"), headers={"Prefer": value}))


def test_no_waiting_says_pending_and_becomes_true(dev):
    """With waitSeconds=0 the answer is PENDING, and deployments/ says SUCCEEDED once the worker has it."""
    name = "api-waits-not"
    body = done(dev.api.post(connection_path(name), params={"waitSeconds": 0}, json=webhook(name)))

    result = body["deploymentResult"]
    assert result["state"] in ("PENDING", "SUCCEEDED")
    assert result["success"] is (result["state"] == "SUCCEEDED")
    done(dev.api.put(connection_path(name), json=webhook(name, timeout=9)))
    history = {item["deploymentId"]: item for item in listed(dev.api.get(f"{connection_path(name)}deployments/"))}
    assert history[result["deploymentId"]]["state"] == "SUCCEEDED"


def test_waiting_create_is_applied(dev):
    """A create that waits for the worker says that it applied it."""
    name = "api-waits"
    result = done(dev.api.post(connection_path(name), params={"waitSeconds": 10}, json=webhook(name)))[
        "deploymentResult"
    ]

    assert (result["success"], result["state"]) == (True, "SUCCEEDED")
    assert result["deploymentResults"][0]["workers"] == {
        "expected": 1, "applied": 1, "failed": 0, "pending": 0, "offline": 0,
    }  # fmt: skip
