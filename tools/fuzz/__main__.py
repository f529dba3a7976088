"""`make fuzz ARGS="--minutes 5"`: rounds of all targets until the time, or the number of requests, is used up."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

from tools.fuzz import counts, described, http, models, parsers
from tools.fuzz.findings import FOLDER, Findings

Target = Callable[[int, int, Findings, Callable[[], bool]], int]
"""Seed, how many at most, where findings go, whether to stop: how many were asked."""


def targets() -> dict[str, tuple[Target, int, float]]:
    """Every target: what runs a round, how many a round asks, its share of the time."""
    return {
        "http": (http.run, http.ROUND, 0.6),
        "described": (described.run, described.ROUND, 0.1),
        "models": (models.run, models.ROUND, 0.1),
        "parsers": (parsers.run, parsers.ROUND, 0.2),
    }


def main(arguments: list[str]) -> int:
    """1 where anything was found."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long, in all")
    parser.add_argument("--requests", type=int, default=0, help="stop after so many, however long it takes")
    parser.add_argument("--only", default="", help="targets, with commas between")
    parser.add_argument(
        "--seed", type=int, default=0, help="one round with this seed, not counted: to see a finding again"
    )
    parser.add_argument("--no-count", action="store_true", help="do not write the file of counts")
    options = parser.parse_args(arguments)
    chosen = {name: how for name, how in targets().items() if not options.only or name in options.only.split(",")}
    found = total = 0
    whole = sum(share for *_, share in chosen.values())
    for name, (run, size, share) in chosen.items():
        ends = float("inf") if options.requests else time.monotonic() + options.minutes * 60 * share / whole
        left = round(options.requests * share / whole) if options.requests else sys.maxsize
        seed = options.seed or counts.read().get(name, counts.Count()).last_seed + 1
        begun, asked_here = time.monotonic(), 0
        while left > 0 and time.monotonic() < ends:
            findings = Findings(name, seed)
            asked = run(seed, min(size, left), findings, lambda ends=ends: time.monotonic() > ends)
            found += findings.server_errors + findings.other
            asked_here, left, total = asked_here + asked, left - asked, total + asked
            if not (options.no_count or options.seed):
                counts.add(name, asked, seed, findings.server_errors, findings.other)
            for what, count in findings.sorts.items():
                print(f"{name}, round {seed}: {what} ({count}×)", flush=True)
            seed += 1
            if options.seed:
                break
        took = time.monotonic() - begun
        print(f"{name}: {asked_here} in {took:.0f} s, {asked_here / max(took, 0.001):.0f}/s", flush=True)
    print(f"{total} asked, {found} found" + (f"; see {FOLDER}" if found else ""))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
