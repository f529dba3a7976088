"""
A program that uses one system as fast as it can, 32 at a time, and prints how many times a second.

    python -m bench.caller direct|attach NAME SECONDS

It is told where on its standard input, as JSON, because there are passwords in it: for `direct` what the state file
says of the server; for `attach` the `url`, `token` and `connection`.

Both are the same loop around the same number of tasks; what differs is what each of them awaits.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import mooring
from bench.subjects import SUBJECTS, Subject, Use

IN_FLIGHT = 32
WARM_S = 0.5


async def measure(use: Use, seconds: float) -> float:
    """Uses per second, after a short while of warming up."""
    await use()
    counted, begin, end = 0, 0.0, time.perf_counter() + WARM_S

    async def again() -> None:
        nonlocal counted
        while time.perf_counter() < end:
            await use()
            counted += 1

    await asyncio.gather(*(again() for _ in range(IN_FLIGHT)))
    counted, begin = 0, time.perf_counter()
    end = begin + seconds
    await asyncio.gather(*(again() for _ in range(IN_FLIGHT)))
    return counted / (time.perf_counter() - begin)


async def direct(subject: Subject, seconds: float, where: dict[str, Any]) -> float:
    async with subject.direct(where) as use:
        return await measure(use, seconds)


async def attach(subject: Subject, seconds: float, where: dict[str, Any]) -> float:
    async with mooring.attach(where["url"], where["token"], "development", ca_file=where["ca"]) as worker:
        operation = getattr(worker[where["connection"]], subject.operation)
        return await measure(lambda: operation(**subject.request), seconds)


def main(arguments: list[str]) -> None:
    how, name, seconds = arguments
    work = direct if how == "direct" else attach
    print(asyncio.run(work(SUBJECTS[name], float(seconds), json.load(sys.stdin))))


if __name__ == "__main__":
    main(sys.argv[1:])
