"""
`make bench`: the table of `docs/performance.md`.

    python -m bench [--quick] [--only control,uses,held] [--write]

Every figure that is a rate stands beside the same figure of a bare baseline, measured in the same run, in
alternating rounds; the median of the rounds counts.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import httpx2

from bench import idle as many
from bench import load, uses
from bench.programs import Running, baseline, mooring_dev

PERFORMANCE = Path(__file__).parent.parent / "docs" / "performance.md"


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    rounds: int
    seconds: int
    listed: int
    applied: int
    scale: int
    idle_s: int
    uses: int
    held: int


FULL = Size(rounds=3, seconds=6, listed=10_000, applied=1_000, scale=100_000, idle_s=60, uses=5, held=5_000)
QUICK = Size(rounds=1, seconds=2, listed=1_000, applied=50, scale=4_000, idle_s=2, uses=1, held=300)


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    measured: str
    baseline: str
    figure: str
    wanted: str
    holds: bool


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("--quick", action="store_true", help="a minute instead of several; for the test suite")
    parser.add_argument("--only", default="", help="of control, uses, held: those that are measured, with commas")
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    options = parser.parse_args()
    if not load.available():
        sys.stderr.write("bench: wrk is not installed (apt-get install wrk)\n")
        return 2
    size = QUICK if options.quick else FULL
    parts = options.only.split(",") if options.only else ["control", "uses", "held"]
    held_well = True
    if "uses" in parts:
        found = uses.rates(size.uses, 1 if options.quick else 3)
        held_well &= all(rates.holds(way) for rates in found for way in uses.WAYS[1:])
        show(uses.render(found), "uses", options.write)
    rows: list[Row] = []
    if "control" in parts:
        rows += [*rates(size), *latencies(size), scale(size), *idle(size)]
        show(render(rows), "bench", options.write)
    if "held" in parts:
        rows += (held := [of_many(size)])
        show(render(held), "held", options.write)
    return 0 if options.quick or (held_well and all(row.holds for row in rows)) else 1


def of_many(size: Size) -> Row:
    """What thousands of connections that nobody uses cost a worker."""
    found = many.held(size.held)
    threads = f"{found.threads} threads ({found.threads_before} with none)"
    return Row(
        f"worker with {found.count:,} connections of all types, none in use", f"{found.memory_mb:.0f} MB, {threads}", "",
        f"{found.memory_mb:.0f} MB", "under 250 MB, no thread for each",
        found.memory_mb < 250 and found.threads <= found.threads_before + 8 and found.unwell == 0,
    )  # fmt: skip


def show(table: str, mark: str, into_the_page: bool) -> None:
    """Print *table*, and put it between the marks of that name where it is wanted."""
    print(table, flush=True)
    if into_the_page:
        write(table, mark)


def rates(size: Size) -> list[Row]:
    """Creates and gets per second, against the baseline's."""
    creates: dict[str, list[float]] = {"mooring": [], "baseline": []}
    gets: dict[str, list[float]] = {"mooring": [], "baseline": []}
    wrong = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with mooring_dev(folder / "mooring") as mooring, baseline(folder / "baseline") as bare:
            for number in range(size.rounds):
                for name, program in (("baseline", bare), ("mooring", mooring)):
                    made = load.create(program.url, program.token, f"r{number}", size.seconds, folder)
                    read = load.get(
                        program.url, program.token, f"r{number}", min(made.requests // 2, 5000), size.seconds, folder
                    )
                    creates[name].append(made.per_second)
                    gets[name].append(read.per_second)
                    wrong += made.wrong + read.wrong
                    _wait_until_quiet(mooring)
    return [
        _rate("durable create, 32 clients", creates, 0.5, wrong),
        _rate("single get, 32 clients", gets, 0.6, wrong),
    ]


def _rate(what: str, measured: dict[str, list[float]], wanted: float, wrong: int) -> Row:
    mine, bare = statistics.median(measured["mooring"]), statistics.median(measured["baseline"])
    ratio = mine / bare
    holds = ratio >= wanted and wrong == 0
    return Row(what, f"{mine:,.0f}/s", f"{bare:,.0f}/s", f"{ratio:.2f}", f"at least {wanted}", holds)


def _wait_until_quiet(program: Running) -> None:
    """Until the worker has applied what the round created: the next round shall not pay for it."""
    headers = {"Authorization": f"Bearer {program.token}"}
    deadline = time.monotonic() + 60
    with httpx2.Client(base_url=program.url, headers=headers, trust_env=False, timeout=30) as client:
        while time.monotonic() < deadline:
            worker = client.get("/apiops/workers/").json()["resultList"][0]
            if worker["observedRevision"] == worker["desiredRevision"] and not worker["pending"]:
                return
            time.sleep(0.2)


def latencies(size: Size) -> list[Row]:
    """A page of a long list; and how long it takes until a worker has applied what was created."""
    with tempfile.TemporaryDirectory() as temporary, mooring_dev(Path(temporary) / "mooring") as mooring:
        return asyncio.run(_latencies(mooring, size))


async def _latencies(mooring: Running, size: Size) -> list[Row]:
    headers = {"Authorization": f"Bearer {mooring.token}", "Content-Type": "application/json"}
    path = "/apiops/projects/MyProject/connections/"
    async with httpx2.AsyncClient(base_url=mooring.url, headers=headers, trust_env=False, timeout=60) as client:
        applied = []
        for number in range(size.applied):
            started = time.perf_counter()
            response = await client.post(
                f"{path}applied-{number}/", content=load.BODY % f"applied-{number}", params={"waitSeconds": 10}
            )
            applied.append((time.perf_counter() - started) * 1000)
            assert response.json()["deploymentResult"]["state"] == "SUCCEEDED", response.text
        await _fill(client, "listed", size.listed - size.applied)
        listed = []
        for _ in range(50):
            started = time.perf_counter()
            response = await client.get(path, params={"limit": 100})
            listed.append((time.perf_counter() - started) * 1000)
            assert response.json()["resultCount"] == 100
    page, until = statistics.median(listed), statistics.median(applied)
    return [
        Row(
            f"list of 100 out of {size.listed:,}, median",
            f"{page:.1f} ms",
            "",
            f"{page:.1f} ms",
            "at most 10 ms",
            page <= 10,
        ),
        Row(
            f"create until applied on one worker, median of {size.applied:,}",
            f"{until:.1f} ms",
            "",
            f"{until:.1f} ms",
            "at most 15 ms",
            until <= 15,
        ),
    ]


async def _fill(client: httpx2.AsyncClient, prefix: str, count: int) -> list[float]:
    """Create *count* connections, 32 at a time; the seconds that each took."""
    took: list[float] = [0.0] * count
    numbers = iter(range(count))

    async def one() -> None:
        for number in numbers:
            started = time.perf_counter()
            name = f"{prefix}-{number}"
            response = await client.post(
                f"/apiops/projects/MyProject/connections/{name}/", content=load.BODY % name, params={"waitSeconds": 0}
            )
            took[number] = time.perf_counter() - started
            assert response.status_code == 200, response.text

    await asyncio.gather(*(one() for _ in range(load.CLIENTS)))
    return took


def scale(size: Size) -> Row:
    """Whether a create costs more in a store that is full."""
    with tempfile.TemporaryDirectory() as temporary, mooring_dev(Path(temporary) / "mooring") as mooring:
        took = asyncio.run(_scale(mooring, size.scale))
    tenth = len(took) // 10
    first, last = statistics.mean(took[:tenth]) * 1000, statistics.mean(took[-tenth:]) * 1000
    return Row(
        f"mean create, last {tenth:,} of {size.scale:,} against the first", f"{last:.1f} ms", f"{first:.1f} ms",
        f"{last / first:.2f}", "at most 1.3", last / first <= 1.3,
    )  # fmt: skip


async def _scale(mooring: Running, count: int) -> list[float]:
    headers = {"Authorization": f"Bearer {mooring.token}", "Content-Type": "application/json"}
    async with httpx2.AsyncClient(base_url=mooring.url, headers=headers, trust_env=False, timeout=60) as client:
        return await _fill(client, "scale", count)


def idle(size: Size) -> list[Row]:
    """Resident memory with nothing to do."""
    with tempfile.TemporaryDirectory() as temporary, mooring_dev(Path(temporary) / "mooring") as mooring:
        time.sleep(size.idle_s)
        control, worker = mooring.memory_mb()
    return [
        Row(
            f"control plane, resident after {size.idle_s} idle seconds",
            f"{control:.0f} MB",
            "",
            f"{control:.0f} MB",
            "under 120 MB",
            control < 120,
        ),
        Row(
            f"worker, resident after {size.idle_s} idle seconds",
            f"{worker:.0f} MB",
            "",
            f"{worker:.0f} MB",
            "under 120 MB",
            worker < 120,
        ),
    ]


def render(rows: list[Row]) -> str:
    """The table in Markdown."""
    lines = ["| what | Mooring | baseline | figure | wanted | |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {row.what} | {row.measured} | {row.baseline} | {row.figure} | {row.wanted} | {'holds' if row.holds else 'DOES NOT HOLD'} |"
        for row in rows
    ]
    return "\n".join(lines)


def write(table: str, mark: str = "bench") -> None:
    text = PERFORMANCE.read_text("utf-8")
    before, _, rest = text.partition(f"<!-- {mark} -->")
    _, _, after = rest.partition(f"<!-- /{mark} -->")
    PERFORMANCE.write_text(f"{before}<!-- {mark} -->\n{table}\n<!-- /{mark} -->{after}", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
