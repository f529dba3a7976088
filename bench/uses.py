"""Using connections: attached, through the worker's own API, and in batches, beside the client library alone."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from tools.services import state as services

from bench import load
from bench.programs import Running, local_worker, mooring_dev
from bench.subjects import SUBJECTS, Subject

BATCH, SMALL_BATCH = 100, 10
WAYS = ("direct", "attach", "local", "batch")


@dataclass
class Rates:
    """Uses per second of one system, by the way they were made, round by round."""

    subject: Subject
    found: dict[str, list[float]] = field(default_factory=lambda: {way: [] for way in WAYS})
    wrong: int = 0

    def median(self, way: str) -> float:
        return statistics.median(self.found[way])

    def ratio(self, way: str) -> float:
        """The median of the rounds' ratios: what else the machine did, it did to both sides of a round."""
        pairs = zip(self.found[way], self.found["direct"], strict=True)
        return statistics.median(mine / bare for mine, bare in pairs)

    def holds(self, way: str) -> bool:
        wanted = getattr(self.subject, way)
        return self.wrong == 0 and (wanted is None or self.ratio(way) >= wanted)


def rates(rounds: int, seconds: float) -> list[Rates]:
    """All systems that run, one after the other; in each round every way in turn."""
    known = services.read()
    results = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        trust = {"MOORING_CA_FILE": known["ca"]}
        with mooring_dev(folder / "dev", **trust) as dev, local_worker(dev, folder, **trust) as local:
            for subject in SUBJECTS.values():
                entry = known.get(subject.server)
                if entry is None:
                    sys.stderr.write(f"bench: {subject.server} does not run (make services)\n")
                    continue
                results.append(_rates_of(subject, entry, dev, local, rounds, seconds, folder))
    return results


def _rates_of(
    subject: Subject, entry: Any, dev: Running, local: Running, rounds: int, seconds: float, folder: Path
) -> Rates:
    name = f"bench-{subject.server}"
    _create(dev, {**subject.body(entry), "name": name})
    connection = f"MyProject/{name}"
    _wait_until_held(local, name)
    ca = services.read()["ca"]
    prepare(subject, local, name)
    _called("direct", subject, 0.1, {**entry, "ca": ca})  # it makes the topic or the queue
    found, path = Rates(subject), f"/v1/{connection}/{subject.operation}"
    there = {"url": dev.url, "token": dev.token, "connection": connection, "ca": ca}
    # Where no figure is wanted of batches the server is slow, and a hundred would not be through in a short round.
    size = SMALL_BATCH if subject.batch is None else BATCH
    batch = json.dumps({"requests": [subject.request] * size})
    for _ in range(rounds):
        found.found["direct"].append(_called("direct", subject, seconds, {**entry, "ca": ca}))
        found.found["attach"].append(_called("attach", subject, seconds, there))
        one = load.post(local.url, local.token, path, json.dumps(subject.request), seconds, folder)
        found.found["local"].append(one.per_second)
        many = load.post(local.url, local.token, f"{path}/batch", batch, seconds, folder, clients=4)
        found.found["batch"].append(many.per_second * size)
        found.wrong += one.wrong + many.wrong
    return found


def prepare(subject: Subject, local: Running, name: str) -> None:
    """What must be there before: a table with a thousand rows."""
    if subject.server == "postgres":
        with _client(local) as client:
            for sql in (
                "drop table if exists bench_point",
                "create table bench_point (id int primary key, word text)",
                "insert into bench_point select n, repeat('x', 1024) from generate_series(1, 1000) n",
            ):
                client.post(f"/v1/MyProject/{name}/execute", json={"sql": sql}).raise_for_status()
            found = client.post(f"/v1/MyProject/{name}/query", json=subject.request).json()
            assert len(found["rows"]) == 1, found


def _create(dev: Running, body: dict[str, Any]) -> None:
    headers = {"Authorization": f"Bearer {dev.token}"}
    path = f"/apiops/projects/MyProject/connections/{body['name']}/"
    with httpx2.Client(base_url=dev.url, headers=headers, trust_env=False, timeout=30) as client:
        answer = client.post(path, json=body)
        assert answer.status_code == 200 and answer.json()["deploymentResult"]["success"], answer.text


def _client(local: Running) -> httpx2.Client:
    headers = {"Authorization": f"Bearer {local.token}"}
    return httpx2.Client(base_url=local.url, headers=headers, trust_env=False, timeout=60)


def _wait_until_held(local: Running, name: str) -> None:
    """The create waited for every worker, so it is there; this says so."""
    with _client(local) as client:
        held = [one["name"] for one in client.get("/v1/").json()["connections"]]
    assert name in held


def _called(how: str, subject: Subject, seconds: float, where: dict[str, Any]) -> float:
    command = [sys.executable, "-m", "bench.caller", how, subject.name, str(seconds)]
    text = json.dumps(where, default=str)
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, input=text, text=True, timeout=300)
    return float(done.stdout.strip().splitlines()[-1])


def render(results: list[Rates]) -> str:
    """The table in Markdown."""
    lines = [
        "| uses per second, 32 in flight | library alone | `attach` | local API | batch | attach / alone | local / alone | batch / alone | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for found in results:
        cells = [f"{found.median(way):,.0f}" for way in WAYS]
        for way in WAYS[1:]:
            wanted = getattr(found.subject, way)
            cells.append(f"{found.ratio(way):.2f}" + (f" (≥ {wanted})" if wanted is not None else ""))
        holds = all(found.holds(way) for way in WAYS[1:])
        lines.append(f"| {found.subject.name} | {' | '.join(cells)} | {'holds' if holds else 'DOES NOT HOLD'} |")
    return "\n".join(lines)
