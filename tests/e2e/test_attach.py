"""A worker inside a Python program, with a personal token."""

from __future__ import annotations

import asyncio
import uuid

import pytest

import mooring
from mooring.errors import BadRequest, ConnectionDisabled, ConnectionUnknown, InvalidConfig, NotAuthenticated
from tests.e2e.support import PROJECT, create, hook_body, hook_server, postgres_body, update
from tests.support.plane import connection_path


def unique(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def token(dev, *grants: str, project: str | None = None) -> dict[str, str]:
    body = {"name": "attach", "grants": list(grants), **({"projectName": project} if project else {})}
    answer = dev.api.post("/apiops/tokens/", json=body).json()
    return {"text": answer["token"], "id": answer["resultList"][0]["id"]}


@pytest.fixture
def attach_token(dev) -> str:
    return token(dev, "connections:attach", "connections:use")["text"]


async def test_a_connection_is_used_by_name(dev, attach_token, postgres):
    """`worker["MyProject/orders-db"].query("select 1")` answers rows."""
    name = unique("orders-db")
    create(dev, postgres_body(name, postgres, databaseName=None))

    async with mooring.attach(dev.url, attach_token, "development", ca_file=postgres.ca) as worker:
        answer = await worker[f"{PROJECT}/{name}"].query("select ?::int + 1", [41])

    assert answer.rows == [[42]]


async def test_the_live_native_client_is_given(dev, attach_token, postgres):
    """`native()` gives the driver's own client."""
    name = unique("native")
    create(dev, postgres_body(name, postgres))

    async with mooring.attach(dev.url, attach_token, "development", ca_file=postgres.ca) as worker:
        pool = await worker[f"{PROJECT}/{name}"].native()
        async with pool.acquire() as connection:
            value = await connection.fetchval("select 7")

    assert value == 7


async def test_a_change_reaches_an_attached_program(dev, attach_token):
    """A change made by the API serves in the attached program, without attaching again."""
    name = unique("hook")
    with hook_server("old", "new") as hook:
        create(dev, hook_body(name, hook, "old"))
        async with mooring.attach(dev.url, attach_token, "development") as worker:
            await worker[f"{PROJECT}/{name}"].send()

            await asyncio.to_thread(update, dev, hook_body(name, hook, "new"))

            async with asyncio.timeout(10):
                while hook.calls[-1][0] != "new":
                    await worker[f"{PROJECT}/{name}"].send()


async def test_what_cannot_be_used_says_so(dev, attach_token):
    """Unknown, disabled, and wrongly used connections raise errors with a next step."""
    name = unique("off")
    with hook_server("k") as hook:
        create(dev, {**hook_body(name, hook, "k"), "enabled": False})
        async with mooring.attach(dev.url, attach_token, "development") as worker:
            with pytest.raises(ConnectionUnknown) as unknown:
                worker[f"{PROJECT}/nowhere"]
            with pytest.raises(ConnectionDisabled) as disabled:
                await worker[f"{PROJECT}/{name}"].send()
            await asyncio.to_thread(update, dev, hook_body(name, hook, "k"))
            async with asyncio.timeout(10):
                while True:
                    try:
                        await worker[f"{PROJECT}/{name}"].send()
                        break
                    except ConnectionDisabled:
                        await asyncio.sleep(0.02)
            with pytest.raises((InvalidConfig, BadRequest)) as wrong:
                await worker[f"{PROJECT}/{name}"].send(no_such_argument=1)

    assert unknown.value.hint and disabled.value.hint
    assert "no_such_argument" in str(wrong.value)


async def test_a_token_without_the_grant_is_refused(dev):
    """A token that lacks connections:attach attaches nothing."""
    text = token(dev, "connections:view")["text"]

    with pytest.raises(NotAuthenticated):
        async with mooring.attach(dev.url, text, "development"):
            pass


async def test_an_attached_program_gets_only_what_its_token_may_use(dev):
    """A token of one project does not bring the connections of another."""
    other, name = unique("Other"), unique("mine")
    assert dev.api.post(f"/apiops/projects/{other}/", json={}).status_code == 200
    theirs = unique("theirs")
    with hook_server("k") as hook:
        create(dev, hook_body(theirs, hook, "k"))
        body = hook_body(name, hook, "k")
        assert dev.api.post(connection_path(name, other), json=body).json()["deploymentResult"]["success"]
        text = token(dev, "connections:attach", "connections:use", project=other)["text"]

        async with mooring.attach(dev.url, text, "development") as worker:
            assert worker.names == [f"{other}/{name}"]
            await worker[f"{other}/{name}"].send()


async def test_a_revoked_token_ends_the_stream(dev):
    """Revoking the token ends an open stream within a second; nothing new arrives."""
    made = token(dev, "connections:attach", "connections:use")
    name = unique("after")
    with hook_server("k") as hook:
        async with mooring.attach(dev.url, made["text"], "development") as worker:
            await asyncio.to_thread(dev.api.delete, f"/apiops/tokens/{made['id']}/")

            async with asyncio.timeout(5):
                while worker.is_attached:
                    await asyncio.sleep(0.02)

            await asyncio.to_thread(create, dev, hook_body(name, hook, "k"))

            assert f"{PROJECT}/{name}" not in worker.names


async def test_an_attached_program_is_no_worker(dev, attach_token):
    """It leaves no row, and nobody waits for it."""
    async with mooring.attach(dev.url, attach_token, "development"):
        workers = dev.api.get("/apiops/workers/").json()["resultList"]
        name = unique("hook")
        with hook_server("k") as hook:
            result = await asyncio.to_thread(create, dev, hook_body(name, hook, "k"))

    assert len(workers) == 1
    assert result["deploymentResults"][0]["workers"]["expected"] == 1


async def test_a_control_plane_that_is_not_there_is_said_by_a_deadline():
    """Attaching to nothing ends by its deadline, with what to check."""
    with pytest.raises(mooring.MooringError) as caught:
        async with mooring.attach("http://127.0.0.1:9", "mrg_pat_x", "development", timeout_s=1.0):
            pass

    assert caught.value.hint


async def test_a_stream_does_not_outlive_its_token(dev):
    """When the token expires the stream ends; nothing new arrives."""
    body = {"name": "short", "grants": ["connections:attach", "connections:use"], "expiresInSeconds": 2}
    text = dev.api.post("/apiops/tokens/", json=body).json()["token"]
    name = unique("after")
    with hook_server("k") as hook:
        async with mooring.attach(dev.url, text, "development") as worker:
            async with asyncio.timeout(20):
                while worker.is_attached:
                    await asyncio.sleep(0.05)

            await asyncio.to_thread(create, dev, hook_body(name, hook, "k"))

            assert f"{PROJECT}/{name}" not in worker.names


async def test_a_token_holds_exactly_what_it_may_use(dev):
    """One connection that was granted singly, and not its neighbour; withdrawn, it is let go of."""
    mine, other = unique("mine"), unique("other")
    made = token(dev, "connections:attach", project=PROJECT)
    with hook_server("k") as hook:
        for name in (mine, other):
            create(dev, hook_body(name, hook, "k"))
        path = f"/apiops/projects/{PROJECT}/connections/{mine}/grants/tokens/{made['id']}/"
        await asyncio.to_thread(dev.api.put, path, json={"grants": ["connections:use"]})

        async with mooring.attach(dev.url, made["text"], "development") as worker:
            held = worker.names
            await worker[f"{PROJECT}/{mine}"].send()
            await asyncio.to_thread(dev.api.delete, path)
            async with asyncio.timeout(20):
                while f"{PROJECT}/{mine}" in worker.names:
                    await asyncio.sleep(0.1)

    assert f"{PROJECT}/{mine}" in held and f"{PROJECT}/{other}" not in held


async def test_a_connection_becomes_global_without_a_failed_use(dev, attach_token):
    """Who uses it by the project that it left goes on, and finds it by the project `admin` too."""
    name = unique("shared")
    with hook_server("k") as hook:
        create(dev, hook_body(name, hook, "k"))
        async with mooring.attach(dev.url, attach_token, "development") as worker:
            moving = asyncio.create_task(
                asyncio.to_thread(dev.api.post, f"/apiops/projects/{PROJECT}/connections/{name}/globalize/")
            )
            async with asyncio.timeout(20):
                while not (moving.done() and f"admin/{name}" in worker.names):
                    await worker[f"{PROJECT}/{name}"].send()
            await worker[f"admin/{name}"].send()

    answer = moving.result().json()
    assert answer["success"] and answer["deploymentResult"]["success"], answer
