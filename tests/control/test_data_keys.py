"""Another data key: what was sealed before is sealed anew, and nobody notices but who looks at the keys."""

from __future__ import annotations

import asyncio
from pathlib import Path

import apsw
import httpx2
import pytest

from mooring.control.plane import Plane
from tests.api.answers import done, listed, one, refusal
from tests.support.keystores import authority, keystore, keystores_path
from tests.support.plane import HOOK_SECRET, client_of, connection_path, email, opened_here, webhook

CERTIFICATE = authority().pem()
KEYS = "/apiops/data-keys/"
ROTATE = "/apiops/data-keys/rotate/"


async def emptied(http: httpx2.AsyncClient) -> list[dict[str, object]]:
    """The keys, when no retired one is left."""
    async with asyncio.timeout(20):
        while len(found := listed(await http.get(KEYS))) != 1:
            await asyncio.sleep(0.02)
    return found


async def stored(http: httpx2.AsyncClient, count: int = 3) -> None:
    """Connections with secrets, and a keystore that one of them uses."""
    done(await http.post(keystores_path(), json=keystore("mine", CERTIFICATE)))
    for number in range(count):
        body = webhook(f"hook-{number}", keyStoreName="mine") if number == 0 else webhook(f"hook-{number}")
        done(await http.post(connection_path(body["name"]), json=body))


async def test_the_first_key_seals_everything(http: httpx2.AsyncClient) -> None:
    """Its count covers secrets and what keystores hold."""
    await stored(http)

    key = one(await http.get(KEYS))

    assert key["state"] == "ACTIVE" and key["retiredAt"] is None and key["sealedCount"] == 5


@pytest.mark.reveals
async def test_after_a_rotation_the_old_key_is_gone_and_everything_opens(
    http: httpx2.AsyncClient, plane: Plane, token_with
) -> None:
    """Nothing is left under it, its row is destroyed, and every secret reads as it was sent."""
    await stored(http)
    before = one(await http.get(KEYS))

    answer = listed(await http.post(ROTATE))
    (after,) = await emptied(http)

    assert [each["state"] for each in answer] == ["RETIRED", "ACTIVE"]
    assert after["id"] == answer[1]["id"] != before["id"] and after["sealedCount"] == before["sealedCount"]
    reveal = await token_with("connections:view", "secrets:reveal")
    async with client_of(plane, reveal) as revealing:
        shown = one(await revealing.get(connection_path("hook-1")))
    assert shown["headerList"][0]["value"] == f"Bearer {HOOK_SECRET}"


async def test_workers_hear_nothing_of_a_rotation(http: httpx2.AsyncClient, plane: Plane) -> None:
    """No generation, revision, hash or digest moves."""
    await stored(http)

    async def standing() -> object:
        (environment,) = await plane.store.environments()
        return environment, await plane.store.delta(environment.id, 0, 100), [
            one(await http.get(connection_path(f"hook-{number}"))) for number in range(3)
        ]  # fmt: skip

    before = await standing()
    await http.post(ROTATE)
    await emptied(http)

    assert await standing() == before


async def test_a_put_that_changes_nothing_changes_nothing_after_a_rotation_too(
    http: httpx2.AsyncClient, plane: Plane
) -> None:
    """What counts as the same content is what was sent, not how it is sealed."""
    await stored(http)
    await http.post(ROTATE)
    await emptied(http)

    done(await http.put(connection_path("hook-0"), json=webhook("hook-0", keyStoreName="mine")))
    done(await http.put(keystores_path("mine"), json=keystore("mine", CERTIFICATE)))

    assert one(await http.get(connection_path("hook-0")))["generation"] == 1
    (environment,) = await plane.store.environments()
    assert environment.head_revision == 3


async def test_a_rotation_that_was_broken_off_is_finished_by_the_next_start(tmp_path: Path) -> None:
    """The retired key is emptied and destroyed then."""
    async with opened_here(tmp_path) as opened, client_of(opened.plane, opened.token) as http:
        await stored(http)
        await asyncio.sleep(0.05)
        opened.plane._tasks[-1].cancel()  # nobody does the work: as if it ended here
        await http.post(ROTATE)
        left = listed(await http.get(KEYS))

    async with opened_here(tmp_path) as opened, client_of(opened.plane, opened.token) as http:
        after = await emptied(http)

    assert [each["state"] for each in left] == ["RETIRED", "ACTIVE"] and left[0]["sealedCount"] > 0
    assert after[0]["id"] == left[1]["id"]


async def test_a_value_that_cannot_be_opened_keeps_its_key_and_stops_nothing_else(tmp_path: Path) -> None:
    """The others are sealed anew; the count says what is left, and who sends the secret again sets it free."""
    async with opened_here(tmp_path) as opened, client_of(opened.plane, opened.token) as http:
        for number in range(3):
            done(
                await http.post(
                    connection_path(f"m-{number}"), json=email(f"m-{number}", auth=True, username="u", password="pw")
                )
            )
        _damage(tmp_path / "mooring.db")

        await http.post(ROTATE)
        await asyncio.sleep(0.5)
        old, new = listed(await http.get(KEYS))
        for number in range(3):
            await http.delete(connection_path(f"m-{number}"))
        await http.post(ROTATE)
        after = await emptied(http)

    assert (old["sealedCount"], old["unreadableCount"], new["sealedCount"]) == (1, 1, 2)
    assert after[0]["unreadableCount"] == 0


def _damage(path: Path) -> None:
    db = apsw.Connection(str(path))
    db.set_busy_timeout(5000)
    db.execute(
        "UPDATE secrets SET sealed = x'01' || zeroblob(40) WHERE connection = (SELECT min(connection) FROM secrets)"
    )
    db.close()


async def test_rotations_may_overlap(http: httpx2.AsyncClient) -> None:
    """Several at once, among writes: one key is left, and it seals everything."""
    await stored(http, 20)

    await asyncio.gather(
        *(http.post(ROTATE) for _ in range(5)),
        *(http.post(connection_path(f"late-{n}"), json=webhook(f"late-{n}")) for n in range(20)),
    )
    (key,) = await emptied(http)

    assert key["sealedCount"] == 2 + 40


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_it_takes_the_grant(plane: Plane, token_with, method: str) -> None:
    """Neither any other grant nor a token of one project will do."""
    for token in (
        await token_with("tokens:manage", "connections:manage"),
        await token_with("seal:manage", project_name="MyProject"),
    ):
        async with client_of(plane, token) as http:
            response = await http.request(method, KEYS if method == "GET" else ROTATE)
        assert refusal(response)[:2] == (403, "forbidden")


async def test_rotation_and_destruction_are_audited(http: httpx2.AsyncClient) -> None:
    """Who asked for it, and that it was finished."""
    await http.post(ROTATE)
    await emptied(http)

    entries = [(each["action"], each["noun"]) for each in listed(await http.get("/apiops/audit/"))]

    assert {("rotate", "data-key"), ("destroy", "data-key")} <= set(entries)
