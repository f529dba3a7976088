"""How much was asked so far: a file that is kept in the repository."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

FILE = Path(__file__).parents[2] / "tests" / "fuzz-count.json"


@dataclass
class Count:
    """
    What one target was asked.

    Attributes:
        requests: How many requests, bodies or inputs.
        last_seed: The last round that ended; the next run begins behind it.
        server_errors: Answers that were a 5xx (save a 503 that says why), or crashes.
        other: Answers that were wrong in another way.
        date: When it was last run.
    """

    requests: int = 0
    last_seed: int = 0
    server_errors: int = 0
    other: int = 0
    date: str = ""


def read(file: Path = FILE) -> dict[str, Count]:
    """What is counted so far, by target."""
    if not file.exists():
        return {}
    return {name: Count(**values) for name, values in json.loads(file.read_text()).items()}


def add(target: str, requests: int, seed: int, server_errors: int, other: int, file: Path = FILE) -> None:
    """Count a round that ended. Written at once, so that a run that is cut short loses nothing."""
    counts = read(file)
    count = counts.setdefault(target, Count())
    count.requests += requests
    count.last_seed = max(count.last_seed, seed)
    count.server_errors += server_errors
    count.other += other
    count.date = datetime.now(UTC).date().isoformat()
    text = json.dumps({name: asdict(value) for name, value in sorted(counts.items())}, indent=2)
    fresh = file.with_suffix(".new")
    fresh.write_text(text + "\n")
    fresh.replace(file)
