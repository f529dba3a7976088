"""What is sent of keystores and certificates, when, to whom; and what it costs those that use none."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx2
import pytest

from mooring.control.plane import Plane
from mooring.control.references import SOON_MS, expiry
from mooring.domain.records import DesiredRow, Environment
from mooring.kit.aead import decrypt, new_key
from mooring.kit.clock import iso, now_ms
from tests.support.keystores import authority, issued, keystore, keystores_path
from tests.support.plane import connection_path, webhook

ROOT = authority("Root")
ME = issued(ROOT)
DAY_MS = 24 * 3600 * 1000


async def environment_of(plane: Plane) -> Environment:
    (found,) = await plane.store.environments()
    return found


async def newest(plane: Plane) -> DesiredRow:
    """The newest row of the desired state."""
    _, rows = await plane.store.delta((await environment_of(plane)).id, 0, 100)
    return rows[-1]


async def used(http: httpx2.AsyncClient, *, pem: bytes = ME.pem()) -> None:
    """A keystore, and a connection that uses it."""
    await http.post(keystores_path(), json=keystore("mine", pem))
    await http.post(connection_path("hook"), json=webhook("hook", keyStoreName="mine"))


async def test_a_put_names_its_materials_by_hash(plane: Plane, http: httpx2.AsyncClient) -> None:
    """By field; the material itself is another frame, sealed with the environment's key."""
    await used(http)
    environment = await environment_of(plane)

    parcel = await plane.parcels.frame(environment.id, await newest(plane))

    assert parcel is not None
    (content,) = parcel.materials
    assert json.loads(parcel.text)["materials"] == {"keyStoreName": content.hex()}
    frame = json.loads(await plane.parcels.material(environment.id, content) or "")
    _, key = await plane.parcels.content_key(environment.id)
    opened = json.loads(decrypt(key, base64.b64decode(frame["sealed"]), f"material|{content.hex()}".encode()))
    assert opened == {"trusted": ROOT.certificate_pem, "chain": ME.chain_pem, "key": ME.key_pem()}
    assert "PRIVATE" not in parcel.text and "PRIVATE" not in json.dumps(frame)


async def test_an_attached_process_gets_them_under_its_own_key(plane: Plane, http: httpx2.AsyncClient) -> None:
    """It never learns the environment's."""
    await used(http)
    environment, key = await environment_of(plane), new_key()
    parcel = await plane.parcels.frame(environment.id, await newest(plane))
    assert parcel is not None

    frame = json.loads(await plane.parcels.material(environment.id, parcel.materials[0], key) or "")

    assert decrypt(key, base64.b64decode(frame["sealed"]), f"material|{frame['hash']}".encode())


async def test_a_row_whose_keystore_changed_meanwhile_is_left_to_a_newer_one(
    plane: Plane, http: httpx2.AsyncClient
) -> None:
    """What is sent under a hash is what the hash says, never something newer."""
    await used(http)
    environment, row = await environment_of(plane), await newest(plane)
    parcel = await plane.parcels.frame(environment.id, row)
    assert parcel is not None
    plane.parcels._frames.clear()

    await http.put(keystores_path("mine"), json=keystore("mine", ROOT.pem()))

    assert await plane.parcels.frame(environment.id, row) is None
    assert await plane.parcels.material(environment.id, parcel.materials[0]) is None
    later = await newest(plane)
    assert later.generation == row.generation and later.revision > row.revision
    assert await plane.parcels.frame(environment.id, later) is not None


async def test_a_keystore_of_another_project_is_not_sent(plane: Plane, http: httpx2.AsyncClient) -> None:
    """Not even where a connection names it."""
    await http.post("/apiops/projects/Other/", json={})
    await http.post(keystores_path(project="Other"), json=keystore("mine", ME.pem()))
    await http.post(connection_path("hook"), json=webhook("hook", keyStoreName="mine"))

    parcel = await plane.parcels.frame((await environment_of(plane)).id, await newest(plane))

    assert parcel is not None and parcel.materials == () and "materials" not in json.loads(parcel.text)


async def test_connections_without_references_pay_nothing(
    plane: Plane, http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No look-up of materials on create, get, list, update or when their frames are made."""

    async def no_look_up(*_: Any) -> Any:
        raise AssertionError("materials were looked up")

    for name in ("found_materials", "sealed_material", "material_users", "environments"):
        monkeypatch.setattr(plane.store, name, no_look_up)
    path = connection_path("hook")
    answers = [
        await http.post(path, json=webhook("hook")), await http.get(path), await http.put(path, json=webhook("hook", timeout=5)),
        await http.get("/apiops/projects/MyProject/connections/"),
    ]  # fmt: skip
    monkeypatch.undo()
    environment = await environment_of(plane)
    monkeypatch.setattr(plane.store, "found_materials", no_look_up)

    assert [answer.status_code for answer in answers] == [200, 200, 200, 200]
    assert await plane.parcels.frame(environment.id, await newest(plane)) is not None


async def test_a_keystore_that_nobody_uses_moves_no_environment(plane: Plane, http: httpx2.AsyncClient) -> None:
    """Workers hear of it with the first connection that uses it."""
    before = (await environment_of(plane)).head_revision

    await http.post(keystores_path(), json=keystore("mine", ME.pem()))
    await http.put(keystores_path("mine"), json=keystore("mine", ROOT.pem()))

    assert (await environment_of(plane)).head_revision == before


async def test_the_change_stands_in_the_connection_s_deployments(plane: Plane, http: httpx2.AsyncClient) -> None:
    """With the generation that the connection had, which does not move."""
    await used(http)
    await http.put(keystores_path("mine"), json=keystore("mine", ROOT.pem()))

    found = (await http.get(f"{connection_path('hook')}deployments/")).json()["resultList"]

    assert [each["generation"] for each in found] == [1, 1]
    assert found[0]["revision"] > found[1]["revision"]


# when something expires


def entry(days: float, kind: str = "certificate", used: bool = True, chain: tuple[float, ...] = ()) -> dict[str, Any]:
    def at(days: float) -> str:
        return str(iso(now_ms() + int(days * DAY_MS)))[:-5] + ".000Z"

    return {"kind": kind, "used": used, "notAfter": at(days), "chain": [{"notAfter": at(each)} for each in chain]}


@pytest.mark.parametrize(
    ("entries", "days"),
    [
        ([entry(100, "key", chain=(50, 500))], 50),
        ([entry(100, "key"), entry(5)], 100),
        ([entry(5, "key", used=False), entry(100, "key")], 100),
        ([entry(100), entry(300)], 300),
        ([entry(-900), entry(300)], 300),
        ([entry(10), entry(300)], 10),
        ([entry(-10), entry(-20)], -10),
        ([], None),
    ],
)
def test_what_counts_is_what_is_used(entries: list[dict[str, Any]], days: float | None) -> None:
    """A key with its chain: the first of them. Trust alone: the last one, or the first that will go within 30 days."""
    found = expiry(entries)

    assert (found is None) == (days is None)
    if found is not None and days is not None:
        assert abs(found - now_ms() - days * DAY_MS) < DAY_MS / 2


def test_soon_is_thirty_days() -> None:
    """As the warning says."""
    assert SOON_MS == 30 * DAY_MS
