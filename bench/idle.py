"""A worker that holds thousands of connections of all types, and uses none of them."""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from bench.programs import Running, mooring_dev
from mooring.plugin.config import read_config
from mooring.plugin.registry import Registry

AT_ONCE = 32
SETTLE_S = 5.0


@dataclass(frozen=True)
class Held:
    """What so many connections cost the worker: memory in MB, its threads; `unwell` are those that do not serve."""

    count: int
    memory_mb: float
    threads: int
    threads_before: int
    unwell: int


def held(count: int) -> Held:
    """*count* connections, of every type in turn, applied and not used."""
    with tempfile.TemporaryDirectory() as temporary, mooring_dev(Path(temporary) / "mooring") as mooring:
        worker = mooring.pids[1]
        before = threads(worker)
        headers = {"Authorization": f"Bearer {mooring.token}"}
        asyncio.run(_fill(mooring, headers, count))
        with httpx2.Client(base_url=mooring.url, headers=headers, trust_env=False, timeout=30) as client:
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline:
                state = client.get("/apiops/workers/").json()["resultList"][0]
                if state["observedRevision"] == state["desiredRevision"] and not state["pending"]:
                    break
                time.sleep(0.2)
            time.sleep(SETTLE_S)
            return Held(count, mooring.memory_mb()[1], threads(worker), before, len(state.get("exceptions", [])))


def bodies(log_folder: Path) -> list[dict[str, Any]]:
    """A body of every type: its example, without the keystores that nobody made here; log files in *log_folder*."""
    found = []
    for card in Registry():
        body = {**card.example}
        config = read_config(
            card.config, {key: value for key, value in body.items() if key in card.schema["properties"]}
        )
        for name in config.references():
            body.pop(name, None)
        found.append({**body, **_WITHOUT_STORES.get(card.name, {})})
        if card.name == "logback":
            found[-1]["logPath"] = str(log_folder)
    return found


_WITHOUT_STORES: dict[str, dict[str, Any]] = {
    "elasticsearch": {"encryptCommunication": False},
    "kafka": {"enableSecure": False},
    "ldap": {"useSsl": False, "useStartTls": False, "serverAddress": "ldap://directory.example.com:389"},
}


async def _fill(mooring: Running, headers: dict[str, str], count: int) -> None:
    examples, numbers = bodies((mooring.data_dir / "logs").absolute()), iter(range(count))
    async with httpx2.AsyncClient(base_url=mooring.url, headers=headers, trust_env=False, timeout=60) as client:

        async def create() -> None:
            for number in numbers:
                body = {**examples[number % len(examples)], "name": f"held-{number}"}
                path = f"/apiops/projects/MyProject/connections/held-{number}/"
                answer = await client.post(path, json=body, params={"waitSeconds": 0})
                assert answer.status_code == 200, answer.text

        await asyncio.gather(*(create() for _ in range(AT_ONCE)))


def threads(pid: int) -> int:
    """How many threads a process has."""
    return sum(1 for _ in Path(f"/proc/{pid}/task").iterdir())
