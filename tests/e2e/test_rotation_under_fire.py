"""Data keys rotated again and again during writes, with kill -9 of the control plane inside."""

from __future__ import annotations

import asyncio
import base64
import os
import random
from collections import defaultdict
from typing import Any

import httpx2
import pytest

from mooring.domain.sealed_places import SEALED_PLACES
from mooring.kit.settings import Settings
from mooring.serve import opened_plane
from tests.support.keystores import authority, keystore, keystores_path
from tests.support.plane import DEV_PROJECT, Dev, connection_path, email

FULL = bool(os.environ.get("MOORING_TESTS_FULL"))
WRITES, ROTATIONS, KILLS, WRITERS = (10_000, 50, 6, 16) if FULL else (200, 5, 1, 8)
NAMES_EACH = WRITES // WRITERS // 4
CERTIFICATES = [authority(f"Authority {number}").pem() for number in range(6)]


class Fire:
    """
    Writers, a rotator and a killer. `may_be` has, for each name, the values that it may have in the end: the last
    one that was acknowledged, and those sent since.
    """

    def __init__(self, dev: Dev) -> None:
        self.dev, self.may_be = dev, defaultdict[str, list[str]](list)
        self.acknowledged = self.rotations = self.kills = 0
        self._chance = random.Random(7)
        self._up = asyncio.Event()
        self._up.set()

    async def burn(self) -> None:
        async with httpx2.AsyncClient(timeout=30, trust_env=False) as self._client, asyncio.TaskGroup() as group:
            group.create_task(self._kill())
            group.create_task(self._rotate())
            for number in range(WRITERS):
                group.create_task(self._write(number))

    async def _ask(self, method: str, path: str, body: Any = None) -> int | None:
        """The status; None where the answer was lost."""
        await self._up.wait()
        headers = {"Authorization": f"Bearer {self.dev.token}"}
        try:
            response = await self._client.request(method, f"{self.dev.url}{path}", json=body, headers=headers)
            return response.status_code
        except httpx2.HTTPError:
            await asyncio.sleep(0.05)
            return None

    async def _write(self, writer: int) -> None:
        made: set[str] = set()
        for number in range(WRITES // WRITERS):
            if writer == 0 and number % 4 == 0:
                name, value = "store", CERTIFICATES[number // 4 % len(CERTIFICATES)].decode()
                path, body = keystores_path("" if name not in made else name), keystore(name, value.encode())
            else:
                name, value = f"mail-{writer}-{number % max(NAMES_EACH, 1)}", f"value-{writer}-{number}"
                path, body = connection_path(name), email(name, auth=True, username="u", password=value)
            self.may_be[name].append(value)
            status = await self._ask("PUT" if name in made else "POST", f"{path}?waitSeconds=0", body)
            if status == 200:
                self.acknowledged += 1
                self.may_be[name] = [value]
                made.add(name)
            elif status == 400:  # there already, or not there after all: the next write tries the other way
                made ^= {name}

    async def _rotate(self) -> None:
        while self.rotations < ROTATIONS:
            self.rotations += await self._ask("POST", "/apiops/data-keys/rotate/") == 200
            await asyncio.sleep(0.02)

    async def _kill(self) -> None:
        for number in range(KILLS):
            share = (number + 1) / (KILLS + 1)
            while self.acknowledged < WRITES * share * 0.6 and self.rotations < ROTATIONS * share:
                await asyncio.sleep(0.005)
            await asyncio.sleep(self._chance.random() * 0.1)
            self._up.clear()
            self.dev.kill()
            await asyncio.to_thread(self.dev.start)
            self.kills += 1
            self._up.set()


async def _emptied(dev: Dev) -> list[dict[str, Any]]:
    """The keys, when no retired one is left."""
    async with asyncio.timeout(60):
        while True:
            found = dev.api.get("/apiops/data-keys/").json()["resultList"]
            if len(found) == 1:
                return list(found)
            await asyncio.sleep(0.1)


@pytest.mark.timeout(1800 if FULL else 120)
async def test_everything_opens_to_what_was_acknowledged(fresh_dev: Dev) -> None:
    """Every value is the one that was acknowledged, and nothing is left on a key that was retired."""
    fire = Fire(fresh_dev)
    await fire.burn()
    (key,) = await _emptied(fresh_dev)
    fresh_dev.stop()

    async with opened_plane(Settings(data_dir=fresh_dev.data_dir)) as (plane, _):
        assert await plane.store.seal_counts() == {key["id"]: key["sealedCount"]}
        opened = {
            (place.table, row.keys): plane.ring.unseal(
                row.sealed, key_id=row.key_id, **place.bound_to(dict(zip(place.keys, row.keys, strict=True)))
            )
            for place in SEALED_PLACES
            for row in await plane.store.sealed_rows(place, but="", limit=100_000)
        }
        project = await plane.store.project(DEV_PROJECT)
        assert project is not None
        wrong = []
        for name, values in fire.may_be.items():
            if name == "store":
                material = await plane.store.material(project.id, "keystore", name)
                assert material is not None
                (file,) = (
                    value for (_, keys), value in opened.items() if keys[0] == material.id and keys[2:] == ("file",)
                )
                found = base64.b64decode(file).decode()
            else:
                connection = await plane.store.connection(project.id, name)
                assert connection is not None, name
                found = opened["secrets", (connection.id, "password")]
            if found not in values:
                wrong.append(name)

    assert wrong == []
    assert (fire.rotations, fire.kills) == (ROTATIONS, KILLS) and fire.acknowledged > WRITES * 0.8
    print(
        f"{fire.acknowledged} writes acknowledged, {fire.rotations} rotations, {fire.kills} kills, {len(opened)} values open"
    )
