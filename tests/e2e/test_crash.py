"""kill -9 of the control plane while it is written to."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import apsw
import httpx2

from mooring.kit.settings import Settings
from mooring.serve import check_audit
from tests.support.plane import Dev, connection_path, email

CREATES = 200


async def _burst(dev: Dev, prefix: str, acknowledged: set[str]) -> None:
    limits = httpx2.Limits(max_connections=CREATES)
    headers = {"Authorization": f"Bearer {dev.token}"}
    async with httpx2.AsyncClient(
        base_url=dev.url, headers=headers, timeout=20, limits=limits, trust_env=False
    ) as client:

        async def one(number: int) -> None:
            body = email(f"{prefix}-{number}", auth=True, username="u", password="p-word")
            try:
                response = await client.post(
                    connection_path(body["name"]), json=body, params={"waitSeconds": number % 2}
                )
            except httpx2.HTTPError:
                return
            if response.status_code == 200:
                acknowledged.add(body["name"])

        await asyncio.gather(*(one(number) for number in range(CREATES)))


def _kill_when_half_are_there(dev: Dev, acknowledged: set[str], share: float) -> None:
    deadline = time.monotonic() + 20
    while len(acknowledged) < CREATES * share and time.monotonic() < deadline:
        time.sleep(0.001)
    dev.kill()


def _rows(dev: Dev, sql: str) -> Any:
    db = apsw.Connection(str(dev.data_dir / "mooring.db"), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return db.execute(sql).get
    finally:
        db.close()


def test_every_acknowledged_connection_survives_and_none_is_half_there(fresh_dev):
    """Killed at four points of 200 concurrent creates: what was acknowledged is there, whole, and reaches the worker."""
    dev, acknowledged = fresh_dev, set()
    for number, share in enumerate((0.02, 0.3, 0.6, 0.9)):
        so_far: set[str] = set()
        killer = threading.Thread(target=_kill_when_half_are_there, args=(dev, so_far, share))
        killer.start()
        asyncio.run(_burst(dev, f"round-{number}", so_far))
        killer.join()
        acknowledged |= so_far
        dev.start()
        workers = dev.api.get("/apiops/workers/").json()["resultList"]
        assert [worker["online"] for worker in workers] == [True], "the first answer came before the worker's stream"

    listed = {
        item["name"]: item for item in dev.api.get("/apiops/projects/MyProject/connections/").json()["resultList"]
    }

    assert acknowledged, "nothing was acknowledged: the test shows nothing"
    assert acknowledged - listed.keys() == set()
    assert [name for name, item in listed.items() if not item["secretFields"]["password"]["set"]] == []
    count = len(listed)
    for table in ("connections", "secrets", "desired", "deployments"):
        assert (table, _rows(dev, f"SELECT count(*) FROM {table}")) == (table, count)
    assert _rows(dev, "SELECT count(*) FROM audit WHERE noun = 'connection' AND action = 'create'") == count
    assert _rows(dev, "SELECT max(revision) FROM desired") == count
    audit = asyncio.run(check_audit(Settings(data_dir=dev.data_dir), None, None))
    assert (audit.wrong, audit.entries) == (None, _rows(dev, "SELECT count(*) FROM audit"))
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        worker = dev.api.get("/apiops/workers/").json()["resultList"][0]
        if worker["observedRevision"] == count and not worker["pending"]:
            break
        time.sleep(0.1)
    assert (worker["observedRevision"], worker["failed"]) == (count, 0)
